"""Base classes for formats of step records: rows to records, and labels to right and wrong steps."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.embedded_images import EmbeddingReader
from dreamprm.formats.format import ConvertReport, Writer
from dreamprm.formats.writers import write_json_lines

Unlabelled = Literal["error", "skip"]
DropImages = Literal["error", "drop"]


@dataclass(frozen=True)
class StepReader(EmbeddingReader):
    """Reads a file with one chain of thought per row; subclasses define what a row holds.

    Image paths stay as written. Images inside the rows (bytes, base64, data URLs) are written to files.
    """

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
        return self.records_with_images(path, self.record, report)

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
        domain: str | None = None,
        final_answer_correct: bool | None = None,
    ) -> StepRecord:
        """Build the record of a row from its parts.

        Args:
            row: the row that the parts come from.
            question, steps, labels, images: as in `StepRecord`.
            rollouts: None if unknown for all steps.
            id: None for the row's `id`, or else file name and line.
            domain: the domain, unless the row has a `domain` or the option names one.
            final_answer_correct: the outcome, unless the row has a `final_answer_correct`.
        """
        return StepRecord(
            question=question,
            images=images,
            domain=self.domain or _own_domain(row) or (domain or "").strip() or row.path.stem,
            steps=tuple(steps),
            labels=labels,
            rollouts=(None,) * len(steps) if rollouts is None else rollouts,
            id=row.identifier() if id is None else id,
            final_answer_correct=(
                row.truth("final_answer_correct") if "final_answer_correct" in row else final_answer_correct
            ),
        )


_FIRST_STEP = re.compile(r"\bStep\s*1\s*:")


def before_first_step(text: str) -> int:
    """Where the steps of a text begin that holds a question too: at its last "Step 1:"; 0 without one."""
    return max((match.start() for match in _FIRST_STEP.finditer(text)), default=0)


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
        assert None not in record.labels, "records with unlabelled steps are removed first"
        return tuple(right for right in self.judged(record) if right is not None)

    def judged(self, record: StepRecord) -> tuple[bool | None, ...]:
        """For each step, whether it is right; None where it has no label.

        Raises:
            DataError: a label that is neither 0 nor 1, if there is no threshold.
        """
        labels = record.labels
        if self.threshold is not None:
            return tuple(None if label is None else label > self.threshold for label in labels)
        for index, label in enumerate(labels):
            if label not in (0.0, 1.0, None):
                raise DataError(
                    f"record {record.id}: labels[{index}] is {label}, but the format holds only right and"
                    " wrong steps; give a threshold (a step is right if its label is above it),"
                    " for instance threshold=0"
                )
        return tuple(None if label is None else label == 1.0 for label in labels)


@dataclass(frozen=True)
class TextOnlyWriter(StepWriter):
    """Writes step records in a format that has no images."""

    shared = "text only"

    images: DropImages = setting(
        "error",
        "what to do with a record with images: error, or drop (it is written without them)",
        choices=("error", "drop"),
    )

    def kept(self, records: Iterable[StepRecord], report: ConvertReport) -> Iterator[StepRecord]:
        """The records that are written, without images.

        Raises:
            DataError: as in `StepWriter.kept`, and a record with images if `images` is `error`.
        """
        return super().kept(self._text_only(records), report)

    def _text_only(self, records: Iterable[StepRecord]) -> Iterator[StepRecord]:
        for record in records:
            if record.images and self.images == "error":
                raise DataError(
                    f"record {record.id}: has images ({record.images[0]}), but the format holds text only;"
                    " set images=drop to write the records without them"
                )
            yield record
