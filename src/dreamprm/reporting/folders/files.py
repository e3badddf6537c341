"""The files that the folders hold: JSON objects, one per file or one per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.files.json_values import UnusableValue, parse_json


def file_text(path: Path) -> str:
    """The text of a file.

    Raises: DataError if it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 at byte {error.start}; the file is damaged or was saved in "
            f"another encoding, create it again"
        ) from error


def parse_object(path: Path, text: str, *, line: int) -> dict[str, Any]:
    """A JSON object.

    Args: path, line: where the text comes from, for messages; a text of several lines begins on `line`.
    Raises: DataError if it is not one.
    """
    try:
        value = parse_json(text)
    except UnusableValue as error:
        raise DataError(f"{path}:{line}: {error}; the file is damaged, create it again") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{line + error.lineno - 1}: not JSON ({error.msg}); the file is damaged, create it again"
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: must be a JSON object, got {type(value).__name__}")
    return value


def object_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file; empty lines are skipped.

    Raises: DataError with file and line if one is not a JSON object.
    """
    lines = [(line, text.strip()) for line, text in enumerate(file_text(path).split("\n"), start=1)]
    return [parse_object(path, text, line=line) for line, text in lines if text]


def check_keys(file: Path, place: str, held: Any, wanted: tuple[str, ...], *, command: str) -> None:
    """Check that an object of a file has the fields that a report needs.

    Args: place: the object's place in the file, "" or such as "settings."; command: what writes the file.
    Raises: DataError that names the first missing field.
    """
    missing = [key for key in wanted if not isinstance(held, dict) or key not in held]
    if missing:
        raise DataError(
            f"{file}: field {place}{missing[0]} is missing; the file is damaged or from another version: "
            f"run `{command}` again"
        )
