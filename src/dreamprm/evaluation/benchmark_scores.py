"""Bootstrap intervals of a benchmark's figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamprm.evaluation.intervals import percentile_interval
from dreamprm.formats.benchmarks.benchmark import Benchmark, QuestionSet
from dreamprm.formats.benchmarks.figures import Figure
from dreamprm.formats.benchmarks.scores import figures_of

Floats = NDArray[np.float64]
_WEIGHTS_AT_ONCE = 4_000_000  # draws held in memory at a time: 32 MB  # draws held in memory at a time: 32 MB


@dataclass(frozen=True)
class Scored:
    """A figure with its interval, all as fractions.

    Attributes:
        value: the figure.
        low, high: of the bootstrap interval.
    """

    value: float
    low: float
    high: float


def scores_with_intervals(
    benchmark: Benchmark,
    questions: QuestionSet,
    outcomes: Mapping[str, float],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> dict[str, Scored]:
    """`scores` with percentile bootstrap intervals; drawn are questions, in WeMath whole groups of them.

    Args:
        benchmark, questions, outcomes: as in `scores`.
        seed, level, resamples: of the bootstrap.

    Raises:
        DataError, UserError: as `scores`.
        ValueError: resamples < 1, or a level outside (0, 1).
    """
    figures = figures_of(benchmark, questions, outcomes)
    bounds = intervals(figures, seed=seed, level=level, resamples=resamples)
    return {name: Scored(float(figures[name].value()), *bounds[name]) for name in bounds}


def intervals(
    figures: Mapping[str, Figure],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of all figures from the same draws of units with replacement.

    A draw in which a figure's denominator is 0 says nothing of it and is left out for that figure.

    Args:
        figures: over the same units.
        seed: of the draws.
        level: share of the draws inside, in (0, 1).
        resamples: number of draws, >= 1.

    Returns:
        (lo, hi) by name; a figure without a value has none.

    Raises:
        ValueError: resamples < 1, or a level outside (0, 1).
    """
    if resamples < 1:
        raise ValueError(f"resamples must be >= 1, got {resamples}")
    units = len(next(iter(figures.values())).parts[0][0])
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[Floats]] = {name: [] for name in figures}
    for start in range(0, resamples, at_once := max(1, _WEIGHTS_AT_ONCE // units)):
        rows = min(at_once, resamples - start)
        weights = generator.multinomial(units, np.full(units, 1 / units), size=rows)
        for name, figure in figures.items():
            drawn[name].append(figure.value(weights))
    result: dict[str, tuple[float, float]] = {}
    for name, parts in drawn.items():
        values = np.concatenate(parts)
        if not np.isnan(figures[name].value()):
            result[name] = percentile_interval(values[~np.isnan(values)], level=level)
    return result
