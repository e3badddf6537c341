"""Rows of published JSON files: arrays, JSON Lines, objects of named rows, one object per file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields, place
from dreamprm.data.json_stream import Row, not_utf8, stream_json, stream_member_array, stream_members
from dreamprm.files.json_values import UnusableValue, parse_json


def json_rows(path: str | Path) -> Iterator[Fields | DataError]:
    """The rows of a JSON array or a JSON Lines file of any size, ready to be checked field by field.

    A row that is not a JSON object is yielded as an error, and the rows after it follow.

    Raises:
        UserError: no such file.
        DataError: the file is neither.
    """
    yield from as_fields(stream_json(path), Path(path))


def member_rows(path: Path, member: str) -> Iterator[Fields | DataError]:
    """The rows of the array in one member of a file's object, such as `{"info": ..., "questions": [...]}`."""
    yield from as_fields(stream_member_array(path, member), path)


def named_rows(path: Path, *, name: str, text: str | None = None) -> Iterator[Fields | DataError]:
    """The rows of `{"1": {...}, "2": {...}}`, each with its name as an additional field.

    Args:
        path: the file, of any size.
        name: the field to store the name in.
        text: where a name maps to a text instead of a row, the field to store the text in; None: this is an
            error.
    """
    for given, row in stream_members(path):
        value = {text: row.value} if text is not None and isinstance(row.value, str) else row.value
        # Where several rows share a line, the line does not say which one is bad, but the name does.
        member = None if row.element is None else given
        for fields in as_fields([Row(row.line, value, row.problem, element=member)], path):
            if isinstance(fields, Fields):
                fields = fields.with_values({**fields.values, name: given})
            yield fields


def object_rows(paths: Iterable[Path]) -> Iterator[Fields | DataError]:
    """The objects of several small files as rows; a file that cannot be read is yielded as an error."""
    for path in paths:
        try:
            row = read_object(path)
        except DataError as error:
            yield error
        else:
            yield row


def read_object(path: Path) -> Fields:
    """The object in a small file, such as one problem's `data.json`; the file is read whole.

    Raises:
        DataError: broken JSON, or not an object.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8-sig"))
    except UnusableValue as error:
        raise DataError(f"{place(path, 1)}: {error}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
    return Fields(value, path, line=1)


def is_object(path: Path) -> bool:
    """Whether a file is JSON with an object as its single value (`{"1": ..., "2": ...}`)."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.read(4096).lstrip().startswith("{")


def as_fields(rows: Iterable[Row], path: Path, *, prefix: str = "") -> Iterator[Fields | DataError]:
    """JSON values as rows of a file; one that is not an object is yielded as an error.

    Args:
        rows: the values with their line numbers.
        path: the file, for messages.
        prefix: where the rows are in the file, as in `Fields`.
    """
    for row in rows:
        try:
            if row.problem is not None:
                raise DataError(f"{place(path, row.line, row.element)}: {row.problem}")
            fields = Fields(row.value, path, line=row.line, prefix=prefix, element=row.element)
        except DataError as error:
            yield error
        else:
            yield fields


def raise_errors(rows: Iterable[Fields | DataError]) -> Iterator[Fields]:
    """The rows, for a reader that does not skip bad ones.

    Raises:
        DataError: the first error among them.
    """
    for row in rows:
        if isinstance(row, DataError):
            raise row
        yield row
