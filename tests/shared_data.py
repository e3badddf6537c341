"""Where the real data files lie; a test that needs one skips where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(
    os.environ.get("DREAMPRM_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


def shared_file(name: str) -> Path:
    """A file of the shared real data, or a skip that says how to provide it."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"real data file {name} is not in {SHARED_DATA}; set DREAMPRM_SHARED_DATA to its folder")
    return path
