"""The result of checking candidates: records and counts, and how they are written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dreamprm.data.record_table import write_records
from dreamprm.data.records import CandidateRecord
from dreamprm.formats.benchmarks.predictions import PredictionReport
from dreamprm.formats.image_folder import images_from
from dreamprm.formats.published_flags import FlagAgreement
from dreamprm.responses.step_counts import StepCounts, step_lines


@dataclass
class CandidateReport:
    """What happened to the predictions.

    Attributes:
        verdicts: for each generator, the number of right, wrong and undecided candidates.
        empty: for each generator, the number of empty responses; they are included in the wrong ones.
        reasons: reasons why candidates are undecided, with their counts.
        files: what was read from each file, by its path.
        steps: for each file, how many steps its responses have (0: no response).
        flags: how often the files' own flags agree with these verdicts.
    """

    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    empty: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    files: dict[str, PredictionReport] = field(default_factory=dict, compare=False)
    steps: dict[str, StepCounts] = field(default_factory=dict, compare=False)
    flags: FlagAgreement = field(default_factory=FlagAgreement, compare=False)

    def lines(self) -> list[str]:
        """The lines to print: one per generator, then what is undecided and why."""
        lines = []
        for generator, counts in self.verdicts.items():
            parts = ", ".join(f"{counts[name]} {name}" for name in ("right", "wrong", "undecided"))
            none = f" ({self.empty[generator]} without a response)" if self.empty[generator] else ""
            lines.append(f"{generator}: {parts}{none}")
        lines += [f"undecided: {count} x {reason}" for reason, count in self.reasons.most_common(10)]
        return lines

    def file_lines(self) -> list[str]:
        """The lines to print about each file: what was left out, the steps, its own flags."""
        lines = [f"{path}: {line}" for path, report in self.files.items() for line in report.lines()]
        return lines + step_lines(self.steps) + self.flags.lines()


@dataclass(frozen=True)
class BenchmarkCandidates:
    """Checked candidate records, and the counts.

    Attributes:
        records: one per answered question, in the order of the questions. If the benchmark grades (MM-Vet),
            candidates have a `credit` unless they are undecided.
        report: counts.
    """

    records: list[CandidateRecord]
    report: CandidateReport

    def outcomes(self) -> dict[str, dict[str, float]]:
        """The mean outcome of the candidates, by generator and record id; undecided candidates count as 0.

        A mean over several samples is the expected outcome of a randomly chosen one.
        """
        found: dict[str, dict[str, list[float]]] = {}
        for record in self.records:
            for candidate in record.candidates:
                by_id = found.setdefault(str(candidate.generator), {})
                by_id.setdefault(record.id, []).append(candidate.outcome)
        return {
            generator: {id: sum(values) / len(values) for id, values in by_id.items()}
            for generator, by_id in found.items()
        }


def write_candidates(
    path: str | Path, candidates: BenchmarkCandidates, *, images_checked: bool = True
) -> int:
    """Write candidate records as JSON Lines; image paths below the file's folder become relative to it.

    The file appears whole or not at all. `images_checked`: as in `write_records`.

    Returns:
        The number of records.
    """
    folder = Path(path).parent
    return write_records(
        path, (images_from(record, folder) for record in candidates.records), images_checked=images_checked
    )
