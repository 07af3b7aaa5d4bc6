"""`evaluate.py score` on a person's own files: one row an example, with its place, its condition and its units."""

import math

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image
from sklearn.datasets import load_wine

from common.batch import Batch
from common.conditions.attributes import OBSERVED, Categorical, Continuous
from common.training.checkpoint import description
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from modalities.tabular import ObservedCellsEncoder, TabularCVAE
from modalities.tabular.columns import encode_table
from modalities.tabular.schema import fit_columns
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.condition import SentenceReader
from modalities.text.networks.architectures import Compact
from scripts.evaluate import parser, score
from tests.audio.models import small_model
from tests.text.models import word_tokenizer


@pytest.fixture
def scores(tmp_path):
    """Scores files with a model's checkpoint, with 10 importance samples, and gives the table that is written."""

    def run(model, modality, files, *condition):
        known = save(model, modality, tmp_path / "model.ckpt")
        options = ["--in", *files, *(["--condition", *condition] if condition else [])]
        command("--ckpt", known, *options, "--num-samples", 10, "--out", tmp_path / "new" / "scores.csv")
        return pd.read_csv(tmp_path / "new" / "scores.csv", dtype={"digit": str, "age": str})

    return run


def save(model, modality, path):
    formats = {"image": "ImageFormat", "text": "TextFormat", "audio": "SoundFormat", "tabular": "TableFormat"}
    files = f"modalities.{modality}.files.{formats[modality]}"
    torch.save({"state_dict": model.state_dict(), **description(model), "files": files}, path)
    return path


def command(*arguments):
    score(parser().parse_args(["score", *map(str, arguments)]))


def image_model():
    attributes = {"digit": Categorical(range(10)), "age": Continuous(30.0, 10.0), "file": Categorical(["no", "yes"])}
    return ImageCVAE(AttributeEncoder(attributes, dim=4), latent_dim=4, architecture=MLP([8])).eval()


@pytest.fixture
def images(digits, tmp_path):
    """Seven of the embedded digits as files."""
    files = [tmp_path / f"{number}.png" for number in range(7)]
    for file, image in zip(files, digits.examples.x, strict=False):
        Image.fromarray((image[0] * 255).byte().numpy()).save(file)
    return files


def test_images_are_one_row_a_file_under_conditions_by_name(scores, images):
    model = image_model()
    table = scores(model, "image", images, "digit=3", "age=30.5")
    assert list(table.columns) == ["file", "digit", "age", "nll_nats"]
    assert table.file.tolist() == [str(file) for file in images]
    assert set(table.digit) == {"3"}
    assert set(table.age) == {"30.5"}
    x = torch.stack([torch.from_numpy(np.array(Image.open(file))) for file in images]).unsqueeze(1) / 255
    fields = {"digit": torch.full((7,), 3), "age": torch.full((7,), 30.5)}
    expected = -model.log_likelihood(Batch(x, fields), 10)  # the noise is that of the place among all files
    assert table.nll_nats.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_folder_stands_for_the_files_below_it(scores, images, tmp_path):
    model = image_model()
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    for number in (5, 3):
        images[number].rename(folder / f"{number}.png")
    (folder / "notes.txt").touch()
    table = scores(model, "image", [images[0], tmp_path / "deep"], "digit=3", "age=30")
    assert table.file.tolist() == [str(images[0]), str(folder / "3.png"), str(folder / "5.png")]
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no image below .*none"):
        scores(model, "image", [tmp_path / "none"], "digit=3", "age=30")


def test_a_condition_that_is_called_like_a_column_keeps_apart_from_it(scores, images):
    table = scores(image_model(), "image", images[:1], "file=yes")
    assert list(table.columns) == ["file", "condition/file", "nll_nats"]
    assert table["condition/file"].tolist() == ["yes"]


def test_without_a_file_to_write_the_first_rows_and_the_mean_are_printed(images, tmp_path, capsys):
    known = ["--ckpt", save(image_model(), "image", tmp_path / "model.ckpt"), "--num-samples", 10]
    command(*known, "--in", *images, "--out", tmp_path / "scores.csv")
    written = pd.read_csv(tmp_path / "scores.csv").nll_nats
    summary = capsys.readouterr().out.splitlines()
    assert summary[1] == f"7 scores written to {tmp_path / 'scores.csv'}"
    command(*known, "--in", *images)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "nll_nats"]
    assert [line.split()[0] for line in lines[1:6]] == [str(file) for file in images[:5]]
    assert float(lines[1].split()[1]) == pytest.approx(written[0], rel=1e-5)
    assert lines[6] == "... and 2 more: --out FILE writes all of them"
    error = written.std() / math.sqrt(7)
    expected = f"NLL {written.mean():.3f} ± {error:.3f} nats (mean ± standard error), n = 7 examples, "
    assert lines[7] == summary[0] == expected + "importance sampling, 10 samples"
    command(*known, "--in", images[0])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith(f"NLL {written[0]:.3f} nats (mean), n = 1 examples")  # one example has no standard error


