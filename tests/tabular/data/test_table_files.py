import string

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modalities.tabular.columns import Column, encode_table, fit_columns
from modalities.tabular.data.table_files import MISSING, fill_csv, fill_table, read_table

numbers = st.one_of(
    st.integers(-1000, 1000).map(str),
    st.floats(-1e4, 1e4, allow_nan=False).map(lambda value: f"{value:.3f}"),
    st.floats(-1e4, 1e4, allow_nan=False).map(lambda value: f"{value:.2e}"),
)
words = (
    st.text(string.ascii_letters + " ,;'é", min_size=1, max_size=8)
    .map(str.strip)
    .filter(lambda word: word not in MISSING)
)


@st.composite
def tables(draw):
    """The text of a CSV with a column of numbers, one of words and one of both, with holes."""
    rows = draw(st.integers(3, 12))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    columns = []
    for kind in draw(st.permutations([numbers, words, numbers])):
        cells = draw(st.lists(st.one_of(st.sampled_from(["", "NA"]), kind, kind), min_size=rows, max_size=rows))
        cells[0] = draw(kind)
        columns.append([f'"{cell}"' if "," in cell or (draw(st.booleans()) and cell) else cell for cell in cells])
    names = draw(st.permutations(["a", '"b, c"', "d"]))
    lines = [",".join(names)] + [",".join(row) for row in zip(*columns, strict=True)]
    return ending.join(lines) + draw(st.sampled_from(["", ending]))


@settings(max_examples=60, deadline=None)
@given(tables())
def test_every_observed_cell_of_a_csv_stays_byte_for_byte(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_bytes(text.encode())
    table = read_table(path)
    columns = fit_columns(table)
    x = torch.from_numpy(encode_table(table, columns))
    filled = fill_csv(path, columns, x.nan_to_num())
    path.write_bytes(filled.encode())
    again = read_table(path)
    assert not again.isna().any().any()
    assert list(again.columns) == list(table.columns)
    # character by character: with its holes put back, the file is what it was
    source, result = _split(text), _split(filled)
    assert len(source) == len(result)
    for (before, ending), (after, same) in zip(source, result, strict=True):
        assert ending == same
        for old, new in zip(before, after, strict=True):
            assert old == new or old.strip('"') in MISSING


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("a,b\n1,2\n  \n,4\n\t\n5,", "a,b\n1,2\n  \n3,4\n\t\n5,4"),
        ("\n \na,b\r\n1,2\r\n\r\n,4\r\n", "\n \na,b\r\n1,2\r\n\r\n3,4\r\n"),
        ("a,b\n1\n5,6\n", "a,b\n1,4\n5,6\n"),
    ],
)
def test_blank_lines_are_no_rows_and_short_lines_lack_cells(tmp_path, text, filled):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    columns = [Column(name, "continuous", "gaussian", whole=True) for name in "ab"]
    x = torch.from_numpy(encode_table(read_table(path), columns))
    assert fill_csv(path, columns, torch.where(x.isnan(), torch.tensor([3.0, 4.0]), x)) == filled


def test_a_file_whose_lines_are_not_the_rows_that_were_filled_is_refused(tmp_path):
    columns = [Column(name, "continuous", "gaussian") for name in "ab"]
    (tmp_path / "open.csv").write_text('a,b\n1,2"\n3,4\n')
    with pytest.raises(ValueError, match=r"open\.csv has 1 rows and 2 were read from it"):
        fill_csv(tmp_path / "open.csv", columns, torch.zeros(2, 2))
    (tmp_path / "long.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(ValueError, match=r"long\.csv, row 1 has 3 cells, more than the 2 of the header"):
        fill_csv(tmp_path / "long.csv", columns, torch.zeros(1, 2))


def _split(text):
    """An independent reading of the lines: cells with their quotes."""
    lines = []
    for line in text.splitlines(keepends=True):
        body = line.rstrip("\r\n")
        cells, quoted, cell = [], False, ""
        for character in body:
            quoted ^= character == '"'
            if character == "," and not quoted:
                cells.append(cell)
                cell = ""
            else:
                cell += character
        lines.append(([*cells, cell], line[len(body) :]))
    return lines


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_data_frame_keeps_observed_cells_dtypes_and_order(data):
    rows = data.draw(st.integers(4, 15))
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    table = pd.DataFrame(
        {
            "float": generator.standard_normal(rows),
            "integer": pd.array(generator.integers(0, 50, rows), dtype="Int64"),
            "small": generator.standard_normal(rows).astype("float32"),
            "boolean": pd.array(generator.random(rows) < 0.5, dtype="boolean"),
            "text": generator.choice(["x", "y", "z"], rows),
            "category": pd.Categorical(generator.choice(["lo", "hi"], rows), ["lo", "hi"], ordered=True),
            "complete": generator.integers(0, 9, rows),
        }
    )
    hidden = generator.random(table.shape) < 0.4
    hidden[0], hidden[:, -1] = False, False
    holes = table.copy()
    for number, name in enumerate(table.columns):
        if hidden[:, number].any():
            holes.loc[hidden[:, number], name] = None
    columns = fit_columns(holes)
    x = torch.from_numpy(encode_table(holes, columns)).nan_to_num()
    filled = fill_table(holes, columns, x)
    assert (filled.dtypes == holes.dtypes).all()
    assert not filled.isna().any().any()
    for number, name in enumerate(table.columns):
        shown = ~hidden[:, number]
        assert filled[name][shown].equals(holes[name][shown])


def test_a_file_that_is_no_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv does not exist"):
        read_table(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.csv cannot be read"):
        read_table(tmp_path / "empty.csv")
    (tmp_path / "table.txt").write_text("a,b\n")
    with pytest.raises(ValueError, match=r"tables are \.csv or \.parquet"):
        read_table(tmp_path / "table.txt")
