"""A run of each modality: what W&B has stored of it is read back, and its model is shared."""

import json
import math
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from common.evaluation.media_files import read_media
from common.results import Results
from common.training.restore import restore
from scripts.generate import main as generate
from scripts.share import main as share
from tests.conftest import ROOT
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs

TYPES = {"picture": "image-file", "table": "table-file", "sound": "audio-file"}
TRACKED = ["--run.test", "true", "--samples.every_n_epochs", "1", "--samples.max_share", "1",
           "--model.evaluation.num_samples", "5", "--model.evaluation.judge_steps", "5"]  # fmt: skip


def inspect(folder, *options):
    """What W&B itself reads from its log of one command, as JSON."""
    wandb = Path(sys.executable).with_name("wandb")
    (log,) = folder.glob("*.wandb")
    command = [wandb, "leet", "inspect", *options, "--json", log]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read(folder):
    """The records of a log."""
    return [json.loads(line) for line in inspect(folder).splitlines()]


LONG = [pytest.mark.extras, pytest.mark.slow]  # `make test` has images, `make test-extras` the others
OF_ALL = [pytest.param(own, marks=[] if own.modality == "image" else LONG, id=own.modality) for own in OWN]


@pytest.fixture(scope="module", params=OF_ALL)
def tracked(request, tmp_path_factory):
    """The folder of a run that was trained and tested, and tested again."""
    import wandb

    wandb.teardown()  # a service that an earlier test has left
    os.environ.pop("WANDB_SERVICE", None)
    runs = Runs(request.param, tmp_path_factory.mktemp(request.param.modality), *TRACKED)
    folder = runs.fit("one", "--wandb.mode", "offline", "--run.title", "small things")
    runs.main(["test", "--config", str(folder / "config.yaml"), "--ckpt_path", str(folder / "checkpoints/best.ckpt")])
    return folder


@pytest.fixture(scope="module")
def first(tracked):
    """The records of the training."""
    return read(min(tracked.glob("wandb/offline-run-*")))


def rows(kept):
    return [record["history"]["item"] for record in kept if record["type"] == "history"]


def test_every_scalar_of_the_file_is_in_the_log_at_its_step(tracked, first):
    logged = defaultdict(list)
    for row in rows(first):
        for name, value in row.items():
            logged[row["trainer/global_step"], name].append(value)
    table = pd.read_csv(tracked / "metrics.csv")
    table = table[: len(table) - 1]  # the last row is that of the second test
    known = [(int(row.step), name, row[name]) for _, row in table.iterrows() for name in table if name != "step"]
    known = [(step, name, value) for step, name, value in known if not math.isnan(value)]
    assert len(known) > 40
    for step, name, value in known:
        assert any(math.isclose(value, other, rel_tol=1e-6) for other in logged[step, name]), (step, name)


def test_a_key_has_one_type_and_every_medium_is_logged_with_its_caption(tracked, first):
    types, captions = defaultdict(set), defaultdict(set)
    for row in rows(first):
        for name, value in row.items():
            key, _, part = name.rpartition(".")
            if part == "_type":
                types[key].add(value)
            elif part == "caption":
                captions[key].add(value)
    media = read_media(tracked / "samples")
    assert {file.when for file in media} == {"epoch-0001", "epoch-0002", "epoch-0003", "test"}
    assert types == {file.key: {TYPES[file.kind]} for file in media}
    for file in media:
        if file.kind != "table":
            assert f"{file.when}: {file.caption}" in captions[file.key]


def test_the_summary_says_all_of_the_result(tracked):
    results = Results.read(tracked / "results.json")
    summaries = [
        json.loads(inspect(log, "--summary"))["summary"] for log in sorted(tracked.glob("wandb/offline-run-*"))
    ]
    assert len(summaries) == 2
    elbo = pd.read_csv(tracked / "metrics.csv")["val/elbo"].dropna()
    assert summaries[0]["val/elbo"] == pytest.approx({"last": elbo.iloc[-1], "max": elbo.max()}, rel=1e-6)
    for summary in summaries:
        for name, figure in results.metrics.items():
            if figure.unit != "s":
                assert summary[name] == pytest.approx(figure.value, rel=1e-6), name
            assert summary[f"{name}/n"] == figure.n
            assert (f"{name}/stderr" in summary) == (figure.stderr is not None)
        for name in ("config_hash", "parameters", "data_fingerprint", "seed", "checkpoint"):
            assert summary[f"run/{name}"] == getattr(results.run, name)
        assert "run/seconds" in summary


