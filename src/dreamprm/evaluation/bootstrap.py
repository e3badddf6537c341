"""The one bootstrap over questions: draws, estimates from them, percentile intervals.

An interval says what a figure could have been with other questions of the same kind. It says nothing about
other training seeds; those need further runs.

Questions are drawn, not answers or records: what makes a question hard for two scorers cancels out of their
difference, and the records of one question (MR-Ben holds several models' solutions of each) are drawn
together, because they are correlated.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_COUNTS_AT_ONCE = 4_000_000  # held in memory at a time: 32 MB


@dataclass(frozen=True)
class QuestionDraws:
    """How often each question occurs in each bootstrap sample; iterating again gives the same samples.

    Figures computed from the same draws (two scorers' F1, say) can be compared sample by sample: their
    differences are paired.

    Attributes:
        questions: number of questions, >= 1; each sample draws as many, with replacement.
        seed: of the draws.
        resamples: number of samples, >= 1.

    Raises:
        ValueError: no question or no sample.
    """

    questions: int
    seed: int | Sequence[int]
    resamples: int = 2000

    def __post_init__(self) -> None:
        if self.questions < 1:
            raise ValueError(
                f"questions must be >= 1, got {self.questions}; a bootstrap needs at least one question"
            )
        if self.resamples < 1:
            raise ValueError(f"resamples must be >= 1, got {self.resamples}")

    def __iter__(self) -> Iterator[Floats]:
        """(rows, questions) counts, a block of samples at a time; `resamples` rows in all."""
        generator = np.random.default_rng(self.seed)
        for start in range(0, self.resamples, at_once := max(1, _COUNTS_AT_ONCE // self.questions)):
            rows = min(at_once, self.resamples - start)
            drawn = generator.integers(self.questions, size=(rows, self.questions))
            drawn += self.questions * np.arange(rows)[:, None]
            counts = np.bincount(drawn.reshape(-1), minlength=rows * self.questions)
            del drawn  # as large as the counts
            yield counts.reshape(rows, -1).astype(np.float64)

    def each(self, statistic: Callable[[Floats], Floats]) -> Floats:
        """`statistic` of every block of counts, concatenated along the samples."""
        return np.concatenate([statistic(counts) for counts in self])

    def sums(self, by_question: Floats) -> Floats:
        """(resamples,) or (resamples, V): sums over each sample of (questions,) or (questions, V) values."""
        return self.each(lambda counts: counts @ by_question)

    def means(self, values: ArrayLike) -> Floats:
        """The means over each sample; all columns share the draws, so that their differences are paired.

        Args:
            values: (questions,) or (questions, V) finite float.

        Returns:
            (resamples,) or (resamples, V).

        Raises:
            ValueError: another shape, or a value that is not finite.
        """
        array = np.asarray(values, dtype=np.float64)
        if array.ndim not in (1, 2) or len(array) != self.questions:
            raise ValueError(
                f"values must be (questions,) or (questions, columns) with {self.questions} questions, "
                f"got shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError("values must be finite; an interval over NaN or infinity has no meaning")
        return self.sums(array) / self.questions


@dataclass(frozen=True)
class Bootstrap:
    """The settings of all intervals of one evaluation.

    Attributes:
        seed: of the draws; each suite or subset has its own draws.
        resamples: number of samples.
        level: share of the samples' figures within an interval, in (0, 1).
    """

    seed: int = 0
    resamples: int = 2000
    level: float = 0.95

    def draws(self, questions: int, index: int = 0) -> QuestionDraws:
        """The draws of the questions of suite (or subset) number `index`."""
        return QuestionDraws(questions, (self.seed, index), self.resamples)


@dataclass(frozen=True)
class Estimate:
    """A figure and its value in every bootstrap sample.

    Attributes:
        value: the figure; NaN where it is undefined.
        drawn: (resamples,) NaN for samples in which it is undefined.
    """

    value: float
    drawn: Floats

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference; paired if both come from the same draws."""
        return Estimate(self.value - other.value, self.drawn - other.drawn)

    def interval(self, level: float) -> tuple[float, float]:
        """The percentile interval over the samples in which the figure is defined; NaN if there are none.

        Raises: ValueError unless 0 < level < 1.
        """
        return percentile_interval(self.drawn[np.isfinite(self.drawn)], level=level)

    def to_json(self, level: float) -> dict[str, Any] | None:
        """`value`, `low` and `high` (percentile bootstrap); None where the figure is undefined.

        Samples in which it is undefined (no erroneous record was drawn, say) do not count towards the
        interval; `undefined_resamples` is their number, if there are any.
        """
        if not np.isfinite(self.value):
            return None
        low, high = (end if np.isfinite(end) else None for end in self.interval(level))
        missing = int((~np.isfinite(self.drawn)).sum())
        return {"value": self.value, "low": low, "high": high} | (
            {"undefined_resamples": missing} if missing else {}
        )


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The unweighted mean over suites or subsets, whose samples were drawn independently."""
    return Estimate(
        float(np.mean([one.value for one in estimates])), np.mean([one.drawn for one in estimates], axis=0)
    )


class PairedOutcomes:
    """Several outcomes on the same questions, with estimates of their means from the same draws.

    Args:
        values: (Q,) outcomes by key, such as (selector, n).
        draws: of the Q questions.
    """

    def __init__(self, values: Mapping[Any, Floats], draws: QuestionDraws) -> None:
        self._columns = {key: column for column, key in enumerate(values)}
        self._values = np.stack(list(values.values()), axis=1)  # (Q, V)
        self._means = self._values.mean(axis=0)
        self._drawn = draws.means(self._values)  # (resamples, V)

    def __getitem__(self, key: Hashable) -> Estimate:
        """The mean over questions of one outcome."""
        column = self._columns[key]
        return Estimate(float(self._means[column]), self._drawn[:, column])

    def per_question(self, key: Hashable) -> Floats:
        """(Q,) the outcome on each question."""
        return np.asarray(self._values[:, self._columns[key]])


def percentile_interval(drawn: Floats, *, level: float) -> tuple[float, float]:
    """(low, high): the central `level` of bootstrap values (percentile method); NaN if there are none.

    Raises: ValueError unless 0 < level < 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}; 0.95 is usual")
    if not drawn.size:
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def bootstrap_interval(
    per_question: ArrayLike | Sequence[ArrayLike],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over questions, or of the mean over several suites' means.

    Args:
        per_question: (Q,) values, or a list of such vectors, one per suite: questions are drawn within each
            suite and the suites count equally, however many questions they have.
        seed: of the draws.
        level: share of the bootstrap means inside, in (0, 1).
        resamples: number of bootstrap samples.
    Returns: (low, high).
    Raises: ValueError for empty, non-finite or wrongly shaped values, a level outside (0, 1), resamples < 1.
    """
    bootstrap = Bootstrap(seed, resamples, level)
    return percentile_interval(_mean_over_suites(_as_suites(per_question), bootstrap).drawn, level=level)


def paired_bootstrap(
    a: ArrayLike | Sequence[ArrayLike],
    b: ArrayLike | Sequence[ArrayLike],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float, float]:
    """(difference, low, high) of mean(a) - mean(b) where both answer the same questions.

    Resampling questions, not answers, keeps what makes a question hard for both out of the interval.

    Args: as for bootstrap_interval; a and b hold the same questions in the same order.
    Raises: ValueError if a and b differ in shape, and as bootstrap_interval does.
    """
    first, second = _as_suites(a), _as_suites(b)
    if [x.shape for x in first] != [y.shape for y in second]:
        raise ValueError(
            f"a and b must answer the same questions, got shapes {[x.shape for x in first]} and "
            f"{[y.shape for y in second]}"
        )
    gaps = [x - y for x, y in zip(first, second)]
    estimate = _mean_over_suites(gaps, Bootstrap(seed, resamples, level))
    return estimate.value, *percentile_interval(estimate.drawn, level=level)


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


def _mean_over_suites(suites: Sequence[Floats], bootstrap: Bootstrap) -> Estimate:
    """The mean over suites of each suite's mean; suites are drawn independently."""
    estimates = []
    for index, values in enumerate(suites):
        drawn = bootstrap.draws(len(values), index).means(values)
        estimates.append(Estimate(float(values.mean()), drawn))
    return mean_of(estimates)


def _as_suites(values: ArrayLike | Sequence[ArrayLike]) -> list[Floats]:
    if isinstance(values, np.ndarray) or (isinstance(values, Sequence) and values and np.isscalar(values[0])):
        suites = [np.asarray(values, dtype=np.float64)]
    else:
        suites = [np.asarray(suite, dtype=np.float64) for suite in values]  # type: ignore[union-attr]
    if not suites or any(suite.ndim != 1 for suite in suites):
        raise ValueError(
            f"need one value per question, (Q,), or a list of such vectors; got shapes "
            f"{[suite.shape for suite in suites]}"
        )
    return suites
