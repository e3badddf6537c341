"""Outcomes of selectors on one suite, with bootstrap means that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dreamprm.evaluation.intervals import Floats, percentile_interval, resampled_means

Column = tuple[float, Floats]
"""A mean over questions, and its (resamples,) bootstrap means."""


class SuiteOutcomes:
    """What each selector earns with n candidates on each question of a suite.

    All columns share the draws of questions, so that differences between them are paired.

    Args:
        values: (Q,) expected accuracies by (selector, n).
        seed, resamples: of the bootstrap (`resampled_means`).
    """

    def __init__(
        self,
        values: Mapping[tuple[str, int], Floats],
        *,
        seed: int | Sequence[int],
        resamples: int,
    ) -> None:
        self._index = {key: k for k, key in enumerate(values)}
        self._values = np.stack(list(values.values()), axis=1)  # (Q, V)
        self._means = self._values.mean(axis=0)
        self._drawn = resampled_means(self._values, seed=seed, resamples=resamples)  # (resamples, V)

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self._index

    def per_question(self, selector: str, n: int) -> Floats:
        """(Q,) expected accuracy of a selector with n candidates."""
        return np.asarray(self._values[:, self._index[selector, n]])

    def column(self, selector: str, n: int) -> Column:
        """A selector's mean with n candidates and its bootstrap means."""
        k = self._index[selector, n]
        return float(self._means[k]), self._drawn[:, k]

    def difference(self, a: str, b: str, n: int) -> Column:
        """The same of a's outcome minus b's."""
        (mean_a, drawn_a), (mean_b, drawn_b) = self.column(a, n), self.column(b, n)
        return mean_a - mean_b, drawn_a - drawn_b


def estimate(columns: Sequence[Column], level: float) -> tuple[float, list[float]]:
    """(mean, [lo, hi]) of the unweighted mean of columns from suites that were drawn independently."""
    drawn = np.mean([column[1] for column in columns], axis=0)
    return float(np.mean([column[0] for column in columns])), list(percentile_interval(drawn, level=level))
