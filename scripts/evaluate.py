"""Evaluates a checkpoint on the data of its run."""

import argparse
import sys
from pathlib import Path

import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule
from tqdm import tqdm

from common import estimators
from common.data import ConditionalDataModule
from common.inference import in_evaluation
from common.module import ConditionalELBO
from common.results import Measurement

EPILOG = "example: evaluate.py nll --ckpt runs/image/digits/ID/checkpoints/best.ckpt --num-samples 1000 --limit 500"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EPILOG)
    commands = result.add_subparsers(dest="command", required=True)
    nll = commands.add_parser("nll", help="negative log-likelihood by importance sampling", epilog=EPILOG)
    nll.add_argument("--ckpt", type=Path, required=True, help="checkpoint inside of its run folder")
    nll.add_argument("--config", type=Path, help="config.yaml with the data (default: that of the run folder)")
    nll.add_argument("--num-samples", type=int, default=1000, help="importance samples (default: 1000)")
    nll.add_argument("--split", default="test", choices=["train", "val", "test"], help="(default: test)")
    nll.add_argument("--limit", type=int, help="only the first so many examples")
    nll.add_argument("--seed", type=int, default=0, help="seed of all noise (default: 0)")
    nll.add_argument("--device", default="cpu", help="cpu, cuda ... (default: cpu)")
    return result


def run_data(checkpoint: Path, config: Path | None) -> ConditionalDataModule:
    """The DataModule of a run.

    Raises:
        FileNotFoundError: if the run has no config.yaml.
    """
    config = config or checkpoint.resolve().parent.parent / "config.yaml"
    if not config.exists():
        raise FileNotFoundError(f"{config} does not exist: name the run's configuration with --config")
    data_parser = ArgumentParser(exit_on_error=False)
    data_parser.add_subclass_arguments(LightningDataModule, "data")
    data = yaml.safe_load(config.read_text())["data"]
    return data_parser.instantiate_classes(data_parser.parse_object({"data": data})).data  # type: ignore[no-any-return]


def nll(arguments: argparse.Namespace) -> None:
    """Prints the negative log-likelihood with its error and effective sample size."""
    data = run_data(arguments.ckpt, arguments.config)
    model = ConditionalELBO.load_from_checkpoint(arguments.ckpt, map_location=arguments.device)
    values, sizes, seen = [], [], 0
    with in_evaluation(model):
        for batch in tqdm(data.loader(arguments.split), desc=f"NLL, {arguments.num_samples} samples", unit="batch"):
            if arguments.limit is not None:
                batch = batch[slice(0, arguments.limit - seen)]
            if len(batch) == 0:
                break
            seen += len(batch)
            batch = data.transform(batch.to(arguments.device), training=False)
            estimate = estimators.log_likelihood(model, batch, arguments.num_samples, arguments.seed)
            values.append(-estimate.log_likelihood.cpu())
            sizes.append(estimate.effective_sample_size.cpu())
    figure = Measurement.mean(torch.cat(values), "nats", f"importance sampling, {arguments.num_samples} samples")
    print(
        f"{arguments.split} NLL {figure.value:.3f} ± {figure.stderr or 0:.3f} nats on {figure.n} examples "
        f"({figure.estimator}; mean effective sample size {torch.cat(sizes).mean():.1f})"
    )


if __name__ == "__main__":
    try:
        nll(parser().parse_args())
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"evaluate.py: {error}")
