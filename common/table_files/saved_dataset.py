"""Data sets that the package `datasets` of Hugging Face has saved to disk: folders of Arrow files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.lazy import pd
from common.table_files.limits import most_bytes, too_large
from common.table_files.parquet import is_plain

INFO, STATE, PARTS = "dataset_info.json", "state.json", "dataset_dict.json"
CELL = 8  # bytes of a cell in memory, at least


def is_saved_dataset(path: Path) -> bool:
    """Whether a path is a folder that `save_to_disk` has written, of one data set or of several splits."""
    return (path / PARTS).is_file() or ((path / INFO).is_file() and (path / STATE).is_file())


@dataclass(frozen=True)
class SavedPart:
    """One data set of the folder.

    Attributes:
        split: its name as a split; None where there is no other.
        table: its columns, an Arrow table that is read where it is needed.
        kinds: what each column is to `datasets`, such as `ClassLabel` or `Image`.
        names: names of the classes of each column of them.
    """

    split: str | None
    table: Any
    kinds: dict[str, str]
    names: dict[str, list[str]]


def saved_parts(path: Path) -> list[SavedPart]:
    """The data sets of the folder.

    Raises:
        ValueError: if a file is missing or damaged; the message names it.
    """
    if not (path / PARTS).is_file():
        return [_part(path, None)]
    return [_part(path / name, name) for name in _json(path / PARTS)["splits"]]


def _part(folder: Path, split: str | None) -> SavedPart:
    import pyarrow as pa

    features, files = _json(folder / INFO).get("features") or {}, _json(folder / STATE).get("_data_files") or []
    tables = []
    for file in (folder / str(entry["filename"]) for entry in files):
        try:
            tables.append(pa.ipc.open_stream(pa.memory_map(str(file))).read_all())
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}. Save the data anew") from error
    if not tables:
        raise ValueError(f"{folder} holds no data")
    kinds = {name: str(feature.get("_type")) for name, feature in features.items() if isinstance(feature, dict)}
    names = {name: list(features[name].get("names") or []) for name, kind in kinds.items() if kind == "ClassLabel"}
    return SavedPart(split, pa.concat_tables(tables), kinds, names)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}. Save the data anew") from error
    return content if isinstance(content, dict) else {}


def saved_table(path: Path) -> pd.DataFrame:
    """The columns of numbers, texts, dates and classes; classes have their names, and a column `split` says the split.

    Rows are numbered from 1 through all splits, and `attrs["notes"]` names the columns that are left out.

    Raises:
        ValueError: if a file is missing or damaged, the table takes more memory than it may, or a column is called
            split beside splits.
    """
    frames, left_out = [], dict[str, str]()
    for part in saved_parts(path):
        plain = [field.name for field in part.table.schema if is_plain(field.type)]
        left_out |= {field.name: str(field.type) for field in part.table.schema if field.name not in plain}
        chosen = part.table.select(plain)
        if max(chosen.nbytes, CELL * chosen.num_rows * len(plain)) > (limit := most_bytes()):
            raise too_large(path, f"has {chosen.num_rows:,} rows of {len(plain)} columns, which take", limit)
        frame = chosen.to_pandas()
        for name, classes in part.names.items():
            codes = frame[name].fillna(-1).astype(int)
            frame[name] = [classes[code] if 0 <= code < len(classes) else None for code in codes]
        if part.split is not None:
            if "split" in frame.columns:
                raise ValueError(f"{path} has splits and a column split as well: rename or remove the column")
            frame["split"] = part.split
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    kinds = ", ".join(f"{name} ({kind})" for name, kind in left_out.items())
    table.attrs["notes"] = [f"left out of {path.name}: {kinds}"] if left_out else []
    return table


def saved_media(path: Path, kind: str) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of the media of each row, in their order, of the first column of a kind.

    Args:
        path: the folder.
        kind: `Image` or `Audio`.

    Raises:
        ValueError: if no column is of that kind, or a row has no media; the message says what there is.
    """
    row = 0
    for part in saved_parts(path):
        column = next((name for name, its_kind in part.kinds.items() if its_kind == kind), None)
        if column is None:
            known = ", ".join(f"{name} ({its_kind})" for name, its_kind in part.kinds.items())
            raise ValueError(f"{path} has no column of the kind {kind}; it has {known}")
        for chunk in part.table.column(column).chunks:
            for cell in chunk:
                row += 1
                content = cell.as_py() or {}
                name, data = str(content.get("path") or ""), content.get("bytes")
                if data is None:  # or a file that the data set names, which may be any of this machine
                    raise ValueError(f"{path}, row {row}: {column} holds no bytes. Save the data set with them")
                yield name, data
