"""Domain weights of several runs: at the end side by side, and over training on the same axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dreamprm.evaluation.plots import style
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.plots.weights import domain_colours, draw_over_time, name_ends, quality_bar

_SERIES = tuple(
    style.LineStyle(colour, marker, "-")
    for colour, marker in zip(
        ("#0072b2", "#d55e00", "#009e73", "#a8498a", "#222222", "#b58900", "#3aa0d8", "#7a5230"),
        ("o", "s", "^", "D", "v", "P", "X", "*"),
        strict=True,
    )
)
"""Okabe and Ito's palette, darkened, with a marker per colour: no two series differ by colour alone."""
_COLUMNS = 2


def final_weights_of_runs(series: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure | None:
    """One line per domain, one row of marks per series: each weight small, the mean large, a bar between.

    Args:
        series: {name: {domain: weight} of each of its runs}; a series of one run has a single mark.
    Returns: the figure; None if no weight is finite.
    """
    weights = {
        (name, domain): values
        for name, runs in series.items()
        for domain in dict.fromkeys(domain for run in runs for domain in run)
        if (values := [run[domain] for run in runs if math.isfinite(run.get(domain, math.nan))])
    }
    if not weights:
        return None
    domains = by_weight([run for runs in series.values() for run in runs])
    figure = style.new_figure(8.8, 1.9 + (0.17 + 0.13 * len(series)) * len(domains))
    axes = figure.add_subplot()
    for place, name in enumerate(series):
        look = _look(place)
        shift = 0.72 * ((place + 0.5) / len(series) - 0.5)
        label: str | None = name
        for line, domain in enumerate(domains):
            values, y = weights.get((name, domain), []), line + shift
            if not values:
                continue
            if len(values) > 1:
                axes.hlines(y, min(values), max(values), color=look.colour, linewidth=1.4, alpha=0.6)
                axes.plot(
                    values, [y] * len(values), color=look.colour, marker="|", markersize=5, linestyle="none"
                )
            axes.plot(
                [np.mean(values)],
                [y],
                color=look.colour,
                marker=look.marker,
                markersize=5.5,
                linestyle="none",
                label=label,
            )
            label = None
    axes.axvline(1.0, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.9)
    for line in range(1, len(domains)):
        axes.axhline(line - 0.5, color=style.GRID, linewidth=0.8, zorder=0.5)
    axes.set_yticks(range(len(domains)), domains)
    axes.set_ylim(len(domains) - 0.45, -0.55)
    axes.set_xlabel("weight alpha (1 = average domain)")
    style.tidy(axes, grid="x")
    several = any(len(runs) > 1 for runs in series.values())
    style.title(
        axes,
        "Final domain weights",
        "dashed: equal weights"
        + ("; large: mean over seeds, bar: smallest to largest seed" if several else ""),
    )
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
    return figure


def _look(place: int) -> style.LineStyle:
    """The style of the series at this place: past the palette's end, colours repeat with the next marker."""
    colour, marker = _SERIES[place % len(_SERIES)], _SERIES[(place + place // len(_SERIES)) % len(_SERIES)]
    return style.LineStyle(colour.colour, marker.marker, "-")


def by_weight(runs: Sequence[Mapping[str, float]]) -> list[str]:
    """The domains of all runs, highest mean weight first; those without a finite weight last."""
    means = {}
    for domain in dict.fromkeys(domain for run in runs for domain in run):
        finite = [run[domain] for run in runs if math.isfinite(run.get(domain, math.nan))]
        means[domain] = sum(finite) / len(finite) if finite else -math.inf
    return sorted(means, key=lambda domain: (-means[domain], domain))


def weights_over_time_of_runs(runs: Sequence[Run], labels: Sequence[str]) -> Figure | None:
    """One panel per run on the same axes: one line per domain, named at its end; None without any history."""
    shown = [(run, label) for run, label in zip(runs, labels, strict=True) if run.weights is not None]
    if not shown:
        return None
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = style.new_figure(5.0 * columns, 3.7 * rows + 0.6)
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    drawn = []
    any_quality = False
    for panel, (run, label) in zip(panels, shown):
        assert run.weights is not None
        colours, quality = domain_colours(run, run.weights.names)
        any_quality = any_quality or quality
        draw_over_time(panel, run.weights, colours)
        panel.set_title(label, loc="left", fontsize=9.5, color=style.INK)
        panel.tick_params(labelbottom=True, labelleft=True)
        drawn.append((panel, run.weights, colours))
    values = np.concatenate([run.weights.values.ravel() for run, _ in shown if run.weights is not None])
    steps = np.concatenate([run.weights.steps for run, _ in shown if run.weights is not None])
    style.limit_steps(panels[0], steps)
    finite = np.append(values[np.isfinite(values)], 1.0)
    margin = max(0.05 * float(np.ptp(finite)), 0.02)
    panels[0].set_ylim(finite.min() - margin, finite.max() + margin)
    figure.suptitle(
        "Domain weights over training", x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=style.INK
    )
    figure.supxlabel(
        "inner steps\ndashed: equal weights"
        + ("; colour: planted quality, which training never sees" if any_quality else ""),
        fontsize=9.5,
    )
    figure.supylabel("weight alpha (1 = average domain)", fontsize=9.5)
    if any_quality:
        quality_bar(figure, panels[: len(shown)])
    figure.draw_without_rendering()
    for panel, history, colours in drawn:
        name_ends(panel, history, colours, size=7.0)
    return figure
