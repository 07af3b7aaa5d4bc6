"""Files of texts are rewritten and scored row by row: what was beside a text stays beside it, and none is lost."""

import codecs
import io
import json
import math
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.model.files import RowOptions
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.files import TextFormat, format, reading, write_texts
from modalities.text.networks.architectures import Compact
from tests.text.models import word_tokenizer

LENGTH = 6
WORDS = ["god", "made", "light", "and", "earth"]
FILES = TextFormat()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    words = word_tokenizer(*WORDS)
    condition = StyleEncoder({"style": Categorical(["old", "new"])}, words, dim=6, length=LENGTH)
    small = Compact(width=16, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
    model = TextStyleCVAE(condition, words, LENGTH, latent_dim=8, architecture=small).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return model


@pytest.fixture
def rewrite(model, tmp_path):
    """Rewrites a file of the given content as itself or by some work; the written text, and what was said."""

    def run(name, content, out="out.txt", work=lambda batch: batch.x, seed=None, **options):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        condition = model.condition.parse({"style": "old"})
        files = FILES.reading(RowOptions(**options))
        done = files.rewrite(model, [tmp_path / name], condition, tmp_path / out, work, seed)
        return (tmp_path / out).read_bytes().decode(), done

    return run


def backwards(model):
    """Work that turns the words of a sentence round."""
    return lambda batch: model.tokenizer.rows([" ".join(t.split()[::-1]) for t in model.texts(batch.x)], LENGTH)


# Tables


def test_a_csv_comes_back_row_by_row_with_all_of_its_columns(rewrite, model):
    content = "id;text;price;tone\n007;god made;1,50;old\n008;made light;2,00;\n007;earth;;new\n"
    written, done = rewrite("in.csv", content, "out.csv", backwards(model))
    assert written == "id;text;price;tone\n007;made god;1,50;old\n008;light made;2,00;\n007;earth;;new\n"
    assert (done.count, done.notes) == (3, [])


def test_objects_come_back_with_all_of_their_keys_and_types(rewrite, model):
    content = '{"id": 7, "text": "god made", "ok": true}\n\n{"text": "earth and light", "x": null}\n'
    written, done = rewrite("in.jsonl", content, "out.jsonl", backwards(model))
    rows = [json.loads(line) for line in written.splitlines()]
    assert rows == [{"id": 7, "text": "made god", "ok": True}, {"text": "light and earth", "x": None}]
    assert done.count == 2


def test_formats_are_turned_into_each_other(rewrite):
    assert rewrite("in.csv", "id,text\n1,god made\n", "out.jsonl")[0] == '{"id": "1", "text": "god made"}\n'
    content = '{"text": "god", "a": 1}\n{"text": "light", "b": true}\n'
    assert rewrite("in.jsonl", content, "out.csv")[0] == "text,a,b\ngod,1,\nlight,,true\n"
    assert rewrite("in.txt", "god\nlight\n", "out.csv")[0] == "text\ngod\nlight\n"
    assert rewrite("in.csv", "id,text\n1,god made\n", "out.txt")[0] == "god made\n"


@pytest.mark.parametrize("name", ["in.parquet", "in.xlsx", "in.tsv", "in.csv.gz"])
def test_every_format_that_training_reads_is_rewritten(model, tmp_path, name):
    frame, file = pd.DataFrame({"id": [3, 4], "text": ["god made", "light"]}), tmp_path / name
    if name.endswith("parquet"):
        frame.to_parquet(file)
    elif name.endswith("xlsx"):
        frame.to_excel(file, index=False)
    else:
        frame.to_csv(file, index=False, sep="\t" if "tsv" in name else ",")
    FILES.rewrite(model, [file], {}, tmp_path / "out.csv.gz", lambda batch: batch.x)
    assert pd.read_csv(tmp_path / "out.csv.gz").to_dict("list") == {"id": [3, 4], "text": ["god made", "light"]}


def test_a_quoted_line_end_is_one_text_of_one_row(rewrite):
    written, done = rewrite("in.csv", 'id,text\n1,"god\nmade"\n2,light\n', "out.txt")
    assert done.count == 2
    assert written == "god made\nlight\n"


@pytest.mark.parametrize(
    ("options", "content", "found"),
    [
        ({"column": "said"}, "text,said\ngod,light\n", "light"),
        ({"usual": ["said"]}, "text,said\ngod,light\n", "light"),
        ({"usual": ["said"]}, "text,tone\ngod,light\n", "god"),
        ({}, "id,said\n1,light\n", "light"),
    ],
)
def test_the_column_of_text_is_the_named_the_trained_the_usual_or_the_only_one(rewrite, options, content, found):
    assert rewrite("in.csv", content, **options)[0] == f"{found}\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("in.csv", "id,said,tone\n1,god,old\n", {}, r"in\.csv has no column text; it has: id, said, tone\. Name that"),
        ("in.csv", "id,text\n1,god\n", {"column": "said"}, r"in\.csv has no column said; it has: id, text"),
        ("in.csv", "id,n\n1,2\n", {}, r"in\.csv has no column text; it has: id, n\. Name .* with --text-column"),
        ("in.txt", "god\n", {"column": "said"}, r"in\.txt has lines and no column said: leave out --text-column"),
        ("in.csv", "text\n", {}, r"in\.csv holds no line"),
        ("in.csv", 'text,tone\n"god,old\nmade,new\n', {}, r"in\.csv, line 2: a quote is opened and not closed"),
        ("in.jsonl", '{"text": "god"}\n{"tone": "old"}\n', {}, r"in\.jsonl, line 2 has no text; it has: tone"),
        ("in.jsonl", '{"text": "god"}\n\n{"text": 3}\n', {}, r"in\.jsonl, line 3: text is 3, no text"),
        ("in.txt", b"god\n\0\n", {}, r"in\.txt, line 2 holds a NUL byte"),
        ("in.json", '[{"text": "god"}]', {}, r"in\.json: texts are read from lines \(\.txt\), \.csv, \.tsv, \.jsonl"),
    ],
)
def test_what_cannot_be_read_is_named_and_nothing_is_written(rewrite, tmp_path, name, content, options, message):
    with pytest.raises(ValueError, match=message):
        rewrite(name, content, **options)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_tables_whose_texts_are_in_different_columns_are_rewritten_apart(model, tmp_path):
    (tmp_path / "a.csv").write_text("id,post\n1,god\n")
    (tmp_path / "b.csv").write_text("id,text\n1,god\n")
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    with pytest.raises(ValueError, match=r"a\.csv has texts in post, .*b\.csv in text: one at a time"):
        FILES.rewrite(model, paths, {}, tmp_path / "out.csv", lambda batch: batch.x)
    (tmp_path / "b.csv").write_text("post,more\nlight,x\n")
    FILES.reading(RowOptions(usual=["post"])).rewrite(model, paths, {}, tmp_path / "out.csv", lambda batch: batch.x)
    assert (tmp_path / "out.csv").read_text() == "id,post,more\n1,god,\n,light,x\n"


