"""A table is written as it was, but for its empty cells: separator, quotes, numbers, encoding and types are kept."""

import codecs
import gzip
import json
import string
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.table_files import Dialect
from modalities.tabular.columns import Column, encode_table
from modalities.tabular.data.sources import source_of
from modalities.tabular.data.table_files import MISSING, read_table
from modalities.tabular.schema import fit_columns

SIGNS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "colon": ":"}
MARKS = [("", "utf-8"), (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), ("", "cp1252")]
WHOLE = [Column(name, "continuous", "gaussian", whole=True) for name in "ab"]


words = (
    st.text(string.ascii_letters + " ,;|:\t'é", min_size=1, max_size=8)
    .map(str.strip)
    .filter(lambda word: word not in MISSING)
)


def numbers(decimal):
    cells = st.one_of(
        st.integers(-1000, 1000).map(str),
        st.floats(-1e4, 1e4, allow_nan=False).map(lambda value: f"{value:.3f}"),
        st.floats(-1e4, 1e4, allow_nan=False).map(lambda value: f"{value:.2e}"),
    )
    return cells.map(lambda cell: cell.replace(".", decimal))


@st.composite
def tables(draw, separator, decimal):
    """The text of a table with two columns of numbers and one of words, with holes."""
    rows = draw(st.integers(3, 12))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    columns = []
    for kind in draw(st.permutations([numbers(decimal), words, numbers(decimal)])):
        cells = draw(st.lists(st.one_of(st.sampled_from(["", "NA"]), kind, kind), min_size=rows, max_size=rows))
        cells[0] = draw(kind)
        columns.append([f'"{cell}"' if separator in cell or draw(st.booleans()) else cell for cell in cells])
    names = draw(st.permutations(["a", f'"b{separator} c"', "d"]))
    lines = [separator.join(names)] + [separator.join(row) for row in zip(*columns, strict=True)]
    if draw(st.booleans()):  # blank lines are no rows
        lines.insert(draw(st.integers(0, len(lines))), "")
    first = draw(st.sampled_from(["", f"sep={separator}{ending}"]))
    return first + ending.join(lines) + draw(st.sampled_from(["", ending]))


@pytest.mark.parametrize("separator", SIGNS.values(), ids=SIGNS)
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_every_observed_cell_of_a_text_stays_byte_for_byte(tmp_path_factory, separator, data):
    decimal = data.draw(st.sampled_from(".,"))
    mark, encoding = data.draw(st.sampled_from(MARKS))
    zipped = data.draw(st.booleans())
    text = data.draw(tables(separator, decimal))
    raw = (mark or b"") + text.encode(encoding)
    path = tmp_path_factory.mktemp("table") / ("table.csv.gz" if zipped else "table.csv")
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    dialect = Dialect(separator, decimal, "", encoding)
    source = source_of(path, dialect)
    columns = fit_columns(source.table)
    written = source.filled(columns, torch.from_numpy(encode_table(source.table, columns)).nan_to_num())
    path.write_bytes(written)
    again = read_table(path, dialect)
    assert not again.isna().any().any()
    assert list(again.columns) == list(source.table.columns)
    assert again.index.tolist() == source.table.index.tolist()
    # character by character: with its holes put back, the file is what it was
    filled = (gzip.decompress(written) if zipped else written).removeprefix(mark or b"").decode(encoding)
    before, after = _split(text, separator), _split(filled, separator)
    assert len(before) == len(after)
    for (cells, ending), (others, same) in zip(before, after, strict=True):
        assert ending == same
        for old, new in zip(cells, others, strict=True):
            assert old == new or old.strip('"') in MISSING
            assert old.startswith('"') <= new.startswith('"')


def _split(text, separator):
    """An independent reading of the lines: cells with their quotes."""
    lines = []
    for line in text.splitlines(keepends=True):
        body = line.rstrip("\r\n")
        cells, quoted, cell = [], False, ""
        for character in body:
            quoted ^= character == '"'
            if character == separator and not quoted:
                cells.append(cell)
                cell = ""
            else:
                cell += character
        lines.append(([*cells, cell], line[len(body) :]))
    return lines


@pytest.fixture
def filled(tmp_path):
    """The content of a file, filled with 3 in the column a and 4 in b, or with what the columns say."""

    def fill(content, name="t.csv", columns=WHOLE, values=(3.0, 4.0), dialect=None):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        source = source_of(tmp_path / name, dialect)
        x = torch.tensor([values] * len(source.table), dtype=torch.float64)
        result = source.filled(columns, x)
        return result if isinstance(content, bytes) else result.decode()

    return fill


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n  \n,4\n\t\n5,", "a,b\n1,2\n  \n3,4\n\t\n5,4"),
        ("\n \na,b\r\n1,2\r\n\r\n,4\r\n", "\n \na,b\r\n1,2\r\n\r\n3,4\r\n"),
        ("a,b\n1\n5,6\n", "a,b\n1,4\n5,6\n"),
        ("id,a,no,b\n7,1\n8,5,,6\n", "id,a,no,b\n7,1,,4\n8,5,,6\n"),
        ("a;b;\n1;2;\n;4;\n", "a;b;\n1;2;\n3;4;\n"),
        ('"a";"b"\n"1";"2"\n"";"4"\n', '"a";"b"\n"1";"2"\n"3";"4"\n'),
        (",a,b\n0,1,\n,5,6\n", ",a,b\n0,1,4\n,5,6\n"),
        (" a , b \n1, NA \n", " a , b \n1,4\n"),
        ("b,a\n,1\n", "b,a\n4,1\n"),
    ],
)
def test_holes_are_filled_where_they_are(filled, text, expected):
    assert filled(text) == expected


