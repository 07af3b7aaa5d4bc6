"""Tables of text are read as they are meant, or refused."""

import gzip
import sys
from datetime import datetime
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.table_files import Dialect, place, read_records, read_table, stray_number, styles_of, suffix_of


@pytest.fixture
def table(tmp_path):
    def read(content, name="t.csv", **options):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(tmp_path / name, **options)

    return read


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("a;b\n1,5;x\n2,25;y\n", [1.5, 2.25]),
        ("a;b\n1.234,5;x\n2,25;y\n", [1234.5, 2.25]),
        ("a;c;b\n1.234;1,5;x\n2.345;2,5;y\n", [1234, 2345]),
        ('a,c,b\n"1,234",1.5,x\n"2,345",2,y\n', [1234, 2345]),
        ('a,b\n"1,234,567",x\n12,y\n', [1234567, 12]),
        ("a,b\n1.234,x\n2.345,y\n", [1.234, 2.345]),
        ("a,b\n0.125,x\n2.345,y\n", [0.125, 2.345]),
        ("a;b\n0,125;x\n2,345;y\n", [0.125, 2.345]),
        ("a\tb\n1 234,5\tx\n2,5\ty\n", [1234.5, 2.5]),
        ("a;b\n1'234.5;x\n2.5;y\n", [1234.5, 2.5]),
        ("a|b\n-1e-3|x\n+2E5|y\n", [-1e-3, 2e5]),
        ("sep=;\na;b\n1;x\n2;y\n", [1, 2]),
        ("\ufeffa,b\n1,x\n2,y\n", [1, 2]),
        ("a,b\r\n 1 ,x\r\n2,y\r\n", [1, 2]),
        (",a,b\n0,1,x\n1,2,y\n", [1, 2]),
        ("a,b,\n1,x,\n2,y,\n", [1, 2]),
        (b"\xff\xfe" + "a;b\n1;x\n2;y\n".encode("utf-16-le"), [1, 2]),
    ],
)
def test_numbers_and_separators_are_found_out(table, content, values):
    read = table(content)
    assert list(read["a"]) == values
    assert list(read["b"]) == ["x", "y"]
    assert list(read.columns) == ["a", "b"] if "c" not in read else True


@pytest.mark.parametrize(
    ("content", "column", "values"),
    [
        ("ip,ms\n192.168.100.101,12.5\n192.168.100.102,13.5\n", "ms", [12.5, 13.5]),
        ("ip,ms\n192.168.100.101,12.5\n192.168.100.102,13.5\n", "ip", ["192.168.100.101", "192.168.100.102"]),
        ("ip,ms\n192.168.100.101,12\n10.0.0.1,13\n192.168.101.101,12\n", "ms", [12, 13, 12]),
        ("id,weight\n12.345.601,50.5\n12.345.602,51.5\n", "weight", [50.5, 51.5]),
        ("L, cm;B, cm\n1,5;2,25\n1,75;3,5\n", "L, cm", [1.5, 1.75]),
        ("price, EUR;qty\n1,50;3\n2,50;4\n", "price, EUR", [1.5, 2.5]),
        ("file;L, cm\n0.png;1,5\n1.png;2,5\n", "L, cm", [1.5, 2.5]),
        ("file,c,box\n" + "0.png,a,3;2\n" * 5, "box", ["3;2"] * 5),
        ("id,pos\n" + "1,48.1|11.2\n" * 5, "id", [1] * 5),
        ("a,b\n\u22121.5,x\n2.5,y\n", "a", [-1.5, 2.5]),
        ("a,b\n1\u2019234.50,x\n2.5,y\n", "a", [1234.5, 2.5]),
        ("0,1\n2.5,3.5\n", "1", [3.5]),
    ],
)
def test_ids_units_and_signs_in_cells_do_not_change_numbers(table, content, column, values):
    assert list(table(content)[column]) == values


