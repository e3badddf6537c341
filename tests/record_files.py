"""Files of records for the tests of the data layer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

WriteRows = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an image, `i.png`."""
    Image.new("RGB", (4, 4), "red").save(tmp_path / "i.png")
    return tmp_path


@pytest.fixture
def write_rows(folder: Path) -> WriteRows:
    """Write rows as JSON Lines (or as an array) beside the image; texts are written as they are."""

    def write(rows: list[Any], *, array: bool = False, name: str = "rows.json") -> Path:
        texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path = folder / name
        path.write_text("[" + ",\n".join(texts) + "]" if array else "\n".join(texts), encoding="utf-8")
        return path

    return write
