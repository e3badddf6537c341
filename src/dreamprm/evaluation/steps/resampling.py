"""Bootstrap samples of questions: the records of one are drawn together, since they hang together.

MR-Ben holds several models' solutions of each question, ProcessBench several of some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamprm.evaluation.intervals import percentile_interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_COUNTS_AT_ONCE = 4_000_000  # held in memory at a time: 32 MB


@dataclass(frozen=True)
class QuestionDraws:
    """How often each question occurs in each bootstrap sample; iterating again gives the same samples.

    Whatever is worked out from the same draws (two scorers' F1, say) can be compared sample by sample: their
    differences are paired.

    Attributes:
        questions: number of questions, >= 1; as many are drawn, with replacement.
        seed: of the draws.
        resamples: number of samples, >= 1.

    Raises:
        ValueError: no question or no sample.
    """

    questions: int
    seed: tuple[int, ...]
    resamples: int = 2000

    def __post_init__(self) -> None:
        if self.questions < 1 or self.resamples < 1:
            raise ValueError(
                f"questions and resamples must be >= 1, got {self.questions} and {self.resamples}"
            )

    def __iter__(self) -> Iterator[Floats]:
        """(rows, questions) counts, a block of samples at a time; all blocks have `resamples` rows."""
        generator = np.random.default_rng(self.seed)
        for start in range(0, self.resamples, at_once := max(1, _COUNTS_AT_ONCE // self.questions)):
            rows = min(at_once, self.resamples - start)
            drawn = generator.integers(self.questions, size=(rows, self.questions))
            flat = (drawn + self.questions * np.arange(rows)[:, None]).ravel()
            yield np.bincount(flat, minlength=rows * self.questions).reshape(rows, -1).astype(np.float64)

    def sums(self, by_question: Floats) -> Floats:
        """(resamples, V) sums over each sample of `by_question` (questions, V)."""
        return self.each(lambda counts: counts @ by_question)

    def each(self, statistic: Callable[[Floats], Floats]) -> Floats:
        """`statistic` of every block of counts, one below the other."""
        return np.concatenate([statistic(counts) for counts in self])


def sums_by_question(values: Floats, questions: Integers, total: int) -> Floats:
    """(total, V) sums of the rows of `values` (n, V) by question.

    Args:
        values: (n, V) float.
        questions: (n,) each row's question, 0..total-1.
        total: number of questions.
    """
    columns = [np.bincount(questions, weights=column, minlength=total) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float64)


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, elementwise; NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


@dataclass(frozen=True)
class Estimate:
    """A figure with what it was in every bootstrap sample.

    Attributes:
        value: the figure; NaN where it is undefined.
        drawn: (resamples,) NaN for samples in which it is undefined.
    """

    value: float
    drawn: Floats

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference; paired where both were made from the same draws."""
        return Estimate(self.value - other.value, self.drawn - other.drawn)

    def to_json(self, level: float) -> dict[str, Any] | None:
        """`value`, `low` and `high` (percentile bootstrap); None where the figure is undefined.

        Samples in which it is undefined (no erroneous record was drawn, say) do not count towards the
        interval; `undefined_resamples` tells how many, where there are any.
        """
        if not np.isfinite(self.value):
            return None
        defined = self.drawn[np.isfinite(self.drawn)]
        if not defined.size:
            return {"value": self.value, "low": None, "high": None, "undefined_resamples": self.drawn.size}
        low, high = percentile_interval(defined, level=level)
        missing = self.drawn.size - defined.size
        return {"value": self.value, "low": low, "high": high} | (
            {"undefined_resamples": missing} if missing else {}
        )


def mean_of(estimates: list[Estimate]) -> Estimate:
    """The unweighted mean over subsets, whose samples were drawn independently."""
    return Estimate(
        float(np.mean([one.value for one in estimates])), np.mean([one.drawn for one in estimates], axis=0)
    )
