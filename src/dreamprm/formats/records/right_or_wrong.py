"""Step labels for formats that know only right and wrong steps, and no images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.records import StepRecord
from dreamprm.formats.format import ConvertReport

Unlabelled = Literal["error", "skip"]
DropImages = Literal["error", "drop"]


@dataclass(frozen=True)
class RightOrWrong:
    """How labels in [0, 1] and null become right and wrong.

    Attributes:
        threshold: a step is right where its label is above it, in [0, 1); 0 is the rule of VisualPRM
            (arXiv 2503.10291): right where any completion was. None: labels must be 0 or 1 already.
        unlabelled: a record with a step without a label is an `error`, or is left out (`skip`).

    Raises:
        UserError: a setting outside what is allowed.
    """

    threshold: float | None = None
    unlabelled: Unlabelled = "error"

    def __post_init__(self) -> None:
        threshold = self.threshold
        if threshold is not None and (
            isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold < 1
        ):
            raise UserError(f"threshold must be a number in [0, 1), or none; got {threshold!r}")
        if self.unlabelled not in ("error", "skip"):
            raise UserError(f"unlabelled must be 'error' or 'skip', got {self.unlabelled!r}")

    def labelled(
        self,
        records: Iterable[StepRecord],
        report: ConvertReport | None = None,
        *,
        held: Callable[[StepRecord], bool] = lambda record: False,
    ) -> Iterator[StepRecord]:
        """The records that are written: a step without a label takes one out, or is an error.

        Args:
            records: step records.
            report: counts what is left out.
            held: whether the format can hold the null labels of a record.

        Raises:
            DataError: a step without a label, where `unlabelled` is `error`.
        """
        report = ConvertReport() if report is None else report
        for record in records:
            report.rows += 1
            if None not in record.labels or held(record):
                yield record
            elif self.unlabelled == "skip":
                report.pass_over("a step has no label")
            else:
                raise DataError(
                    f"record {record.id}: labels[{record.labels.index(None)}] is null, and the format holds"
                    " only labelled steps; set unlabelled=skip to leave such records out"
                )

    def right(self, record: StepRecord) -> tuple[bool, ...]:
        """Per step whether it is right.

        Raises:
            DataError: a label that is neither 0 nor 1, where there is no threshold.
        """
        labels = [label for label in record.labels if label is not None]
        assert len(labels) == len(record.labels), "records with unlabelled steps are taken out first"
        if self.threshold is not None:
            return tuple(label > self.threshold for label in labels)
        for index, label in enumerate(labels):
            if label not in (0.0, 1.0):
                raise DataError(
                    f"record {record.id}: labels[{index}] is {label}, and the format holds only right and"
                    " wrong steps; give a threshold (a step is right where its label is above it),"
                    " for instance threshold=0"
                )
        return tuple(label == 1.0 for label in labels)


def text_only(records: Iterable[StepRecord], images: DropImages) -> Iterator[StepRecord]:
    """Records for a format without images: one that has images is an `error`, or goes without (`drop`).

    Raises:
        UserError: `images` is neither of the two.
        DataError: a record with images, where it is `error`.
    """
    if images not in ("error", "drop"):
        raise UserError(f"images must be 'error' or 'drop', got {images!r}")
    for record in records:
        if record.images and images == "error":
            raise DataError(
                f"record {record.id}: has images ({record.images[0]}), and the format holds text only;"
                " set images=drop to write the records without them"
            )
        yield record
