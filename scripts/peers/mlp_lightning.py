"""A plain LightningModule with torch's DataLoader, and the networks, the data and the loss of `mlp_loop`.

python scripts/peers/mlp_lightning.py MNIST_FOLDER --epochs 3
"""

import json
import tempfile
import time
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from mlp_loop import BATCH, arguments, loss_of, networks, trained_on
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


class Module(LightningModule):
    """As a tutorial would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.networks = networks()
        self.seconds: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch, binarised anew."""
        x, y = batch
        loss = loss_of(self.networks, torch.bernoulli(x), y)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Adam."""
        return torch.optim.Adam(self.parameters(), 1e-3)

    def on_train_epoch_start(self) -> None:
        """Starts the clock."""
        self.begun = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Stops it."""
        self.seconds.append(time.perf_counter() - self.begun)


def main() -> None:
    """Trains, and prints the rates."""
    given = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    x, y = trained_on(given)
    module = Module()
    loader = DataLoader(TensorDataset(x, y), BATCH, shuffle=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(max_epochs=given.epochs, default_root_dir=folder, accelerator="cpu", devices=1)
        trainer.fit(module, loader)
    print(json.dumps([len(x) / seconds for seconds in module.seconds[1:]]))


if __name__ == "__main__":
    main()
