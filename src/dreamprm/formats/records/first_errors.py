"""First-error labels: 1 before the first wrong step, 0 from it on, null where unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dreamprm.config.errors import DataError
from dreamprm.data.records import StepRecord
from dreamprm.formats.records.step_format import TextOnlyWriter


def first_error_labels(
    steps: int, first: int | None, *, possible: Sequence[int] | None = None
) -> tuple[float | None, ...]:
    """The labels of a solution judged by its first wrong step.

    label_i = 1 for i < first, 0 for i >= first. If the first error may be any of several steps, only labels
    on which all of them agree are set: 1 before the earliest, 0 from the latest on, null in between.

    These are judgements, not Monte-Carlo estimates: 0 means that the solution has gone wrong by then, not
    that no completion could recover from it. Source: ProcessBench, arXiv 2412.06559.

    Args:
        steps: number of steps, >= 1.
        first: index of the first wrong step, 0-based; None: no step is wrong.
        possible: instead of `first`, the candidate indices of the first error. For a solution known to be
            wrong, but not where, `range(steps)`: all labels except the last are null.

    Returns:
        One label per step.
    """
    if possible is None:
        possible = (steps,) if first is None else (first,)
    earliest, latest = min(possible), max(possible)
    assert 0 <= earliest <= latest <= steps
    return tuple(1.0 if i < earliest else 0.0 if i >= latest else None for i in range(steps))


def without_blank(steps: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The steps that have text, and the position of each given step among them.

    A blank step cannot be scored. A judgement of it is moved to the next step with text, or to the last one
    if none follows.

    Returns:
        The steps with text, and for every given step the index of the kept step that represents it.
    """
    kept = [index for index, step in enumerate(steps) if step.strip()]
    places, place = [], 0
    for index in range(len(steps)):
        places.append(min(place, len(kept) - 1))
        place += bool(steps[index].strip())
    return tuple(steps[index] for index in kept), tuple(places)


@dataclass(frozen=True)
class FirstErrorWriter(TextOnlyWriter):
    """Writes the index of the first wrong step of text-only records; labels after that step are not kept.

    Rollout counts are not kept; `domain` is added.
    """

    def first_wrong_step(self, record: StepRecord) -> int | None:
        """The index of the first wrong step of a fully labelled record; None if no step is wrong.

        The format stores nothing about later steps. Without a threshold they must therefore be 0, as the
        reader makes them; with one, the first step that is not above it is taken, and later labels are
        dropped.

        Raises:
            DataError: without a threshold, a label that is neither 0 nor 1, or a right step after a wrong
                one.
        """
        right = self.right(record)
        if all(right):
            return None
        first = right.index(False)
        if self.threshold is None and any(right[first:]):
            raise DataError(
                f"record {record.id}: labels[{right.index(True, first)}] is 1 after labels[{first}] = 0, but"
                " the format holds only the first wrong step; give a threshold, for instance threshold=0, to"
                " write that step and drop what follows it"
            )
        return first
