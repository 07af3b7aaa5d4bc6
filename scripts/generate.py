"""Generates with a checkpoint: samples under a condition, reconstructions, interpolations, transfers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.command_line import Parser, input_to_read, not_an_input, place_to_write, real, run_script, whole

# Heavy packages are imported where they are used, so that the command line is parsed before torch is imported.
if TYPE_CHECKING:
    from torch import Tensor

    from common.batch import Batch
    from common.conditions.attributes import Fields
    from common.model.abilities import WritesText
    from common.model.files import FileFormat, Work
    from common.model.generation import Generation
    from common.training.restore import Restored
    from modalities.audio.files import SoundFormat

EPILOG = """examples:
  generate.py --ckpt best.ckpt --condition digit=5 --num 16 --out samples.png
  generate.py --ckpt best.ckpt --condition gender=female age=30 --num 8 --out faces.npz --guidance 1.5
  generate.py reconstruct --ckpt best.ckpt --in a.png b.png --condition digit=5 --out reconstructions.png
  generate.py transfer --ckpt best.ckpt --in face.jpg --source gender=male --condition gender=female --out other.png
  generate.py interpolate --ckpt best.ckpt --in a.png b.png --num 10 --out path.png
  generate.py --ckpt best.ckpt --condition style=kjv --num 20 --top-p 0.95 --out verses.txt
  generate.py transfer --ckpt best.ckpt --in mine.txt --source style=web --condition style=kjv --beams 4 --out -
  generate.py transfer --ckpt best.ckpt --in posts.csv --text-column post --source style=web --condition style=kjv \\
      --out rewritten.csv
  generate.py --ckpt best.ckpt --condition genre=jig instrument=fiddle --num 8 --out clips/
  generate.py --ckpt best.ckpt --condition genre=jig instrument=fiddle --num 1 --seconds 30 --out jig.wav
  generate.py transfer --ckpt best.ckpt --in clip.wav --condition genre=reel --out new.wav
  generate.py transfer --ckpt best.ckpt --in a.wav my_music/ --condition genre=reel --out reels/
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
    result.add_argument("--condition", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
                        help="condition of what is generated")  # fmt: skip
    result.add_argument("--source", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
                        help="condition of the input files; an audio model infers what is not given")  # fmt: skip
    result.add_argument("--in", dest="inputs", nargs="+", type=input_to_read, default=[], metavar="FILE",
                        help="input files; of sound also folders")  # fmt: skip
    result.add_argument("--num", type=whole(1), help="samples, or steps of an interpolation (default: 16)")
    result.add_argument(
        "--out", type=place_to_write, required=True, help="file or folder to write; a suffix chooses the format"
    )
    result.add_argument("--temperature", type=real(0), help="scale of the noise in z (default: 1)")
    result.add_argument("--guidance", type=real(),
                        help="above 1 exaggerates the condition (default: 1, or the model's in transfer)")  # fmt: skip
    result.add_argument("--draw", action="store_true", help="draw from the likelihood instead of taking its mean")
    text = result.add_argument_group(
        "text", "texts are read from lines, or from a column of a table (.csv .tsv .jsonl .parquet .xlsx); - is "
        "standard input"
    )  # fmt: skip
    text.add_argument("--token-temperature", type=real(0),
                      help="sampling temperature; below 1 prefers likelier tokens, 0 takes the likeliest")  # fmt: skip
    text.add_argument("--top-p", type=real(0, 1, above=True),
                      help="sample from the fewest tokens that together have this probability")  # fmt: skip
    text.add_argument("--beams", type=whole(1), help="width of the beam search instead of sampling; 1 is greedy")
    text.add_argument(
        "--best-of", type=whole(1), metavar="N", help="keep the likeliest of N samples, by the model's NLL"
    )
    text.add_argument("--text-column", metavar="NAME", help="column of a table of texts (default: text)")
    text.add_argument("--on-long", choices=["error", "truncate", "skip"],
                      help="what to do with texts that are too long for the model; skip leaves the output empty "
                      "(default: error)")  # fmt: skip
    sound = result.add_argument_group("sound")
    sound.add_argument(
        "--seconds", type=real(0, above=True), help="length of samples (default: that of training clips)"
    )
    result.add_argument("--seed", type=whole(), default=0, help="seed of all noise (default: 0)")
    return result


SAMPLED = 256  # texts that are sampled at once
OPTIONS = ("inputs", "source", "num", "temperature", "guidance", "draw", "token_temperature", "top_p", "beams",
           "best_of", "text_column", "on_long", "seconds")  # fmt: skip
