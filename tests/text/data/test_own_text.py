"""Files of a person's own, as editors, spreadsheets and other systems write them."""

import codecs
import gzip
import itertools

import pandas as pd
import pytest

from common.conditions.attributes import Categorical
from common.data.overview import overview
from modalities.text.data.corpus import style_files
from modalities.text.data.datamodules import TextFiles

OPTIONS = {"vocabulary": 300, "shares": (0.2, 0.2)}
LINES = [f"this is line {n}" for n in range(60)]


def texts_of(data, split=None):
    rows = slice(None) if split is None else data.examples.splits[split]
    return data.tokenizer.decode(data.examples.x[rows])


def table(file, content):
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return TextFiles(file, **OPTIONS)


ROWS = "".join(f"{line},{'ab'[n % 2]}\n" for n, line in enumerate(LINES))
OBJECTS = "".join(f'{{"text": "{line}", "tone": "{"ab"[n % 2]}"}}\n' for n, line in enumerate(LINES))


@pytest.mark.parametrize(
    ("end", "encoding", "mark"),
    [
        ("\n", "utf-8", codecs.BOM_UTF8),
        ("\r\n", "utf-8", b""),
        ("\r", "utf-8", b""),
        ("\r", "utf-8", codecs.BOM_UTF8),
        ("\r\n", "utf-16-le", codecs.BOM_UTF16_LE),
    ],
)
def test_marks_and_line_ends_of_style_files_are_no_text(tmp_path, end, encoding, mark):
    (tmp_path / "a.txt").write_bytes(mark + end.join(LINES).encode(encoding))
    assert sorted(texts_of(TextFiles(tmp_path, **OPTIONS))) == sorted(LINES)


def test_separators_of_unicode_and_returns_inside_of_a_line_end_none(tmp_path):
    (tmp_path / "a.txt").write_bytes("".join(f"{line}\u2028and\x85so\ron\n" for line in LINES).encode())
    assert sorted(texts_of(TextFiles(tmp_path, **OPTIONS))) == sorted(f"{line}\u2028and\x85so\ron" for line in LINES)


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", "text,tone\n" + ROWS), ("t.jsonl", OBJECTS), ("t.csv", ("text;tone\n" + ROWS.replace(",", ";")))],
)
def test_the_first_column_of_a_marked_table_keeps_its_name(tmp_path, name, content):
    data = table(tmp_path / name, codecs.BOM_UTF8 + content.encode())
    assert data.attributes == {"tone": Categorical("ab")}
    assert sorted(texts_of(data)) == sorted(LINES)


