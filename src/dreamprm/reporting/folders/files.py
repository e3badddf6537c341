"""The files that the folders hold: JSON objects, one per file or one per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.files.append_only import has_changed
from dreamprm.files.json_values import UnusableValue, parse_json


def file_text(path: Path) -> str:
    """The text of a file.

    Raises: DataError if it is not UTF-8, or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
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


def whole_object(path: Path) -> dict[str, Any]:
    """The object that a file holds, which is what was written if it ends with a checksum.

    Raises: DataError if it is not a JSON object, or has changed since.
    """
    value = parse_object(path, file_text(path), line=1)
    if has_changed(path.read_bytes()):
        raise DataError(
            f"{path}: its checksum is not that of its text: it has changed since it was written; create it "
            "again, or, if it was changed on purpose, remove the blanks and tabs at its end"
        )
    return value


def object_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file with the numbers of their lines; empty lines are skipped.

    Raises: DataError with file and line if one is not a JSON object.
    """
    lines = [(line, text.strip()) for line, text in enumerate(file_text(path).split("\n"), start=1)]
    return [(line, parse_object(path, text, line=line)) for line, text in lines if text]
