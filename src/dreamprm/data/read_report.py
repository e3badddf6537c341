"""What a reader left out, and when that is too much to continue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import DataError, UserError

OnError = Literal["error", "skip"]

LISTED = 100
"""How many left-out rows are listed; the others are only counted."""

# Among a few rows, one bad row is a large share; from this row on, a long file is judged before its end.
_EARLIEST_JUDGEMENT = 1000


@dataclass
class ReadReport:
    """Counts from reading a file; the reader fills it in, and it is complete when the reader has finished.

    Attributes:
        rows: rows (or lines) of the file.
        bad: rows left out because they are bad (`on_error=skip`).
        stepless: records left out because they have no steps (`stepless=skip`).
        without: rows left out because others, without which they are of no use, are bad.
        disagreeing: records left out because two labellings of them disagree (`Consensus`).
        disagreeing_steps: labels taken from other records for that reason.
        text_only: records whose images were dropped because one was missing (`missing_image=text_only`).
        cut_off: records with an image that is cut off, and is used as far as it goes; counted only where
            images are decoded while reading.
        left_out: messages of the first hundred left-out rows, each with file, line and reason.
        without_images, cut_off_images: the same for the records counted by `text_only` and by `cut_off`.
    """

    rows: int = 0
    bad: int = 0
    stepless: int = 0
    text_only: int = 0
    cut_off: int = 0
    without: int = 0
    disagreeing: int = 0
    disagreeing_steps: int = 0
    left_out: list[str] = field(default_factory=list)
    without_images: list[str] = field(default_factory=list)
    cut_off_images: list[str] = field(default_factory=list)

    @property
    def left_out_count(self) -> int:
        """How many rows or records were left out, for whatever reason."""
        return self.bad + self.stepless + self.without + self.disagreeing

    def leave_out(self, reason: str) -> None:
        """Record the message of a left-out row."""
        self.note(self.left_out, reason)

    @staticmethod
    def note(listed: list[str], reason: str) -> None:
        """Add a message to one of the lists, unless it is full."""
        if len(listed) < LISTED:
            listed.append(reason)

    def leave_with(self, ids: Iterable[str]) -> None:
        """Record good rows that are of no use without the bad ones, such as the other parts of a problem."""
        for id in sorted(ids):
            self.without += 1
            self.leave_out(f"{id}: a row that belongs to the same unit was left out")

    def lines(self, shown: int = 10) -> list[str]:
        """What to print: counts and the first reasons; empty if nothing was left out or changed."""
        lines = []
        if count := self.left_out_count:
            lines.append(f"left out {count} of {self.rows}:")
            lines += [f"  {reason}" for reason in self.left_out[:shown]]
            if count > len(self.left_out[:shown]):
                lines.append(f"  and {count - len(self.left_out[:shown])} more")
        if self.disagreeing_steps:
            lines.append(f"{self.disagreeing_steps} labels were taken away: no consensus on their steps")
        lines += image_lines(self.text_only, self.rows, WITHOUT_IMAGES, self.without_images)
        lines += image_lines(self.cut_off, self.rows, CUT_OFF, self.cut_off_images)
        return lines

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; `ReadReport(**values)` is its inverse."""
        return asdict(self)


WITHOUT_IMAGES = "are used without their images, which are missing or broken"
CUT_OFF = "are used with an image that is cut off"


def image_lines(count: int, of: int, what: str, reasons: Sequence[str], shown: int = 3) -> list[str]:
    """How many records lost their images, or have one that is cut off, and the first of them; no line for 0.

    Args:
        count, of: the number of such records, and of all.
        what: `WITHOUT_IMAGES` or `CUT_OFF`.
        reasons: record and image of each, or of the first ones.
        shown: how many of them are listed.
    """
    if not count:
        return []
    lines = [f"{count} of {of} {what}"] + [f"  {reason}" for reason in reasons[:shown]]
    more = count - len(reasons[:shown])
    return lines + ([f"  and {more} more"] if more else [])


def listed_problems(problems: Sequence[str], use: str, shown: int = 10) -> str:
    """One message for records that stop a command before it starts: the problem itself, or a list.

    Args:
        problems: with file, line, record and reason.
        use: what the records cannot be, such as `scored`.
        shown: how many are listed.
    """
    if len(problems) == 1:
        return problems[0]
    more = len(problems) - shown
    return "\n  ".join(
        [
            f"{len(problems)} records cannot be {use}; fix them, or leave them out (data.on_error=skip):",
            *problems[:shown],
            *([f"and {more} more"] if more > 0 else []),
        ]
    )


@dataclass
class Tolerance:
    """Whether bad rows stop the reading, and how many may be left out.

    Attributes:
        on_error: `error` stops at the first bad row; `skip` leaves bad rows out, counts and lists them.
        max_bad_fraction: the share of bad rows, in [0, 1], above which `skip` stops the reading too. It is
            checked at the end of the file, and while reading from the thousandth row on.

    Raises:
        UserError: `on_error` is neither of these, or the fraction is outside [0, 1].
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
        """Raise a DataError if too large a share of the rows is bad."""
        if report.bad > self.max_bad_fraction * report.rows:
            reasons = "\n  ".join(report.left_out[:3])
            raise DataError(
                f"{path}: {report.bad} of {report.rows} rows are bad, more than"
                f" max_bad_fraction={self.max_bad_fraction} allows; fix the file or raise the limit."
                f" The first:\n  {reasons}",
                unlike=path,
            )
