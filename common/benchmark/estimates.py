"""How fast the likelihoods of a checkpoint's test data are estimated, by the suite or by a plain loop.

    python -m common.benchmark.estimates RUN/checkpoints/best.ckpt --examples 500 --samples 1000 [--plain]

Prints a list of one number, the examples per second, as JSON.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from common.batch import Batch
from common.eval_mode import eval_mode
from common.evaluation.bounds import log_likelihood
from common.model.latent_model import LatentModel
from common.training.restore import restore


@torch.no_grad()
def plain_log_likelihood(model: LatentModel, batch: Batch, samples: int) -> Tensor:
    """Importance-sampled log p(x | c), [B], example by example, as one would write it first."""
    found = []
    for row in range(len(batch)):
        weights = model.draws(batch[slice(row, row + 1)], samples).log_weights()
        found.append(torch.logsumexp(weights, 0) - math.log(samples))
    return torch.cat(found)


def rate(path: Path, examples: int, samples: int, plain: bool) -> float:
    """Examples a second, after two of them that are not counted."""
    restored = restore(path)
    model, batch = restored.model, restored.data().batch("test", examples)
    estimate = plain_log_likelihood if plain else log_likelihood
    with eval_mode(model):
        log_likelihood(model, batch[slice(0, 2)], 2)
        begun = time.perf_counter()
        estimate(model, batch, samples)
        return len(batch) / (time.perf_counter() - begun)


def products_a_second(size: int = 2048, repeats: int = 5) -> float:
    """Operations a second of torch's product of two large matrices, by the fastest of some."""
    a, b = torch.randn(2, size, size)
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 / min(seconds)


def arithmetic(path: Path, samples: int) -> dict[str, float]:
    """Counted operations of the products of one example, and how many a second torch reaches with large matrices."""
    restored = restore(path)
    model, batch = restored.model, restored.data().batch("test", 10)
    with eval_mode(model):
        log_likelihood(model, batch[slice(0, 2)], 2)
        counter = FlopCounterMode(display=False)
        with counter:
            log_likelihood(model, batch, samples)
    return {"flops": counter.get_total_flops() / len(batch), "sgemm": products_a_second()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", type=Path, help="a checkpoint")
    parser.add_argument("--examples", type=int, default=500, help="of the test split (default: 500)")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples (default: 1000)")
    parser.add_argument("--plain", action="store_true", help="example by example")
    parser.add_argument("--arithmetic", action="store_true", help="counts operations in place")
    given = parser.parse_args()
    if given.arithmetic:
        print(json.dumps(arithmetic(given.ckpt, given.samples)))
    else:
        print(json.dumps([rate(given.ckpt, given.examples, given.samples, given.plain)]))


if __name__ == "__main__":
    main()
