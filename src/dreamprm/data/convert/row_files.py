"""Rows of foreign JSON files: read with checks, written as an array or as JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import stream_json
from dreamprm.errors import DataError


def read_rows(path: str | Path) -> Iterator[Fields]:
    """The rows of a JSON array or a JSON Lines file of any size, ready to be checked field by field.

    Raises:
        UserError: no such file.
        DataError: a row that is no JSON object, naming file and line.
    """
    path = Path(path)
    for row in stream_json(path):
        if row.problem is not None:
            raise DataError(f"{path}:{row.line}: {row.problem}")
        yield Fields(row.value, path, line=row.line)


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