# Rows that are not read


def test_empty_texts_stay_in_their_places(rewrite, model):
    written, done = rewrite("in.txt", "god made\n\n \t\nearth light\n", work=backwards(model))
    assert written == "made god\n\n\nlight earth\n"
    assert done.count == 4
    assert done.notes[0].endswith("in.txt: 2 of 4 texts are empty and stay so (line 2, 3)")
    assert rewrite("in.csv", "id,text\n1,\n2,god\n", "out.csv")[0] == "id,text\n1,\n2,god\n"
    assert rewrite("in.csv", 'text\n""\ngod\n', "out.csv")[0] == 'text\n""\ngod\n'


LONG = "god\n" + "god " * 7 + "\nmade\n" + "light " * 9 + "\n"


def test_all_texts_that_are_too_long_are_named_at_once(rewrite):
    message = r"in\.txt, line 2: 8 tokens, 4: 10 tokens; this model reads at most 6\. Shorten them, or choose --on-long"
    with pytest.raises(ValueError, match=message):
        rewrite("in.txt", LONG)


def test_of_many_texts_that_are_too_long_the_first_are_named(rewrite):
    with pytest.raises(ValueError, match=r"line 1: 8 tokens, .*, 20: 8 tokens and 1,480 more; this model"):
        rewrite("in.txt", ("god " * 7 + "\n") * 1500)


def test_texts_that_are_too_long_are_cut_or_left_out_and_counted(rewrite):
    written, done = rewrite("in.txt", LONG, on_long="truncate")
    assert written == "god\ngod god god god god\nmade\nlight light light light light\n"
    assert done.notes[0].endswith("in.txt: 2 of 4 texts were cut to 6 tokens (line 2, 4)")
    written, done = rewrite("in.txt", LONG, on_long="skip")
    assert written == "god\n\nmade\n\n"
    (note,) = done.notes
    assert note.endswith("2 of 4 texts were left out, their output is empty: they have more than 6 tokens (line 2, 4)")


# Parts


@pytest.mark.parametrize("drawn", [False, True])
def test_what_is_written_does_not_depend_on_the_size_of_the_parts(rewrite, model, monkeypatch, drawn):
    content = "".join(f"{' '.join(WORDS[(n + k) % 5] for k in range(n % 5 + 1))}\n" for n in range(30))
    work = lambda batch: model.transfer(batch, {"style": "new"}, draw=drawn)  # noqa: E731
    found = []
    for chunk, size in ((1024, 64), (7, 64), (7, 2), (1, 1)):
        monkeypatch.setattr(reading, "CHUNK", chunk)
        monkeypatch.setattr(format, "SENTENCES", size)
        found.append(rewrite("in.txt", content, work=work, seed=3 if drawn else None)[0])
    assert len(set(found)) == 1
    assert len(set(found[0].splitlines())) > 2
    if drawn:
        assert rewrite("in.txt", content, work=work, seed=4)[0] != found[0]


