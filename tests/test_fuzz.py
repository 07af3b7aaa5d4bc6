"""Files that are broken, or unpack to gigabytes, are refused by name; `tests.soak.fuzz` tries more of them.

The limit is 1 MB here, so that bombs are small.
"""

import gzip
import io
import struct
import zipfile

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from common.table_files import read_table
from modalities.audio.signal.audio_files import read_sound
from modalities.audio.signal.containers import spans
from modalities.audio.signal.decoding import Sound
from modalities.image.decoding import decode
from modalities.tabular.schema import read_schema
from modalities.text.data.corpus import lines_of
from modalities.text.files.reading import open_source
from tests.soak.fuzz import Fuzz, fuzz

SEED, CASES = 0, 100


@pytest.fixture
def small(monkeypatch):
    """A limit of 1 MB."""
    monkeypatch.setenv("SUITE_MAX_MB", "1")


def test_a_hundred_mutated_files_are_read_or_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    cases = Fuzz(tmp_path / "files", SEED)
    wrong = []
    for number in range(CASES):
        if (outcome := cases.attempt(number)).finding:
            again = f"python -m tests.soak.fuzz --seed {SEED} --case {number}"
            wrong.append(f"{again}: {outcome.target}, {outcome.file}: {outcome.kind}\n{outcome.message}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
def test_the_fuzz_goes_on_where_it_stopped(tmp_path):
    first = fuzz(tmp_path, seed=3, cases=5, minutes=5)
    assert first["cases"] == 5
    report = fuzz(tmp_path, seed=3, cases=15, minutes=5)
    counted = report["targets"].values()
    assert report["cases"] == sum(counts["attempts"] for counts in counted) == 15
    found = sum(sum(counts["findings"].values()) for counts in counted)
    assert sum(counts["read"] + counts["refused"] for counts in counted) == 15 - found
    assert len(list((tmp_path / "findings").glob("*.log"))) == found


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.gz", gzip.compress(bytes(2**21)), r"a\.csv\.gz unpacks to more than 1 MB.*\$SUITE_MAX_MB lets it in"),
        ("a.jsonl.gz", gzip.compress(b"0" * 2**21), r"a\.jsonl\.gz unpacks to more than 1 MB"),
        ("a.csv", b"a,b\n" + b" \n" * 20_000, r"a\.csv has more than 10,485 blank lines: .*\$SUITE_MAX_MB"),
        ("a.jsonl", b"\n" * 20_000, r"a\.jsonl has more than 10,485 blank lines"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-9], r"a\.csv\.gz is no complete gzip file: .*Replace it"),
        ("a.csv.gz", gzip.compress(b"a,b\n" * 99)[:20] + b"\xff" * 30, r"a\.csv\.gz is no complete gzip file"),
        ("a.parquet", b"PAR1" + bytes(20) + b"\x14\0\0\0PAR1", r"a\.parquet cannot be read as a table: .*replace it"),
        ("a.xlsx", b"PK\x03\x04 and no more", r"a\.xlsx cannot be read as a workbook: .*Save it anew"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000, r"a\.jsonl, line 1: brackets inside of brackets: nested values"),
        ("a.jsonl", b'{"a": ' + b"9" * 400 + b"}", r"a\.jsonl, line 1: a is a number of 400 digits"),
        ("a.jsonl", rb'{"a": "\ud83d"}', r"a\.jsonl, line 1: 'a' holds half of a surrogate pair"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("a.") else "",
)
def test_tables_are_refused_by_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / name)


def test_a_larger_limit_lets_a_file_in(tmp_path, monkeypatch):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 4_000))
    monkeypatch.setenv("SUITE_MAX_MB", "0.01")
    with pytest.raises(ValueError, match=r"unpacks to more than 0\.01 MB"):
        read_table(tmp_path / "a.csv.gz")
    monkeypatch.setenv("SUITE_MAX_MB", "0.02")
    assert len(read_table(tmp_path / "a.csv.gz")) == 4_000
    monkeypatch.setenv("SUITE_MAX_MB", "much")
    with pytest.raises(ValueError, match=r"\$SUITE_MAX_MB is 'much': it is a number of megabytes above zero"):
        read_table(tmp_path / "a.csv.gz")


@pytest.mark.usefixtures("small")
def test_a_parquet_that_takes_more_than_its_bytes_is_refused(tmp_path):
    pd.DataFrame({"a": np.zeros(200_000, np.int8)}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"rows\.parquet has 200,000 rows of 1 columns, which take more than 1 MB"):
        read_table(tmp_path / "rows.parquet")
    pd.DataFrame({"a": ["x" * 10_000] * 300}).to_parquet(tmp_path / "texts.parquet")
    with pytest.raises(ValueError, match=r"texts\.parquet holds texts of more than 1 MB"):
        read_table(tmp_path / "texts.parquet")


