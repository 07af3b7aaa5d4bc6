import numpy as np
import pandas as pd
import pytest
import torch

from common.conditions.attributes import OBSERVED
from modalities.tabular.data import BreastCancer, Iris, Synthetic, TableFile
from modalities.tabular.data.tables import synthetic


def test_no_training_sees_what_the_experiment_hides():
    data = Iris(batch_size=50, rate=0.5)
    x, observed = data.examples.x, data.examples.fields[OBSERVED]
    hidden = observed.isnan()
    assert hidden.sum() == x.numel() // 2  # exactly half, as MIWAE
    rows = data.examples.splits["train"]
    torch.manual_seed(0)
    for batch in data.loader("train"):
        batch = data.transform(batch, training=True)
        known = ~data.examples.fields[OBSERVED][rows[batch.index]].isnan()
        assert torch.equal(batch.mask, known)
        assert (batch.x[~known] == 0).all()
        shown = ~batch.condition[OBSERVED].isnan()
        assert (known | ~shown).all()  # what is shown is known


def test_training_shows_every_share_of_a_row():
    data = BreastCancer(batch_size=400, rate=0.0)
    batch = data.transform(next(iter(data.loader("train"))), training=True)
    shares = (~batch.condition[OBSERVED].isnan()).float().mean(1)
    assert shares.mean() == pytest.approx(0.5, abs=0.06)
    assert shares.min() < 0.1
    assert shares.max() > 0.9


def test_evaluation_compares_with_every_known_cell():
    data = Synthetic(rate=0.4)
    batch = data.batch("test", 30)
    rows = data.examples.splits["test"][:30]
    assert torch.equal(batch.mask, ~data.examples.x[rows].isnan())
    assert 0.05 < (~batch.mask).float().mean() < 0.15  # empty from the start: nobody knows
    again = data.batch("test", 30)
    assert torch.equal(batch.condition[OBSERVED].nan_to_num(), again.condition[OBSERVED].nan_to_num())


def test_scaling_is_that_of_observed_training_cells():
    data = Iris(rate=0.5)
    rows = data.examples.splits["train"]
    cells = data.examples.fields[OBSERVED][rows]
    for number in range(4):
        known = cells[:, number][~cells[:, number].isnan()]
        assert known.mean().abs() < 1e-5
        assert known.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_the_protocol_of_miwae_trains_on_the_incomplete_table_and_is_tested_on_its_holes():
    data = Iris(protocol="cells", statistics="all", rate=0.5)
    assert data.columns[0].location == pytest.approx(data.frame().iloc[:, 0].mean())
    train, test = data.batch("val", 150), data.batch("test", 150)
    hidden = test.condition[OBSERVED].isnan()
    assert hidden.sum() == 300
    assert test.mask.all()
    assert torch.equal(train.mask, ~hidden)  # validation knows the observed cells, and hides a tenth of them
    held_out = train.condition[OBSERVED].isnan() & train.mask
    assert held_out.float().sum() / train.mask.sum() == pytest.approx(0.1, abs=0.05)
    for batch in data.loader("train"):
        batch = data.transform(batch, training=True)
        assert not (batch.mask & (hidden | held_out)[batch.index]).any()


@pytest.mark.parametrize("mechanism", ["mar", "mnar"])
def test_other_mechanisms_hide_by_values(mechanism):
    data, other = Synthetic(mechanism=mechanism, rate=0.4), Synthetic(mechanism=mechanism, rate=0.4, seed=1)
    x, observed = data.examples.x, data.examples.fields[OBSERVED]
    hidden = (observed.isnan() & ~x.isnan()).float().sum(0) / (~x.isnan()).sum(0)
    touched = hidden > 0
    assert touched.sum() == (4 if mechanism == "mar" else 8)  # half of the columns decide about the others
    assert hidden[touched].tolist() == pytest.approx([0.4] * int(touched.sum()), abs=0.06)
    assert (observed.isnan() != other.examples.fields[OBSERVED].isnan()).any()


def test_a_schema_in_the_configuration_overrules_the_guess(tmp_path):
    synthetic(100).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "schema.yaml").write_text(
        "visits: {kind: count, family: poisson}\nsum: {kind: continuous, family: gaussian}\n"
    )
    columns = {
        column.name: column for column in TableFile(tmp_path / "table.csv", schema=tmp_path / "schema.yaml").columns
    }
    assert (columns["visits"].family, columns["sum"].family) == ("poisson", "gaussian")
    assert columns["bend"].family == "student_t"


def test_a_target_is_hidden_in_every_evaluation_row(tmp_path):
    synthetic(100).to_csv(tmp_path / "table.csv", index=False)
    data = TableFile(tmp_path / "table.csv", target=["group"], drop=["sum"], rate=0.0)
    assert [column.name for column in data.columns] == [n for n in synthetic(10).columns if n != "sum"]
    position = [column.name for column in data.columns].index("group")
    assert data.batch("test", 20).condition[OBSERVED][:, position].isnan().all()
    assert not data.conditions("train")[OBSERVED][:, position].isnan().any()


def test_csv_and_parquet_give_the_same_data(tmp_path):
    table = synthetic(80, 0.1).astype({"grade": str})
    table["grade"] = table["grade"].where(synthetic(80, 0.1)["grade"].notna())
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet", index=False)
    first, second = (TableFile(tmp_path / name).examples.x for name in ("t.csv", "t.parquet"))
    assert torch.allclose(first.nan_to_num(), second.nan_to_num(), atol=1e-4)


def test_wrong_files_and_names_are_refused(tmp_path):
    pd.DataFrame({"a": np.arange(5.0)}).to_csv(tmp_path / "small.csv", index=False)
    with pytest.raises(ValueError, match="5 rows is too small"):
        _ = TableFile(tmp_path / "small.csv").columns
    with pytest.raises(ValueError, match="no column b"):
        _ = TableFile(tmp_path / "small.csv", target=["b"]).columns
