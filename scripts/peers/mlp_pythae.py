"""pythae's trainer with the networks, the data and the loss of `mlp_loop`; pythae 0.1.2 has an environment of its own.

.venv/peers/bin/python scripts/peers/mlp_pythae.py MNIST_FOLDER --epochs 3
"""

import json
import tempfile
import time
from typing import Any

import torch
from mlp_loop import BATCH, arguments, loss_of, networks, trained_on
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import ProgressBarCallback, TrainingCallback


class Conditional(VAE):
    """A CVAE: pythae has none."""

    def __init__(self) -> None:
        super().__init__(VAEConfig(input_dim=(784,), latent_dim=20))
        self.encoder = self.decoder = torch.nn.Identity()  # those of pythae, of other sizes
        self.networks = networks()

    def forward(self, inputs: Any, **kwargs: Any) -> ModelOutput:
        """The loss of a batch, binarised anew."""
        return ModelOutput(loss=loss_of(self.networks, torch.bernoulli(inputs["data"]), inputs["labels"].long()))


class Clock(TrainingCallback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_step_begin(self, *given: Any, **kwargs: Any) -> None:
        """Before the first batch of an epoch."""
        self.begun = time.perf_counter()

    def on_epoch_end(self, *given: Any, **kwargs: Any) -> None:
        """After the last one."""
        self.seconds.append(time.perf_counter() - self.begun)


def main() -> None:
    """Trains, and prints the rates."""
    given = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    x, y = trained_on(given)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder, num_epochs=given.epochs, per_device_train_batch_size=BATCH, learning_rate=1e-3,
            optimizer_cls="Adam", no_cuda=True,
        )  # fmt: skip
        data = BaseDataset(x, y)
        BaseTrainer(Conditional(), data, None, settings, [ProgressBarCallback(), clock]).train()
    print(json.dumps([len(x) / seconds for seconds in clock.seconds[1:]]))


if __name__ == "__main__":
    main()
