"""Pictures and sounds of a data set that `datasets` has saved to disk, as files beside a table of their conditions."""

import hashlib
from pathlib import Path

from tqdm import tqdm

from common.paths import cache_root, made_once
from common.table_files.saved_dataset import saved_media, saved_table

TABLE = "table.parquet"  # whose first column names the files
USUAL = {"Image": ".png", "Audio": ".wav"}  # suffix of what has no name


def unpacked(root: Path, kind: str) -> Path:
    """A folder of the cache with the media of a saved data set, a file for each row, and `TABLE`.

    Args:
        root: the folder of the saved data set.
        kind: `Image` or `Audio`, the column of `datasets` that holds the media.

    Raises:
        ValueError: if the data set is damaged, or has no such column; the message says what there is.
    """
    digest = hashlib.sha256(f"{root.resolve()} {kind}".encode())
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        status = file.stat()
        digest.update(f"{file.relative_to(root)} {status.st_size} {status.st_mtime_ns}".encode())

    def make(folder: Path) -> None:
        folder.mkdir()
        table, names = saved_table(root), []
        rows = tqdm(saved_media(root, kind), total=len(table), desc=f"unpacking {root.name}", unit="file", disable=None)
        for row, (name, content) in enumerate(rows):
            file = f"{row:08d}{Path(name).suffix.lower() or USUAL[kind]}"
            (folder / file).write_bytes(content)
            names.append(file)
        column = "file"
        while column in table.columns:
            column += "_"
        table.insert(0, column, names)
        table.to_parquet(folder / TABLE, index=False)

    return made_once(cache_root() / "datasets" / digest.hexdigest()[:24], make)
