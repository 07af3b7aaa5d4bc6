"""Whatever is given as a checkpoint, the error says what it is and what to give instead."""

import os
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

from common.training.checkpoint_file import checkpoint_file


def save(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"weight": torch.randn(200, 200)}, **content}, path)
    return path


@pytest.fixture
def run(tmp_path):
    """A run folder with its best and its last checkpoint, the last being the newer one."""
    folder = tmp_path / "run"
    for age, name in ((1, "last"), (2, "best")):
        path = save(folder / "checkpoints" / f"{name}.ckpt", suite_format=2)
        os.utime(path, (1e9 - age, 1e9 - age))
    return folder


def refusal(path, error=ValueError):
    with pytest.raises(error) as caught:
        checkpoint_file(path)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_checkpoint_of_the_suite_is_accepted(run):
    path = run / "checkpoints" / "last.ckpt"
    assert checkpoint_file(path) == path


def test_a_checkpoint_that_the_rest_of_the_suite_reads_is_accepted(tmp_path):
    from common.training.checkpoint import description
    from tests.common.models import PointCVAE

    model = PointCVAE(latent_dim=2)
    path = save(tmp_path / "point.ckpt", **description(model))
    assert checkpoint_file(path) == path


def test_a_run_folder_and_its_folder_of_checkpoints_name_the_best_one(run, tmp_path):
    best = run / "checkpoints" / "best.ckpt"
    assert refusal(run) == f"{run} is a folder, not a checkpoint; give {best}"
    assert refusal(run / "checkpoints").endswith(f"give {best}")
    assert refusal(tmp_path).endswith(f"give {best}")


def test_a_missing_file_names_the_best_one_beside_it_or_where_there_would_be_one(run, tmp_path):
    missing = run / "checkpoints" / "bset.ckpt"
    best = run / "checkpoints" / "best.ckpt"
    assert refusal(missing, FileNotFoundError) == f"there is no checkpoint {missing}; give {best}"
    assert refusal(run / "best.ckpt", FileNotFoundError).endswith(f"give {best}")
    assert "writes checkpoints/best.ckpt" in refusal(tmp_path / "nowhere" / "best.ckpt", FileNotFoundError)


def test_other_files_of_a_run_are_called_what_they_are_and_name_its_best_one(run):
    kinds = {"results.json": ('{"run": {}}', "JSON"), "metrics.csv": ("step,loss\n", "CSV"), "log": ("hello", "text")}
    for name, (content, kind) in kinds.items():
        (run / name).write_text(content)
        assert re.search(f"{name} is an? {kind}.*; give .*best.ckpt$", refusal(run / name))


@pytest.mark.parametrize(
    ("name", "write", "kind"),
    [
        ("a.png", lambda path: Image.new("L", (4, 4)).save(path), "a PNG image"),
        ("a.npz", lambda path: np.savez(path, x=np.zeros(3)), "a NumPy archive"),
        ("a.npy", lambda path: np.save(path, np.zeros(3)), "a NumPy array"),
        ("a.pkl", lambda path: path.write_bytes(pickle.dumps({"suite_format": 2})), "a pickle of another program"),
        ("a.bin", lambda path: path.write_bytes(bytes(100)), "a file of an unknown kind"),
        ("a.ckpt", lambda path: path.touch(), "empty"),
        ("b.ckpt", lambda path: save(path, epoch=3), "a PyTorch file of another program"),
    ],
)
def test_files_of_other_programs_are_named(tmp_path, name, write, kind):
    write(tmp_path / name)
    assert f"{name} is {kind}, not a checkpoint" in refusal(tmp_path / name)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_damaged_and_names_a_whole_one(run, share):
    best = run / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[: int(share * best.stat().st_size)])
    assert re.search(r"best.ckpt is damaged.*bytes\); give .*last.ckpt$", refusal(best))


def test_a_wrong_file_is_never_advised(tmp_path):
    (tmp_path / "notes.ckpt").write_text("to do")
    save(tmp_path / "other.ckpt", epoch=3)
    assert "give" not in refusal(tmp_path)
