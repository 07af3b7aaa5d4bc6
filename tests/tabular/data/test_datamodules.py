import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from common.conditions.attributes import OBSERVED
from common.data.overview import overview
from common.data.terms import Terms
from common.table_files import Dialect
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
    with pytest.raises(ValueError, match=r"data\.target: .*small\.csv has no column b; it has: a"):
        _ = TableFile(tmp_path / "small.csv", target=["b"]).columns
    with pytest.raises(ValueError, match=r"data\.index: .*small\.csv has no column id"):
        _ = TableFile(tmp_path / "small.csv", index="id").columns


def rows(*columns):
    """A table of text with a header and 40 rows, whose cells the columns make from the number of the row."""
    return "\n".join([";".join(columns[::2]), *(";".join(make(n) for make in columns[1::2]) for n in range(40))]) + "\n"


def comma(n):
    return f"{n / 8:.3f}".replace(".", ",")


def test_a_table_with_semicolons_decimal_commas_and_codes_for_missing_is_numbers(tmp_path):
    (tmp_path / "t.csv").write_text(rows("a", comma, "b", lambda n: "-999" if n % 4 == 0 else str(n), "c",
                                         lambda n: "n/a" if n == 3 else "xy"[n % 2]))  # fmt: skip
    data = TableFile(tmp_path / "t.csv", dialect=Dialect(na_values=["n/a", -999]), rate=0.0)
    assert [(column.name, column.kind) for column in data.columns] == [
        ("a", "continuous"), ("b", "count"), ("c", "binary"),
    ]  # fmt: skip
    known = ~data.examples.x.isnan()
    assert known.sum(0).tolist() == [40, 30, 39]
    a = data.columns[0].present(data.examples.x[:, 0].double().numpy())
    assert a.tolist() == pytest.approx([n / 8 for n in range(40)], abs=1e-5)
    assert data.examples.origin == {"row": list(range(1, 41)), "line": list(range(2, 42))}
    assert data.details()[0] == "t.csv: cells separated by semicolons, decimal commas"
    assert data.describe()["learned"]["na_values"] == ["n/a", "-999"]


