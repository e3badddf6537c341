"""Errors that are the user's to fix: the command line prints their one message and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave: a setting, a file, a combination that cannot work."""


class DataError(UserError):
    """A bad record: the message names file, line, field, value and what is allowed."""


def closest(given: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to the one given; None where none is near."""
    return next(iter(difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)), None)


def nearest(given: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?`, where a known name is near the one given; else nothing."""
    close = closest(given, known)
    return f", did you mean {close!r}?" if close is not None else ""
