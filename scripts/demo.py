"""Shows a page on which trained models are tried out: generation, transfer of your examples, imputation of your tables.

Only this machine can open it. What is uploaded stays on this machine, and is removed after an hour.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from common.command_line import Parser, run_script, whole
from common.training.checkpoint_file import checkpoint_file

# Heavy packages are imported where they are used, so that the command line is parsed before torch is imported.
if TYPE_CHECKING:
    from common.demo.session import Session
    from common.training.restore import Restored

EPILOG = """examples:
  demo.py --ckpt runs/image/digits/ID/checkpoints/best.ckpt
  demo.py --ckpt runs/image/digits/ID/checkpoints/best.ckpt runs/text/bible/ID/checkpoints/best.ckpt --port 8000"""


def parser() -> Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = Parser("demo.py", description=__doc__, epilog=EPILOG, formatter_class=raw)
    result.add_argument("--ckpt", type=Path, nargs="+", required=True, help="checkpoints of runs, or shared folders")
    result.add_argument("--port", type=whole(1, 65535), help="where the page is (default: from 7860 on, a free one)")
    return result


def demo(arguments: argparse.Namespace) -> int:
    """Loads the models, and shows the page until the process is interrupted."""
    for path in arguments.ckpt:
        checkpoint_file(path)  # before torch is imported, which takes seconds
    from common.demo.page import launch, page
    from common.training.restore import restore

    sessions: list[Session] = []
    for path in arguments.ckpt:
        sessions.append(session(path, restore(path), [other.name for other in sessions]))
        print(f"{sessions[-1].name}: {path}", flush=True)
    launch(page(sessions), arguments.port, wait=True)
    return 0


def session(path: Path, restored: "Restored", taken: list[str]) -> "Session":
    """A model under the name of its run, which no other has."""
    from common.demo.session import Session

    run = path.resolve().parent.parent
    name = path.name if path.is_dir() else run.parent.name
    if not path.is_dir() and not (run / "config.yaml").is_file():
        name = path.stem
    number = 2
    while (unique := name if name not in taken else f"{name}-{number}") in taken:
        number += 1
    return Session(unique, restored, _fill(restored))


def _fill(restored: "Restored") -> "partial[list[str]] | None":
    """What fills tables; None where the model is of another kind."""
    if "modalities.tabular" not in sys.modules:  # which only a checkpoint of a table has imported
        return None
    from modalities.tabular import TabularCVAE

    return partial(filled, restored) if isinstance(restored.model, TabularCVAE) else None


def filled(restored: "Restored", table: Path, target: Path) -> list[str]:
    """Fills the empty cells of a table into another file, and returns what should be known of it, a line each."""
    from modalities.tabular import TabularCVAE
    from modalities.tabular.imputation.sampling import impute_rows
    from modalities.tabular.imputation.table_file import TableFile

    model = restored.model
    assert isinstance(model, TabularCVAE)
    learned = {} if restored.terms is None else restored.terms.learned
    file = TableFile.read(table, model.columns, learned, ignored=None)
    return [*file.notes, file.write(impute_rows([model], file.x, proposals=200).point, target)]


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), demo, words)


if __name__ == "__main__":
    sys.exit(main())