UNREAD = {  # by verb
    "sample": ("source", "text_column", "on_long"),
    "reconstruct": ("num", "temperature", "best_of", "seconds"),
    "transfer": ("num", "temperature", "best_of", "seconds"),
    "interpolate": ("temperature", "guidance", "draw", "token_temperature", "top_p", "best_of", "seconds"),
}


def check_options(arguments: argparse.Namespace) -> None:
    """Refuses options that the verb does not read, or that exclude each other.

    Raises:
        ValueError: naming the options; negative guidance is refused as well.
    """
    given = [name for name in OPTIONS if getattr(arguments, name) not in (None, False, [])]
    named = {name: "--in" if name == "inputs" else f"--{name.replace('_', '-')}" for name in OPTIONS}
    if arguments.guidance is not None and arguments.guidance < 0:
        raise ValueError(f"--guidance must be at least 0; got {arguments.guidance:g}")
    if arguments.verb == "sample" and arguments.inputs:
        raise ValueError("--in needs a verb: reconstruct, interpolate or transfer")
    unread = [named[name] for name in given if name in UNREAD[arguments.verb]]
    if unread:
        raise ValueError(f"{arguments.verb} does not read {', '.join(unread)}: leave out what is not read")
    drawing = [named[name] for name in given if name in ("token_temperature", "top_p", "best_of", "draw")]
    if arguments.beams is not None and drawing:
        raise ValueError(f"--beams searches instead of drawing, which {', '.join(drawing)} is for: leave out one")
    if arguments.best_of and (unread := [named[name] for name in ("temperature", "guidance") if name in given]):
        raise ValueError(f"--best-of chooses among plain samples, and does not read {', '.join(unread)}")
    tokens = [named[name] for name in given if name in ("token_temperature", "top_p")]
    if arguments.verb != "sample" and tokens and not arguments.draw:
        raise ValueError(f"{arguments.verb} takes the likeliest text unless --draw is given: {tokens[0]} needs it")


def set_decoding(model: Generation, arguments: argparse.Namespace) -> WritesText | None:
    """Sets the decoding options of a text model and returns it; None for any other model.

    Raises:
        ValueError: if options of text are given for another model.
    """
    from common.model.abilities import WritesText

    options = {"temperature": arguments.token_temperature, "top_p": arguments.top_p, "beams": arguments.beams}
    given = {name: value for name, value in options.items() if value is not None}
    if not isinstance(model, WritesText):
        if given or arguments.best_of or arguments.text_column or arguments.on_long:
            raise ValueError(f"{type(model).__name__} writes no text: leave out the options of text, such as --top-p")
        return None
    model.set_decoding(**given)
    return model


def file_format(restored: Restored, arguments: argparse.Namespace) -> FileFormat:
    """The checkpoint's file format, with the command line's options of rows."""
    from common.model.files import RowFormat

    files = restored.files
    if not isinstance(files, RowFormat):
        return files
    return files.reading(restored.row_options(arguments.text_column, arguments.on_long))


def read_inputs(
    restored: Restored, files: FileFormat, arguments: argparse.Namespace, paths: list[Path], condition: Fields
) -> Batch:
    """Input files as a batch under the condition of --source, or without it of --condition.

    A model that infers conditions does so for those not given; in a transfer, --condition is never that of the input.
    """
    from common.model.abilities import InfersConditions
    from common.model.files import condition_fields

    model = restored.model
    given = condition_fields(model, arguments.source) if arguments.source else condition
    try:
        batch = files.read_batch(model, files.files(paths), given)
    except (OSError, EOFError) as error:
        raise ValueError(f"{', '.join(map(str, paths))} cannot be read: {error}") from error
    if not isinstance(model, InfersConditions):
        return batch
    unknown = arguments.verb == "transfer" and not arguments.source
    return batch.replace(condition=model.infer_conditions(batch.x) | ({} if unknown else batch.condition))


def sound_format(files: FileFormat, model: Generation, arguments: argparse.Namespace) -> SoundFormat | None:
    """The format of a model of sound; None for any other model.

    Raises:
        ValueError: if another model is given options of sound, or sound is to be written where it cannot be.
    """
    if "modalities.audio.files" in sys.modules:  # which only a checkpoint of sound has imported
        from modalities.audio.files import SoundFormat, is_file

        if isinstance(files, SoundFormat):
            is_file(arguments.out)
            return files
    if arguments.seconds is not None:
        raise ValueError(f"{type(model).__name__} makes no sound: leave out --seconds")
    if folders := [str(path) for path in arguments.inputs if path.is_dir()]:
        raise ValueError(f"--in: {folders[0]} is a folder: name a file")
    return None


