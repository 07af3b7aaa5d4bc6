import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.conditions.attributes import Categorical
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.from_config import data_from_configuration
from common.data.loader import TensorLoader
from common.data.splits import hashed_split, random_split
from modalities.image.data import ImageFolder


def table(count):
    x = torch.arange(count).float().unsqueeze(1)
    return Examples(x, {"k": torch.arange(count) % 3}, {"k": Categorical("abc")}, {"train": torch.arange(count)})


def loaders(count, batch_size, world, shuffle):
    data = table(count)
    rows = data.splits["train"]
    return [TensorLoader(data, rows, batch_size, shuffle, 0, rank, world) for rank in range(world)]


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 200), st.integers(1, 64), st.integers(1, 4))
def test_evaluation_gives_each_example_to_one_process_once(count, batch_size, world):
    parts = [list(loader) for loader in loaders(count, batch_size, world, False)]
    assert len({len(part) for part in parts}) == 1  # every process makes the same number of batches
    seen = torch.cat([batch.index for part in parts for batch in part])
    assert torch.equal(seen.sort().values, torch.arange(count))
    assert max(len(batch) for part in parts for batch in part) <= batch_size


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 200), st.integers(1, 64), st.integers(1, 4))
def test_training_gives_processes_disjoint_batches_of_one_size(count, batch_size, world):
    parts = [list(loader) for loader in loaders(count, batch_size, world, True)]
    assert {len(part) for part in parts} == {len(loaders(count, batch_size, world, True)[0])}
    seen = torch.cat([batch.index for part in parts for batch in part])
    assert len(seen.unique()) == len(seen)


def test_each_epoch_has_an_order_of_its_own_that_the_seed_repeats():
    first, second = (loaders(100, 10, 1, True)[0] for _ in range(2))
    order = torch.cat([batch.index for batch in first])
    assert torch.equal(order, torch.cat([batch.index for batch in second]))
    second.set_epoch(1)
    assert not torch.equal(order, torch.cat([batch.index for batch in second]))


def test_a_batch_carries_the_rows_its_index_names():
    for batch in loaders(50, 7, 1, True)[0]:
        assert torch.equal(batch.x[:, 0], batch.index.float())
        assert torch.equal(batch.condition["k"], batch.index % 3)


def test_a_stratified_split_keeps_the_shares_of_each_group():
    groups = torch.arange(1000) % 10
    splits = random_split(1000, (0.1, 0.2), seed=0, groups=groups)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 700, "val": 100, "test": 200}
    assert groups[splits["test"]].bincount().tolist() == [20] * 10
    assert len(torch.cat(list(splits.values())).unique()) == 1000


def test_a_hashed_split_moves_no_file_when_others_are_added():
    names = [f"{position}.png" for position in range(300)]
    before = {name: {names[row] for row in rows} for name, rows in hashed_split(names, (0.1, 0.1)).items()}
    more = [f"new-{position}.png" for position in range(100)] + names
    after = {name: {more[row] for row in rows} for name, rows in hashed_split(more, (0.1, 0.1)).items()}
    assert all(before[name] <= after[name] for name in before)


def test_a_split_without_examples_is_an_error():
    with pytest.raises(ValueError, match="leave none for"):
        hashed_split(["a", "b"], (0.1, 0.1))


def test_an_unknown_condition_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no condition named hair; the data has: k"):
        table(10).restrict(["hair"])


def test_the_fingerprint_follows_the_data():
    first, second = table(10), table(10)
    assert first.fingerprint() == second.fingerprint()
    second.x[3] += 1
    assert first.fingerprint() != second.fingerprint()


def test_whatever_is_wrong_with_data_names_what_they_were_read_from(tmp_path):
    for number in range(3):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    csv = tmp_path / "labels.csv"
    csv.write_text("file,age\n0.png,1.5\n1.png,2.5\n2.png,\n")
    with pytest.raises(ValueError, match=rf"{csv}: 3 examples leave none for"):
        _ = ImageFolder(tmp_path, csv, size=8, continuous=["age"]).whole


@pytest.mark.parametrize("text", ["data:\n", "data: {}\n", "other: 1\n", "1\n", ""])
def test_a_configuration_without_data_is_named(tmp_path, text):
    path = tmp_path / "data.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"{path} configures no data"):
        data_from_configuration(path)


@pytest.mark.parametrize("size", [0, -4])
def test_a_batch_has_examples(size):
    with pytest.raises(ValueError, match=f"a batch has at least 1 example; got {size}"):
        ConditionalDataModule(size)


@pytest.mark.parametrize("content", [",", ",,\n,,\n", "\n"])
def test_a_table_without_a_column_is_refused_by_name(tmp_path, content):
    Image.new("L", (8, 8)).save(tmp_path / "0.png")
    csv = tmp_path / "labels.csv"
    csv.write_text(content)
    with pytest.raises(ValueError, match=str(csv)):
        _ = ImageFolder(tmp_path, csv, size=8).whole
