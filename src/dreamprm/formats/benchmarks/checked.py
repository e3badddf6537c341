"""What checking made of candidates: records and counts, and how they are written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dreamprm.data.record_table import write_records
from dreamprm.data.records import CandidateRecord
from dreamprm.formats.image_folder import images_from


@dataclass
class CandidateReport:
    """What became of the predictions.

    Attributes:
        verdicts: by generator the number of candidates that are right, wrong or undecided.
        empty: by generator the number of empty responses, which are among the wrong ones.
        reasons: why candidates are undecided, with their number.
    """

    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    empty: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """What to print: a line a generator, then what is undecided and why."""
        lines = []
        for generator, counts in self.verdicts.items():
            parts = ", ".join(f"{counts[name]} {name}" for name in ("right", "wrong", "undecided"))
            none = f" ({self.empty[generator]} without a response)" if self.empty[generator] else ""
            lines.append(f"{generator}: {parts}{none}")
        lines += [f"undecided: {count} x {reason}" for reason, count in self.reasons.most_common(10)]
        return lines


@dataclass(frozen=True)
class BenchmarkCandidates:
    """Candidate records with what each candidate is worth, and the counts.

    Attributes:
        records: one a question that was answered, in the order of the questions. Where the benchmark grades
            (MM-Vet) candidates have a `credit`, unless they are undecided.
        report: counts.
    """

    records: list[CandidateRecord]
    report: CandidateReport

    def outcomes(self) -> dict[str, dict[str, float]]:
        """By generator and record id the mean outcome of its candidates; undecided ones count 0.

        A mean over several samples is the expected outcome of one of them.
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


def write_candidates(path: str | Path, candidates: BenchmarkCandidates) -> int:
    """Write candidate records as JSON Lines, images below the file's folder relative to it.

    The file appears whole or not at all.

    Returns:
        The number of records.
    """
    folder = Path(path).parent
    return write_records(path, (images_from(record, folder) for record in candidates.records))