@pytest.mark.parametrize(
    ("text", "values", "row"),
    [
        ("a;b\n1.234,5;2,5\n;\n2.000,25;1,5\n", (-12345.5, 1234.5), "-12.345,5;1234,5"),  # a groups its thousands
        ('a,b\n"1,5","2,5"\n,\n', (0.5, 1e-7), '"0,5",1e-07'),
        ('a,b\n"1,234,567",2.5\n"",\n', (-2345.0, 0.125), '"-2,345",0.125'),
        ("a\tb\n1 234,5\t0,5\n\t\n", (5678.0, 3.0), "5 678\t3"),
    ],
)
def test_numbers_are_written_as_the_column_writes_them(filled, text, values, row):
    columns = [Column("a", "continuous", "gaussian"), Column("b", "continuous", "gaussian")]
    lines = text.split("\n")
    assert filled(text, columns=columns, values=values) == "\n".join([*lines[:2], row, *lines[3:]])


@pytest.mark.parametrize(("shown", "new"), [("TRUE", "FALSE"), ("true", "false"), ("True", "False")])
def test_truth_values_are_spelt_as_in_the_file(filled, shown, new):
    columns = [Column("a", "binary", "categorical", values=["False", "True"])]
    assert filled(f"a,n\n{shown},1\n,2\n", columns=columns, values=(0.0,)) == f"a,n\n{shown},1\n{new},2\n"


def test_a_value_that_the_encoding_lacks_is_named(filled):
    columns = [Column("a", "categorical", "categorical", values=["x", "\u0142"], numeric=False)]
    with pytest.raises(ValueError, match=r"t\.csv is cp1252, which cannot write '\u0142'"):
        filled(b"a,n\nx,1\n,2\n", columns=columns, values=(1.0,), dialect=Dialect(encoding="cp1252"))


def test_nulls_and_absent_keys_of_json_are_filled(filled):
    text = '{"a": null,  "s": "a, \\"b\\": null}", "b": 1.50}\r\n\n{"a":1,"s":"é"}\n{}\n{"b": "NA", "a": 1e2, "s": "b"}'
    expected = (
        '{"a": 3,  "s": "a, \\"b\\": null}", "b": 1.50}\r\n\n{"a":1,"s":"é","b":4}\n{"a": 3, "b": 4}\n'
        '{"b": 4, "a": 1e2, "s": "b"}'
    )
    result = filled(text, "t.jsonl")
    assert [json.loads(line) for line in result.split("\n") if line.strip()][2] == {"a": 3, "b": 4}
    assert result.replace('{"a":3,"b":4}', '{"a": 3, "b": 4}') == expected
    names = [Column("s", "categorical", "categorical", values=['q"', "é"], numeric=False)]
    assert filled('{"s": null}\n{"s": "é"}\n', "t.jsonl", names, (0.0,)) == '{"s": "q\\""}\n{"s": "é"}\n'


def test_parquet_keeps_types_index_and_metadata(tmp_path):
    schema = pa.schema(
        [
            pa.field("small", pa.int8()),
            pa.field("price", pa.decimal128(8, 2)),
            pa.field("day", pa.date32()),
            pa.field("grade", pa.dictionary(pa.int8(), pa.string(), ordered=True)),
            pa.field("text", pa.large_string()),
            pa.field("note", pa.string(), metadata={"unit": "none"}),
        ],
        metadata={"made by": "hand"},
    )
    day = pd.Timestamp("2024-02-29").date()
    arrays = [
        [1, None], [Decimal("1.50"), None], [day, None],
        pa.DictionaryArray.from_arrays(pa.array([1, None], pa.int8()), ["low", "high"], ordered=True),
        ["x", None], [None, None],
    ]  # fmt: skip
    table = pa.table(
        [pa.array(a, f.type) if isinstance(a, list) else a for a, f in zip(arrays, schema, strict=True)], schema
    )
    pq.write_table(table, tmp_path / "t.parquet")
    columns = [
        Column("small", "continuous", "gaussian", whole=True), Column("price", "continuous", "gaussian"),
        Column("day", "continuous", "gaussian", date="D"),
        Column("grade", "ordinal", "ordinal", values=["low", "high"], numeric=False),
        Column("text", "categorical", "categorical", values=["x", "y"], numeric=False),
    ]  # fmt: skip
    source = source_of(tmp_path / "t.parquet")
    (tmp_path / "f.parquet").write_bytes(source.filled(columns, torch.tensor([[7.0, 2.256, 19000.0, 0.0, 1.0]] * 2)))
    written = pq.read_table(tmp_path / "f.parquet")
    assert written.schema.equals(table.schema, check_metadata=True)
    assert [column.to_pylist() for column in written.columns] == [
        [1, 7], [Decimal("1.50"), Decimal("2.26")], [day, pd.Timestamp("2022-01-08").date()], ["high", "low"],
        ["x", "y"], [None, None],
    ]  # fmt: skip
    frame = pd.DataFrame({"a": [1.0, None], "b": [2, 3]}, index=pd.Index(["p", "q"], name="who"))
    frame.to_parquet(tmp_path / "i.pq")
    indexed = source_of(tmp_path / "i.pq")
    assert indexed.table.attrs["notes"] == ["the index who of i.pq is left out"]
    (tmp_path / "i.pq").write_bytes(indexed.filled(WHOLE, torch.tensor([[3.0, 4.0]] * 2)))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "i.pq"), frame.fillna(3.0))


