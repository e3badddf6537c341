"""Writes rows as other projects' files: JSON Lines, JSON arrays, and tables (.xlsx, .tsv, .csv, .json)."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.formats.table_files import SEPARATORS, by_ending, openpyxl

MAX_XLSX_CHARACTERS = 32767
"""The longest text that an .xlsx cell can hold."""


def write_json_lines(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object per line."""
    with Path(path).open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(_json(row) + "\n")


def write_json_array(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSON array row by row, so it need not fit in memory."""
    with Path(path).open("w", encoding="utf-8") as file:
        separator = "[\n"
        for row in rows:
            file.write(separator + _json(row))
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def write_cells(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table; a missing or null value is an empty cell.

    Raises:
        UserError: an ending other than .xlsx, .tsv, .csv or .json, or .xlsx without openpyxl installed.
        DataError: a text that an .xlsx cell cannot hold.
    """
    path = Path(path)
    by_ending(path, _WRITERS)(path, columns, rows)


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def _write_xlsx(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    book = openpyxl().Workbook()
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
                    f"row {line}, column {name}: {len(value)} characters, but an .xlsx cell holds"
                    f" at most {MAX_XLSX_CHARACTERS}; write .tsv or .json"
                )
            try:
                cell = sheet.cell(line, column, value)
            except IllegalCharacterError as error:
                raise DataError(
                    f"row {line}, column {name}: contains a control character, which .xlsx cannot hold;"
                    " write .tsv or .json"
                ) from error
            if isinstance(value, str):
                cell.data_type = "s"  # a text that starts with "=" is not a formula
    book.save(path)


def _write_separated(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    # Every cell is quoted, as in the authors' files, so that line breaks inside texts survive.
    with path.open("w", encoding="utf-8", newline="") as file:
        separator = SEPARATORS[path.suffix.lower()]
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if row.get(name) is None else row[name] for name in columns])


def _write_json(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    write_json_array(path, ({name: row.get(name) for name in columns} for row in rows))


_WRITERS: dict[str, Callable[..., None]] = {
    ".xlsx": _write_xlsx,
    ".tsv": _write_separated,
    ".csv": _write_separated,
    ".json": _write_json,
}
