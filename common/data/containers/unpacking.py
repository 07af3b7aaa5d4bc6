"""Media in containers, unpacked into files of the cache beside a table of what else is known of them.

Containers are shards of WebDataset, and data sets that Hugging Face's `datasets` has saved to disk.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from common.data.containers.media import Media
from common.data.containers.shard_table import FILE, ShardTable
from common.data.containers.shards import is_sharded, shards
from common.paths import cache_root, made_once
from common.table_files import is_saved_dataset
from common.table_files.saved_dataset import saved_media, saved_table

VERSION = 1  # of what is unpacked; that of another version is no longer taken from the cache
FILES, NOTES = "files", "notes.json"
SAVED_TABLE, SHARD_TABLE = "table.parquet", "table.jsonl"


@dataclass(frozen=True)
class Unpacked:
    """What a container holds.

    Attributes:
        files: folder of the media.
        table: its first column names the files, the others are what is known of them; None where nothing is.
        notes: what a person should know, a line each.
    """

    files: Path
    table: Path | None
    notes: list[str]


def is_packed(root: Path, media: Media) -> bool:
    """Whether a path is a container of media, and not a folder of them."""
    return is_saved_dataset(root) or is_sharded(root, media.suffixes)


def unpacked(root: Path, media: Media | None) -> Unpacked:
    """The content of a container, unpacked once: the cache is keyed by names, sizes and times of its files.

    Args:
        root: folder of a saved data set, or folder or pattern of shards.
        media: what each row or key has one of; None takes the texts of shards, which are the column `text`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the container is damaged, or holds something else; the message says what and where.
    """
    saved = is_saved_dataset(root)
    files = [path for path in root.rglob("*") if path.is_file()] if saved else [shard.file for shard in shards(root)]
    digest = hashlib.sha256(f"{VERSION} {root.resolve()} {media and (media.kind, sorted(media.suffixes))}".encode())
    for file in sorted(files):
        status = file.stat()
        digest.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape"))

    def make(folder: Path) -> None:
        (folder / FILES).mkdir(parents=True)
        if saved and media is not None:
            notes = _unpack_saved(root, media, folder)
        else:
            notes = ShardTable(root, media).write(folder / FILES, folder / SHARD_TABLE)
        (folder / NOTES).write_text(json.dumps(notes))

    folder = made_once(cache_root() / "datasets" / digest.hexdigest()[:24], make)
    tables = [folder / name for name in (SAVED_TABLE, SHARD_TABLE) if (folder / name).exists()]
    return Unpacked(folder / FILES, tables[0] if tables else None, json.loads((folder / NOTES).read_text()))


def _unpack_saved(root: Path, media: Media, folder: Path) -> list[str]:
    """Files and table of a saved data set, and notes."""
    table, names = saved_table(root), []
    rows = saved_media(root, media.kind)
    for row, (name, content) in enumerate(tqdm(rows, "unpacking", len(table), unit="file", disable=None)):
        names.append(f"{row:08d}{Path(name).suffix.lower() or media.usual}")
        (folder / FILES / names[-1]).write_bytes(content)
    notes: list[str] = table.attrs.pop("notes", [])
    table.insert(0, FILE, names)
    table.to_parquet(folder / SAVED_TABLE, index=False)
    return notes
