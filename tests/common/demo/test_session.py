"""What the page does: the files that become of its controls are what the model makes."""

import os
import time

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image

from common.demo.session import NOT_GIVEN
from common.evaluation.media import enlargement, image_grid
from common.seeding import seeded
from tests.tabular.models import TABLE


def test_controls_are_those_of_the_checkpoint(sessions):
    pictures = sessions["pictures"]
    assert pictures.categories == {"kind": ["a", "b"]}  # the model knows nothing of c
    assert (pictures.numbers["age"].low, pictures.numbers["age"].high) == (1.0, 90.0)
    assert pictures.transfers
    assert pictures.fill is None
    table = sessions["table"]
    assert table.cells == [*TABLE.columns, "observed"][:-1]
    assert not table.transfers
    assert [session.suffix for session in sessions.values()] == [".png", ".txt", "/", ".csv"]


def test_samples_are_the_models_own(sessions):
    session = sessions["pictures"]
    model, fields = session.restored.model, {"kind": "b", "age": 20.0}
    (file,) = session.generate({"kind": "b", "age": 20, "other": NOT_GIVEN}, 5, seed=3)
    with seeded(3):
        expected = model.sample({name: str(value) for name, value in fields.items()}, 5)[:, 0]
    grid = image_grid(expected, 4, enlargement(expected))
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(grid))


def test_a_slider_moves_its_unit_alone(sessions):
    session = sessions["pictures"]
    assert len(session.units) == 6
    model = session.restored.model
    (moved,) = session.generate({"kind": "a"}, 1, seed=1, shifts=[0, 2.5, 0, 0, 0, 0])
    with seeded(1):
        z = model.latents({"kind": "a"})
        z[..., session.units[1]] += 2.5
        x = model.decoded(z, {"kind": "a"})[:, 0]
    assert np.array_equal(np.asarray(Image.open(moved)), np.asarray(image_grid(x, 4, enlargement(x))))
    (still,) = session.generate({"kind": "a"}, 1, seed=1, shifts=[0] * 6)
    assert still.read_bytes() != moved.read_bytes()


def test_units_are_those_that_the_encoder_uses(sessions):
    session = sessions["pictures"]
    model = session.restored.model
    layer = [part for part in model.encoder.modules() if isinstance(part, torch.nn.Linear)][-1]
    before = layer.weight.detach().clone()
    try:
        with torch.no_grad():
            layer.weight[5] *= 20  # the mean of the sixth unit
        del session.__dict__["units"]
        assert session.units[0] == 5
    finally:
        with torch.no_grad():
            layer.weight.copy_(before)
        session.__dict__.pop("units", None)


def test_a_sentence_and_a_clip_are_transferred(sessions, tmp_path):
    (written,) = sessions["text"].transfer(" in the\nearth", {"style": "plain"}, {"style": "old"})
    model = sessions["text"].restored.model
    path = tmp_path / "one.txt"
    path.write_text("in the earth\n")
    batch = sessions["text"].restored.files.read_batch(model, [path], model.raw_fields({"style": "plain"}))
    assert written.read_text().splitlines() == model.texts(model.transfer(batch, {"style": "old"}))
    soundfile.write(tmp_path / "clip.wav", 0.1 * np.sin(np.arange(16000) / 9), 8000)
    (clip,) = sessions["audio"].transfer(tmp_path / "clip.wav", {}, {"genre": "clog"})
    assert soundfile.info(clip).samplerate == 8000


def test_a_table_is_filled_and_else_unchanged(sessions, tmp_path):
    table = TABLE.iloc[:20].assign(name=[f"row {number}" for number in range(20)])
    table.iloc[::3, 1] = None
    table.to_csv(tmp_path / "mine.csv", index=False)
    file, notes = sessions["table"].imputed(tmp_path / "mine.csv")
    assert notes == ["passed through as they are: name", "7 cells filled"]
    filled, read = pd.read_csv(file), pd.read_csv(tmp_path / "mine.csv")
    assert not filled.isna().any().any()
    assert filled.where(read.notna(), None).astype(object).equals(read.astype(object).where(read.notna(), None))


def test_files_are_removed_after_an_hour(sessions):
    session = sessions["pictures"]
    (old,), (new,) = (session.generate({"kind": "a"}, 1) for _ in range(2))
    before = time.time() - 3700
    os.utime(old.parent, (before, before))
    session.generate({"kind": "a"}, 1)
    assert not old.exists()
    assert new.exists()


MISTAKES = {
    "no value": (lambda s, p: s["pictures"].transfer(p, {}, {}), "choose a value"),
    "no sentence": (lambda s, p: s["text"].transfer("  ", {}, {"style": "old"}), "write a sentence"),
    "an unknown value": (lambda s, p: s["pictures"].generate({"kind": "z"}), "'z' is not one of a, b"),
    "a long sentence": (
        lambda s, p: s["text"].transfer("let there be light " * 5, {}, {"style": "old"}),
        r"^your sentence, line 1: \d+ tokens; this model reads at most 12. Shorten it$",
    ),
    "no table": (lambda s, p: s["pictures"].imputed(p), "does not fill tables"),
    "another table": (lambda s, p: s["table"].imputed(p), "lacks"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(sessions, tmp_path, mistake):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    do, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        do(sessions, tmp_path / "other.csv")
