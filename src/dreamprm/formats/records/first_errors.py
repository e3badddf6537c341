"""First-error labels: 1 before the first wrong step, 0 from it on, null where that is not known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.records import StepRecord
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.records.step_format import StepWriter

DropImages = Literal["error", "drop"]


def first_error_labels(
    steps: int, first: int | None, *, possible: Sequence[int] | None = None
) -> tuple[float | None, ...]:
    """Labels of a solution that is judged by its first wrong step.

    label_i = 1 for i < first, 0 for i >= first. Where the first error may be any of several steps, only what
    holds for all of them is said: 1 before the earliest, 0 from the latest on, null between.

    These are judgements, not Monte-Carlo estimates: 0 means that the solution has gone wrong by then, not
    that no completion could mend it. The source is ProcessBench, arXiv 2412.06559.

    Args:
        steps: number of steps, >= 1.
        first: index of the first wrong step, 0-based; None: no step is wrong.
        possible: instead of `first`, the indices among which the first error is; of a solution that is known
            to be wrong, but not where, `range(steps)`: all is null but the last step.

    Returns:
        One label a step.
    """
    if possible is None:
        possible = (steps,) if first is None else (first,)
    earliest, latest = min(possible), max(possible)
    assert 0 <= earliest <= latest <= steps
    return tuple(1.0 if i < earliest else 0.0 if i >= latest else None for i in range(steps))


def without_blank(steps: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The steps that have text, and where each given step is found among them.

    A blank step cannot be scored. What was said of it is said of the next step with text, or of the last one
    where none follows.

    Returns:
        The steps with text; for every given step the index of the kept one that stands for it.
    """
    kept = [index for index, step in enumerate(steps) if step.strip()]
    places, place = [], 0
    for index in range(len(steps)):
        places.append(min(place, len(kept) - 1))
        place += bool(steps[index].strip())
    return tuple(steps[index] for index in kept), tuple(places)


@dataclass(frozen=True)
class FirstErrorWriter(StepWriter):
    """Writes the index of the first wrong step, of text-only records; what follows that step is not kept.

    Numbers of rollouts are not kept; `domain` is added.
    """

    shared = "first errors, without images"

    images: DropImages = setting(
        "error", "a record with images is an error, or goes without them (drop)", choices=("error", "drop")
    )

    def kept(self, records: Iterable[StepRecord], report: ConvertReport) -> Iterator[StepRecord]:
        """The records that are written, without images.

        Raises:
            DataError: as `StepWriter.kept`, and a record with images where `images` is `error`.
        """
        return super().kept(self._text_only(records), report)

    def _text_only(self, records: Iterable[StepRecord]) -> Iterator[StepRecord]:
        for record in records:
            if record.images and self.images == "error":
                raise DataError(
                    f"record {record.id}: has images ({record.images[0]}), and the format holds text only;"
                    " set images=drop to write the records without them"
                )
            yield record

    def first_wrong_step(self, record: StepRecord) -> int | None:
        """The index of the first wrong step of a record whose steps are all labelled; None: none is wrong.

        The format holds nothing of the steps behind it. Without a threshold they must therefore be 0, as the
        reader makes them; with one, the first step that is not above it counts, and what follows is not kept.

        Raises:
            DataError: without a threshold, a label that is neither 0 nor 1, or a right step behind a wrong
                one.
        """
        right = self.right(record)
        if all(right):
            return None
        first = right.index(False)
        if self.threshold is None and any(right[first:]):
            raise DataError(
                f"record {record.id}: labels[{right.index(True, first)}] is 1 behind labels[{first}] = 0, and"
                " the format holds only the first wrong step; give a threshold, for instance threshold=0, to"
                " write that step and not what follows it"
            )
        return first
