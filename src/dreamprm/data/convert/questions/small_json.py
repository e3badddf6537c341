"""A small JSON file that holds one object, read whole."""

from __future__ import annotations

import json
from pathlib import Path

from dreamprm.data.fields import Fields
from dreamprm.errors import DataError


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