def rewrite_sound(
    restored: Restored, files: SoundFormat, arguments: argparse.Namespace, condition: Fields, work: Work
) -> int:
    """Writes what becomes of each sound file, and returns their number; all are read before the first is written.

    Raises:
        ValueError: naming all files that are faulty.
    """
    from common.data.faults import Faults

    pairs, faults, batches = files.targets(arguments.inputs, arguments.out), Faults("files", "leave them out"), []
    for source, _ in pairs:
        try:
            batches.append(read_inputs(restored, files, arguments, [source], condition))
        except ValueError as error:
            if len(pairs) == 1:
                raise
            faults.add(error)
    faults.settle(len(pairs))
    for batch, (_, target) in zip(batches, pairs, strict=True):
        restored.files.write(restored.model, work(batch), target)
    return len(pairs)


def sample(model: Generation, text: WritesText | None, condition: Fields, arguments: argparse.Namespace) -> Tensor:
    """What --num and --condition ask for, [N, ...]; of text some at a time."""
    import torch

    options = {"temperature": arguments.temperature, "guidance": arguments.guidance, "draw": arguments.draw}
    options["seconds"] = arguments.seconds  # which only a model of sound is given
    options = {name: value for name, value in options.items() if value is not None}
    num = arguments.num or 16
    if text is None:
        return model.sample(condition, num, **options)[:, 0]
    options["draw"] = arguments.beams is None
    parts = []
    for start in range(0, num, SAMPLED):
        count = min(SAMPLED, num - start)
        if arguments.best_of:
            repeated = {name: field.expand(count, *field.shape[1:]) for name, field in condition.items()}
            parts.append(text.best_of(repeated, arguments.best_of, seed=arguments.seed))
        else:
            parts.append(model.sample(condition, count, **options)[:, 0])
    return torch.cat(parts)


def generate(arguments: argparse.Namespace) -> None:
    """Does what the command line asks for.

    Raises:
        ValueError: for an invalid condition or file; the message lists what is valid.
    """
    from common.training.checkpoint_file import checkpoint_file

    checkpoint_file(arguments.ckpt)  # before torch is imported, which takes seconds
    check_options(arguments)
    not_an_input(arguments.out, arguments.inputs)
    import torch

    from common.model.abilities import InfersConditions
    from common.model.files import RowFormat, condition_fields
    from common.training.restore import restore

    torch.manual_seed(arguments.seed)
    restored = restore(arguments.ckpt)
    model, files = restored.model, file_format(restored, arguments)
    text, sound = set_decoding(model, arguments), sound_format(files, model, arguments)
    condition = condition_fields(model, arguments.condition)
    options = {} if arguments.guidance is None else {"guidance": arguments.guidance}
    options["draw"] = arguments.draw
    told = sys.stderr if str(arguments.out) == "-" else sys.stdout

    def work(batch: Batch) -> Tensor:
        if arguments.verb == "reconstruct":
            return model.reconstruct(batch, **options)
        return model.transfer(batch, condition, **options)

    if arguments.verb == "sample":
        x = sample(model, text, condition, arguments)
    elif not arguments.inputs:
        raise ValueError(f"{arguments.verb} needs --in with a file")
    elif arguments.verb == "interpolate":
        first, last = (read_inputs(restored, files, arguments, [arguments.inputs[end]], condition) for end in (0, -1))
        if len(arguments.inputs) == 1 and len(first) < 2:
            raise ValueError("interpolate needs --in with 2 files, or with a text file of 2 lines")
        x = model.interpolate(first[slice(0, 1)], last[slice(len(last) - 1, None)], arguments.num or 16)[:, 0]
    else:
        source_optional = model.condition.reads_source or isinstance(model, InfersConditions)
        if arguments.verb == "transfer" and (not condition or not (arguments.source or source_optional)):
            raise ValueError("transfer needs --source (what the input is) and --condition (what it becomes)")
        if isinstance(files, RowFormat):
            given = condition_fields(model, arguments.source) if arguments.source else condition
            seed = arguments.seed if arguments.draw else None
            written = files.rewrite(model, arguments.inputs, given, arguments.out, work, seed)
            for note in written.notes:
                print(note, file=sys.stderr)
            print(f"{written.count} written to {arguments.out}", file=told)
            return
        if sound is not None:
            count = rewrite_sound(restored, sound, arguments, condition, work)
            print(f"{count} written to {arguments.out}", file=told)
            return
        x = work(read_inputs(restored, files, arguments, arguments.inputs, condition))
    if sound is not None and arguments.verb == "sample":
        files = sound.named(arguments.condition)
    files.write(model, x, arguments.out)
    print(f"{len(x)} written to {arguments.out}", file=told)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), generate, words)


if __name__ == "__main__":
    sys.exit(main())
