"""Golden losses: short runs on one CPU thread through the real command lines, and the losses that they have to give.

`make golden` renews the file after a change that is meant to move them; its commit says what moved and why.
"""

import csv
import importlib
import json
import os
import tempfile
from pathlib import Path

import pandas as pd
import torch

from modalities.text.data.corpus import bible

LOSSES = Path(__file__).parent / "losses.json"
STEPS = 20
VERSES = 300
TEXT = "--model.architecture.init_args.width 32 --model.language_model_steps 8"
BIBLE = "--data modalities.text.data.TextFiles --data.init_args.root {verses} --data.init_args.group verse"
BIBLE += " --data.init_args.vocabulary 600 --data.init_args.batch_tokens 512"

# name -> training script, configurations, further options; {verses} is a file of some verses in three versions.
CASES: dict[str, tuple[str, list[str], str]] = {
    "image": ("train_image", ["image/digits"], "--model.architecture.init_args.width 64"),
    "image-completion": (
        "train_image",
        ["image/quadrants"],
        "--data.init_args.data modalities.image.data.Digits --data.init_args.data.init_args.binarize dynamic "
        "--data.init_args.data.init_args.batch_size 32 --model.architecture.init_args.width 64",
    ),
    "text": ("train_text", ["text/bible"], f"{BIBLE} {TEXT}"),
    "text-rewriting": (
        "train_text",
        ["text/bible", "text/bible_rewriting"],
        f"{BIBLE} --data.init_args.pairs views --data.init_args.hide 4 {TEXT}",
    ),
    "text-translation": (
        "train_text",
        ["text/bible", "text/bible_translation"],
        f"{BIBLE} --data.init_args.pairs sources {TEXT} --model.condition.init_args.source.init_args.width 32",
    ),
    "audio": (
        "train_audio",
        ["audio/tunes"],
        "--data.init_args.limit 240 --data.init_args.clips 2 --data.init_args.batch_size 16 "
        "--model.architecture.width 32 --model.prior.init_args.width 32"
        " --model.invariance common.objectives.invariance.Adversary",
    ),
    "tabular": ("train_tabular", ["tabular/breast_cancer"], ""),
    "tabular-miwae": ("train_tabular", ["tabular/wine", "tabular/miwae"], ""),
}


def losses(name: str, folder: Path, *options: str) -> list[float]:
    """The training losses of a case, step by step, and at the end its validation ELBO.

    Args:
        name: of the case.
        folder: an empty one, for the run and its data.
        options: further words of the command line.
    """
    script, configs, words = CASES[name]
    command = ["fit", *(word for config in configs for word in ("--config", f"configs/{config}.yaml"))]
    command += words.replace("{verses}", str(_verses(folder / "verses.csv"))).split()
    command += ["--trainer.max_epochs", "-1", "--trainer.max_steps", str(STEPS), "--trainer.log_every_n_steps", "1"]
    command += ["--trainer.val_check_interval", str(STEPS), "--trainer.check_val_every_n_epoch", "null"]
    command += ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.num_sanity_val_steps", "0"]
    command += ["--trainer.enable_progress_bar", "false", "--wandb.mode", "disabled", "--run.test", "false"]
    command += ["--run.root", str(folder), "--run.id", "golden", *options]
    threads = torch.get_num_threads()
    os.environ.pop("CVAE_SUITE_RUN_ID", None)
    try:
        torch.set_num_threads(1)
        importlib.import_module(f"scripts.{script}").main(command)
    finally:
        torch.set_num_threads(threads)
    (metrics,) = folder.rglob("metrics.csv")
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {name: [float(row[name]) for row in rows if row.get(name)] for name in ("train/loss", "val/elbo")}
    return [*found["train/loss"], *found["val/elbo"][-1:]]


def _verses(path: Path) -> Path:
    whole = bible()
    rows = slice(0, 3 * VERSES)
    table = pd.DataFrame({"text": whole.texts[rows], "style": whole.conditions["style"][rows]})
    table.assign(verse=whole.groups[rows]).to_csv(path, index=False)
    return path


def main() -> None:
    """Renews the file of expected losses."""
    found = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = losses(name, Path(folder))
        print(f"{name}: {found[name][0]:.6g} ... {found[name][-2]:.6g}, validation ELBO {found[name][-1]:.6g}")
    LOSSES.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
