"""Generates with a checkpoint: samples under a condition, reconstructions, interpolations, transfers."""

import argparse
import sys
from pathlib import Path

import torch

from common.batch import Batch
from common.conditions import Fields
from common.module import ConditionalELBO

EPILOG = """examples:
  generate.py --ckpt best.ckpt --condition digit=5 --num 16 --out samples.png
  generate.py --ckpt best.ckpt --condition gender=female age=30 --num 8 --out faces.npz --guidance 1.5
  generate.py reconstruct --ckpt best.ckpt --in a.png b.png --condition digit=5 --out reconstructions.png
  generate.py transfer --ckpt best.ckpt --in face.jpg --source gender=male --condition gender=female --out other.png
  generate.py interpolate --ckpt best.ckpt --in a.png b.png --num 10 --out path.png
A condition that is not given is left open, if the model was trained with condition dropout."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "verb", nargs="?", default="sample", choices=["sample", "reconstruct", "interpolate", "transfer"],
        help="what to do (default: sample)",
    )  # fmt: skip
    result.add_argument("--ckpt", type=Path, required=True, help="checkpoint of a run, checkpoints/best.ckpt")
    result.add_argument("--condition", nargs="+", default=[], metavar="NAME=VALUE", help="what to generate")
    result.add_argument("--source", nargs="+", default=[], metavar="NAME=VALUE", help="condition of the input files")
    result.add_argument("--in", dest="inputs", nargs="+", type=Path, default=[], metavar="FILE", help="input files")
    result.add_argument("--num", type=int, default=16, help="samples, or steps of an interpolation (default: 16)")
    result.add_argument("--out", type=Path, required=True, help="file to write; its suffix chooses the format")
    result.add_argument("--temperature", type=float, default=1.0, help="scale of the latent's noise (default: 1)")
    result.add_argument("--guidance", type=float, default=1.0, help="above 1 exaggerates the condition (default: 1)")
    result.add_argument("--draw", action="store_true", help="draw from the likelihood instead of taking its mean")
    result.add_argument("--seed", type=int, default=0, help="seed of all noise (default: 0)")
    return result


def fields(model: ConditionalELBO, pairs: list[str]) -> Fields:
    """Raw fields from `name=value` texts."""
    texts = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"a condition is written name=value; got {pair!r}")
        texts[name] = value
    return model.condition.parse(texts)


def read(model: ConditionalELBO, paths: list[Path], condition: Fields) -> Batch:
    """The input files as a batch under one condition."""
    x = torch.cat([model.read(path) for path in paths])
    return Batch(x, {name: field.expand(len(x)) for name, field in condition.items()})


def generate(arguments: argparse.Namespace) -> None:
    """Does what the command line asks for.

    Raises:
        ValueError: for a condition or a file that does not fit; the message says what would.
    """
    torch.manual_seed(arguments.seed)
    model = ConditionalELBO.load_from_checkpoint(arguments.ckpt)
    condition = fields(model, arguments.condition)
    look = {"guidance": arguments.guidance, "draw": arguments.draw}
    if arguments.verb == "sample":
        x = model.sample(condition, arguments.num, arguments.temperature, **look)[:, 0]
    else:
        needed = 2 if arguments.verb == "interpolate" else 1
        if len(arguments.inputs) < needed:
            raise ValueError(f"{arguments.verb} needs --in with {needed} file(s) or more")
        source = fields(model, arguments.source) if arguments.source else condition
        batch = read(model, arguments.inputs, source)
        if arguments.verb == "reconstruct":
            x = model.reconstruct(batch, **look)
        elif arguments.verb == "transfer":
            if not arguments.source or not condition:
                raise ValueError("transfer needs --source (what the input is) and --condition (what it becomes)")
            x = model.transfer(batch, condition, **look)
        else:
            first, last = batch[slice(0, 1)], batch[slice(len(batch) - 1, len(batch))]
            x = model.interpolate(first, last, arguments.num)[:, 0]
    model.write(x, arguments.out)
    print(f"{len(x)} written to {arguments.out}")


if __name__ == "__main__":
    try:
        generate(parser().parse_args())
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"generate.py: {error}")
