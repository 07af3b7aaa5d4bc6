"""A person's own small data in each modality, and data that have grown or changed since a model was trained on them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image


@dataclass(frozen=True)
class Own:
    """Data of one modality.

    Attributes:
        modality: the training script.
        options: of every command: a small model, few steps.
        kind: of the files of a predictions table that name an example: a column.
        condition: name of the condition; None for tables, whose condition is the observed part.
    """

    modality: str
    options: list[str]
    kind: str
    condition: str | None

    def write(self, root: Path, kinds: dict[str, str], count: int, more: int = 0) -> Path:
        """Writes `count` examples of each kind, and `more` further ones of other statistics; what `data.root` is.

        Args:
            root: folder.
            kinds: name of the class by kind (low, high, noise).
            count: examples of each.
            more: further examples of each, whose names sort last.
        """
        return WRITERS[self.modality](root, kinds, count, more)


def images(root, kinds, count, more):
    generator = np.random.default_rng(0)
    for kind, name in kinds.items():
        for number in range(count + more):
            base = {"low": 40, "high": 200, "noise": 120}[kind]
            pixels = (base + generator.normal(0, 10, (8, 8))).clip(0, 255).astype(np.uint8)
            path = root / name / f"{'zz' if number >= count else ''}{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def texts(root, kinds, count, more):
    words = {"low": "sea lake river rain", "high": "fire sun flame heat", "noise": "wind storm cloud air"}
    lines = []
    for kind, name in kinds.items():
        generator = np.random.default_rng(len(kind))
        lines += [(" ".join(generator.choice(words[kind].split(), 4)) + f" {n}", name) for n in range(count)]
    for _, name in kinds.items():
        lines += [(f"zephyr vex {n}", name) for n in range(more)]
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(lines, columns=["text", "mood"]).to_csv(root / "texts.csv", index=False)
    return root / "texts.csv"


def sounds(root, kinds, count, more):
    generator = np.random.default_rng(0)
    for kind, name in kinds.items():
        pitch = {"low": 0.1, "high": 0.4, "noise": 0.8}[kind]
        for number in range(count + more):
            last = number >= count
            noise = generator.standard_normal(4000) * (0.2 if last else 0.01)
            path = root / f"{'zz' if last else ''}{number:03d}_{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.sin(np.arange(4000) * pitch) * 0.3 + noise, 8000)
    return root


def tables(root, kinds, count, more):
    generator = np.random.default_rng(0)
    rows = []
    for part, size in (("first", count), ("more", more)):
        for kind, name in kinds.items():
            base = {"low": 1.5, "high": 4.5, "noise": 8.5}[kind] * (10 if part == "more" else 1)
            for _ in range(size):
                rows.append((base + generator.normal(), -base + generator.normal(), name))
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["a", "b", "kind"]).to_csv(root / "table.csv", index=False)
    return root / "table.csv"


WRITERS = {"image": images, "text": texts, "audio": sounds, "tabular": tables}
QUICK = [
    "--model.evaluation.control_samples",
    "8",
    "--run.test",
    "false",
    "--wandb.mode",
    "disabled",
    "--trainer.enable_progress_bar",
    "false",
]

OWN = [
    Own(
        "image",
        ["--config", "configs/image/folder.yaml", "--data.size", "8", "--data.channels", "1", "--model.latent_dim", "4",
         "--data.batch_size", "8", "--model.architecture", "modalities.image.networks.MLP", "--model.likelihood",
         "common.distributions.likelihoods.Gaussian", "--model.architecture.hidden", "[16]", *QUICK],
        "file",
        "class",
    ),
    Own(
        "text",
        ["--config", "configs/text/files.yaml", "--data.vocabulary", "320", "--data.length", "40",
         "--data.batch_tokens", "400", "--data.shares", "[0.2,0.2]", "--model.rewrites", "4", *QUICK],
        "row",
        "mood",
    ),
    Own(
        "audio",
        ["--config", "configs/audio/folder.yaml", "--config", "configs/audio/spoken_digits.yaml", "--data.pattern",
         "<index>_<pitch>", "--data.condition", "[pitch]", "--data.group", "null", "--data.batch_size", "8",
         "--data.shares", "[0.2,0.2]", "--model.architecture.width", "8", "--model.transfers", "4", *QUICK],
        "file",
        "pitch",
    ),
    Own(
        "tabular",
        ["--config", "configs/tabular/table.yaml", "--model.hidden", "8", "--model.latent_dim", "2",
         "--data.batch_size", "8", *QUICK],
        "row",
        None,
    ),
]  # fmt: skip


def slow_but(*modalities):
    """Parameters for a test of every modality, which is a slow one for all but some."""
    marks = {own.modality: [] if own.modality in modalities else [pytest.mark.slow] for own in OWN}
    return [pytest.param(own, marks=marks[own.modality], id=own.modality) for own in OWN]