def test_what_was_found_out_is_said(table):
    assert table("a;b\n1.234,5;x\n2,25;y\n").attrs["notes"] == [
        "t.csv: cells separated by semicolons, decimal commas, thousands grouped by '.'"
    ]
    assert table(",a\n0,1\n1,2\n").attrs["notes"] == [
        "the first column has no name: it is taken for the row index, and left out"
    ]
    assert table("a,b\n1\n2,3\n").attrs["notes"] == [
        "1 lines have fewer cells than the header (line 2): the others are empty"
    ]
    assert table("a,b\n1,2\n").attrs["notes"] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('a,b\n"1,234",x\n', r"t\.csv, column a: '1,234' is 1\.234 or 1234: name the decimal sign"),
        ("a;c\n1,5;1.25\n", "a decimal point and with a decimal comma .*'1.25' in column c.*'1,5' in column a"),
        ('a,b\nhi,x\n"open,y\nrow,z\n"next",w\n', "line 3: a quote is opened and not closed"),
        ('a,b\nhi,x\n"open,y\nrow,z\n', "line 3: a quote is opened and not closed"),
        ("a,b\n1,2,3\n", "line 2 has 3 cells, more than the 2 of the header"),
        ("a,a\n1,2\n", "two columns are named 'a'"),
        ("", "is empty"),
        (b"a,b\n1,gr\xfc\xdf\n", "line 2: not UTF-8"),
        ("a;b\n1,234,500;2,5\n", "decimal commas .* and thousands grouped by commas"),
        ("1.25,2.75\n2.5,3.5\n", "line 1 holds numbers alone"),
        ("a b\n1 2\n3 4\n", "cells are separated by spaces"),
        ("a,b\n1,2\n".encode("utf-16-le"), "line 1 holds the character NUL"),
        ("a,,b\n1,2,3\n", "column 2 of the header has no name"),
        ("a,b,a,b\n1,2,3,4\n", "two columns are named 'a', 'b'"),
        (
            "Report 2024\na,b,c\n1,2,3\n",
            "line 1: 'Report 2024' is one cell, and the lines below have 3.*Delete the lines above",
        ),
        ("Report\n\na;b\n1;2\n3;4\n", "line 1: 'Report' is one cell, and the lines below have 2"),
        ("Report,,\na,b,c\n1,2,3\n", "line 1: 'Report' is one cell, and the lines below have 3"),
        ("# by me, today\na,b,c\n1,2,3\n", "line 1 is a comment, and no header: delete all lines above"),
        ("a,b\n1,2\n# the end\n", "line 3 is a comment, which a table cannot have: delete the line"),
    ],
)
def test_what_may_mean_two_things_is_refused(table, content, message):
    with pytest.raises(ValueError, match=message):
        table(content)


def test_what_looks_like_a_fault_and_is_none_is_read(table):
    assert list(table("#id,a\n1,2\n").columns) == ["#id", "a"]
    assert table("a,b\n").shape == (0, 2)
    assert table('a\n1\n""\n\n3\n')["a"].tolist() == pytest.approx([1, float("nan"), 3], nan_ok=True)
    assert list(table('"a";"b"\n"1,5";"x"\n')["a"]) == [1.5]
    assert table("Unnamed: 0,a\n0,5\n1,6\n").columns.tolist() == ["a"]
    assert list(table("a,b\n1e3,x\n-2.5E-2,y\n+.5,z\n")["a"]) == [1000, -0.025, 0.5]
    assert table(b"\xfe\xff" + "a\tb\r\n1,5\tx\r\n".encode("utf-16-be"))["a"].tolist() == [1.5]


@pytest.mark.parametrize("spelling", ["TRUE FALSE", "true false", "True False"])
def test_truth_values_stay_truth_values_beside_empty_cells(table, spelling):
    yes, no = spelling.split()
    assert table(f"a,b\n{yes},1\n{no},2\n")["a"].tolist() == [True, False]
    assert table(f"a,b\n{yes},1\n,2\n{no},2\n")["a"].tolist() == [True, None, False]
    assert table("a,b\nyes,1\nno,0\n")["a"].tolist() == ["yes", "no"]
    assert table("a,b\nyes,1\nno,0\n")["b"].tolist() == [1, 0]


def test_numbers_that_count_as_empty_are_found_however_they_are_written(table, tmp_path):
    dialect = Dialect(na_values=[-999, "9.9"])
    for content, name in [
        ("a,b\n-999,9.90\n1,2\n", "t.csv"),
        ("a;b\n-999,0;9,9\n1;2\n", "u.csv"),
        ('{"a": -999, "b": 9.9}\n{"a": 1, "b": 2}\n', "t.jsonl"),
    ]:
        read = table(content, name, dialect=dialect)
        assert read.isna().to_numpy().tolist() == [[True, True], [False, False]]
    pd.DataFrame({"a": [-999, 1], "b": [9.9, 2]}).to_parquet(tmp_path / "t.pq")
    assert read_table(tmp_path / "t.pq", dialect=dialect).isna().to_numpy().tolist() == [[True, True], [False, False]]