def test_few_sentences_of_similar_length_are_worked_on_at_once(rewrite, model, monkeypatch):
    seen = []
    monkeypatch.setattr(model, "decoding", model.decoding.__class__(beams=4))
    content = "".join(" ".join(WORDS[: n % 5 + 1]) + "\n" for n in range(3000))
    written, _ = rewrite("in.txt", content, work=lambda batch: seen.append(batch.x) or batch.x)
    assert written == content
    assert max(len(x) for x in seen) == format.SENTENCES // 4
    padding = sum(int((x == model.tokenizer.pad).sum()) for x in seen) / sum(x.numel() for x in seen)
    assert padding < 0.05


def test_a_file_takes_its_place_when_it_is_complete(rewrite, model, tmp_path):
    written, _ = rewrite("in.txt", "god made\n", "in.txt", backwards(model))
    assert written == "made god\n"

    def fail(batch):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        rewrite("other.txt", "light\n", "in.txt", fail)
    assert (tmp_path / "in.txt").read_text() == "made god\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.txt", "other.txt"]


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_the_standard_input_may_be_marked_and_have_any_line_ends(model, monkeypatch, capsys, end):
    content = codecs.BOM_UTF8 + f"god made{end}{end}light".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    FILES.rewrite(model, [Path("-")], {}, Path("-"), lambda batch: batch.x)
    assert capsys.readouterr().out == "god made\n\nlight\n"


def test_line_ends_within_a_text_are_quoted_in_tables_and_spaces_in_lines(tmp_path):
    texts = ["a\r\nb", "c\rd", "e\u2028f", "g\th"]
    for name in ("out.csv", "out.txt", "out.jsonl"):
        write_texts(texts, tmp_path / name)
    assert pd.read_csv(tmp_path / "out.csv").text.str.split().tolist() == [
        ["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]
    ]  # fmt: skip
    assert (tmp_path / "out.txt").read_bytes().decode() == "a b\nc d\ne f\ng\th\n"
    assert [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().split("\n")[:-1]] == texts


# Scores


def scored(model, paths, texts, **options):
    nll = lambda batch: -model.log_likelihood(batch, 5, 1)  # noqa: E731
    files = FILES.reading(RowOptions(**options))
    scores = files.scored(model, paths, model.condition.parse(texts), texts, nll)
    return scores, pd.concat(map(pd.DataFrame, scores.parts), ignore_index=True)


def test_scores_stand_beside_the_columns_of_a_table(model, tmp_path, monkeypatch):
    content = "id,text,style,line\n007,god made,x,a\n008,,y,b\n009,god god god god god god god,z,c\n010,light,w,d\n"
    (tmp_path / "in.csv").write_text(content)
    (tmp_path / "more.txt").write_text("earth\n")
    paths = [tmp_path / "in.csv", tmp_path / "more.txt"]
    scores, table = scored(model, paths, {"style": "new"}, on_long="skip")
    names = ["file", "line", "id", "input/style", "input/line", "style", "nll_nats", "tokens", "nats_per_token",
             "perplexity_per_token"]  # fmt: skip
    assert list(table.columns) == names
    assert table.line.tolist() == [2, 3, 4, 5, 1]
    assert table.id.tolist() == ["007", "008", "009", "010", ""]
    assert table["input/style"].tolist() == ["x", "y", "z", "w", ""]
    assert set(table["style"]) == {"new"}
    assert table.tokens.tolist() == [3, 0, 0, 2, 2]
    texts = {0: "god made", 3: "light", 4: "earth"}
    x = model.tokenizer.rows(list(texts.values()), LENGTH)
    batch = Batch(x, model.raw_fields({"style": ["new"] * 3}), index=torch.tensor(list(texts)))
    expected = -model.log_likelihood(batch, 5, 1)
    assert table.nll_nats[list(texts)].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert [math.isnan(value) for value in table.nll_nats] == [False, True, True, False, False]
    assert scores.count == 5
    assert len(scores.notes) == 2
    for chunk, size in ((2, 1), (1, 20)):
        monkeypatch.setattr(reading, "CHUNK", chunk)
        monkeypatch.setattr(format, "SCORED", size)
        again = scored(model, paths, {"style": "new"}, on_long="skip")[1]
        pd.testing.assert_frame_equal(again, table, rtol=1e-5)