def test_what_is_no_data_is_left_out_said_and_remembered(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(rows("id", lambda n: f"p{n}", "a", comma, "no", lambda n: str(n * n), "SPLIT",
                         lambda n: ["train", "dev", "test", "train"][n % 4]))  # fmt: skip
    data = TableFile(path, index="id", drop=["no"], map="a=alpha")
    assert [column.name for column in data.columns] == ["alpha"]
    assert {name: (rows % 4).unique().tolist() for name, rows in data.examples.splits.items()} == {
        "train": [0, 3], "val": [1], "test": [2],
    }  # fmt: skip
    assert {name: len(rows) for name, rows in data.examples.splits.items()} == {"train": 20, "val": 10, "test": 10}
    notes = data.details()
    assert "left out: id, no" in notes
    assert "column SPLIT says which rows are trained and tested" in notes
    learned = data.describe()["learned"]
    assert learned["left_out"] == ["id", "no", "SPLIT"]
    assert learned["renamed"] == {"a": "alpha"}
    later = TableFile(path, map="a=alpha")
    later.adopt(Terms({**learned, "columns": data.columns, "attributes": {}}))
    assert [column.name for column in later.columns] == ["alpha"]
    assert "left out, as in the training of the checkpoint: id, no" in later.details()
    assert later.left_out == ["id", "no", "SPLIT"]
    cells = TableFile(path, index="id", drop=["no"], protocol="cells")
    assert "column SPLIT is left out (protocol cells)" in cells.details()
    assert [column.name for column in cells.columns] == ["a"]


def test_a_split_that_is_missing_is_cut_from_train_with_equal_rows_together(tmp_path):
    (tmp_path / "t.csv").write_text(rows("a", lambda n: str(n // 2), "split", lambda n: "test" if n < 4 else "train"))
    data = TableFile(tmp_path / "t.csv", shares=(0.3, 0.3))
    splits = data.examples.splits
    assert sorted(splits["test"].tolist()) == [0, 1, 2, 3]
    assert len(splits["val"]) > 2
    assert (splits["val"].sort().values.view(-1, 2) // 2 == splits["val"].sort().values[::2, None] // 2).all()


def test_repeated_rows_are_counted_but_for_the_protocol_that_tests_the_training_rows(tmp_path):
    (tmp_path / "t.csv").write_text(rows("a", lambda n: str(n % 2), "b", lambda n: "xy"[n % 2]))
    data = TableFile(tmp_path / "t.csv", rate=0.0)
    assert data.repeated("test") == 8
    assert "8 test examples are in train as well" in overview(data)
    assert TableFile(tmp_path / "t.csv", protocol="cells").repeated("test") == 0


def test_all_columns_that_are_no_data_are_named_at_once(tmp_path):
    many = "\n".join(
        ["name,day,a,b,c", *(f"person {n},2024-{n % 12 + 1:02d}-{n % 28 + 1:02d} {n // 60:02d}:{n % 60:02d},{n / 2},"
                             f"{'1O' if n == 7 else round(n / 7, 4)},"  for n in range(180))]
    )  # fmt: skip
    (tmp_path / "t.csv").write_text(many)
    with pytest.raises(ValueError, match=r"t\.csv: column name") as caught:
        _ = TableFile(tmp_path / "t.csv").columns
    message = str(caught.value)
    assert "column name looks like an identifier: 180 different texts in 180 rows" in message
    assert "column day has 180 dates as text: only a Parquet or Excel file has dates" in message
    assert "column b was read as text and has 180 different values, because line 9: '1O' is not a number" in message
    assert "column c has no value" in message
    assert message.endswith("Columns are left out with --data.drop '[name,day,b,c]'")
    kept = TableFile(tmp_path / "t.csv", drop=["name", "day", "b", "c"])
    assert [column.name for column in kept.columns] == ["a"]


def test_columns_that_may_be_identifiers_are_named(tmp_path):
    (tmp_path / "t.csv").write_text(
        rows("a", comma, "who", lambda n: f"p{n}", "number", lambda n: str(n + 1), "kind", lambda n: "xyz"[n % 3])
    )
    notes = TableFile(tmp_path / "t.csv").details()
    assert (
        "column who looks like an identifier: 40 different texts in 40 rows; leave it out with data.drop if it is one"
        in notes
    )
    assert "column number counts the rows; leave it out with data.drop if it says nothing else" in notes
    assert not any("column kind" in note or "column a " in note for note in notes)


@pytest.mark.parametrize(("cells", "place"), [("12 %", "line 4"), ("€5", "line 4"), ("1,2,3", "line 4")])
def test_a_column_that_a_cell_has_made_text_names_it(tmp_path, cells, place):
    (tmp_path / "t.csv").write_text(rows("a", comma, "b", lambda n: cells if n == 2 else str(n)))
    with pytest.raises(ValueError, match=f"column b was read as text.*because {place}: '{cells}' is not a number"):
        _ = TableFile(tmp_path / "t.csv").columns


@pytest.mark.parametrize(("many", "end"), [(True, r"\. Columns are left out"), (False, "")])
def test_a_column_of_percents_or_prices_is_named_with_its_first_cell(tmp_path, many, end):
    step = 1 if many else 13
    lines = ["a,price", *(f"{n},€{n // step}.5" for n in range(120))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    said = "column price is text because of signs beside the numbers, such as line 2: '€0.5'; write the numbers alone"
    if many:
        with pytest.raises(ValueError, match=f"t.csv: {said}{end}"):
            _ = TableFile(tmp_path / "t.csv").columns
    else:
        assert said in TableFile(tmp_path / "t.csv").details()


def test_the_options_of_a_table_are_in_the_help_and_the_configuration(train_tabular, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_tabular("fit", "--data.help", "TableFile")
    text = capsys.readouterr().out
    assert "--data.dialect.separator SEPARATOR" in text
    assert "--data.index INDEX" in text
    words = [
        "--config",
        "configs/tabular/table.yaml",
        "--data.dialect.separator",
        ";",
        "--data.dialect.na_values",
        "[n/a,-999]",
    ]
    with pytest.raises(SystemExit):
        train_tabular("fit", *words, "--print_config")
    dialect = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["dialect"]
    assert dialect == {
        "separator": ";",
        "decimal": None,
        "thousands": None,
        "encoding": "utf-8",
        "na_values": ["n/a", -999],
    }