def test_a_number_is_written_as_it_is_read():
    dialect = Dialect(decimal=",", thousands=".")
    assert dialect.written("-1234567.5") == "-1234567,5"
    assert dialect.written("-1234567.5", grouped=True) == "-1.234.567,5"
    assert dialect.written("1e-07", grouped=True) == "1e-07"
    assert dialect.number(dialect.written("1234.5", grouped=True)) == "1234.5"
    with pytest.raises(ValueError, match="cannot be the decimal sign and the sign of thousands"):
        Dialect(decimal=",", thousands=",")


def test_parquet_is_numbered_from_one_and_what_is_no_cell_is_refused(tmp_path):
    frame = pd.DataFrame(
        {"n": pd.array([1, None], "Int64"), "d": [Decimal("1.25"), None], "c": pd.Categorical(["x", None])},
        index=pd.Index([7, 9], name="key"),
    )
    frame.to_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read.index.tolist() == [1, 2]
    assert place(read, 1) == "row 2"
    assert read.attrs["notes"] == ["the index key of t.parquet is left out"]
    assert read["d"].tolist() == pytest.approx([1.25, float("nan")], nan_ok=True)
    assert [str(dtype) for dtype in read.dtypes] == ["Int64", "float64", "category"]
    pd.DataFrame({"a": [1], "l": [[1, 2]], "s": [{"x": 1}]}).to_parquet(tmp_path / "nested.parquet")
    with pytest.raises(ValueError, match=r"nested\.parquet: cells of l \(list.*\), s \(struct.*\) are no numbers"):
        read_table(tmp_path / "nested.parquet")
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(ValueError, match=r"no\.parquet cannot be read as a table"):
        read_table(tmp_path / "no.parquet")


@pytest.fixture
def sheet(tmp_path):
    """Reads a workbook of these rows, after a change."""
    openpyxl = pytest.importorskip("openpyxl", reason="Excel needs the extra tables")

    def read(*rows, change=None):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        if change is not None:
            change(book)
        book.save(tmp_path / "t.xlsx")
        return read_table(tmp_path / "t.xlsx", missing=["NA"])

    return read


def test_a_sheet_is_read_with_its_types_and_row_numbers(sheet):
    day = datetime(2024, 2, 29)
    read = sheet([], ["a", " b ", "day", "on", 2024], [1, "x", day, True, 5], [], [None, "NA", None, False, 6.5])
    assert read.columns.tolist() == ["a", "b", "day", "on", "2024"]
    assert read.index.tolist() == [3, 5]
    assert place(read, 1) == "row 5"
    assert read["a"].tolist() == pytest.approx([1, float("nan")], nan_ok=True)
    assert read["b"].iloc[0] == "x"
    assert pd.isna(read["b"].iloc[1])
    assert read["day"].iloc[0] == day
    assert pd.api.types.is_datetime64_any_dtype(read["day"])
    assert read["on"].tolist() == [True, False]
    assert read.attrs["notes"] == []


def test_what_is_found_in_a_workbook_is_said(sheet):
    read = sheet([None, "a"], [0, 5], change=lambda book: book.create_sheet("more"))
    assert read.columns.tolist() == ["a"]
    assert read.attrs["notes"] == [
        "t.xlsx has 2 sheets (Sheet, more): the first is read",
        "the first column has no name: it is taken for the row index, and left out",
    ]


@pytest.mark.parametrize(
    ("rows", "change", "message"),
    [
        ([["Report"], ["a", "b"], [1, 2]], None, r"sheet Sheet, row 1: 'Report' is one cell.*Delete the rows above"),
        (
            [["a", "b"], [1, 2]],
            lambda book: book.active.merge_cells("A1:B1"),
            "the cells A1:B1 are merged: unmerge them",
        ),
        ([["a", "b"], [1, "=A2*2"]], None, "row 2: the formula of B2 has no stored value: open the file"),
        ([["a", None, "b"], [1, 2, 3]], None, "row 1: column 2 of the header has no name"),
        ([["a", "a"], [1, 2]], None, "two columns are named 'a'"),
        ([], None, "sheet Sheet is empty"),
    ],
)
def test_a_sheet_that_is_no_table_is_refused(sheet, rows, change, message):
    with pytest.raises(ValueError, match=message):
        sheet(*rows, change=change)


def test_excel_names_its_extra(tmp_path, monkeypatch):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"Excel files need openpyxl: pip install --editable '\.\[tables\]'"):
        read_table(tmp_path / "t.xlsx")


def test_a_key_twice_in_an_object_is_refused(table):
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1: the object has 'a' twice"):
        table('{"a": 1, "a": 2}\n', "t.jsonl")


