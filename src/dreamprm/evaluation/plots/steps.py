"""Plots of a step evaluation: reliability curves, and how the first-error threshold was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dreamprm.data.step_scores import probability
from dreamprm.evaluation.bootstrap import Floats
from dreamprm.evaluation.plots import style

_PANEL = 2.5  # inches


def reliability_plot(
    calibration: Mapping[str, Any], *, scope: str, level: float, binning: str = "equal_mass"
) -> Figure | None:
    """Reliability curves with intervals and the share of steps: one row per scorer, one panel per subset.

    Equal mass by default, so that all points rest on the same number of steps. None if there are no steps.

    Args:
        calibration: the `calibration` entry of steps.json.
        scope: one of its scopes.
        level: of its intervals, in (0, 1).
        binning: one of its binnings.
    """
    rows = {scorer: scopes[scope] for scorer, scopes in calibration.items() if scopes[scope]}
    subsets = list(dict.fromkeys(subset for held in rows.values() for subset in held))
    if not subsets:
        return None
    width, height = 1.4 + _PANEL * len(subsets), 1.5 + _PANEL * len(rows)
    figure = style.new_figure(max(width, 5.2), height)
    panels = figure.subplots(len(rows), len(subsets), sharex=True, sharey=True, squeeze=False)
    looks = style.selector_styles(list(rows))
    for line, (scorer, held) in zip(panels, rows.items(), strict=True):
        for axes, subset in zip(line, subsets, strict=True):
            if subset in held:
                _draw(axes, held[subset], binning, looks[scorer])
            else:
                axes.set_visible(False)
        line[0].set_ylabel(f"{scorer}\nmean label", fontsize=9.5, color=style.INK)
    for axes, subset in zip(panels[0], subsets, strict=True):
        axes.set_title(subset, loc="left", fontsize=9.5, color=style.INK)
    figure.suptitle(
        "Reliability of step probabilities",
        x=0.01,
        ha="left",
        fontsize=11.5,
        fontweight="bold",
        color=style.INK,
    )
    figure.supxlabel(
        "probability given to a step; grey: share of the steps\n"
        f"steps counted: {scope.replace('_', ' ')}; bins of {binning.replace('_', ' ')}, with"
        f" {100 * level:g} % intervals; dashed: calibrated",
        fontsize=9.5,
    )
    return figure


def threshold_plot(curves: Mapping[str, tuple[Floats, Floats, float]]) -> Figure | None:
    """F1 over the threshold as a probability: one curve per scorer, the chosen threshold marked.

    Args:
        curves: by scorer: thresholds (T,) in log-odds, ascending; the F1 of each; the chosen threshold.

    Returns: the figure; None without curves.
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


def _draw(axes: Axes, held: Mapping[str, Any], binning: str, look: style.LineStyle) -> None:
    shares = held["equal_width"]["bins"]
    axes.bar(
        [one["probability"] for one in shares],
        [one["steps"] / held["steps"] for one in shares],
        width=0.04,
        color=style.GRID,
        zorder=0,
    )
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    bins = held[binning]["bins"]
    places, labels = [one["probability"] for one in bins], [one["label"] for one in bins]
    axes.vlines(
        places, [one["low"] for one in bins], [one["high"] for one in bins], color=look.colour, linewidth=1.2
    )
    axes.plot(
        places,
        labels,
        color=look.colour,
        marker=look.marker,
        linestyle=look.dash,
        markersize=4,
        linewidth=1.3,
    )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.annotate(
        f"ECE {held[binning]['ece']['value']:.3f}",
        (0.04, 0.96),
        xycoords="axes fraction",
        va="top",
        fontsize=8.5,
        color=style.INK,
    )
    style.tidy(axes, grid="both")
