"""Placeholder until its content moves here from the old page."""

from __future__ import annotations

from collections.abc import Iterator

from dreamprm.reporting.document import Section
from dreamprm.reporting.report import Report


def sections(report: Report) -> Iterator[Section]:
    """Nothing yet."""
    del report
    yield from ()
