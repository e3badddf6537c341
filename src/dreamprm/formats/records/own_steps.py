"""Our own step records, or the public DreamPRM form, converted again: images written, split, cut, as meta."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields, ImagePolicy
from dreamprm.data.nested_rows import NestedRow, group_nested
from dreamprm.data.readers import is_nested_row, nested_row, step_record
from dreamprm.data.records import MetaRecord, StepRecord
from dreamprm.formats.embedded_images import EmbeddingReader
from dreamprm.formats.format import ConvertReport

Truth = Literal["outcome", "last_step", "all_steps"]
Unknown = Literal["error", "skip"]
_AS_WRITTEN = ImagePolicy(missing="keep", allow_none=True)


@dataclass(frozen=True)
class OwnReader(EmbeddingReader):
    """Reads step records in our own form, or in the public DreamPRM form with one row per step."""

    shared = "our own step records"
    # A file of ours that lacks a field is not of another format.
    signature = ()

    domain: str | None = setting(None, "the domain of all records; null: each record's own")

    def step_records(self, path: Path, report: ConvertReport) -> Iterator[StepRecord]:
        """The records; image paths stay as written.

        Raises:
            DataError: a bad record.
        """

        def parse(row: Fields) -> StepRecord | NestedRow:
            if is_nested_row(row):
                return nested_row(row, _AS_WRITTEN, report, self.domain)
            record = step_record(row, _AS_WRITTEN, report, domain=self.domain)
            assert record is not None, "a record without steps is an error"
            return record

        return group_nested(self.records_with_images(path, parse, report))


@dataclass(frozen=True)
class OwnSteps(OwnReader):
    """Our own step records once more: to write their images to files, to cut them, or to split them.

    The public DreamPRM form (`input`, `add`, `accuracy`, one row per step) becomes our own.
    """

    kind = "step"
    help = "our own step records (or the public DreamPRM form), to split them, cut them or write their images"
    signature = ()

    def read(self, path: Path, report: ConvertReport) -> Iterator[StepRecord]:
        """The records as they are."""
        return self.step_records(path, report)


@dataclass(frozen=True)
class StepsToMeta(OwnReader):
    """Our own step records as meta records: the chain, and whether its answer is right.

    Whether it is comes from `final_answer_correct`, which only some formats hold; or from the labels, which
    say something else: a chain with a wrong step may end in a right answer, and first-error labels are 0 from
    the first error on.
    """

    kind = "meta"
    help = "our own step records as meta records, by their final_answer_correct or by their labels"
    signature = ()

    truth: Truth = setting(
        "outcome",
        "what says that a chain is right. outcome: its final_answer_correct; last_step: the last step's"
        " label; all_steps: every step's label",
        choices=("outcome", "last_step", "all_steps"),
    )
    threshold: float | None = setting(
        None,
        "a step is right if its label is above this; null: labels must be 0 or 1",
        minimum=0,
        below=1,
        when={"truth": ("last_step", "all_steps")},
    )
    unknown: Unknown = setting(
        "error",
        "what to do with a chain of which it is not known: error, or skip (it is left out and counted)",
        choices=("error", "skip"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None and self.truth == "outcome":
            raise UserError("threshold is only for truth=last_step and truth=all_steps; an outcome has none")

    def read(self, path: Path, report: ConvertReport) -> Iterator[MetaRecord]:
        """One record per chain of which it is known whether it is right."""
        for record in self.step_records(path, report):
            correct = self._correct(record)
            if correct is None and self.unknown == "error":
                what = "final_answer_correct does" if self.truth == "outcome" else "labels do"
                raise DataError(
                    f"{path}{record.place}: record {record.id}: its {what} not say whether the chain is"
                    " right; set unknown=skip to leave such records out, or another truth"
                )
            if correct is None:
                report.pass_over("not known whether the chain is right (unknown=skip)")
                continue
            yield MetaRecord(
                question=record.question,
                images=record.images,
                steps=record.steps,
                correct=correct,
                id=record.id,
            )

    def _correct(self, record: StepRecord) -> bool | None:
        if self.truth == "outcome":
            return record.final_answer_correct
        labels = record.labels if self.truth == "all_steps" else record.labels[-1:]
        right = [self._right(record, label) for label in labels]
        if False in right:
            return False
        return None if None in right else True

    def _right(self, record: StepRecord, label: float | None) -> bool | None:
        if label is None:
            return None
        if self.threshold is not None:
            return label > self.threshold
        if label not in (0.0, 1.0):
            raise DataError(
                f"record {record.id}: a label is {label}, but right and wrong chains are asked for; give a"
                " threshold (a step is right if its label is above it), for instance threshold=0"
            )
        return label == 1.0