def test_the_test_stands_at_the_step_of_its_weights(tracked, first):
    best = {row["trainer/global_step"]: row["val/elbo"] for row in rows(first) if "val/elbo" in row}
    (step,) = {row["trainer/global_step"] for row in rows(first) if "test/elbo" in row}
    assert step == max(best, key=best.get)
    table = pd.read_csv(tracked / "metrics.csv")
    assert table[table["test/elbo"].notna()].step.tolist() == [step, step]


def test_a_run_is_called_as_a_person_would_and_is_one_with_its_later_test(tracked, first):
    logs = sorted(tracked.glob("wandb/offline-run-*"))
    found = [next(record["run"] for record in read(log) if record["type"] == "run") for log in logs]
    modality, name = tracked.parts[-3:-1]
    assert {run["display_name"] for run in found} == {"small things, seed 0"}
    assert {run["run_id"] for run in found} == {"one"}
    assert {(run["job_type"], run["run_group"], run["project"]) for run in found} == {
        (modality, f"{modality}/{name}", "cvae-suite")
    }
    links = tracked.parents[2] / "wandb"
    assert {link.name for link in links.iterdir()} == {log.name for log in logs}
    assert all(link.is_symlink() and (link / "files").is_dir() for link in links.iterdir())


def test_what_wandb_will_upload_lies_in_the_run_folder(tracked, first):
    assert "WANDB_DATA_DIR" not in os.environ
    staged = [record["artifact"] for record in first if record["type"] == "artifact"]
    for artifact in staged:
        for entry in artifact["manifest"].get("contents", []):
            if "local_path" in entry:
                assert Path(entry["local_path"]).is_relative_to(tracked), entry
    tables = {file.name for file in read_media(tracked / "samples") if file.kind == "table"}
    assert len(list(tracked.glob("wandb/*/files/media/table/**/*.json"))) >= 4 * len(tables)


@pytest.fixture(scope="module")
def shared(tracked, tmp_path_factory):
    """A folder to share the run's model, written by the script."""
    folder = tmp_path_factory.mktemp("shared") / "model"
    command = ["--ckpt", tracked / "checkpoints/best.ckpt", "--out", folder, "--license", "mit", "--name", "Own"]
    assert share([str(word) for word in command]) == 0
    return folder


LOAD = """
import sys, torch
from common.training import ConditionalELBO

model = ConditionalELBO.from_pretrained(sys.argv[1])
torch.manual_seed(0)
given = torch.load(sys.argv[2], weights_only=False)
torch.save([model.sample(given.condition, 2), model.reconstruct(given), model.log_likelihood(given, 5)], sys.argv[3])
"""


def test_a_shared_model_gives_what_the_checkpoint_gives_with_nothing_else_at_hand(tracked, shared, tmp_path):
    restored = restore(tracked / "checkpoints" / "best.ckpt")
    batch = restored.data().batch("test", 6)
    torch.save(batch, tmp_path / "batch.pt")
    command = [sys.executable, "-c", LOAD, shared, tmp_path / "batch.pt", tmp_path / "out.pt"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    torch.manual_seed(0)
    model = restored.model
    expected = [model.sample(batch.condition, 2), model.reconstruct(batch), model.log_likelihood(batch, 5)]
    for own, other in zip(expected, torch.load(tmp_path / "out.pt"), strict=True):
        assert torch.equal(own, other)


def test_a_shared_folder_has_no_pickle_and_says_the_figures_of_the_run(tracked, shared):
    files = [file for file in shared.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".md", ".png"}
    assert all(file.read_bytes()[:2] not in (b"PK", b"\x80\x04", b"\x80\x02") for file in files)
    card = (shared / "README.md").read_text()
    results = Results.read(tracked / "results.json")
    assert all(f"| {name} | {figure.value:.4g} |" in card for name, figure in results.metrics.items())
    head = yaml.safe_load(card.split("---")[1])
    assert (head["license"], head["library_name"]) == ("mit", "cvae-suite")
    assert all((shared / file).is_file() for file in re.findall(r"\]\((samples/[^)]*)\)", card))


def test_a_shared_folder_stands_for_a_checkpoint(tracked, shared, tmp_path):
    suffix = restore(shared).files.suffix
    written = []
    for number, place in enumerate((tracked / "checkpoints" / "best.ckpt", shared)):
        out = tmp_path / f"{number}{suffix}"
        assert generate(["--ckpt", str(place), "--num", "2", "--seed", "3", "--out", str(out)]) == 0
        written.append(sorted(out.rglob("*")) if out.is_dir() else [out])
    assert [one.read_bytes() for one in written[0]] == [other.read_bytes() for other in written[1]]
