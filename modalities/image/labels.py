"""Conditions and splits of the user's own images: from folders, or from a table that names files."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from common.conditions.attributes import Categorical
from common.conditions.columns import ConditionColumns, condition_columns, text_of, tidy
from common.data.faults import Faults, Faulty
from common.data.folders import Found, is_left_behind, labels_and_splits
from common.data.splits import Split, split_column
from common.data.texts import folders_of
from common.lazy import pd
from common.table_files import place, read_table


@dataclass(frozen=True)
class Labelled:
    """Image files with their conditions.

    Attributes:
        files: of N images.
        given: split of each, if the data define one.
        columns: the conditions, each [N], and what a person should know of the reading.
    """

    files: Sequence[Path]
    given: list[Split] | None
    columns: ConditionColumns


def labelled_by_folder(found: Found, labelled: bool = True) -> Labelled:
    """Images with their folder as the condition `class`, or without any condition.

    Raises:
        ValueError: naming a file that lies in no class's folder.
    """
    names, given = labels_and_splits(found.files, found.root, labelled)
    if not labelled:
        return Labelled(found.files, given, ConditionColumns())
    labels, notes = tidy(names, "class")
    values = sorted({label for label in labels if label is not None})
    field = torch.tensor([values.index(str(label)) for label in labels])
    if empty := _empty_folders(found, 0 if given is None else 1):
        notes.append(f"no image in the folders {', '.join(empty)}")
    return Labelled(found.files, given, ConditionColumns({"class": field}, {"class": Categorical(values)}, notes))


def _empty_folders(found: Found, depth: int) -> list[str]:
    """Folders of classes that hold no image, relative to the root; classes lie `depth` folders below it."""
    parts = set(folders_of(found.files, found.root))
    above = {found.root.joinpath(*names[:depth]) for names in parts}
    holding = {found.root.joinpath(*names[: depth + 1]) for names in parts}
    folders = {path for folder in above for path in folder.iterdir() if path.is_dir() and not is_left_behind(path.name)}
    return sorted(path.relative_to(found.root).as_posix() for path in folders - holding)


def labelled_by_table(
    csv: Path, found: Found, continuous: list[str], wanted: list[str] | None = None, faulty: Faulty = "raise"
) -> Labelled:
    """Images with the conditions of a table, whose first column names files.

    Splits come from a column `split`, or from folders that are named after splits. Rows that say the same of one file
    count once. The caller, who knows the splits, fits the statistics of continuous columns.

    Raises:
        ValueError: if the table is faulty; the message names it and all lines at fault, or the column.
    """
    table = read_table(csv)
    if not table.empty and pd.api.types.is_numeric_dtype(table.iloc[:, 0]):
        table = read_table(csv, text=[table.columns[0]])  # names such as 007 stay as they are written
    notes = list(table.attrs.get("notes", []))
    remedy = "needs a column of file names, at least one of attributes, and rows (images without attributes: "
    if table.empty:
        raise ValueError(f"{csv} {remedy}data.condition [])")
    named, (rest, given) = table.iloc[:, 0], split_column(table.iloc[:, 1:], csv)
    if rest.shape[1] == 0 and wanted != []:
        raise ValueError(f"{csv} {remedy}data.condition [])")
    files, kept, remarks = _rows_of_files(csv, found, named, _compared(rest, given, wanted), faulty)
    notes.extend(remarks)
    if given is None:
        _, given = labels_and_splits(files, found.root, labelled=False)
        notes.extend(["splits are those of the folders"] if given else [])
    else:
        given = [given[row] for row in kept]
    columns = condition_columns(rest.iloc[kept], csv, continuous, wanted)
    unnamed = len(set(found.files) - set(files))
    if unnamed:
        notes.append(f"left out: {unnamed:,} images below {found.root} that {csv} does not name")
    return Labelled(files, given, replace(columns, notes=[*notes, *columns.notes]))


def _compared(rest: pd.DataFrame, given: Sequence[Split] | None, wanted: list[str] | None) -> pd.DataFrame:
    """The columns in which rows of one file have to agree."""
    chosen = rest if wanted is None else rest[[name for name in wanted if name in rest.columns]]
    return chosen if given is None else chosen.assign(split=list(given))


def _rows_of_files(
    csv: Path, found: Found, named: pd.Series, compared: pd.DataFrame, faulty: Faulty
) -> tuple[list[Path], list[int], list[str]]:
    """The files that a table names, each once; their rows; and notes."""
    names, rows = Names(csv, found), dict[Path, list[int]]()
    remedy = f"correct the table, whose first column, {named.name}, names files, or leave these rows out with"
    faults = Faults(f"rows of {csv}", f"{remedy} data.faulty skip")
    for row, name in enumerate(named):
        try:
            rows.setdefault(names.file(name), []).append(row)
        except ValueError as error:
            faults.add(f"{place(named, row)}: {error}")
    repeated = 0
    for file, (first, *others) in list(rows.items()):
        different = [(row, text) for row in others if (text := _difference(compared, first, row)) is not None]
        repeated += len(others) if not different else 0
        for row, difference in different:
            faults.add(f"{place(named, first)} and {place(named, row)} give {file} the {difference}")
            rows.pop(file, None)
    faults.settle(len(named), faulty)
    notes = [f"left out: {repeated:,} rows that repeat another"] if repeated else []
    return list(rows), [first for first, *_ in rows.values()], [*names.notes(), *notes]


def _difference(compared: pd.DataFrame, one: int, other: int) -> str | None:
    """The first column in which two rows differ, but for capital letters, and its values."""
    for name in compared.columns:
        first, second = ("" if pd.isna(cell) else text_of(cell) for cell in compared[name].iloc[[one, other]])
        if first.casefold() != second.casefold():
            return f"{name} {first!r} and {second!r}"
    return None


class Names:
    """Finds the files that a table names.

    Args:
        csv: the table; names may be relative to its folder.
        found: the files, to whose root names are relative otherwise.
    """

    def __init__(self, csv: Path, found: Found) -> None:
        self.csv, self.found = csv, found
        self.tops = [os.path.abspath(found.root), os.path.realpath(found.root)]
        self.guessed: list[tuple[str, Path]] = []

    def file(self, cell: str | float | None) -> Path:
        """The file of a cell: as it is written, or with the suffix and the capital letters of the only one that fits.

        Raises:
            ValueError: if there is none, several fit, or it lies outside of the root.
        """
        if pd.isna(cell):
            raise ValueError("no file is named")
        name = text_of(cell).strip()
        spellings = list(dict.fromkeys((name, name.replace("\\", "/"))))
        paths = [base / spelled for spelled in spellings for base in (self.found.root, self.csv.parent)]
        for path in paths:
            if os.path.isfile(path):  # false as well for a text that can be no name
                if (inside := self._inside(path)) is None:
                    raise ValueError(f"{path} lies outside of {self.found.root}: set data.root to a folder above it")
                return inside
        inside = self._inside(self.found.root / spellings[-1])
        key = _key(inside.relative_to(self.found.root).as_posix()) if inside else ""
        fitting = self._by_key.get(key) or self._by_stem.get(key, [])
        if not fitting:
            raise ValueError(f"{paths[0]} does not exist")
        if len(fitting) > 1:
            raise ValueError(f"{name!r} may be {' or '.join(map(str, fitting))}: write it in full")
        self.guessed.append((name, fitting[0]))
        return fitting[0]

    def notes(self) -> list[str]:
        """How many names were not written as those of their files, in a line."""
        if not self.guessed:
            return []
        (name, file), count = self.guessed[0], len(self.guessed)
        return [f"{count:,} names in {self.csv.name} lack the suffix or differ in letters, as {name!r} for {file}"]

    def _inside(self, path: Path) -> Path | None:
        """The path with the root in front as it is written, without `..`; None outside of the root."""
        for top in self.tops:
            relative = os.path.relpath(os.path.abspath(path), top)
            if relative.split(os.sep)[0] != os.pardir:
                return self.found.root / relative
        return None

    @cached_property
    def _by_key(self) -> dict[str, list[Path]]:
        return self._grouped([file.relative_to(self.found.root) for file in self.found.files])

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        return self._grouped([file.relative_to(self.found.root).with_suffix("") for file in self.found.files])

    def _grouped(self, names: list[Path]) -> dict[str, list[Path]]:
        groups: dict[str, list[Path]] = {}
        for name, file in zip(names, self.found.files, strict=True):
            groups.setdefault(_key(name.as_posix()), []).append(file)
        return groups


def _key(name: str) -> str:
    """What names of one file have in common: their letters, however they are composed, and whether capital or not."""
    return unicodedata.normalize("NFC", name).casefold()
