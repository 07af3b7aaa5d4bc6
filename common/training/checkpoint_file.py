"""What a file is that is given as a checkpoint: mistakes are named before anything is loaded."""

import zipfile
from pathlib import Path

CONFIG, WEIGHTS = "config.json", "model.safetensors"  # files of a folder to share a model

# The first bytes of files that people have at hand.
BEGINNINGS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"RIFF": "a sound file",
    b"fLaC": "a sound file",
    b"PAR1": "a Parquet table",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x80": "a pickle of another program",
}
MARKS = (b"suite_format", b"latent_dim")  # keys of the suite's checkpoints, of whatever format


def checkpoint_file(path: Path) -> Path:
    """The path itself, if it is a whole checkpoint of the suite or a folder to share a model; no tensor is read.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder, damaged or another kind of file. Either message says what to give instead.
    """
    problem = _problem(path)
    if problem is None:
        return path
    error = ValueError if path.exists() else FileNotFoundError
    raise error(f"{problem}; {_remedy(path if path.is_dir() else path.parent)}")


def is_pretrained(path: Path) -> bool:
    """Whether a path is a folder to share a model, which `save_pretrained` has written."""
    return path.is_dir() and (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def _problem(path: Path) -> str | None:
    """What is wrong with a checkpoint; None if nothing is."""
    if is_pretrained(path):
        return None
    if path.is_dir():
        return f"{path} is a folder, not a checkpoint"
    if not path.exists():
        return f"there is no checkpoint {path}"
    with path.open("rb") as file:
        beginning = file.read(1024)
    if not beginning:
        return f"{path} is empty, not a checkpoint"
    if not beginning.startswith(b"PK\x03\x04"):
        return f"{path} is {_kind(path, beginning)}, not a checkpoint"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickles = [archive.read(name) for name in names if name.endswith("/data.pkl")]
    except (zipfile.BadZipFile, EOFError, NotImplementedError):
        return f"{path} is damaged, or only the beginning of a checkpoint ({path.stat().st_size:,} bytes)"
    if not pickles:
        kind = "a NumPy archive" if all(name.endswith(".npy") for name in names) else "a ZIP archive"
        return f"{path} is {kind}, not a checkpoint"
    if not any(mark in pickles[0] for mark in MARKS):
        return f"{path} is a PyTorch file of another program, not a checkpoint of the suite"
    return None


def _kind(path: Path, beginning: bytes) -> str:
    """What a file is by its first bytes, and by its suffix where it is text."""
    for start, kind in BEGINNINGS.items():
        if beginning.startswith(start):
            return kind
    if beginning[8:9] == b"{" and b"\x00" in beginning[:8]:
        return "a safetensors file"
    if b"\x00" in beginning:
        return "a file of an unknown kind"
    return {".json": "a JSON file", ".csv": "a CSV table", ".yaml": "a configuration"}.get(path.suffix, "a text file")


def _remedy(folder: Path) -> str:
    """The checkpoint to give: the best of a run folder, another one in it, or the best of the newest run below."""
    for pattern in ("best.ckpt", "checkpoints/best.ckpt", "*.ckpt", "checkpoints/*.ckpt", "*/checkpoints/best.ckpt"):
        found = sorted(folder.glob(pattern), key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
        for path in found:
            if _problem(path) is None:
                return f"give {path}"
    return "a training writes checkpoints/best.ckpt into its run folder"
