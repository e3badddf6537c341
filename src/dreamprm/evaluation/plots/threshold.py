"""How a first-error threshold was chosen: the development set's F1 over all thresholds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dreamprm.data.step_scores import probability
from dreamprm.evaluation.plots import style

Floats = NDArray[np.float64]


def threshold_plot(curves: Mapping[str, tuple[Floats, Floats, float]]) -> Figure | None:
    """One curve a scorer, over the threshold as a probability, with the chosen one marked; None without any.

    Args:
        curves: by scorer thresholds (T,) in log-odds, rising, the F1 of each, and the chosen threshold.
    """
    if not curves:
        return None
    figure = style.new_figure(8.0, 4.2)
    axes = figure.add_subplot()
    looks = style.selector_styles(list(curves))
    ends, names = [], []
    for scorer, (thresholds, f1, chosen) in curves.items():
        look = looks[scorer]
        places = np.array([probability(value) for value in thresholds])
        # Beyond the last threshold every step is an error; the curve ends at 1 for all scorers.
        axes.step(
            [*places, 1.0],
            [*(100 * f1), 100 * f1[-1]],
            where="pre",
            color=look.colour,
            linestyle=look.dash,
            linewidth=1.4,
        )
        best = float(f1.max())
        axes.plot(
            [probability(chosen)],
            [100 * best],
            color=look.colour,
            marker=look.marker,
            markersize=8,
            linestyle="none",
        )
        ends.append((probability(chosen), 100 * best))
        names.append(f"{scorer}: {100 * best:.1f} at {probability(chosen):.3g}")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(0, max(5.0, 1.12 * max(y for _, y in ends)))
    axes.set_xlabel("threshold: a step with a lower probability is an error")
    axes.set_ylabel("F1 (%)")
    style.tidy(axes, grid="both")
    style.title(
        axes,
        "Threshold chosen on the development set",
        "F1 of first-error indices; marked: the highest, which is used on the test records",
    )
    figure.draw_without_rendering()
    style.label_line_ends(axes, ends, names, [looks[name].colour for name in curves])
    return figure