def test_a_parquet_whose_texts_are_not_utf_8_is_refused(tmp_path):
    pd.DataFrame({"a": ["one", "two"]}).to_parquet(tmp_path / "a.parquet", compression=None)
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content.replace(b"one", b"o\xffe"))
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as a table: .*UTF8"):
        read_table(tmp_path / "a.parquet")


@pytest.mark.usefixtures("small")
def test_a_workbook_that_unpacks_to_much_or_reaches_far_is_refused(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active["A1"], book.active["B2"] = "a", 1
    book.save(tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/more.xml", bytes(2**20))
    with pytest.raises(ValueError, match=r"a\.xlsx unpacks to more than 0.125 MB.*\$SUITE_MAX_MB"):
        read_table(tmp_path / "a.xlsx")
    book.active["ZZ9999"] = 1
    book.save(tmp_path / "far.xlsx")
    with pytest.raises(ValueError, match=r"far\.xlsx, sheet Sheet: A1:ZZ9999 are 7,019,298 cells: delete what stands"):
        read_table(tmp_path / "far.xlsx")


@pytest.mark.usefixtures("small")
def test_lines_without_end_and_without_content_are_refused(tmp_path):
    for name, pack in (("a.txt", bytes), ("a.txt.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(bytes(2**18)))
        with pytest.raises(ValueError, match=rf"{name} has a line of more than 0.125 MB.*\$SUITE_MAX_MB"):
            list(lines_of(tmp_path / name))
    (tmp_path / "b.txt").write_bytes(b"a\n" + b"\n" * 20_000)
    with pytest.raises(ValueError, match=r"b\.txt has more than 10,485 blank lines"):
        list(open_source(tmp_path / "b.txt").rows())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "is no YAML"),
        (b"a: \xff", "is not UTF-8"),
        (b"[" * 500, "is no YAML"),
        (b"a: 2020-13-13", "is no YAML"),
        (b"- a", "must map column names to kinds"),
        (b"a: [binary]", "column a: ['binary'] is no kind"),
        (b"a: {kind: binary, order: 1}", "column a: order is no option"),
        (b"a: {values: {b: 1}}", "column a: values is no list"),
        (b"a: {lower: {b: 1}}", "column a: lower and upper are numbers"),
    ],
)
def test_a_schema_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "s.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"s\.yaml") as error:
        read_schema(tmp_path / "s.yaml")
    assert message in str(error.value)


@pytest.mark.usefixtures("small")
def test_sound_whose_header_lies_is_refused_or_read_in_little_memory(tmp_path):
    def wav(channels, rate):
        data = np.random.default_rng(0).integers(-9999, 9999, 4000, np.int16).tobytes()
        form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate * channels % 2**32, 2 * channels, 16)
        head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
        (tmp_path / "a.wav").write_bytes(head + b"data" + struct.pack("<I", len(data)) + data)
        return tmp_path / "a.wav"

    with pytest.raises(ValueError, match=r"a\.wav declares 1,000 channels, more than 128: correct its header"):
        read_sound(wav(1000, 44_100), 8000)
    with Sound(wav(100, 1_000_000)) as sound:
        assert len(sound.read(20_000_000)) == 40  # a block of 20 seconds would take 8 GB
    (tmp_path / "b.mp3").write_bytes(b"ID3\x03\0\0\0")
    assert spans(tmp_path / "b.mp3") == []
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 8000, 1) as file:
        file.write(np.sin(np.arange(8000)))
        file.write(np.zeros(8000 * 60))
    with pytest.raises(ValueError, match=r"long\.flac is a sound of more than 1 MB.*\$SUITE_MAX_MB"):
        read_sound(tmp_path / "long.flac", 8000)


def test_the_limit_of_pixels_can_be_set(tmp_path, monkeypatch):
    sink = io.BytesIO()
    Image.new("L", (500, 500)).save(sink, "PNG")
    (tmp_path / "a.png").write_bytes(sink.getvalue())
    monkeypatch.setenv("SUITE_MAX_MB", "1")
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image \(more than 174,762 pixels"):
        decode(tmp_path / "a.png", 8, 8, 1)
    monkeypatch.setenv("SUITE_MAX_MB", "2")
    assert decode(tmp_path / "a.png", 8, 8, 1)[0].shape == (1, 8, 8)
