"""Tables of Excel: the first sheet of a workbook."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from common.lazy import pd
from common.table_files.limits import LINE, VARIABLE, most_bytes, too_large
from common.table_files.names import unrepeated

CELL = 32  # bytes that a cell of the sheet counts as, empty or not


def workbook(path: Path, values: bool, content: bytes | None = None) -> Any:
    """The workbook of a file by openpyxl, with the stored values of its formulas or with the formulas.

    Args:
        path: the file.
        values: whether formulas are replaced by their stored values.
        content: its content, if it was read before.

    Raises:
        ImportError: if openpyxl is not installed; the message names the extra.
        ValueError: if it is no workbook, has no sheet, or takes more memory than it may.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise ImportError(f"{path}: Excel files need openpyxl: pip install --editable '.[tables]'") from error
    stored, limit = io.BytesIO(path.read_bytes() if content is None else content), most_bytes(path) // LINE
    try:
        with zipfile.ZipFile(stored) as archive:  # which unpacks no more of a member than it says here
            unpacked = sum(member.file_size for member in archive.infolist())
        book = None if unpacked > limit else openpyxl.load_workbook(stored, data_only=values)
    except Exception as error:  # whatever is raised on broken archives and on XML that is none of a workbook
        said = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a workbook: {said}. Save it anew, or as CSV") from error
    if book is None:
        raise too_large(path, "unpacks to", limit)
    if not book.worksheets:
        raise ValueError(f"{path} has no sheet: a table has a header and rows")
    sheet = book.worksheets[0]
    if sheet.max_row * sheet.max_column > most_bytes(path) // CELL:
        raise ValueError(
            f"{path}, sheet {sheet.title}: {sheet.calculate_dimension()} are {sheet.max_row * sheet.max_column:,} "
            f"cells: delete what stands far from the table. A larger ${VARIABLE} lets them in"
        )
    return book


def excel(path: Path) -> pd.DataFrame:
    """The table of the first sheet, whose index is the number of each row in it; formulas have their stored values.

    Blank rows are left out, and columns without a name and a value.

    Raises:
        ValueError: for titles above the header, merged cells, a formula without a value, or a value without a header.
    """
    book = workbook(path, values=True)
    sheet = book.worksheets[0]
    where = f"{path}, sheet {sheet.title}"
    notes = []
    if len(book.worksheets) > 1:
        titles = ", ".join(other.title for other in book.worksheets)
        notes.append(f"{path.name} has {len(book.worksheets)} sheets ({titles}): the first is read")
    if sheet.merged_cells.ranges:
        merged = min(str(cells) for cells in sheet.merged_cells.ranges)
        raise ValueError(f"{where}: the cells {merged} are merged: unmerge them, and delete titles above the header")
    rows = [
        (number, cells) for number, cells in enumerate(sheet.iter_rows(values_only=True), 1) if any(map(_full, cells))
    ]
    if not rows:
        raise ValueError(f"{where} is empty: a table has a header and rows")
    (top, header), *body = rows
    _check_formulas(path, where, sheet)
    kept = [position for position, cell in enumerate(header) if _full(cell)]
    used = {position for _, cells in body for position, cell in enumerate(cells) if _full(cell)}
    indexed = bool(kept) and used == {0, kept[0]}  # a first column without a name, and another one
    if len(kept) == 1 and len(used) > 1 and not indexed:
        raise ValueError(
            f"{where}, row {top}: {str(header[kept[0]])!r} is one cell, and the rows below have {len(used)}: the first "
            "row of a table names its columns. Delete the rows above"
        )
    nameless = sorted(used - set(kept))
    if nameless == [0]:
        notes.append("the first column has no name: it is taken for the row index, and left out")
    elif nameless:
        raise ValueError(f"{where}, row {top}: column {nameless[0] + 1} of the header has no name: name it")
    names = [str(header[position]).strip() for position in kept]
    unrepeated(names, path)
    index = pd.Index([number for number, _ in body], name="row", dtype="int64")
    columns = {
        name: pd.Series([cells[position] for _, cells in body], index=index, dtype=None if body else "float64")
        for name, position in zip(names, kept, strict=True)
    }
    table = pd.DataFrame(columns, index=index)
    table.attrs["notes"] = notes
    return table


def _full(cell: object) -> bool:
    return cell is not None and str(cell).strip() != ""


def _check_formulas(path: Path, where: str, values: Any) -> None:
    """Refuses formulas whose values are not stored."""
    for cell in workbook(path, values=False).worksheets[0]._cells.values():  # iter_rows() makes those that are none
        if cell.data_type == "f" and values[cell.coordinate].value is None:
            raise ValueError(
                f"{where}, row {cell.row}: the formula of {cell.coordinate} has no stored value: open the file in "
                "a spreadsheet program, and save it"
            )
