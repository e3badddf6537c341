"""Step records with labels and scores, as flat arrays, from which every figure is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dreamprm.data.step_scores import Scores
from dreamprm.evaluation.bootstrap import Floats, Integers

ERROR_FREE = -1
"""First error of a record without one, as in ProcessBench."""

UNKNOWN = -2
"""First error of a record for which it is unknown."""


class ScoredRecord(NamedTuple):
    """One chain of thought.

    Attributes:
        question: a number that identifies its question and images (`reader.question_key`).
        labels: per step, a number in [0, 1], or None if it is unknown.
        rollouts: per step, the number of rollouts behind the label, or None.
        scores: log-odds by scorer, one per step.
        domain: what its figures may be broken down by; "" if it has none.
    """

    id: str
    question: int
    labels: tuple[float | None, ...]
    rollouts: tuple[int | None, ...]
    scores: Scores
    domain: str = ""


@dataclass(frozen=True)
class ScoredSteps:
    """R records with S steps in all, in the file's order; record r has the steps offsets[r]..offsets[r+1]-1.

    Attributes:
        ids: (R) names of the records.
        questions: (R,) uint64; equal for records of one question.
        offsets: (R + 1,) int64.
        labels: (S,) in [0, 1]; NaN where unknown.
        rollouts: (S,) int64 number of rollouts behind each label; 0 where unknown.
        right: (S,) 1 for a right step, 0 for a wrong one, NaN where that is not known.
        first_error: (R,) index of the first wrong step, `ERROR_FREE` or `UNKNOWN`.
        log_odds: (S,) by scorer.
        soft: whether the labels are estimates of a probability, not judgements.
        domains: (R) the domain of each record.
    """

    ids: tuple[str, ...]
    questions: NDArray[np.uint64]
    offsets: Integers
    labels: Floats
    rollouts: Integers
    right: Floats
    first_error: Integers
    log_odds: Mapping[str, Floats]
    soft: bool
    domains: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[ScoredRecord], *, label_threshold: float | None = None) -> ScoredSteps:
        """Convert records to arrays; every record has the same scorers.

        Labels that are all 0 or 1 are judgements. If any lies between, all of them are estimates (Monte-Carlo
        shares): then no step is right or wrong and no first error is known, unless `label_threshold` says so.
        The first error is the first step judged wrong. It is unknown if a step before it, or any step of a
        record without a wrong one, is not judged.

        Args:
            records: at least one step in all.
            label_threshold: a step is right if its label is above it; None: if its label is 1.
        """
        offsets = np.cumsum([0, *(len(record.labels) for record in records)], dtype=np.int64)
        given = [label for record in records for label in record.labels]
        labels = np.array([np.nan if label is None else label for label in given])
        known = ~np.isnan(labels)
        soft = bool(((labels > 0) & (labels < 1)).any())
        right = np.full(labels.shape, np.nan)
        if label_threshold is not None:
            right[known] = labels[known] > label_threshold
        elif not soft:
            right[known] = labels[known]
        scorers = records[0].scores if records else {}
        return cls(
            ids=tuple(record.id for record in records),
            questions=np.array([record.question for record in records], dtype=np.uint64),
            offsets=offsets,
            labels=labels,
            rollouts=np.array([n or 0 for record in records for n in record.rollouts], dtype=np.int64),
            right=right,
            first_error=np.array(
                [_first_error(right[a:b]) for a, b in zip(offsets, offsets[1:])], dtype=np.int64
            ),
            log_odds={
                name: np.array([value for record in records for value in record.scores[name]])
                for name in scorers
            },
            soft=soft,
            domains=tuple(record.domain for record in records),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def record(self) -> Integers:
        """(S,) the record of each step."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def domain_of_steps(self) -> NDArray[np.str_]:
        """(S,) the domain of each step."""
        return np.array(self.domains, dtype=np.str_)[self.record]

    @property
    def question_numbers(self) -> tuple[Integers, int]:
        """(R,) each record's question as a number 0..Q-1, and Q."""
        keys, numbers = np.unique(self.questions, return_inverse=True)
        return numbers.astype(np.int64), len(keys)

    @property
    def judged(self) -> NDArray[np.bool_]:
        """(R,) whether the first error is known (or known not to be there)."""
        return self.first_error != UNKNOWN

    def in_scope(self, scope: str) -> NDArray[np.bool_]:
        """(S,) which steps count, all of them with a label.

        `all`: every labelled step. By the first-error convention, the steps after the first error are wrong,
        since the chain that leads to them is. That suits a scorer of prefixes such as a PRM (p_i: does the
        prefix lead to a right answer?), but such steps are easy to recognise by position alone, and nobody
        has judged them on their own merits. `up_to_first_error`: the steps up to and including the first
        error, of records whose first error is known: each step was judged by a person. With soft labels there
        is no first error, and this scope is empty.
        """
        labelled = ~np.isnan(self.labels)
        if scope == "all":
            return labelled
        place = np.arange(len(self.labels)) - self.offsets[self.record]
        last = np.where(self.first_error >= 0, self.first_error, np.iinfo(np.int64).max)
        last[self.first_error == UNKNOWN] = -1
        return labelled & (place <= last[self.record])

    def select(self, chosen: NDArray[np.bool_]) -> ScoredSteps:
        """The records where `chosen` (R,) is true."""
        steps = chosen[self.record]
        return ScoredSteps(
            ids=tuple(name for name, take in zip(self.ids, chosen) if take),
            questions=self.questions[chosen],
            offsets=np.concatenate([[0], np.cumsum(np.diff(self.offsets)[chosen])]).astype(np.int64),
            labels=self.labels[steps],
            rollouts=self.rollouts[steps],
            right=self.right[steps],
            first_error=self.first_error[chosen],
            log_odds={name: values[steps] for name, values in self.log_odds.items()},
            soft=self.soft,
            domains=tuple(name for name, take in zip(self.domains, chosen) if take),
        )


def _first_error(right: Floats) -> int:
    wrong = np.flatnonzero(right == 0)
    judged = right if not wrong.size else right[: wrong[0]]
    if np.isnan(judged).any():
        return UNKNOWN
    return int(wrong[0]) if wrong.size else ERROR_FREE