def test_only_the_empty_cells_of_a_workbook_are_written(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="Excel needs the extra tables")
    book = openpyxl.Workbook()
    sheet = book.active
    for row in ([], ["a", " b ", "on"], [1, None, None], [], [None, 4, True]):
        sheet.append(row)
    sheet["A3"].number_format = sheet["B3"].number_format = "0.00"
    sheet["C3"].fill = openpyxl.styles.PatternFill("solid", "FF0000")
    book.create_sheet("more").append(["kept"])
    book.save(tmp_path / "t.xlsx")
    source = source_of(tmp_path / "t.xlsx")
    assert source.table.attrs["notes"] == ["t.xlsx has 2 sheets (Sheet, more): the first is read"]
    assert source.table.index.tolist() == [3, 5]
    columns = [*WHOLE, Column("on", "binary", "categorical", values=["False", "True"])]
    (tmp_path / "f.xlsx").write_bytes(source.filled(columns, torch.tensor([[3.0, 4.0, 0.0]] * 2)))
    written = openpyxl.load_workbook(tmp_path / "f.xlsx")
    values = [[cell.value for cell in row] for row in written.worksheets[0].iter_rows()]
    assert values == [[None] * 3, ["a", " b ", "on"], [1, 4, False], [None] * 3, [3, 4, True]]
    assert written.worksheets[0]["B3"].number_format == "0.00"
    assert written.worksheets[0]["C3"].fill.fgColor.rgb == "00FF0000"
    assert written.worksheets[1]["A1"].value == "kept"


def test_a_source_is_read_once(filled, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,\n")
    source = source_of(tmp_path / "t.csv", names={"a": "alpha"})
    columns = [Column("alpha", "continuous", "gaussian", whole=True), WHOLE[1]]
    (tmp_path / "t.csv").write_text("gone")
    assert source.filled(columns, torch.tensor([[3.0, 4.0]])) == b"a,b\n1,4\n"


def test_long_tables_are_filled_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("common.table_files.text.CELLS", 7)
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.integers(0, 99, (40, 2)), columns=["a", "b"])
    frame = frame.mask(generator.random(frame.shape) < 0.3)
    frame.to_csv(tmp_path / "t.csv", index=False)
    source = source_of(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(source.table.reset_index(drop=True), frame, check_names=False)
    (tmp_path / "t.csv").write_bytes(source.filled(WHOLE, torch.tensor([[3.0, 4.0]] * 40)))
    again = read_table(tmp_path / "t.csv").reset_index(drop=True)
    pd.testing.assert_frame_equal(again, frame.fillna({"a": 3.0, "b": 4.0}), check_dtype=False)


def test_dates_of_a_time_zone_stay_in_it(tmp_path):
    days = pd.Series(pd.date_range("2020-06-01", periods=4, tz="Europe/Berlin"))
    days[2] = pd.NaT
    pd.DataFrame({"day": days}).to_parquet(tmp_path / "t.parquet")
    source = source_of(tmp_path / "t.parquet", Dialect())
    column = fit_columns(source.table)[0]
    middle = column.encode(pd.Series([pd.Timestamp("2020-06-03")]))
    x = torch.from_numpy(np.array([[0.0], [0.0], middle, [0.0]]))
    (tmp_path / "f.parquet").write_bytes(source.filled([column], x))
    assert pd.read_parquet(tmp_path / "f.parquet")["day"][2] == pd.Timestamp("2020-06-03", tz="Europe/Berlin")


def test_days_of_parquet_are_dates(tmp_path):
    pd.DataFrame({"day": [date(2020, 1, day) for day in range(1, 29)]}).to_parquet(tmp_path / "t.parquet")
    column = fit_columns(source_of(tmp_path / "t.parquet", Dialect()).table)[0]
    assert (column.kind, bool(column.date)) == ("continuous", True)
