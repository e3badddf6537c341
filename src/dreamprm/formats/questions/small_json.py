"""Small JSON files that hold one object each, read whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields


def read_object(path: Path) -> Fields:
    """The object that a file holds, such as one problem's `data.json`.

    Raises:
        DataError: broken JSON, or no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason}); save the file as UTF-8") from error
    return Fields(value, path, line=1)


def read_objects(paths: Iterable[Path]) -> Iterator[Fields | DataError]:
    """The objects of several files as rows; an error stands for a file that cannot be read."""
    for path in paths:
        try:
            row = read_object(path)
        except DataError as error:
            yield error
        else:
            yield row
