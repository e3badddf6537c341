"""The sections of a report, one file each: a function of the whole Report that yields those that apply."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dreamprm.reporting.document import Section
from dreamprm.reporting.report import Report

SECTIONS: tuple[Callable[[Report], Iterator[Section]], ...] = ()
"""In the order of the page."""
