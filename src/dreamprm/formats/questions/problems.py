"""`problems.json`: one object of problems by number, as ScienceQA, IconQA and TabMWP publish them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.json_members import stream_members
from dreamprm.formats.tables import as_fields


def problem_rows(path: Path, *, number: str) -> Iterator[Fields | DataError]:
    """The problems as rows that hold their number as one more field.

    Args:
        path: the file, of any size.
        number: the name of that field.
    """
    for name, row in stream_members(path):
        for fields in as_fields([row], path):
            if isinstance(fields, Fields):
                fields = Fields({**fields.values, number: name}, path, line=row.line)
            yield fields


def with_context(row: Fields, context: str | None) -> str:
    """The text in `question`, after that of the field `context` where there is one."""
    before = (row.optional_text(context) or "").strip() if context is not None else ""
    text = row.text("question").strip()
    return f"{before}\n{text}" if before else text
