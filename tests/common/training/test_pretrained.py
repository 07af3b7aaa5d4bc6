"""Folders to share a model: round trips, uploads, and folders that are damaged or hostile."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.training import ConditionalELBO
from common.training.restore import restore
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from tests.common.models import PointCVAE


@pytest.fixture
def folder(digits, tmp_path):
    model = ImageCVAE(AttributeEncoder(digits.attributes, dim=4), latent_dim=3, architecture=MLP([8])).eval()
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_is_loaded_as_its_class_by_its_base_too(folder, digits):
    batch = digits.batch("test", 4)
    first, second = ImageCVAE.from_pretrained(folder), ConditionalELBO.from_pretrained(str(folder))
    assert type(second) is ImageCVAE
    assert not second.training
    assert torch.equal(first.log_likelihood(batch, 5), second.log_likelihood(batch, 5))
    second.save_pretrained(folder.parent / "again")
    assert (folder.parent / "again/config.json").read_text() == (folder / "config.json").read_text()
    assert (folder.parent / "again/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="is a ImageCVAE, not a PointCVAE"):
        PointCVAE.from_pretrained(folder)


def test_a_model_is_uploaded_as_it_is_saved(folder, monkeypatch):
    from huggingface_hub import HfApi

    seen = {}

    def upload(self, *, repo_id, folder_path, **options):
        seen[repo_id] = {path.name: path.read_bytes() for path in map(folder.__class__, [folder_path]) for path in
                         path.iterdir()}  # fmt: skip

    class Made:
        repo_id = "me/digits"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, *arguments, **options: Made())
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    ConditionalELBO.from_pretrained(folder).push_to_hub("me/digits")
    assert seen["me/digits"].keys() == {"config.json", "model.safetensors", "README.md"}
    assert seen["me/digits"]["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def changed(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def cut(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def reshaped(folder):
    states = load_file(folder / "model.safetensors")
    name = next(iter(states))
    save_file({**states, name: torch.zeros(2, 7)}, folder / "model.safetensors")


FAULTS = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), FileNotFoundError, r"model has no config\.json and"),
    "half the weights": (lambda f: cut(f, "model.safetensors"), ValueError, r"model\.safetensors is damaged"),
    "half the configuration": (lambda f: cut(f, "config.json"), ValueError, r"config\.json is damaged"),
    "another program's": (lambda f: (f / "config.json").write_text("[1]"), ValueError, "is not of the suite"),
    "another version": (
        lambda f: changed(f, lambda c: c["cvae_suite"].update(suite_format=99)), ValueError, "has checkpoint format 99"
    ),
    "a stranger's class": (
        lambda f: changed(f, lambda c: c["cvae_suite"]["model"].update(class_path="antigravity.Model")),
        ImportError,
        "would run code",
    ),
    "a class of another kind": (
        lambda f: changed(f, lambda c: c["cvae_suite"]["model"].update(class_path="common.batch.Batch")),
        TypeError,
        "not a Configurable",
    ),
    "other shapes": (reshaped, ValueError, "are not those of its model"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_is_not_whole_or_not_harmless_is_refused(folder, fault):
    damage, error, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(error, match=message):
        ConditionalELBO.from_pretrained(folder)
    with pytest.raises((error, ValueError)):
        restore(folder)
