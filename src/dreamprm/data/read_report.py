"""What a reader left out, and when that is too much."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import DataError, UserError

OnError = Literal["error", "skip"]

LISTED = 100
"""How many left-out rows are kept by name; the others are only counted."""

# Among a few rows one bad one is a large share; from here on a long file is judged before its end.
_EARLIEST_JUDGEMENT = 1000


@dataclass
class ReadReport:
    """Counts of one reading; the reader fills it in, and it is complete when the reader has ended.

    Attributes:
        rows: rows of the file, or lines.
        bad: rows left out because they are bad (`on_error=skip`).
        stepless: records left out because they have no steps (`stepless=skip`).
        text_only: records that lost their images because one was missing (`missing_image=text_only`).
        left_out: messages of the first hundred left-out rows, each with file, line and reason.
    """

    rows: int = 0
    bad: int = 0
    stepless: int = 0
    text_only: int = 0
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, reason: str) -> None:
        """Keep the message of a left-out row."""
        if len(self.left_out) < LISTED:
            self.left_out.append(reason)

    def lines(self, shown: int = 10) -> list[str]:
        """What to print: empty where nothing was left out or changed, else counts and the first reasons."""
        lines = []
        if count := self.bad + self.stepless:
            lines.append(f"left out {count} of {self.rows}:")
            lines += [f"  {reason}" for reason in self.left_out[:shown]]
            if count > len(self.left_out[:shown]):
                lines.append(f"  and {count - len(self.left_out[:shown])} more")
        if self.text_only:
            lines.append(
                f"{self.text_only} of {self.rows} go on without their images, which are missing or broken"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; `ReadReport(**values)` is its inverse."""
        return asdict(self)


@dataclass
class Tolerance:
    """Whether bad rows end the reading, and how many may be left out.

    Attributes:
        on_error: `error` ends at the first bad row, `skip` leaves it out, counts it and lists it.
        max_bad_fraction: the share of bad rows, in [0, 1], above which `skip` ends the reading too. It is
            judged at the file's end, and while reading from the thousandth row on.

    Raises:
        UserError: `on_error` is neither of the two, or the fraction is outside [0, 1].
    """

    on_error: OnError = "error"
    max_bad_fraction: float = 0.01

    def __post_init__(self) -> None:
        if self.on_error not in ("error", "skip"):
            raise UserError(f"on_error must be 'error' or 'skip', got {self.on_error!r}")
        if not 0 <= self.max_bad_fraction <= 1:
            raise UserError(f"max_bad_fraction must be in [0, 1], got {self.max_bad_fraction}")

    def take(self, error: DataError, report: ReadReport, path: Path) -> None:
        """Leave a bad row out, or raise its error."""
        if self.on_error == "error":
            raise error
        report.bad += 1
        report.leave_out(str(error))
        if report.rows >= _EARLIEST_JUDGEMENT:
            self.judge(report, path)

    def judge(self, report: ReadReport, path: Path) -> None:
        """Raise where too large a share of the rows was bad."""
        if report.bad > self.max_bad_fraction * report.rows:
            reasons = "\n  ".join(report.left_out[:3])
            raise DataError(
                f"{path}: {report.bad} of {report.rows} rows are bad, more than"
                f" max_bad_fraction={self.max_bad_fraction} allows; mend the file or raise the limit."
                f" The first:\n  {reasons}"
            )