@pytest.mark.parametrize("name", ["t.TSV", "t.parquet", "t.xlsx", "t.jsonl.gz", "t.csv.gz"])
def test_every_format_of_tables_is_a_corpus(tmp_path, name):
    frame, file = pd.DataFrame({"text": LINES, "tone": ["a", "b"] * 30}), tmp_path / name
    if name.endswith("parquet"):
        frame.to_parquet(file)
    elif name.endswith("xlsx"):
        frame.to_excel(file, index=False)
    elif ".jsonl" in name:
        frame.to_json(file, orient="records", lines=True)
    else:
        frame.to_csv(file, index=False, sep="\t" if "TSV" in name else ",")
    data = TextFiles(file, **OPTIONS)
    tones = [data.attributes["tone"].values[number] for number in data.examples.fields["tone"].tolist()]
    assert dict(zip(texts_of(data), tones, strict=True)) == dict(zip(LINES, itertools.cycle("ab"), strict=False))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", f'text,tone\n{ROWS}"open,a\n{ROWS}', r"t\.csv, line 62: a quote is opened and not closed"),
        ("t.csv", f"text,tone\n{ROWS}a\0b,a\n", r"t\.csv, line 62 holds the character NUL: save the file as UTF-8"),
        ("t.jsonl", f'{OBJECTS}{{"text": "x", "tone": 1}}\n', r"tone is a text in line 1 and a number in line 61"),
        ("t.jsonl", f'{OBJECTS}{{"text": "x", "tone": ["a"]}}\n', r"t\.jsonl, line 61: tone is \[\"a\"\]: nested"),
        ("t.jsonl", f'{OBJECTS}{{"tone": "a"}}\n', r"t\.jsonl, line 61 has no text; it has: tone"),
        ("t.docx", "x", r"t\.docx is no table \(\.csv, .*\) and no folder with a file for each style"),
    ],
)
def test_a_table_that_would_be_misread_is_refused_by_line(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        _ = table(tmp_path / name, content).examples
    assert "\n" not in str(caught.value)


def test_a_nul_byte_in_a_style_file_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes("\n".join(LINES).encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"a\.txt, line 1 holds a NUL byte, which no text has: save the file as UTF-8"):
        _ = TextFiles(tmp_path, **OPTIONS).examples


def test_a_quoted_line_end_is_part_of_one_example(tmp_path):
    data = table(tmp_path / "t.csv", f'text,tone\n{ROWS}"two\nlines",a\n')
    assert sorted(texts_of(data)) == sorted([*LINES, "two\nlines"])


def test_numbers_in_the_column_of_text_are_texts_of_a_csv(tmp_path):
    data = table(tmp_path / "t.csv", "text,tone\n" + "".join(f"{n:03},{'ab'[n % 2]}\n" for n in range(60)))
    assert sorted(texts_of(data)) == [f"{n:03}" for n in range(60)]


def test_a_condition_that_one_object_lacks_is_missing_there(tmp_path):
    data = table(tmp_path / "t.jsonl", OBJECTS + '{"text": "without"}\n')
    assert data.examples.fields["tone"][texts_of(data).index("without")] == -1


@pytest.mark.parametrize("line", ["😀 👍🏽 ❤️", "שלום עולם", "a\tb", "?!", "x" * 40])
def test_signs_of_all_kinds_come_back(tmp_path, line):
    data = table(tmp_path / "t.jsonl", OBJECTS + f'{{"text": {line!r}}}\n'.replace("'", '"'))
    assert line in texts_of(data)


def test_a_text_of_spaces_is_empty_and_one_of_many_letters_too_long(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join([*LINES, " \t ", "\u3000", "x y " * 100_000]))
    data = TextFiles(tmp_path, **OPTIONS)
    assert len(data.examples.x) == len(LINES)
    assert data.left_out == {"empty": 2, "of more than None words": 0, "of more than 48 tokens": 1}


# Folders


def test_folders_of_splits_hold_a_file_for_each_style(tmp_path):
    for split in ("train", "Test"):
        (tmp_path / split).mkdir()
        for style in "ab":
            (tmp_path / split / f"{style}.txt").write_text("".join(f"{split} {style} {n}\n" for n in range(50)))
    data = TextFiles(tmp_path, **OPTIONS)
    assert data.attributes == {"style": Categorical("ab")}
    assert sorted(texts_of(data, "test")) == sorted(f"Test {style} {n}" for style in "ab" for n in range(50))
    (tmp_path / "c.txt").write_text("where to\n")
    with pytest.raises(ValueError, match=r"holds c\.txt beside Test/: give each file its place in a split"):
        _ = TextFiles(tmp_path, **OPTIONS).examples


def test_spellings_of_a_style_are_one_and_what_systems_leave_behind_is_none(tmp_path):
    for name in ("train.Formal.txt", "train.formal.TXT", "test.FORMAL.txt", "dev.formal.txt", "._train.formal.txt"):
        (tmp_path / name).write_text("".join(f"{name} {n}\n" for n in range(20)))
    data = TextFiles(tmp_path, **OPTIONS)
    assert data.attributes["style"].values == ("formal",)
    assert len(data.examples.x) == 80
    assert "style: 'FORMAL', 'Formal' are taken for 'formal'" in overview(data)


def test_a_style_file_without_a_sentence_is_said(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(LINES))
    (tmp_path / "b.txt").write_text("\n \n")
    data = TextFiles(tmp_path, **OPTIONS)
    assert "\n  b.txt holds no sentence: it is left out\n" in overview(data)
    assert data.attributes["style"].values == ("a",)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="no file holds a sentence"):
        _ = TextFiles(tmp_path, **OPTIONS).examples


# Splits


def test_a_column_of_splits_is_no_condition_and_decides(tmp_path):
    names = itertools.cycle(["train", "train", "dev", "test"])
    data = table(tmp_path / "t.csv", "text,split\n" + "".join(f"{line},{next(names)}\n" for line in LINES))
    assert data.attributes == {}
    assert sorted(texts_of(data, "test")) == sorted(LINES[3::4])
    assert sorted(texts_of(data, "val")) == sorted(LINES[2::4])


