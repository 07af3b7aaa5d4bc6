"""Generates with a checkpoint: samples under a condition, reconstructions, interpolations, transfers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.command_line import Parser, file_to_read, place_to_write, real, run_script, whole

# Heavy packages are imported where they are used, so that the command line is parsed before torch is imported.
if TYPE_CHECKING:
    from common.batch import Batch
    from common.conditions.attributes import Fields
    from common.model.abilities import WritesText
    from common.model.generation import Generation
    from common.training.restore import Restored

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
Conditions may be left out if the model was trained with condition dropout."""


def parser() -> Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = Parser("generate.py", description=__doc__, epilog=EPILOG, formatter_class=raw)
    result.add_argument(
        "verb", nargs="?", default="sample", choices=["sample", "reconstruct", "interpolate", "transfer"],
        help="what to do (default: sample)",
    )  # fmt: skip
    result.add_argument("--ckpt", type=Path, required=True, help="checkpoint of a run, checkpoints/best.ckpt")
    result.add_argument("--condition", nargs="+", default=[], metavar="NAME=VALUE",
                        help="condition of what is generated")  # fmt: skip
    result.add_argument("--source", nargs="+", default=[], metavar="NAME=VALUE",
                        help="condition of the input files; an audio model infers what is not given")  # fmt: skip
    result.add_argument("--in", dest="inputs", nargs="+", type=file_to_read, default=[], metavar="FILE",
                        help="input files")  # fmt: skip
    result.add_argument("--num", type=whole(1), default=16, help="samples, or steps of an interpolation (default: 16)")
    result.add_argument(
        "--out", type=place_to_write, required=True, help="file or folder to write; a suffix chooses the format"
    )
    result.add_argument("--temperature", type=real(0), default=1.0, help="scale of the noise in z (default: 1)")
    result.add_argument("--guidance", type=real(), default=1.0, help="above 1 exaggerates the condition (default: 1)")
    result.add_argument("--draw", action="store_true", help="draw from the likelihood instead of taking its mean")
    text = result.add_argument_group("text", "sentences are read from text files, one per line; - is standard input")
    text.add_argument("--token-temperature", type=real(0, above=True),
                      help="sampling temperature; below 1 prefers likelier tokens")  # fmt: skip
    text.add_argument("--top-p", type=real(0, 1, above=True),
                      help="sample from the fewest tokens that together have this probability")  # fmt: skip
    text.add_argument("--beams", type=whole(1), help="width of the beam search instead of sampling; 1 is greedy")
    text.add_argument(
        "--best-of", type=whole(1), metavar="N", help="keep the likeliest of N samples, by the model's NLL"
    )
    result.add_argument("--seed", type=whole(), default=0, help="seed of all noise (default: 0)")
    return result


def set_decoding(model: Generation, arguments: argparse.Namespace) -> WritesText | None:
    """Sets the decoding options of a text model and returns it; None for any other model.

    Raises:
        ValueError: if options of text are given for another model.
    """
    from common.model.abilities import WritesText

    options = {"temperature": arguments.token_temperature, "top_p": arguments.top_p, "beams": arguments.beams}
    given = {name: value for name, value in options.items() if value is not None}
    if not isinstance(model, WritesText):
        if given or arguments.best_of:
            raise ValueError(f"{type(model).__name__} writes no text: leave out the options of text, such as --top-p")
        return None
    model.set_decoding(**given)
    return model


def read_inputs(restored: Restored, arguments: argparse.Namespace, paths: list[Path], condition: Fields) -> Batch:
    """Input files as a batch under the condition of --source, or without it of --condition.

    A model that infers conditions does so for those not given; in a transfer, --condition is never that of the input.
    """
    from common.model.abilities import InfersConditions
    from common.model.files import condition_fields

    model = restored.model
    given = condition_fields(model, arguments.source) if arguments.source else condition
    try:
        batch = restored.files.read_batch(model, paths, given)
    except (OSError, EOFError) as error:
        raise ValueError(f"{', '.join(map(str, paths))} cannot be read: {error}") from error
    if not isinstance(model, InfersConditions):
        return batch
    unknown = arguments.verb == "transfer" and not arguments.source
    return batch.replace(condition=model.infer_conditions(batch.x) | ({} if unknown else batch.condition))


def generate(arguments: argparse.Namespace) -> None:
    """Does what the command line asks for.

    Raises:
        ValueError: for an invalid condition or file; the message lists what is valid.
    """
    from common.training.checkpoint_file import checkpoint_file

    checkpoint_file(arguments.ckpt)  # before torch is imported, which takes seconds
    if arguments.verb == "sample" and arguments.inputs:
        raise ValueError("--in needs a verb: reconstruct, interpolate or transfer")
    import torch

    from common.model.abilities import InfersConditions
    from common.model.files import condition_fields
    from common.training.restore import restore

    torch.manual_seed(arguments.seed)
    restored = restore(arguments.ckpt)
    model = restored.model
    text = set_decoding(model, arguments)
    condition = condition_fields(model, arguments.condition)
    options = {"guidance": arguments.guidance, "draw": arguments.draw}
    if arguments.verb == "sample" and text is not None and arguments.best_of:
        repeated = {name: field.expand(arguments.num, *field.shape[1:]) for name, field in condition.items()}
        x = text.best_of(repeated, arguments.best_of, seed=arguments.seed)
    elif arguments.verb == "sample":
        if text is not None:
            options["draw"] = arguments.beams is None
        x = model.sample(condition, arguments.num, arguments.temperature, **options)[:, 0]
    else:
        if not arguments.inputs:
            raise ValueError(f"{arguments.verb} needs --in with a file")
        if arguments.verb == "interpolate":
            first, last = (read_inputs(restored, arguments, [arguments.inputs[end]], condition) for end in (0, -1))
            if len(arguments.inputs) == 1 and len(first) < 2:
                raise ValueError("interpolate needs --in with 2 files, or with a text file of 2 lines")
            x = model.interpolate(first[slice(0, 1)], last[slice(len(last) - 1, None)], arguments.num)[:, 0]
        else:
            batch = read_inputs(restored, arguments, arguments.inputs, condition)
            if arguments.verb == "reconstruct":
                x = model.reconstruct(batch, **options)
            else:
                source_optional = model.condition.reads_source or isinstance(model, InfersConditions)
                if not condition or not (arguments.source or source_optional):
                    raise ValueError("transfer needs --source (what the input is) and --condition (what it becomes)")
                x = model.transfer(batch, condition, **options)
    restored.files.write(model, x, arguments.out)
    print(f"{len(x)} written to {arguments.out}", file=sys.stderr if str(arguments.out) == "-" else sys.stdout)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), generate, words)


if __name__ == "__main__":
    sys.exit(main())
