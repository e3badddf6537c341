"""What a file to score holds, counted before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dreamprm.config.errors import DataError
from dreamprm.data.read_report import ReadReport
from dreamprm.responses import StepCounts
from dreamprm.scoring.rows import Source


@dataclass
class FileCounts:
    """What a file contains."""

    records: int = 0
    candidates: int = 0
    stepless: int = 0
    steps: int = 0
    by_steps: StepCounts = field(default_factory=StepCounts)

    @classmethod
    def of(cls, source: Source, *, say: Callable[[str], None]) -> FileCounts:
        """Count the contents of a file.

        Raises:
            UserError, DataError: as raised by `Source.rows`.
        """
        counts, report = cls(), ReadReport()
        for row in source.rows(report):
            counts.records += 1
            counts.candidates += len(row.chains)
            counts.stepless += row.chains.count(None)
            for chain in row.chains:
                if chain:
                    counts.steps += len(chain)
                    counts.by_steps[len(chain)] += 1
        if not counts.records:
            raise DataError(f"{source.path}: every record was left out; fix the file")
        for line in report.lines():
            say(f"{source.path}: {line}")
        say(f"{source.path}: {counts.by_steps.line()}")
        if counts.stepless:
            say(
                f"{source.path}: {counts.stepless:,} of {counts.candidates:,} candidates have no steps and "
                "get no score (data.stepless=skip)"
            )
        return counts

    def to_json(self) -> dict[str, int]:
        """The counts as they appear in the summary."""
        return {
            "records": self.records,
            "candidates": self.candidates,
            "without_steps": self.stepless,
            "steps": self.steps,
            "one_step": self.by_steps[1],
        }