def test_a_style_of_three_lines_is_trained_on_and_what_is_not_tested_is_said(tmp_path):
    for style, count in (("a", 60), ("b", 60), ("rare", 3)):
        (tmp_path / f"{style}.txt").write_text("".join(f"{style} line {n}\n" for n in range(count)))
    data = TextFiles(tmp_path, **OPTIONS)
    rare = data.attributes["style"].values.index("rare")
    assert (data.conditions("train")["style"] == rare).any()
    tested = (data.conditions("test")["style"] == rare).any()
    assert ("in no test example: rare" in overview(data)) == (not tested)


@pytest.mark.parametrize("pairs", ["none", "views", "sources"])
def test_test_sentences_that_training_knows_are_counted_once(tmp_path, pairs):
    rows = [f"verse {n} as {style},{style},{n},train" for n in range(30) for style in "abc"]
    rows += [f"verse {n} as {style},{style},{n + 5},{split}" for n in range(25, 35) for style in "abc"
             for split in (["test"] if n % 2 else ["test", "dev"])]  # fmt: skip
    data = TextFiles(tmp_path / "t.csv", group="id", pairs=pairs, **OPTIONS)
    (tmp_path / "t.csv").write_text("text,tone,id,split\n" + "\n".join(rows) + "\n")
    assert data.repeated("test") == 15  # verses 25 to 29 in three versions, which sources pair twice
    assert "\n  15 test examples " in overview(data)


# Scripts without spaces


@pytest.fixture
def chinese(tmp_path):
    for style, sign in (("good", "好"), ("bad", "坏")):
        lines = [f"今天天气{sign}{''.join('零一二三四五六七八九'[int(d)] for d in str(n))}" for n in range(80)]
        (tmp_path / f"{style}.txt").write_text("\n".join(lines))
    return TextFiles(tmp_path, words=6, **OPTIONS)


def test_characters_are_the_words_of_a_script_without_spaces(chinese):
    assert len(chinese.examples.x) == 2 * 10
    assert chinese.left_out["of more than 6 words"] == 2 * 70  # those with two figures have seven
    assert chinese.segmentation == "chinese"
    assert "the text is Chinese without spaces between words: characters count as words" in overview(chinese)
    assert chinese.describe()["learned"]["segmentation"] == "chinese"


# Ranges


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 10}, r"data\.vocabulary must be at least 260 \(the 256 bytes and 4 special tokens\); got 10"),
        ({"length": 0}, r"data\.length must be at least 2 \(a token and the end of the sentence\); got 0"),
        ({"words": 0}, r"data\.words must be at least 1; got 0"),
        ({"batch_tokens": -5}, r"data\.batch_tokens must be at least 1; got -5"),
        ({"hide": 1.0}, r"data\.hide must be above 1; got 1"),
        ({"shares": (-0.1, 0.5)}, r"data\.shares \[-0\.1, 0\.5\] of validation and test must leave"),
        (
            {"shares": (0.6, 0.4)},
            r"data\.shares \[0\.6, 0\.4\] of validation and test must leave something to train on",
        ),
    ],
)
def test_numbers_out_of_range_are_refused_with_the_range(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        TextFiles(tmp_path, **options)


def test_what_a_folder_of_styles_passes_over_is_said_and_nothing_is_read_twice(tmp_path):
    for name in ("train/old.en.txt", "train/new.en.txt", "test/old.en.txt", "test/new.en.txt", "extra/a.txt", "a.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a b\n")
    corpus = style_files(tmp_path)
    assert sorted(set(corpus.conditions["style"])) == ["new.en", "old.en"]
    assert corpus.notes[0] == f"passed over below {tmp_path}: 1 .md"
    assert corpus.notes[1].startswith("passed over in folders that are no splits: 1 text files")
    (tmp_path / "train" / "old.en.txt.gz").write_bytes(gzip.compress(b"a b\n"))
    with pytest.raises(ValueError, match=r"old.en.txt and .*old.en.txt.gz are one file twice: remove one"):
        style_files(tmp_path)