def text_model():
    words = word_tokenizer("in", "the", "beginning", "god", "created", "heaven", "and", "earth")
    reader = SentenceReader(width=8, heads=2, layers=1)
    condition = StyleEncoder({"style": Categorical(["kjv", "bbe"])}, words, dim=6, exemplar=reader, length=12)
    small = Compact(width=16, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
    return TextStyleCVAE(condition, words, 12, latent_dim=8, architecture=small).eval()


def test_sentences_are_one_row_a_line_with_figures_of_a_token(scores, tmp_path):
    (tmp_path / "a.txt").write_text("in the beginning god created the heaven and the earth\nand the earth\n")
    (tmp_path / "b.jsonl").write_text('{"text": "god created"}\n')
    model = text_model()
    files = [tmp_path / "a.txt", tmp_path / "b.jsonl"]
    table = scores(model, "text", files, "style=bbe", "exemplar=the earth")
    figures = ["nll_nats", "tokens", "nats_per_token", "perplexity_per_token"]
    assert list(table.columns) == ["file", "line", "style", "exemplar", *figures]
    assert table.file.tolist() == [str(files[0])] * 2 + [str(files[1])]
    assert table.line.tolist() == [1, 2, 1]
    assert set(table["style"]) == {"bbe"}
    assert set(table.exemplar) == {"the earth"}
    assert table.tokens.tolist() == [11, 4, 3]  # the end counts
    assert table.nats_per_token.tolist() == pytest.approx((table.nll_nats / table.tokens).tolist())
    assert table.perplexity_per_token.tolist() == pytest.approx(np.exp(table.nats_per_token).tolist())
    assert 5 < table.perplexity_per_token.mean() < 50  # of 12 tokens, untrained
    texts = ["in the beginning god created the heaven and the earth", "and the earth", "god created"]
    fields = model.raw_fields({"style": ["bbe"] * 3, "exemplar": "the earth"})
    expected = -model.log_likelihood(Batch(model.tokenizer.rows(texts, 12), fields), 10)
    assert table.nll_nats.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_sounds_of_different_length_are_scored_in_one_call(scores, tmp_path):
    files = []
    for name, seconds in (("short", 0.5), ("whole", 1.024), ("long", 2.5)):
        time = np.arange(round(8000 * seconds)) / 8000
        files.append(tmp_path / f"{name}.wav")
        soundfile.write(files[-1], 0.3 * np.sin(2 * np.pi * 440 * time) * (time * 4 % 1 < 0.5), 8000)
    model = small_model().eval()
    table = scores(model, "audio", files, "genre=jig")
    assert list(table.columns) == ["file", "start_seconds", "seconds", "genre", "nll_nats", "nats_per_second"]
    assert table.file.tolist() == [str(file) for file in files]
    assert table.start_seconds.tolist() == [0.0] * 3
    assert table.seconds.tolist() == pytest.approx([0.5, 1.024, 2.5], abs=1e-6)
    assert set(table.genre) == {"jig"}
    assert table.nats_per_second.tolist() == pytest.approx((table.nll_nats / table.seconds).tolist())
    alone = scores(model, "audio", files[2:], "genre=jig")
    assert alone.nll_nats.tolist() == pytest.approx(table.nll_nats.tolist()[2:], rel=1e-4)


def test_tables_are_one_row_a_row_with_the_number_of_observed_cells(scores, tmp_path):
    table = load_wine(as_frame=True).data.iloc[:30, :5]
    columns = fit_columns(table)
    model = TabularCVAE(ObservedCellsEncoder(columns, 8), columns, latent_dim=2, hidden=8).eval()
    table.iloc[:20].to_csv(tmp_path / "a.csv", index=False)
    holes = table.iloc[20:23].copy()
    holes.iloc[0, [1, 3]] = np.nan
    holes.iloc[1, :4] = np.nan
    holes.to_csv(tmp_path / "b.csv", index=False)
    found = scores(model, "tabular", [tmp_path / "a.csv", tmp_path / "b.csv"])
    assert list(found.columns) == ["file", "row", "nll_nats", "observed_cells"]
    assert found.row.tolist() == [*range(1, 21), 1, 2, 3]
    assert found.observed_cells.tolist() == [5] * 20 + [3, 1, 5]
    assert found.file.nunique() == 2
    cells = torch.from_numpy(encode_table(table, columns))
    batch = Batch(cells[:20], {OBSERVED: torch.full((20, 5), float("nan"))})
    assert found.nll_nats[:20].tolist() == pytest.approx((-model.log_likelihood(batch, 10)).tolist(), rel=1e-4)
    with pytest.raises(ValueError, match="the condition of a row is its own known cells: leave out --condition"):
        scores(model, "tabular", [tmp_path / "a.csv"], "alcohol=13")


def test_a_faulty_file_is_named_before_any_is_scored(images, tmp_path, monkeypatch):
    (tmp_path / "broken.png").write_text("no image")
    known = ["--ckpt", save(image_model(), "image", tmp_path / "model.ckpt")]
    monkeypatch.setattr(ImageCVAE, "log_likelihood", lambda *_: pytest.fail("scored"))
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
        command(*known, "--in", *images, tmp_path / "broken.png")
    with pytest.raises(ValueError, match="unknown condition 'digt'; this model knows: digit, age, file"):
        command(*known, "--in", *images, "--condition", "digt=3")
