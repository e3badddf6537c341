"""Base classes for formats of step records: rows to records, and labels to right and wrong steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.format import ConvertReport, RowReader, Writer
from dreamprm.formats.writers import write_json_lines

Unlabelled = Literal["error", "skip"]


@dataclass(frozen=True)
class StepReader(RowReader):
    """Reads a file with one chain of thought per row; subclasses define what a row holds."""

    kind = "step"
    shared = "step records"

    domain: str | None = setting(
        None,
        "the domain of all records; null: each row's own `domain`, or else the file's name without its"
        " ending",
    )

    @abstractmethod
    def record(self, row: Fields) -> StepRecord:
        """The record of one row.

        Raises:
            DataError: a bad row.
        """

    def read(self, path: Path, report: ConvertReport) -> Iterator[StepRecord]:
        """One record per row."""
        return self.records_of(path, self.record, report)

    def step_record(
        self,
        row: Fields,
        *,
        question: str,
        steps: Sequence[str],
        labels: tuple[float | None, ...],
        images: tuple[str, ...] = (),
        rollouts: tuple[int | None, ...] | None = None,
        id: str | None = None,
    ) -> StepRecord:
        """Build the record of a row from its parts.

        Args:
            row: the row that the parts come from.
            question, steps, labels, images: as in `StepRecord`.
            rollouts: None if unknown for all steps.
            id: None for the row's `id`, or else file name and line.
        """
        return StepRecord(
            question=question,
            images=images,
            domain=self.domain or _own_domain(row) or row.path.stem,
            steps=tuple(steps),
            labels=labels,
            rollouts=(None,) * len(steps) if rollouts is None else rollouts,
            id=row.identifier() if id is None else id,
        )


def _own_domain(row: Fields) -> str | None:
    """The row's domain; None if it is absent or blank."""
    domain = row.optional_text("domain")
    return domain if domain and domain.strip() else None


@dataclass(frozen=True)
class StepWriter(Writer):
    """Writes step records, one per row, in a format that knows only right and wrong steps.

    A step is right if its label in [0, 1] is above the threshold; 0 is the rule of VisualPRM (arXiv
    2503.10291): a step is right if any completion was.
    """

    shared = "steps that are right or wrong"

    threshold: float | None = setting(
        None, "steps with labels above it are right; null: labels must be 0 or 1", minimum=0, below=1
    )
    unlabelled: Unlabelled = setting(
        "error", "what to do with a record with a null label: error, or skip", choices=("error", "skip")
    )

    @abstractmethod
    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one record; its null labels, if any, are ones that the format can hold (`holds_null`).

        Raises:
            DataError: the format cannot represent it.
        """

    def write_rows(self, path: Path, rows: Iterator[dict[str, Any]]) -> None:
        """Write the rows to a file, one per line."""
        write_json_lines(path, rows)

    def holds_null(self, record: StepRecord) -> bool:
        """Whether the format can hold the null labels of a record."""
        del record
        return False

    def write(self, records: Iterable[StepRecord], path: Path, report: ConvertReport) -> None:
        """Write the records selected by the options."""
        self.write_rows(path, (self.row(record) for record in self.kept(records, report)))

    def kept(self, records: Iterable[StepRecord], report: ConvertReport) -> Iterator[StepRecord]:
        """The records to write; one with an unlabelled step is left out or is an error.

        Raises:
            DataError: a step without a label, if `unlabelled` is `error`.
        """
        for record in records:
            report.rows += 1
            if None not in record.labels or self.holds_null(record):
                yield record
            elif self.unlabelled == "skip":
                report.pass_over("a step has no label")
            else:
                raise DataError(
                    f"record {record.id}: labels[{record.labels.index(None)}] is null, but the format holds"
                    " only labelled steps; set unlabelled=skip to leave out such records"
                )

    def right(self, record: StepRecord) -> tuple[bool, ...]:
        """For each step, whether it is right.

        Raises:
            DataError: a label that is neither 0 nor 1, if there is no threshold.
        """
        labels = [label for label in record.labels if label is not None]
        assert len(labels) == len(record.labels), "records with unlabelled steps are removed first"
        if self.threshold is not None:
            return tuple(label > self.threshold for label in labels)
        for index, label in enumerate(labels):
            if label not in (0.0, 1.0):
                raise DataError(
                    f"record {record.id}: labels[{index}] is {label}, but the format holds only right and"
                    " wrong steps; give a threshold (a step is right if its label is above it),"
                    " for instance threshold=0"
                )
        return tuple(label == 1.0 for label in labels)
