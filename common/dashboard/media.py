"""The media of a run as they are listed, or, for a run of before there was a list, as their names say."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from common.evaluation.media_files import LIST, MediaFile, read_media

KINDS: dict[str, Literal["picture", "table", "sound"]] = {"png": "picture", "csv": "table", "wav": "sound"}
NAME = re.compile(r"(?P<when>epoch-(?P<epoch>\d+)|test)-(?P<name>.+)\.(?P<suffix>png|csv|wav)")
TEST = "test"
CELLS = ("table", "cells")  # kind and name of the imputed cells, which are drawn as charts
T = TypeVar("T")


def media_of(folder: Path) -> list[MediaFile]:
    """The media in a folder, oldest first and those of the test last.

    Only files of the folder itself: a list that was written by someone else names no others.

    Raises:
        ValueError: if the list is damaged; the message names it.
    """
    try:
        media = read_media(folder) if (folder / LIST).exists() else _named(folder)
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{LIST} is damaged ({error})") from error
    own = [file for file in media if _is_name(file.file) and (file.picture is None or _is_name(file.picture))]
    return sorted(own, key=moment)


def _is_name(name: str) -> bool:
    return name == Path(name).name and name not in ("", ".", "..")


def _named(folder: Path) -> list[MediaFile]:
    media = []
    for path in sorted(folder.iterdir()):
        if (found := NAME.fullmatch(path.name)) and path.is_file():
            epoch = int(found["epoch"]) if found["epoch"] else None
            kind = KINDS[found["suffix"]]
            media.append(MediaFile(path.name, found["when"], epoch, 0, kind, found["name"]))
    return media


def moment(file: MediaFile) -> tuple[bool, int]:
    """Orders media by time: epochs in order, then the test."""
    return file.when == TEST, file.epoch or 0


def moment_label(when: str) -> str:
    """`epoch 5` or `test`."""
    found = re.fullmatch(r"epoch-(\d+)", when)
    return f"epoch {int(found[1])}" if found else when


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most that many items at even distances, the last among them, and the first if there is room."""
    if len(items) <= most:
        return list(items)
    if most <= 1:
        return list(items[len(items) - most :])
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]
