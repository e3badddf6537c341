"""The threshold with the highest F1, found exactly: every threshold that makes a difference is tried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dreamprm.config.errors import UserError
from dreamprm.evaluation.bootstrap import Floats
from dreamprm.evaluation.steps.first_errors import f1_of
from dreamprm.evaluation.steps.scored_steps import ERROR_FREE, ScoredSteps


@dataclass(frozen=True)
class ThresholdCurve:
    """F1 over all thresholds that predict differently, in ascending order.

    Attributes:
        thresholds: (T,) log-odds, one for each interval of thresholds with the same predictions: its middle,
            or its finite end.
        error_accuracy, correct_accuracy, f1: (T,).
    """

    thresholds: Floats
    error_accuracy: Floats
    correct_accuracy: Floats
    f1: Floats

    @property
    def best(self) -> int:
        """The index of the highest F1; the lowest threshold if several reach it."""
        return int(np.argmax(self.f1))


def between(ends: Floats) -> Floats:
    """One threshold in each of the intervals (-inf, e_0], (e_0, e_1], ..., (e_last, inf)."""
    middles = ends[:-1] + (ends[1:] - ends[:-1]) / 2
    # The middle of neighbouring floats rounds to one of them; the lower one belongs to the interval before.
    middles = np.where(middles > ends[:-1], middles, ends[1:])
    return np.concatenate([ends[:1], middles, [np.nextafter(ends[-1], np.inf)]])


def threshold_curve(steps: ScoredSteps, scorer: str) -> ThresholdCurve:
    """F1 of every threshold on a development set.

    The prediction for a record with first error e is right for thresholds t in (s_e, min_{i<e} s_i], that for
    an error-free one for t <= min_i s_i (s: log-odds). F1 is therefore constant between neighbouring ends of
    these intervals, and counting ends gives it for all t in O(R log R).

    Args:
        steps: the development records; those with an unknown first error do not count.
        scorer: one of their scorers.

    Raises:
        UserError: no erroneous or no error-free record: F1 is then undefined, or 0 whatever the threshold.
    """
    low, high, error_free = [], [], []
    scores = steps.log_odds[scorer]
    for start, end, first in zip(steps.offsets, steps.offsets[1:], steps.first_error):
        if first == ERROR_FREE:
            error_free.append(scores[start:end].min())
        elif first >= 0:
            before = scores[start : start + first]
            low.append(scores[start + first])
            high.append(before.min() if before.size else np.inf)
    if not low or not error_free:
        raise UserError(
            f"the development set holds {len(low)} erroneous and {len(error_free)} error-free records; a"
            " threshold needs both: choose it on more or on other records (threshold.*)"
        )
    lows, highs, minima = np.array(low), np.array(high), np.array(error_free)
    findable = lows < highs  # else an earlier step is always found first
    ends = np.unique(np.concatenate([lows, highs[np.isfinite(highs)], minima]))
    thresholds = between(ends)
    found = _below(lows[findable], thresholds) - _below(highs[findable], thresholds)
    error = found / len(lows)
    correct = (len(minima) - _below(minima, thresholds)) / len(minima)
    return ThresholdCurve(thresholds, error, correct, f1_of(error, correct))


def _below(values: Floats, thresholds: Floats) -> Floats:
    """(T,) how many values are below each threshold."""
    return np.searchsorted(np.sort(values), thresholds, side="left").astype(np.float64)
