"""The files that the folders hold: JSON objects, whole or a line each, and their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError


def file_text(path: Path) -> str:
    """The text of a file.

    Raises: DataError where it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 at byte {error.start}; the file is damaged or was saved in "
            f"another encoding, make it again"
        ) from error


def parse_object(path: Path, text: str, *, line: int) -> dict[str, Any]:
    """A JSON object.

    Args: path, line: where the text stands, for messages; a text of several lines begins on `line`.
    Raises: DataError where it is none.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{line + error.lineno - 1}: not JSON ({error.msg}); the file is damaged, make it again"
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: must be a JSON object, got {type(value).__name__}")
    return value


def object_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file; empty lines are passed over.

    Raises: DataError with file and line where one is none.
    """
    lines = [(line, text.strip()) for line, text in enumerate(file_text(path).split("\n"), start=1)]
    return [parse_object(path, text, line=line) for line, text in lines if text]


def check_keys(file: Path, place: str, held: Any, wanted: tuple[str, ...], *, command: str) -> None:
    """Whether an object of a file has the fields that a report is made of.

    Args: place: of the object in the file, "" or such as "settings."; command: what writes the file.
    Raises: DataError that names the first missing field.
    """
    missing = [key for key in wanted if not isinstance(held, dict) or key not in held]
    if missing:
        raise DataError(
            f"{file}: field {place}{missing[0]} is missing; the file is damaged or another"
            f" version's: run `{command}` again"
        )
