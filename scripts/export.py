"""Exports encoder, prior and decoder of a model: as torch.export programs and, with --onnx, for ONNX Runtime.

Every file is run and compared with the model before the command ends.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.command_line import Parser, folder_to_write, run_script
from common.training.checkpoint_file import checkpoint_file

EPILOG = """The condition is given to each program as raw values: the position of a category, or -1 where it is not
given. programs.json in the folder names all inputs and their values; docs/sharing.md has examples."""


def parser() -> Parser:
    """The command line."""
    result = Parser("export.py", description=__doc__, epilog=EPILOG)
    result.add_argument("--ckpt", type=Path, required=True, help="checkpoint of a run, checkpoints/best.ckpt")
    result.add_argument("--out", type=folder_to_write, required=True, help="folder to write, which is new or empty")
    result.add_argument("--onnx", action="store_true", help="writes ONNX as well (extra: export)")
    return result


def export(arguments: argparse.Namespace) -> int:
    """Writes the folder."""
    checkpoint_file(arguments.ckpt)  # before torch is imported, which takes seconds
    out: Path = arguments.out
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: name a new folder")
    if arguments.onnx:
        from common.export.extra import check_onnx

        check_onnx()
    from common.export.folder import write_folder
    from common.paths import written_whole
    from common.training.restore import restore

    model = restore(arguments.ckpt).model
    with written_whole(out) as partial:  # nothing is left of a program that is not what the model computes
        partial.mkdir()
        for line in write_folder(model, partial, arguments.onnx):
            print(line, flush=True)
    print(f"written to {out}")
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), export, words)


if __name__ == "__main__":
    sys.exit(main())
