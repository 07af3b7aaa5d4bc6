"""The list of a run's media: what each file in `samples/` shows, of which epoch and step, and which belong together."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

LIST = "media.jsonl"
GROUPS = {"picture": "media", "table": "tables", "sound": "sounds"}  # in trackers, where one key has one type
Kind = Literal["picture", "table", "sound"]


@dataclass(frozen=True)
class MediaFile:
    """One picture, table or sound of a run.

    Attributes:
        file: its name in the folder.
        when: `epoch-0005` or `test`.
        epoch: epochs trained so far; None in a test.
        step: the last step of the weights, counted from 0 as in metrics.csv.
        kind: what it is: a PNG, a CSV or a WAV file.
        name: the same for the same thing at other times, such as `conditions` or `sample-0`.
        caption: what it shows, with the condition that it was made under.
        picture: the file of the picture that belongs to a sound, its spectrogram.
    """

    file: str
    when: str
    epoch: int | None
    step: int
    kind: Kind
    name: str
    caption: str = ""
    picture: str | None = None

    @property
    def group(self) -> str:
        """The group of its kind in a tracker."""
        return GROUPS[self.kind]

    @property
    def key(self) -> str:
        """Its key in a tracker, the same at all times and in all runs."""
        return f"{self.group}/{self.name}"


def append_media(folder: Path, files: list[MediaFile]) -> None:
    """Adds files to the list of a folder, after the line that a killed training may have left unfinished."""
    with (folder / LIST).open("a") as lines:
        lines.write("\n" if _unfinished(folder / LIST) else "")
        lines.writelines(json.dumps(asdict(file)) + "\n" for file in files)


def _unfinished(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def read_media(folder: Path) -> list[MediaFile]:
    """The files of a folder that exist, in the order in which they were made; the last line of each file counts.

    Lines that a killed training did not write to their end are left out.
    """
    path = folder / LIST
    if not path.exists():
        return []
    found: dict[str, MediaFile] = {}
    for line in path.read_text().rpartition("\n")[0].splitlines():
        try:
            file = MediaFile(**json.loads(line))
        except json.JSONDecodeError:
            continue
        found.pop(file.file, None)
        found[file.file] = file
    return [file for file in found.values() if (folder / file.file).is_file()]
