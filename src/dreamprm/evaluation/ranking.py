"""How well learned domain weights agree with the planted quality of the domains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
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
    Raises: ValueError for lengths that differ or are below 2, NaN, or all values of one equal
        (it is undefined then).
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


def weight_summary(weights: Mapping[str, float], quality: Mapping[str, float]) -> dict[str, float]:
    """The `spearman` and `weight_ratio` entries of summary.json.

    weight_ratio = (mean weight of the domains of quality >= 1/2) / (mean weight of those below).
    An entry that is undefined is absent: no rank correlation where all weights (training without an upper
    level) or all qualities are equal, no ratio without domains on both sides or with a mean bad weight not
    above 0.

    Args: weights and quality by domain, of the same domains.
    Raises: ValueError where the two name different domains.
    """
    if set(weights) != set(quality):
        raise ValueError(
            f"weights and quality must name the same domains; only in one of them: "
            f"{', '.join(sorted(set(weights) ^ set(quality)))}"
        )
    names = list(weights)
    learned = np.array([weights[name] for name in names], dtype=np.float64)
    planted = np.array([quality[name] for name in names], dtype=np.float64)
    summary: dict[str, float] = {}
    if len(names) >= 2 and np.ptp(learned) > 0 and np.ptp(planted) > 0:
        summary["spearman"] = spearman(learned, planted)
    bad = planted < 0.5
    if bad.any() and not bad.all() and learned[bad].mean() > 0:
        summary["weight_ratio"] = float(learned[~bad].mean() / learned[bad].mean())
    return summary
