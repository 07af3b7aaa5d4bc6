"""How long the data of a configuration take to be ready, and how fast its batches come.

    python -m common.benchmark.preparation configs/image/digits.yaml [--cold | --batches | --torch-batches]

Prints a list of one number, as JSON: how often the data could be made ready in a second, or the examples per second.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from common.batch import Batch
from common.data.datamodule import ConditionalDataModule
from common.data.from_config import data_from_configuration


def ready(configuration: Path) -> float:
    """How often the data could be read in a second: from their files to tensors with conditions and splits."""
    begun = time.perf_counter()
    data = data_from_configuration(configuration)
    data.examples, data.attributes  # noqa: B018 (read when they are first used)
    return 1 / (time.perf_counter() - begun)


def in_batches(batches: Iterable[Any]) -> float:
    """Examples a second of a pass over batches: the suite's, or lists of tensors."""
    begun, examples = time.perf_counter(), 0
    for batch in batches:
        examples += len(batch) if isinstance(batch, Batch) else len(batch[0])
    return examples / (time.perf_counter() - begun)


def usual_loader(data: ConditionalDataModule) -> DataLoader[Any]:
    """torch's loader of the training examples and their conditions."""
    whole = data.examples.batch(data.examples.splits["train"])
    tensors = TensorDataset(whole.x, *whole.condition.values())
    return DataLoader(tensors, data.batch_size, shuffle=True, drop_last=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="configuration of a training")
    parser.add_argument("--cold", action="store_true", help="with an empty cache")
    parser.add_argument("--batches", action="store_true", help="times the suite's training batches in place")
    parser.add_argument("--torch-batches", action="store_true", help="times those of torch's DataLoader")
    given = parser.parse_args()
    torch.manual_seed(0)
    if given.batches or given.torch_batches:
        data = data_from_configuration(given.config)
        loader: Any = usual_loader(data) if given.torch_batches else data.loader("train", shuffle=True)
        in_batches(loader)
        print(json.dumps([in_batches(loader)]))
    elif given.cold:
        with tempfile.TemporaryDirectory(prefix="cache-") as folder:
            os.environ["SUITE_CACHE"] = folder
            print(json.dumps([ready(given.config)]))
    else:
        ready(given.config)
        print(json.dumps([ready(given.config)]))


if __name__ == "__main__":
    main()
