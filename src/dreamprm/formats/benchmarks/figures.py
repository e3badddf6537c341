"""A benchmark's figures as ratios of sums over units, so that one bootstrap covers all of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """value = mean over parts of (sum_u numerator_u / sum_u denominator_u) over resampled units u.

    An accuracy has one part; a mean over categories has one part per category.

    Attributes:
        parts: pairs (numerator, denominator), each (U,) float64.
    """

    parts: tuple[tuple[Floats, Floats], ...]

    def value(self, weights: ArrayLike | None = None) -> Floats:
        """The figure with unit u counted weights[..., u] times; each counts once if None.

        Args:
            weights: (U,) or (R, U).

        Returns:
            () or (R,); NaN where a denominator is 0 (no such question was drawn, or none exists).
        """
        ratios = []
        for numerator, denominator in self.parts:
            counts = np.ones(len(numerator)) if weights is None else np.asarray(weights, dtype=np.float64)
            total, of = counts @ numerator, counts @ denominator
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios.append(np.where(of > 0, np.divide(total, of), np.nan))
        return np.asarray(np.mean(ratios, axis=0))


def mean_where(values: ArrayLike, chosen: ArrayLike) -> Figure:
    """The mean of the values of the chosen units.

    Args:
        values: (U,) in [0, 1].
        chosen: (U,) bool.
    """
    mask = np.asarray(chosen, dtype=np.float64)
    return Figure(((np.asarray(values, dtype=np.float64) * mask, mask),))


def means_by_group(
    outcomes: Sequence[float],
    groups: Sequence[Mapping[str, tuple[str, ...]]],
    *,
    keys: Iterable[str],
) -> dict[str, Figure]:
    """`accuracy` over all questions, then `KEY/VALUE` for each value of each key, in order of appearance.

    A question with several values of a key (skills, capabilities) counts for each of them.

    Args:
        outcomes: (Q,) in [0, 1].
        groups: the questions' groups.
        keys: the keys to report.
    """
    figures = {"accuracy": mean_where(outcomes, np.ones(len(outcomes)))}
    for key in keys:
        for value in dict.fromkeys(value for group in groups for value in group.get(key, ())):
            figures[f"{key}/{value}"] = mean_where(outcomes, [value in g.get(key, ()) for g in groups])
    return figures


def mean_over_values(
    outcomes: Sequence[float], groups: Sequence[Mapping[str, tuple[str, ...]]], *, key: str
) -> Figure | None:
    """The unweighted mean of the accuracies of a key's values; None if no question has the key.

    Args: outcomes, groups: as in `means_by_group`.
    """
    values = dict.fromkeys(value for group in groups for value in group.get(key, ()))
    if not values:
        return None
    return mean_of(
        mean_where(outcomes, [value in group.get(key, ()) for group in groups]) for value in values
    )


def mean_of(figures: Iterable[Figure]) -> Figure:
    """The unweighted mean of figures over the same units."""
    return Figure(tuple(part for figure in figures for part in figure.parts))


def rows_by(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    """Positions by key, keys in order of appearance."""
    rows: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        rows.setdefault(key, []).append(position)
    return rows
