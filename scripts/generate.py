"""Generates with a checkpoint: samples under a condition, reconstructions, interpolations, transfers."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

from common.batch import Batch
from common.conditions.attributes import Fields
from common.model.inputs import condition_fields, read_batch
from common.training.module import ConditionalELBO

EPILOG = """examples:
  generate.py --ckpt best.ckpt --condition digit=5 --num 16 --out samples.png
  generate.py --ckpt best.ckpt --condition gender=female age=30 --num 8 --out faces.npz --guidance 1.5
  generate.py reconstruct --ckpt best.ckpt --in a.png b.png --condition digit=5 --out reconstructions.png
  generate.py transfer --ckpt best.ckpt --in face.jpg --source gender=male --condition gender=female --out other.png
  generate.py interpolate --ckpt best.ckpt --in a.png b.png --num 10 --out path.png
  generate.py --ckpt best.ckpt --condition style=kjv --num 20 --top-p 0.95 --out verses.txt
  generate.py transfer --ckpt best.ckpt --in mine.txt --source style=web --condition style=kjv --beams 4 --out -
  generate.py --ckpt best.ckpt --condition genre=jig instrument=fiddle --num 8 --out clips/
  generate.py transfer --ckpt best.ckpt --in clip.wav --condition genre=reel --out new.wav
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
    result.add_argument("--source", nargs="+", default=[], metavar="NAME=VALUE",
                        help="condition of the input files; a model of sound recognises what is not given")  # fmt: skip
    result.add_argument("--in", dest="inputs", nargs="+", type=Path, default=[], metavar="FILE", help="input files")
    result.add_argument("--num", type=int, default=16, help="samples, or steps of an interpolation (default: 16)")
    result.add_argument("--out", type=Path, required=True, help="file or folder to write; a suffix chooses the format")
    result.add_argument("--temperature", type=float, default=1.0, help="scale of the latent's noise (default: 1)")
    result.add_argument("--guidance", type=float, default=1.0, help="above 1 exaggerates the condition (default: 1)")
    result.add_argument("--draw", action="store_true", help="draw from the likelihood instead of taking its mean")
    text = result.add_argument_group("text", "sentences are read from text files, one a line; - is the standard input")
    text.add_argument("--token-temperature", type=float, help="of drawn tokens; below 1 keeps to likelier ones")
    text.add_argument("--top-p", type=float, help="draw from the fewest tokens that together have this probability")
    text.add_argument("--beams", type=int, help="width of the beam search where nothing is drawn; 1 is greedy")
    text.add_argument("--best-of", type=int, help="keep the likeliest of so many samples, by the model's own NLL")
    result.add_argument("--seed", type=int, default=0, help="seed of all noise (default: 0)")
    return result


def set_decoding(model: ConditionalELBO, arguments: argparse.Namespace) -> Any:
    """A text model with the options of the command line in its decoding; None for any other model.

    Raises:
        ValueError: if such an option is given for another model.
    """
    options = {"temperature": arguments.token_temperature, "top_p": arguments.top_p, "beams": arguments.beams}
    given = {name: value for name, value in options.items() if value is not None}
    if not hasattr(model, "decoding"):
        if given or arguments.best_of:
            raise ValueError(f"this is a {type(model).__name__}: --top-p and the like are for text")
        return None
    text: Any = model
    text.decoding = dataclasses.replace(text.decoding, **given)
    return text


def read_inputs(model: Any, arguments: argparse.Namespace, paths: list[Path], condition: Fields) -> Batch:
    """Files as a batch under the source condition, or else the one that is asked for.

    A model that recognises conditions fills in what is not given; the condition of a transfer is not that of its input.
    """
    given = condition_fields(model, arguments.source) if arguments.source else condition
    batch = read_batch(model, paths, given)
    if not hasattr(model, "recognise"):
        return batch
    unknown = arguments.verb == "transfer" and not arguments.source
    return batch.replace(condition=model.recognise(batch.x) | ({} if unknown else batch.condition))


def generate(arguments: argparse.Namespace) -> None:
    """Does what the command line asks for.

    Raises:
        ValueError: for a condition or a file that does not fit; the message says what would.
    """
    torch.manual_seed(arguments.seed)
    model = ConditionalELBO.load_from_checkpoint(arguments.ckpt)
    decoding = set_decoding(model, arguments)
    condition = condition_fields(model, arguments.condition)
    look = {"guidance": arguments.guidance, "draw": arguments.draw}
    if arguments.verb == "sample" and arguments.best_of:
        repeated = {name: field.expand(arguments.num, *field.shape[1:]) for name, field in condition.items()}
        x = decoding.best_of(repeated, arguments.best_of, seed=arguments.seed)
    elif arguments.verb == "sample":
        if decoding is not None:
            look["draw"] = arguments.beams is None
        x = model.sample(condition, arguments.num, arguments.temperature, **look)[:, 0]
    else:
        if not arguments.inputs:
            raise ValueError(f"{arguments.verb} needs --in with a file")
        if arguments.verb == "interpolate":
            first, last = (read_inputs(model, arguments, [arguments.inputs[end]], condition) for end in (0, -1))
            if len(arguments.inputs) == 1 and len(first) < 2:
                raise ValueError("interpolate needs --in with 2 files, or with a text file of 2 lines")
            x = model.interpolate(first[slice(0, 1)], last[slice(len(last) - 1, None)], arguments.num)[:, 0]
        else:
            batch = read_inputs(model, arguments, arguments.inputs, condition)
            if arguments.verb == "reconstruct":
                x = model.reconstruct(batch, **look)
            else:
                knows = getattr(model.condition, "source", None) is not None or hasattr(model, "recognise")
                if not condition or not (arguments.source or knows):
                    raise ValueError("transfer needs --source (what the input is) and --condition (what it becomes)")
                x = model.transfer(batch, condition, **look)
    model.write(x, arguments.out)
    print(f"{len(x)} written to {arguments.out}", file=sys.stderr if str(arguments.out) == "-" else sys.stdout)


if __name__ == "__main__":
    try:
        generate(parser().parse_args())
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"generate.py: {error}")
