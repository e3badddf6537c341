"""The rows that the model cannot take, found in all files before the first of any is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dreamprm.config.errors import DataError
from dreamprm.data.read_report import ReadReport, listed_problems
from dreamprm.models.record_checks import CheckStatus, RecordChecks
from dreamprm.scoring.chain_scores import Chain
from dreamprm.scoring.journal import StoredScores
from dreamprm.scoring.rows import Row, Source


@dataclass(frozen=True)
class UnscoredRows:
    """The rows of a file whose scores are not stored, and the number of their candidates."""

    source: Source
    stored: StoredScores
    candidates: int

    def rows(self, report: ReadReport) -> Iterator[Row]:
        """Read them."""
        for row, keys in self.stored.rows(self.source, report):
            if self.stored.key(keys) is None:
                yield row


def require_scorable(
    files: Sequence[UnscoredRows], checks: RecordChecks, *, mode: str, say: Callable[[str], None]
) -> None:
    """Look at every image and the length of every candidate.

    With `on_error=skip`, rows that cannot be scored are only listed here: they are left out when it is their
    turn, unless that has changed meanwhile.

    Args:
        files: to score.
        checks: of the model's processor.
        mode: of the progress display.
        say: receives what will be left out.

    Raises:
        DataError: some rows cannot be scored (`on_error=error`), all in one message; or too many of a file.
        UserError: the tokenizer's chat template takes no images.
    """
    checks.images(row.record.images for one in files for row in one.rows(ReadReport()))
    refused: list[str] = []
    for one in files:
        source, report, found = one.source, ReadReport(), ReadReport()
        what = f"checking {source.path.name}"
        with CheckStatus(what, "candidate", one.candidates, mode=mode) as status:
            for row in one.rows(report):
                problem = _problem(source, row, checks)
                status.advance(len(row.chains))
                if problem is None:
                    continue
                if source.tolerance.on_error == "error":
                    refused.append(str(problem))
                    continue
                source.tolerance.take(problem, report, source.path)
                found.bad += 1
                found.leave_out(str(problem))
        source.tolerance.judge(report, source.path)
        found.rows = report.rows
        for line in found.lines():
            say(f"{source.path}: {line}")
    if refused:
        raise DataError(listed_problems(refused, "scored"))


def _problem(source: Source, row: Row, checks: RecordChecks) -> DataError | None:
    for number, steps in enumerate(row.chains):
        if steps is not None:
            chain = Chain(row.record.question, row.record.images, steps, number)
            reason = checks.problem(chain)
            if reason is not None:
                return refusal(source, row, number, reason)
    return None


def refusal(source: Source, row: Row, number: int, reason: str) -> DataError:
    """The error for a row one of whose chains cannot be scored."""
    what = f"candidate {number}: " if source.kind == "candidate" else ""
    return DataError(f"{row.where}: {what}{reason}")
