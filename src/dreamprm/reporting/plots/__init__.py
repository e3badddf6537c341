"""The plots of a run: each takes a Run and returns a Figure, or None if there is nothing to plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from dreamprm.evaluation.plots.best_of_n import mean_over_n, suites_with_all
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.plots.difficulty import weights_against_difficulty
from dreamprm.reporting.plots.training import audit, losses
from dreamprm.reporting.plots.weights import final_weights, weights_over_time

RUN_LEVEL = 0.95
"""The level of the intervals in a run's summary."""


def accuracy_over_n(run: Run) -> Figure | None:
    """`mean_over_n` for a training run's suites."""
    return mean_over_n(run.summary, level=RUN_LEVEL)


def best_of_n(run: Run) -> Figure | None:
    """`suites_with_all` for a training run."""
    return suites_with_all(run.summary, level=RUN_LEVEL)


PLOTS: Mapping[str, Callable[[Run], Figure | None]] = {
    "weights_over_time": weights_over_time,
    "final_weights": final_weights,
    "weights_against_difficulty": weights_against_difficulty,
    "losses": losses,
    "audit": audit,
    "accuracy_over_n": accuracy_over_n,
    "best_of_n": best_of_n,
}
"""File names (without .png) and the functions that draw the plots, in report order."""
