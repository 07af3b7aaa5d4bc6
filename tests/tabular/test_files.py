import numpy as np
import pandas as pd
import pytest
import torch

from modalities.tabular import ObservedCellsEncoder, TabularCVAE
from modalities.tabular.data import TableFile
from modalities.tabular.files import TableFormat, as_frame
from modalities.tabular.schema import fit_columns


def test_rows_of_a_model_have_the_dtypes_of_the_file_that_it_was_trained_on(tmp_path):
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "smoker": generator.integers(0, 2, 60),
            "grade": generator.integers(1, 5, 60),
            "half": generator.choice([0.0, 0.5, 1.0], 60),
            "year": generator.integers(1950, 2020, 60),
            "height": generator.standard_normal(60),
            "member": generator.random(60) < 0.5,
            "town": generator.choice(["a", "b", "c"], 60),
        }
    )
    table.to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "schema.yaml").write_text("half: ordinal\nyear: continuous\n")
    data = TableFile(tmp_path / "table.csv", schema=tmp_path / "schema.yaml")
    assert [column.numeric for column in data.columns if column.discrete] == [True, True, True, True, False]
    model = TabularCVAE(ObservedCellsEncoder(data.columns, 8), data.columns, 2, 8).eval()
    rows = model.sample({}, 20, draw=True)[:, 0]
    for name in ("rows.parquet", "rows.csv"):
        TableFormat().write(model, rows, tmp_path / name)
        written = TableFormat().read(model, tmp_path / name)
        assert torch.allclose(written[:, :4], rows[:, :4].where(torch.arange(4) < 3, written[:, :4]))
    for written in (pd.read_parquet(tmp_path / "rows.parquet"), pd.read_csv(tmp_path / "rows.csv")):
        assert written.drop(columns="town").dtypes.equals(table.drop(columns="town").dtypes)
    assert pd.read_parquet(tmp_path / "rows.parquet")["town"].isin(["a", "b", "c"]).all()


def test_rows_to_score_are_read_as_the_training_read_them(tmp_path):
    table = pd.DataFrame({"alpha": np.arange(30) / 4, "kind": ["x", "y", "z"] * 10})
    columns = fit_columns(table)
    model = TabularCVAE(ObservedCellsEncoder(columns, 8), columns, 2, 8)
    (tmp_path / "t.csv").write_text("id;a;kind;split\n7;0,5;n/a;train\n8;-999;y;test\n")
    files = TableFormat()
    files.learned = {"na_values": ["n/a", "-999"], "left_out": ["id"], "renamed": {"a": "alpha"}}
    read = files.read(model, tmp_path / "t.csv")
    assert read.isnan().tolist() == [[False, True], [True, False]]
    assert columns[0].present(read[:1, 0].double().numpy()).tolist() == pytest.approx([0.5])
    assert read[1, 1] == 1
    files.learned = {**files.learned, "left_out": []}
    with pytest.raises(ValueError, match="has id, which the model does not know"):
        files.read(model, tmp_path / "t.csv")


def test_a_whole_number_that_no_integer_holds_stays_a_float():
    table = pd.DataFrame({"visits": np.arange(30), "size": np.arange(30) / 7})
    columns = fit_columns(table, {"visits": "continuous", "size": "continuous"})
    model = TabularCVAE(ObservedCellsEncoder(columns, 8), columns, 2, 8)
    frame = as_frame(model, torch.tensor([[0.0, 0.0], [1e30, 0.0]]))
    assert frame.dtypes.tolist() == [np.float64, np.float64]
    assert as_frame(model, torch.zeros(2, 2))["visits"].tolist() == [14, 14]  # the mean of 14.5, rounded to even