def test_a_person_can_say_how_a_table_is_written(table):
    assert list(table('a,b\n"1,234",x\n', dialect=Dialect(decimal=","))["a"]) == [1.234]
    assert list(table('a,b\n"1,234",x\n', dialect=Dialect(decimal="."))["a"]) == [1234]
    assert list(table("a:b\n1:2\n", dialect=Dialect(separator=":"))["b"]) == [2]
    assert list(table(b"a,b\n1,gr\xfc\xdf\n", dialect=Dialect(encoding="cp1252"))["b"]) == ["gr\u00fc\u00df"]
    assert table("a,b\n1,n/a\n2,-\n", dialect=Dialect(na_values=["n/a", "-"]))["b"].isna().all()
    with pytest.raises(ValueError, match="a separator is one character"):
        Dialect(separator="ab")


def test_rows_have_the_lines_of_an_editor(table):
    read = table('a,b\n1,"two\nlines"\n\n2,x\n')
    assert list(read.index) == [2, 5]
    assert place(read, 1) == place(read["a"], 1) == "line 5"
    assert place(pd.DataFrame({"a": [1]}), 0) == "row 1"


def test_every_format_gives_the_same_table(table, tmp_path):
    expected = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    written = {
        "t.csv": b"a,b\n1,x\n2,\n", "t.TSV": b"a\tb\n1\tx\n2\t\n", "t.csv.gz": gzip.compress(b"a,b\n1,x\n2,\n"),
        "t.jsonl": b'{"a": 1, "b": "x"}\n\n{"a": 2, "b": null}\n',
    }  # fmt: skip
    expected.to_parquet(tmp_path / "t.pq")
    tables = [table(content, name) for name, content in written.items()] + [read_table(tmp_path / "t.pq")]
    for read in tables:
        assert list(read["a"]) == [1, 2]
        assert read["b"].iloc[0] == "x"
        assert pd.isna(read["b"].iloc[1])
    assert suffix_of(tmp_path / "X.CSV.GZ") == ".csv.gz"
    with pytest.raises(ValueError, match=r"t.doc is no table: tables are .csv"):
        table(b"", "t.doc")


def test_codes_with_leading_zeros_stay_text(table):
    assert list(table("zip,n\n01234,1\n99999,2\n")["zip"]) == ["01234", "99999"]
    assert list(table("x,n\n0,1\n0.5,2\n")["x"]) == [0, 0.5]


def test_columns_of_text_stay_as_they_are(table):
    read = table('text,label\n" 1,5 ", b \nnone,c\n', text=["text"])
    assert list(read["text"]) == [" 1,5 ", "none"]
    assert list(read["label"]) == ["b", "c"]


def test_nested_values_of_json_are_refused(table):
    with pytest.raises(ValueError, match=r"t\.jsonl, line 2: b is \[1, 2\]: nested values are not read"):
        table('{"a": 1, "b": 2}\n{"a": 1, "b": [1, 2]}\n', "t.jsonl")


def test_the_cell_that_made_numbers_text_is_found(table):
    assert stray_number(table("a\n12\n13\n14\n1O\n")["a"]) == 3
    assert stray_number(table("a\nx\n13\ny\nz\n")["a"]) is None
    assert stray_number(table("a\n1\n2\n3\n")["a"]) is None


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(",."))
def test_any_number_is_read_back(number, decimal):
    text = repr(number).replace(".", decimal)
    assert float(Dialect(decimal=decimal, thousands="").number(text)) == number
    assert styles_of(text)


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"))


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1), st.sampled_from(",;\t|"))
def test_any_cells_come_back(tmp_path_factory, rows, separator):
    def quoted(cell):
        return '"' + cell.replace('"', '""') + '"'

    path = tmp_path_factory.mktemp("any") / "t.csv"
    lines = [separator.join(map(quoted, row)) + "\n" for row in [["a", "b"], *rows]]
    path.write_bytes("".join(lines).encode())
    assert read_records(path, Dialect(separator=separator, decimal=".", thousands="")).rows == rows


def test_values_of_json_are_of_one_type(table):
    with pytest.raises(ValueError, match=r"t\.jsonl: a is a number in line 1 and a text in line 2: write all of them"):
        table('{"a": 1.5}\n{"a": "7.5"}\n', "t.jsonl")
    assert list(table('{"a": 1}\n{"a": 2.5}\n{"a": null}\n', "t.jsonl")["a"].dropna()) == [1, 2.5]


def test_numbers_that_count_as_empty_may_have_a_decimal_comma(table):
    read = table("a;b\n1,5;-99,9\n2,5;3,5\n", dialect=Dialect(na_values=["-99,9"]))
    assert read["b"].isna().tolist() == [True, False]
