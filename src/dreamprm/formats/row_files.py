"""Rows of foreign JSON files: read with checks, written as an array or as JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import stream_json
from dreamprm.data.read_report import Tolerance
from dreamprm.formats.format import ConvertReport, NotChosen
from dreamprm.formats.tables import as_fields

R = TypeVar("R")


def read_rows(path: str | Path) -> Iterator[Fields]:
    """The rows of a JSON array or a JSON Lines file of any size, ready to be checked field by field.

    Raises:
        UserError: no such file.
        DataError: a row that is no JSON object, naming file and line.
    """
    for row in json_rows(path):
        if isinstance(row, DataError):
            raise row
        yield row


def json_rows(path: str | Path) -> Iterator[Fields | DataError]:
    """As `read_rows`; an error stands for a row that is no JSON object, and the rows after it follow."""
    yield from as_fields(stream_json(path), Path(path))


def records_of(
    rows: Iterable[Fields | DataError],
    record: Callable[[Fields], R],
    *,
    path: str | Path,
    tolerance: Tolerance,
    report: ConvertReport | None,
) -> Iterator[R]:
    """The records of a foreign file's rows, of which each is read on its own.

    Args:
        rows: the rows; an error stands for one that cannot be read.
        record: makes the record of one row; `DataError` for a bad one, `NotChosen` for one to pass over.
        path: the file, for messages.
        tolerance: what a bad row does.
        report: filled in where given.

    Raises:
        DataError: a bad row, or too many of them, as `tolerance` says.
    """
    report = ConvertReport() if report is None else report
    for row in rows:
        report.rows += 1
        try:
            if isinstance(row, DataError):
                raise row
            made = record(row)
        except DataError as error:
            tolerance.take(error, report, Path(path))
        except NotChosen as reason:
            report.pass_over(str(reason))
        else:
            yield made
    tolerance.judge(report, Path(path))


def write_json_lines(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    with Path(path).open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(_json(row) + "\n")


def write_json_array(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSON array, row by row, so that it may be longer than memory."""
    with Path(path).open("w", encoding="utf-8") as file:
        separator = "[\n"
        for row in rows:
            file.write(separator + _json(row))
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def domain_of(fields: Fields, domain: str | None) -> str:
    """The domain of a row: as told, else its own `domain` (our writers add one), else the file's name."""
    return domain or fields.optional_text("domain") or fields.path.stem


def images_of(fields: Fields, name: str = "image") -> tuple[str, ...]:
    """A field's image paths as written: one path, a list of them, or none where it is null or absent."""
    if name not in fields or fields.values[name] == []:
        return ()
    return fields.texts(name) if isinstance(fields.values[name], list) else (fields.text(name),)


def image_value(images: tuple[str, ...]) -> str | list[str] | None:
    """What `images_of` reads back: a path, a list of several, or null."""
    return list(images) if len(images) > 1 else next(iter(images), None)


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False)
