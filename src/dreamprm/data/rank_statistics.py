"""Statistics that depend only on the order of values: average ranks, Spearman's correlation, ROC AUC."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def average_ranks(values: ArrayLike) -> Floats:
    """(n,) ranks from 1, smallest first; equal values share the mean of their ranks.

    Raises: ValueError for anything but a non-empty vector without NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or np.isnan(array).any():
        raise ValueError(
            f"values must be a non-empty vector without NaN, got shape {array.shape} with "
            f"{int(np.isnan(array).sum())} NaN"
        )
    ordered = np.sort(array)
    below = np.searchsorted(ordered, array, side="left")
    up_to = np.searchsorted(ordered, array, side="right")
    return (below + 1 + up_to) / 2.0


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's correlation of the average ranks, in [-1, 1].

    Args: x, y (n,) with n >= 2.
    Raises: ValueError if the lengths differ or are below 2, if there is a NaN, or if all values of x or of y
        are equal (the correlation is then undefined).
    """
    ranks_x, ranks_y = average_ranks(x), average_ranks(y)
    if ranks_x.size != ranks_y.size or ranks_x.size < 2:
        raise ValueError(
            f"x and y must have the same length, at least 2; got {ranks_x.size} and {ranks_y.size}"
        )
    for name, ranks in (("x", ranks_x), ("y", ranks_y)):
        if np.ptp(ranks) == 0:
            raise ValueError(f"rank correlation is undefined: all {ranks.size} values of {name} are equal")
    centred_x, centred_y = ranks_x - ranks_x.mean(), ranks_y - ranks_y.mean()
    correlation = centred_x @ centred_y / np.sqrt((centred_x @ centred_x) * (centred_y @ centred_y))
    return float(np.clip(correlation, -1.0, 1.0))


def auc(scores: ArrayLike, right: ArrayLike) -> float:
    """The area under the ROC curve: the share of (right, wrong) pairs in which the right one scores higher.

    Ties count half. Equal to the Mann-Whitney statistic divided by the number of pairs.

    Args:
        scores: (S,) float without NaN, higher is better.
        right: (S,) bool.

    Returns:
        A value in [0, 1]; NaN if none is right or none is wrong.
    """
    is_right = np.asarray(right, dtype=bool)
    return float(weighted_auc(scores, is_right, np.ones((1, len(is_right))))[0])


def weighted_auc(scores: ArrayLike, right: ArrayLike, weights: Floats) -> Floats:
    """(rows,) `auc` with item i counted weights[row, i] times; NaN if none is right or none is wrong.

    Args:
        scores, right: (S,) as for `auc`.
        weights: (rows, S) >= 0, for instance how often each item occurs in each bootstrap sample.
    """
    values, is_right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if not len(values):
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    sorted_weights = weights[:, order]
    good = np.add.reduceat(sorted_weights * is_right[order], starts, axis=1)  # (rows, distinct scores)
    bad = np.add.reduceat(sorted_weights * ~is_right[order], starts, axis=1)
    lower = np.cumsum(bad, axis=1) - bad
    won = (good * (lower + bad / 2)).sum(axis=1)
    pairs = good.sum(axis=1) * bad.sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
