"""Looking at a training does not change it."""

import logging

import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from common.conditions.attributes import Categorical
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.splits import random_split
from common.evaluation.media import Media
from common.evaluation.report import Report
from common.training.sample_logger import SampleLogger
from tests.common.models import PointCVAE


class Points(ConditionalDataModule):
    def load(self):
        x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        kind = torch.arange(60) % 2
        return Examples(x, {"kind": kind}, {"kind": Categorical(("a", "b"))}, random_split(60, (0.2, 0.2), 0))


class Drawn(Report):
    """A picture of samples, which come from torch's generator."""

    def media(self, model, batch):
        pixels = model.sample({}, num_samples=4, draw=True)[:, 0].abs().clamp(0, 1).mul(255).byte().numpy()
        return Media({"samples": Image.fromarray(pixels)})


def trained(folder, every_n_epochs, max_share=1.0):
    """Weights after three epochs, and the pictures by epoch; None looks at nothing."""
    torch.manual_seed(0)
    model, data = PointCVAE(latent_dim=2), Points(batch_size=6)
    callbacks = []
    if every_n_epochs is not None:
        logger = SampleLogger(every_n_epochs, max_share=max_share)
        logger.folder, logger.report = folder / str(every_n_epochs), Drawn()
        callbacks.append(logger)
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=3, callbacks=callbacks, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, data)
    pictures = {path.stem for path in folder.glob(f"{every_n_epochs}/*.png")}
    return torch.cat([weight.detach().flatten() for weight in model.parameters()]), pictures


@pytest.mark.parametrize("every_n_epochs", [1, 2])
def test_a_training_that_is_looked_at_has_the_weights_of_one_that_is_not(tmp_path, every_n_epochs):
    plain, nothing = trained(tmp_path, None)
    looked_at, pictures = trained(tmp_path, every_n_epochs)
    epochs = range(every_n_epochs, 4, every_n_epochs)
    assert nothing == set()
    assert pictures == {f"epoch-{epoch:04d}-{name}" for epoch in epochs for name in ("samples", "latent-map-kind")}
    assert torch.equal(plain, looked_at)


def test_pictures_that_would_take_most_of_a_training_are_left_out(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        _, pictures = trained(tmp_path, 1, max_share=0.01)
    assert {name.rpartition("-samples")[0] for name in pictures if name.endswith("samples")} == {"epoch-0001"}
    assert caplog.text.count("no pictures of epoch 2, nor of others until they have taken less than 1%") == 1
    with pytest.raises(ValueError, match=r"samples\.max_share is a share of the time"):
        SampleLogger(max_share=20)
