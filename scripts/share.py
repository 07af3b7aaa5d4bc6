"""Makes a folder to share a trained model: weights, configuration and a model card, and puts it on the hub.

The folder holds safetensors and JSON, no pickle. It stands for a checkpoint wherever a script takes --ckpt, and
`ConditionalELBO.from_pretrained(FOLDER)` loads it with nothing else at hand.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.command_line import Parser, folder_to_write, run_script
from common.training.checkpoint_file import checkpoint_file

PICTURES = 6  # most pictures of a card


def parser() -> Parser:
    """The command line."""
    result = Parser("share.py", description=__doc__)
    result.add_argument("--ckpt", type=Path, required=True, help="checkpoint of a run, checkpoints/best.ckpt")
    result.add_argument("--out", type=folder_to_write, required=True, help="folder to write, which is new or empty")
    result.add_argument("--name", help="what the model is called (default: the name of its run)")
    result.add_argument("--license", help="licence of the weights as the hub spells it, such as mit")
    result.add_argument("--data-license", help="licence of the training data, in words")
    result.add_argument("--push", metavar="USER/NAME", help="repository of the hub to upload the folder to")
    result.add_argument("--private", action="store_true", help="makes a new repository private")
    return result


def share(arguments: argparse.Namespace) -> int:
    """Writes the folder, and uploads it where that is asked for."""
    checkpoint_file(arguments.ckpt)  # before torch is imported, which takes seconds
    from common.results import Results
    from common.training.restore import restore

    out: Path = arguments.out
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: name a new folder")
    restored = restore(arguments.ckpt)
    run = arguments.ckpt.resolve().parent.parent
    results = Results.read(run / "results.json") if (run / "results.json").is_file() else None
    if results is not None and results.run.checkpoint not in (None, arguments.ckpt.name):
        print(f"{run} has figures and pictures of {results.run.checkpoint}, not of this: the card has none")
        results = None
    out.mkdir(parents=True, exist_ok=True)
    name = arguments.name or (run.parent.name if (run / "config.yaml").is_file() else type(restored.model).__name__)
    further: dict[str, Any] = {
        "name": name,
        "place": arguments.push or str(out),
        "results": results,
        "pictures": [] if results is None else _pictures(run / "samples", out),
        "license": arguments.license,
        "data_license": arguments.data_license,
    }
    restored.model.save_pretrained(out, model_card_kwargs=further)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: {', '.join(sorted(file.name for file in out.iterdir()))}, {size / 1e6:.1f} MB")
    if arguments.data_license is None:
        print("the card does not say the licence of the data: --data-license states it")
    if arguments.push:
        print(_push(out, arguments.push, arguments.private))
    return 0


def _pictures(samples: Path, out: Path) -> list[tuple[str, str]]:
    """The pictures of the test, copied into the folder, with their captions."""
    from common.evaluation.media_files import read_media

    found = [file for file in read_media(samples) if file.kind == "picture" and file.when == "test"][:PICTURES]
    for file in found:
        (out / "samples").mkdir(exist_ok=True)
        shutil.copy(samples / file.file, out / "samples" / file.file)
    return [(f"samples/{file.file}", file.caption or file.name) for file in found]


def _push(folder: Path, repository: str, private: bool) -> str:
    """Uploads a folder.

    Raises:
        ValueError: if the hub refuses it, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        return f"uploaded: {hub.upload_folder(repo_id=repository, folder_path=folder)}"
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{repository} was not uploaded ({problem[:200]}); the folder is whole: {folder}") from error


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), share, words)


if __name__ == "__main__":
    sys.exit(main())
