"""Bootstrap intervals over questions: what a figure could have been with other questions of the same kind.

They say nothing about other training seeds; those need other runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_DRAWS_AT_ONCE = 4_000_000  # question draws held in memory at a time: 32 MB of indices


def resampled_means(values: ArrayLike, *, seed: int | Sequence[int], resamples: int = 2000) -> Floats:
    """Means of `values` over questions drawn with replacement, all columns from the same draws.

    Args:
        values: (Q,) or (Q, V) finite float; V columns share their draws, so their differences are paired.
        seed: of the draws; the same seed and Q give the same draws.
        resamples: number of bootstrap samples, >= 1.
    Returns: (resamples,) or (resamples, V).
    Raises: ValueError for empty or non-finite values, or resamples < 1.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.shape[0] == 0:
        raise ValueError(
            f"values must be (questions,) or (questions, columns) with a question at least, "
            f"got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError("values must be finite; an interval over NaN or infinity has no meaning")
    if resamples < 1:
        raise ValueError(f"resamples must be >= 1, got {resamples}")
    questions = array.shape[0]
    generator = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, at_once := max(1, _DRAWS_AT_ONCE // questions)):
        rows = min(at_once, resamples - start)
        draws = generator.integers(questions, size=(rows, questions))
        flat = (draws + questions * np.arange(rows)[:, None]).ravel()
        # How often each question was drawn, (rows, Q): one product then serves every column.
        counts = np.bincount(flat, minlength=rows * questions).reshape(rows, questions)
        means.append(counts @ array / questions)
    return np.concatenate(means)


def _means_over_suites(suites: Sequence[Floats], seed: int, resamples: int) -> Floats:
    """(resamples,) mean over suites of each suite's resampled mean; suites are drawn independently."""
    drawn = [
        resampled_means(values, seed=(seed, index), resamples=resamples)
        for index, values in enumerate(suites)
    ]
    return np.mean(drawn, axis=0)


def _as_suites(values: ArrayLike | Sequence[ArrayLike]) -> list[Floats]:
    if isinstance(values, np.ndarray) or (isinstance(values, Sequence) and values and np.isscalar(values[0])):
        suites = [np.asarray(values, dtype=np.float64)]
    else:
        suites = [np.asarray(suite, dtype=np.float64) for suite in values]  # type: ignore[union-attr]
    if not suites or any(suite.ndim != 1 for suite in suites):
        raise ValueError(
            f"need one value a question, (Q,), or a list of such vectors; got shapes "
            f"{[suite.shape for suite in suites]}"
        )
    return suites


def percentile_interval(means: Floats, *, level: float) -> tuple[float, float]:
    """(lo, hi): the central `level` of bootstrap means (percentile method).

    Raises: ValueError unless 0 < level < 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}; 0.95 is usual")
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
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
        per_question: (Q,) values, or a list of such vectors, one a suite: questions are drawn within each
            suite and the suites count equally, however many questions they have.
        seed: of the draws.
        level: share of the bootstrap means inside, in (0, 1).
        resamples: number of bootstrap samples.
    Returns: (lo, hi).
    Raises: ValueError for empty, non-finite or wrongly shaped values, a level outside (0, 1), resamples < 1.
    """
    return percentile_interval(_means_over_suites(_as_suites(per_question), seed, resamples), level=level)


def paired_bootstrap(
    a: ArrayLike | Sequence[ArrayLike],
    b: ArrayLike | Sequence[ArrayLike],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float, float]:
    """(difference, lo, hi) of mean(a) - mean(b) where both answer the same questions.

    Resampling questions, not answers, keeps what makes a question hard for both out of the interval.

    Args: as for bootstrap_interval; a and b hold the same questions in the same order.
    Raises: ValueError where a and b differ in shape, and as bootstrap_interval does.
    """
    first, second = _as_suites(a), _as_suites(b)
    if [x.shape for x in first] != [y.shape for y in second]:
        raise ValueError(
            f"a and b must answer the same questions, got shapes {[x.shape for x in first]} and "
            f"{[y.shape for y in second]}"
        )
    gaps = [x - y for x, y in zip(first, second)]
    low, high = percentile_interval(_means_over_suites(gaps, seed, resamples), level=level)
    return float(np.mean([gap.mean() for gap in gaps])), low, high
