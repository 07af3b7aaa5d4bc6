"""A model in a plain Trainer: batches of (x, y), Lightning's finder of the learning rate."""

import logging

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from common.batch import as_batch
from common.conditions.attributes import Categorical
from common.objectives.schedules import WarmupCosine
from common.training.evaluator import Evaluator
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP

DIGIT = {"digit": Categorical(["0", "1"])}


def trainer(folder, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "devices": 1}
    return pl.Trainer(default_root_dir=folder, accelerator="cpu", max_epochs=2, **quiet, **options)


@pytest.fixture
def loader():
    label = torch.arange(200) % 2
    x = (torch.rand(200, 1, 8, 8) < 0.1 + 0.8 * label.view(-1, 1, 1, 1)).float()
    return DataLoader(TensorDataset(x, label), batch_size=20)


def model(**options):
    return ImageCVAE(AttributeEncoder(DIGIT), (1, 8, 8), 2, MLP([16]), **options)


def test_pairs_train_and_what_is_left_out_is_said(loader, tmp_path, caplog):
    plain, cvae = trainer(tmp_path, enable_checkpointing=False), model()
    with caplog.at_level(logging.INFO):
        plain.fit(cvae, loader, loader)
    assert "need one (docs/own-data.md)" in caplog.text
    plain.test(cvae, loader, verbose=False)
    found = Evaluator.of(plain)
    assert found.failed == {}
    assert 0 < found.results["test/nll"].value < 45  # 64 pixels of .69 nats at first
    assert found.results["test/nll"].n == 200


def test_batches_of_a_plain_loader_are_understood():
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    assert as_batch((x, y), ["digit"]).condition["digit"].tolist() == [0, 1, 1]
    assert as_batch([x, torch.stack([y, y + 1], 1)], ["a", "b"]).condition["b"].tolist() == [1, 2, 2]
    assert as_batch((x, {"a": y}), ["a", "b"]).condition.keys() == {"a"}
    assert as_batch(x, []).condition == {}
    with pytest.raises(ValueError, match="conditions are a, b; a batch of the DataLoader has 1"):
        as_batch((x, y), ["a", "b"])
    with pytest.raises(TypeError, match="got str"):
        as_batch("x", [])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.rand(8, 8, 8), torch.zeros(8), r"has the shape \[8, 8\], the model's \[1, 8, 8\]"),
        (torch.rand(8, 1, 12, 12), torch.zeros(8), r"has the shape \[1, 12, 12\], the model's \[1, 8, 8\]"),
        (torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.zeros(8), "x has whole numbers from 0 to 255"),
        (torch.rand(8, 1, 8, 8), torch.full((8,), 2), "condition digit: 2 is no position"),
    ],
)
def test_what_a_plain_loader_gives_in_vain_is_named(tmp_path, x, y, message):
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, enable_checkpointing=False).fit(model(), DataLoader(TensorDataset(x, y), batch_size=4))


def test_a_condition_that_the_model_does_not_know_is_refused():
    with pytest.raises(ValueError, match="the model's conditions are digit; a batch of the DataLoader has form"):
        as_batch((torch.rand(3, 2), {"form": torch.zeros(3)}), ["digit"])


def test_the_rate_that_the_finder_sets_is_the_one_that_the_schedule_starts_from(loader, tmp_path):
    cvae = model(scheduler=WarmupCosine, optimizer=torch.optim.SGD)
    cvae.lr = 0.25
    plain = trainer(tmp_path, enable_checkpointing=False)
    plain.fit(cvae, loader, loader)
    (config,) = plain.lr_scheduler_configs
    assert config.scheduler.base_lrs == [0.25]
    cvae.lr = 0.125
    assert config.scheduler.base_lrs == [0.125]
