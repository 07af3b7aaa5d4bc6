"""What shards of WebDataset hold, as files of media and a table of what else is known of them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.data.containers.media import Media
from common.data.containers.samples import Sample, samples
from common.data.containers.shards import Shard, shards
from common.data.folders import Found
from common.data.splits import Split
from common.table_files import json_object

FILE = "__file__"  # the first column of a table, which names files
READ = (".json", ".cls", ".txt")


class ShardTable:
    """Unpacks shards, one member in memory at a time.

    Each key is a row. `.json` is an object whose plain entries are columns, `.cls` a whole number, the column `class`,
    and `.txt` a text, the column `text`. A split that the shards are named after is the column `split`, and the folder
    around the media.

    Args:
        root: folder or pattern of the shards.
        media: what each key has one of; None takes texts alone, of which each key has one or none has.
    """

    def __init__(self, root: Path, media: Media | None) -> None:
        self.root, self.media = root, media
        self.first: dict[tuple[Split | None, str], Path] = {}  # shard of each key
        self.passed_over: Counter[str] = Counter()
        self.nested: set[str] = set()
        self.columns: set[str] = set()
        self.with_text: bool | None = None

    def write(self, files: Path, table: Path) -> list[str]:
        """Writes the media and the table, and returns what a person should know of them, a line each.

        Args:
            files: folder of the media.
            table: JSONL; it is left out if nothing but splits would be in it.

        Raises:
            FileNotFoundError: as in `shards`.
            ValueError: naming the shard that is damaged, or the member that is not as it should be.
        """
        with table.open("w", encoding="utf-8") as lines:
            for shard in tqdm(shards(self.root), "unpacking", unit="shard", disable=None):
                for sample in samples(shard.file):
                    if row := self._row(shard, sample, files):
                        self.columns.update(row)
                        lines.write(f"{json.dumps(row)}\n")
        if not self.first:
            raise ValueError(f"{self.root}: the shards hold nothing that is read")
        if self.columns <= {FILE, "split"}:
            table.unlink()
        nested = f"left out of .json, because they are nested: {', '.join(sorted(self.nested))}"
        return [*Found(self.root, [], self.passed_over).notes(), *([nested] if self.nested else [])]

    def _row(self, shard: Shard, sample: Sample, files: Path) -> dict[str, Any]:
        """The row of a sample, whose medium is written; empty if all of its members are passed over."""
        suffixes = () if self.media is None else tuple(self.media.suffixes)
        media = [suffix for suffix in sample.members if suffix.endswith(suffixes)] if suffixes else []
        self.passed_over.update(suffix or "without a suffix" for suffix in sample.members.keys() - {*media, *READ})
        if self.media is None and not sample.members.keys() & set(READ):
            return {}
        self._check(shard, sample, media)
        row: dict[str, Any] = {}
        if media:
            row[FILE] = f"{f'{shard.split}/' if shard.split else ''}{sample.key}{media[0]}"
            (files / row[FILE]).parent.mkdir(parents=True, exist_ok=True)
            with sample.opened(media[0]) as stream, (files / row[FILE]).open("xb") as file:
                shutil.copyfileobj(stream, file)
        known = {"split": shard.split} if shard.split else {}
        for suffix in READ:
            entries = self._entries(sample, suffix) if suffix in sample.members else {}
            if twice := {*known, *row} & entries.keys():
                raise ValueError(f"{sample.place(suffix)} gives the column {twice.pop()} a second time: rename one")
            known |= entries
        return row | known

    def _check(self, shard: Shard, sample: Sample, media: list[str]) -> None:
        """Refuses a sample without a medium, with two, or whose key was there before."""
        if self.media is not None and len(media) != 1:
            found = " and ".join(media) if media else f"none, but {', '.join(sample.members)}"
            raise ValueError(f"{sample.place()} needs one {self.media.kind.lower()}, and has {found}")
        before = self.first.get((shard.split, sample.key))
        if before is not None:
            why = f"is in {before} as well" if before != shard.file else "has members apart from its others"
            raise ValueError(f"{sample.place()} {why}: give each key of a split one place")
        self.first[shard.split, sample.key] = shard.file
        with_text = ".txt" in sample.members
        if self.media is None and with_text != (self.with_text if self.with_text is not None else with_text):
            raise ValueError(f"{sample.place()} has {'a' if with_text else 'no'} .txt, unlike the keys before it")
        self.with_text = with_text

    def _entries(self, sample: Sample, suffix: str) -> dict[str, Any]:
        """The columns that a member gives."""
        text = sample.text(suffix)
        if suffix == ".txt":
            return {"text": text}
        if suffix == ".cls":
            if not text.isdecimal():
                raise ValueError(f"{sample.place(suffix)} is {text[:40]!r}, and no class, which is a whole number")
            return {"class": str(int(text))}  # a text: many numbers would be a quantity
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{sample.place(suffix)} is not JSON ({error}): correct it") from error
        if not isinstance(entries, dict):
            raise ValueError(f'{sample.place(suffix)} is no object, such as {{"tone": "calm"}}: correct it')
        nested = {name for name, value in entries.items() if isinstance(value, dict | list)}
        self.nested |= nested
        plain = {name: value for name, value in entries.items() if name not in nested}
        return json_object(json.dumps(plain), sample.shard / sample.members[suffix].name, 1)
