"""Tables of cells, .xlsx, .tsv, .csv and .json alike: rows with column names, read and written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.formats.row_files import read_rows, write_json_array

MAX_XLSX_CHARACTERS = 32767
"""The longest text that a cell of an .xlsx file holds."""

_READ_ROWS = 256


def read_cells(path: str | Path) -> Iterator[Fields]:
    """The rows of a table; an empty cell (in JSON also NaN) is null.

    Texts stay as they are: "None", "NA" or "1.50" are no missing values and no numbers. The number in
    messages is the row's, the column names' row being 1; in JSON it is the line.

    Args:
        path: a file that ends in .xlsx (its first sheet), .tsv, .csv or .json.

    Raises:
        UserError: no such file, another ending, or openpyxl is missing for .xlsx.
        DataError: the file cannot be read as what its ending says.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such file: {path}; give the path of a table")
    for fields in _by_ending(path, _READERS)(path):
        values = {name: None if _is_missing(value) else value for name, value in fields.values.items()}
        yield Fields(values, path, line=fields.line)


def write_cells(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table; a missing or null value is an empty cell.

    Raises:
        UserError: an ending that is not .xlsx, .tsv, .csv or .json, or openpyxl is missing for .xlsx.
        DataError: a text that an .xlsx cell cannot hold.
    """
    path = Path(path)
    _by_ending(path, _WRITERS)(path, columns, rows)


def cell_text(fields: Fields, name: str) -> str | None:
    """A cell's text, of a number as it is written without a needless ".0"; None where it is empty."""
    value = fields.values.get(name)
    if value is None or isinstance(value, str):
        return value if value is None or value.strip() else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fields.error(name, "a text or a number")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _by_ending(path: Path, functions: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if path.suffix.lower() not in functions:
        # Without the name: what is written has another one until it is whole.
        raise UserError(f"unknown ending of a table's name: {path.suffix!r}; allowed: {', '.join(functions)}")
    return functions[path.suffix.lower()]


def _openpyxl() -> Any:
    try:
        import openpyxl  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(
            ".xlsx files need openpyxl: pip install 'dreamprm[xlsx]', or use .tsv, .csv or .json"
        ) from error
    return openpyxl


def _read_xlsx(path: Path) -> Iterator[Fields]:
    openpyxl = _openpyxl()
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # zip, XML and key errors alike
        raise DataError(f"{path}: cannot be read as .xlsx: {error}") from error
    try:
        rows = book.worksheets[0].iter_rows(values_only=True)
        names = [None if name is None else str(name) for name in next(rows, ())]
        for line, cells in enumerate(rows, start=2):
            if any(cell is not None for cell in cells):
                row = dict(itertools.zip_longest(names, cells[: len(names)]))  # rows end at their last cell
                yield Fields({name: value for name, value in row.items() if name}, path, line=line)
    finally:
        book.close()


def _read_separated(path: Path) -> Iterator[Fields]:
    # Imported here, because it takes a second. The csv module refuses cells as long as an image.
    import pandas  # type: ignore[import-untyped]

    separator = _SEPARATORS[path.suffix.lower()]
    try:
        with pandas.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, na_values=[""], chunksize=_READ_ROWS
        ) as parts:
            rows = (values for part in parts for values in part.to_dict("records"))
            for line, values in enumerate(rows, start=2):
                yield Fields(values, path, line=line)
    except DataError:
        raise
    except ValueError as error:  # what pandas raises on broken tables, and on what is not UTF-8
        raise DataError(f"{path}: cannot be read as {path.suffix.lower()}: {error}") from error


def _write_xlsx(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    book = _openpyxl().Workbook()
    from openpyxl.utils.exceptions import IllegalCharacterError  # type: ignore[import-untyped]

    sheet = book.active
    lines = itertools.chain([{name: name for name in columns}], rows)
    for line, row in enumerate(lines, start=1):
        for column, name in enumerate(columns, start=1):
            value = row.get(name)
            if value is None:
                continue
            if isinstance(value, str) and len(value) > MAX_XLSX_CHARACTERS:
                raise DataError(
                    f"row {line}, column {name}: {len(value)} characters, and a cell of .xlsx holds"
                    f" {MAX_XLSX_CHARACTERS}; write .tsv or .json"
                )
            try:
                cell = sheet.cell(line, column, value)
            except IllegalCharacterError as error:
                raise DataError(
                    f"row {line}, column {name}: a control character, which .xlsx cannot hold;"
                    " write .tsv or .json"
                ) from error
            if isinstance(value, str):
                cell.data_type = "s"  # a text that starts with "=" is no formula
    book.save(path)


def _write_separated(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    import csv

    # Every cell quoted, as the authors write them, so that line ends inside a text stay.
    separator = _SEPARATORS[path.suffix.lower()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if row.get(name) is None else row[name] for name in columns])


def _write_json(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    write_json_array(path, ({name: row.get(name) for name in columns} for row in rows))


_SEPARATORS = {".tsv": "\t", ".csv": ","}
_READERS = {".xlsx": _read_xlsx, ".tsv": _read_separated, ".csv": _read_separated, ".json": read_rows}
_WRITERS = {".xlsx": _write_xlsx, ".tsv": _write_separated, ".csv": _write_separated, ".json": _write_json}
