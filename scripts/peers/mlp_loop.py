"""A hand-written loop: the MLP CVAE 784-500-500-20 on MNIST, dynamically binarised. It knows nothing of the suite.

    python scripts/peers/mlp_loop.py MNIST_FOLDER --epochs 3 [--compile] [--fused]

Prints the examples per second of each epoch but the first, as JSON. The peers of this folder share its data and sizes.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

PIXELS, HIDDEN, LATENT, EMBEDDED, BATCH = 784, 500, 20, 64, 128
TRAINED = 55_000  # images: those of the suite's `MNIST`, which keeps 5,000 for validation


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The command line that all peers have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of the MNIST files")
    parser.add_argument("--epochs", type=int, default=3, help="the first is not counted (default: 3)")
    parser.add_argument("--batches", type=int, help="batches of an epoch (default: all)")
    return parser


def read(root: Path, name: str) -> np.ndarray:
    """The bytes of a file of MNIST, packed or not."""
    path = next(iter(sorted(root.rglob(f"{name}-ubyte*"))))
    return np.frombuffer(gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes(), np.uint8)


def mnist(root: Path) -> tuple[Tensor, Tensor]:
    """Grey values in [0, 1], [N, 784], and digits [N]."""
    images, labels = read(root, "train-images-idx3"), read(root, "train-labels-idx1")
    x = torch.from_numpy(images[16:].reshape(-1, PIXELS)[:TRAINED].copy()).float() / 255
    return x, torch.from_numpy(labels[8:][:TRAINED].copy()).long()


def trained_on(given: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """The images and digits of an epoch of whole batches."""
    x, y = mnist(given.root)
    count = BATCH * min(len(x) // BATCH, given.batches or len(x))
    return x[:count], y[:count]


def networks() -> nn.ModuleList:
    """Embedding of the digit, whose first row stands for none, encoder and decoder."""
    embedding = nn.Sequential(
        nn.Embedding(11, EMBEDDED), nn.Linear(EMBEDDED, EMBEDDED), nn.SiLU(), nn.Linear(EMBEDDED, EMBEDDED)
    )
    encoder = nn.Sequential(
        nn.Linear(PIXELS + EMBEDDED, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(),
        nn.Linear(HIDDEN, 2 * LATENT),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(LATENT + EMBEDDED, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(),
        nn.Linear(HIDDEN, PIXELS),
    )  # fmt: skip
    return nn.ModuleList([embedding, encoder, decoder])


def loss_of(model: nn.ModuleList, x: Tensor, y: Tensor, noise: Tensor | None = None) -> Tensor:
    """The negative ELBO in nats; the noise of z is drawn where it is not given."""
    embedding, encoder, decoder = model
    c = embedding(y + 1)
    mean, log_scale = encoder(torch.cat([x, c], -1)).chunk(2, -1)
    z = mean + log_scale.exp() * (torch.randn_like(mean) if noise is None else noise)
    logits = decoder(torch.cat([z, c], -1))
    reconstruction = binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return reconstruction + (0.5 * (mean**2 + (2 * log_scale).exp() - 1) - log_scale).sum(-1).mean()


def checked(file: Path) -> list[float]:
    """The losses of the steps that a file records: with its first weights, its images, digits and noise."""
    record, model = torch.load(file, weights_only=True), networks()
    with torch.no_grad():
        for weight, value in zip(model.parameters(), record["weights"], strict=True):
            weight.copy_(value)
    optimizer, losses = torch.optim.Adam(model.parameters(), 1e-3), []
    for x, y, noise in record["inputs"]:
        value = loss_of(model, x.flatten(1), y, noise)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def main() -> None:
    """Trains, and prints the rates."""
    parser = arguments(__doc__)
    parser.add_argument("--check", type=Path, metavar="FILE", help="prints the losses of the steps that FILE records")
    parser.add_argument("--compile", action="store_true", help="compiles the loss")
    parser.add_argument("--fused", action="store_true", help="the optimiser in one kernel")
    given = parser.parse_args()
    if given.check is not None:
        print(json.dumps(checked(given.check)))
        return
    torch.manual_seed(0)
    (x, y), model = trained_on(given), networks()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=given.fused)
    loss = torch.compile(loss_of) if given.compile else loss_of
    rates = []
    for _ in range(given.epochs):
        rows = torch.randperm(len(x)).split(BATCH)
        begun = time.perf_counter()
        for row in rows:
            value = loss(model, torch.bernoulli(x[row]), y[row])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        rates.append(len(x) / (time.perf_counter() - begun))
    print(json.dumps(rates[1:]))


if __name__ == "__main__":
    main()
