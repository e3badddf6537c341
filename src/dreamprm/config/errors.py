"""User errors: the command line prints only their message and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(ValueError):
    """A mistake in what the user gave: a setting, a file, a combination that cannot work."""


class DataError(UserError):
    """A bad record: the message names file, line, field, value and what is allowed.

    Attributes:
        unlike: a file whose rows lack a field that they need: it may be of another format.
    """

    def __init__(self, message: str, *, unlike: Path | None = None) -> None:
        super().__init__(message)
        self.unlike = unlike


def shortened(value: object) -> str:
    """A value as messages show it: its repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text):,} characters)"


def closest(given: str, known: Iterable[str]) -> str | None:
    """The known name nearest to the one given; None if none is near."""
    return next(iter(difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)), None)


def nearest(given: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` if a known name is near the one given, else an empty string."""
    close = closest(given, known)
    return f", did you mean {close!r}?" if close is not None else ""
