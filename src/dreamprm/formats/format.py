"""What a foreign format is: a reader into our records and, for some, a writer back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from dreamprm.data.read_report import ReadReport
from dreamprm.data.records import Record

Kind = Literal["step", "meta", "candidate", "question"]
Direction = Literal["in", "out"]

REPORT = "report"
"""The keyword of a reader that is no option: where it counts what it left out."""


class NotChosen(Exception):
    """A row that the options do not choose; the message says why, and rows are counted by it."""


@dataclass
class ConvertReport(ReadReport):
    """What a conversion left out: bad rows (`on_error=skip`), and rows that the options do not choose.

    Attributes:
        not_chosen: the number of rows by reason.
    """

    not_chosen: dict[str, int] = field(default_factory=dict)

    def pass_over(self, reason: str) -> None:
        """Count a row that the options do not choose."""
        self.not_chosen[reason] = self.not_chosen.get(reason, 0) + 1

    def lines(self, shown: int = 10) -> list[str]:
        """What to print: empty where nothing was left out."""
        passed = [f"left out {count} of {self.rows}: {reason}" for reason, count in self.not_chosen.items()]
        return passed + super().lines(shown)


@dataclass(frozen=True)
class Format:
    """One foreign format.

    Attributes:
        kind: what its records are in our form.
        read: `read(path, **options)` yields records of a foreign file (or folder). An image path that it
            resolves itself is absolute; one that it cannot resolve stays as written. It may take `report`, a
            `ConvertReport` to fill in.
        help: one line for `--help`.
        write: `write(records, path, **options)` writes our records as a foreign file; None where the format
            is only read. It may write straight to `path`, whose ending is that of the destination: the
            caller renames the file when it is whole. It may take `report` too.
    """

    kind: Kind
    read: Callable[..., Iterator[Record]]
    help: str
    write: Callable[..., None] | None = None

    def options(self, direction: Direction = "in") -> tuple[str, ...]:
        """Names of the format's options in one direction: the keyword-only arguments of its function."""
        return tuple(name for name in self._keywords(direction) if name != REPORT)

    def reports(self, direction: Direction = "in") -> bool:
        """Whether its function of that direction counts what it leaves out."""
        return REPORT in self._keywords(direction)

    def _keywords(self, direction: Direction) -> list[str]:
        function = self.read if direction == "in" else self.write
        arguments = inspect.signature(function).parameters if function is not None else {}
        return [name for name, argument in arguments.items() if argument.kind is argument.KEYWORD_ONLY]
