import numpy as np
import pandas as pd
import pytest

from common.table_files import Dialect
from modalities.tabular.data.table_files import read_table, write_rows


def test_a_file_that_is_no_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv does not exist"):
        read_table(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.csv is empty"):
        read_table(tmp_path / "empty.csv")
    (tmp_path / "table.txt").write_text("a,b\n")
    with pytest.raises(ValueError, match=r"table\.txt is no table: tables are \.csv, \.tsv"):
        read_table(tmp_path / "table.txt")
    with pytest.raises(ValueError, match=r"table\.txt: tables are written as \.csv, \.tsv"):
        write_rows(pd.DataFrame({"a": [1]}), tmp_path / "table.txt")


@pytest.mark.parametrize("name", ["t.csv", "t.TSV", "t.csv.gz", "t.jsonl", "t.pq", "t.xlsx"])
def test_rows_come_back_from_every_format(tmp_path, name):
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl", reason="Excel needs the extra tables")
    table = pd.DataFrame({"a": [1, 2], "b": [0.5, None], "c": ["x, y", "é"]})
    write_rows(table, tmp_path / name)
    read = read_table(tmp_path / name)
    assert read["a"].tolist() == [1, 2]
    assert read["b"].tolist() == pytest.approx([0.5, np.nan], nan_ok=True)
    assert read["c"].tolist() == ["x, y", "é"]


def test_rows_are_written_in_the_dialect_of_a_file(tmp_path):
    write_rows(pd.DataFrame({"a": [1.5], "b": ["x"]}), tmp_path / "t.csv", Dialect(";", ","))
    assert (tmp_path / "t.csv").read_text() == "a;b\n1,5;x\n"


@pytest.mark.parametrize("cell", ["NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", " ", ""])
def test_cells_that_count_as_empty(tmp_path, cell):
    (tmp_path / "t.csv").write_text(f"a,b\n{cell},x\n2,{cell}\n")
    assert read_table(tmp_path / "t.csv").isna().to_numpy().tolist() == [[True, False], [False, True]]
