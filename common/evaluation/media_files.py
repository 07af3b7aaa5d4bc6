"""The list of a run's media: what each file in `samples/` shows, of which epoch and step, and which belong together."""

import json
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
    """Adds files to the list of a folder."""
    with (folder / LIST).open("a") as lines:
        lines.writelines(json.dumps(asdict(file)) + "\n" for file in files)


def read_media(folder: Path) -> list[MediaFile]:
    """The files of a folder that exist, in the order in which they were made; the last line of each file counts.

    A line that a killed training did not write to its end is left out.
    """
    path = folder / LIST
    if not path.exists():
        return []
    found: dict[str, MediaFile] = {}
    for line in path.read_text().rpartition("\n")[0].splitlines():
        file = MediaFile(**json.loads(line))
        found.pop(file.file, None)
        found[file.file] = file
    return [file for file in found.values() if (folder / file.file).is_file()]
