"""The plots of a run: each takes a Run and returns a Figure, or None where the run has nothing to plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure

from dreamprm.reporting import style, tables
from dreamprm.reporting.accuracy_plots import accuracy_over_n, best_of_n
from dreamprm.reporting.audit_plot import audit
from dreamprm.reporting.folder import Floats, Run, number

_NAMED = 24  # more names than this do not fit beside a plot; the highest and lowest are named then

LOSSES = {
    "inner_loss": ("Inner loss", "weighted step loss"),
    "meta_loss": ("Meta loss", "squared error"),
    "lm_loss": ("Language-modelling loss", "cross-entropy in nats a token"),
}
"""Columns of metrics.jsonl that are plotted: title and unit."""


def weights_over_time(run: Run) -> Figure | None:
    """One line a domain over inner steps, coloured by planted quality where known, named at its end."""
    history = run.weights
    if history is None:
        return None
    names, last = history.names, history.values[-1]
    ends = np.where(np.isfinite(last), last, 1.0)
    named = _ends_named(ends)
    figure = style.new_figure(9.2, max(4.6, 1.6 + 0.19 * len(named)))
    axes = figure.add_subplot()
    colours, quality = _domain_colours(run, names)
    for k, name in enumerate(names):
        axes.plot(history.steps, history.values[:, k], color=colours[name], linewidth=1.6,
                  marker="o" if len(history.steps) == 1 else None)
    axes.axhline(1.0, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.9)
    finite = history.values[np.isfinite(history.values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    margin = max(0.05 * (high - low), 0.02)
    axes.set_ylim(min(low, 1.0) - margin, max(high, 1.0) + margin)
    _limit_steps(axes, history.steps)
    axes.set_xlabel("inner steps")
    axes.set_ylabel("weight alpha (1 = average domain)")
    style.tidy(axes)
    style.title(axes, "Domain weights over training", "dashed: equal weights" + (
        "; colour: planted quality, which training never sees" if quality else ""))
    figure.draw_without_rendering()
    style.label_line_ends(axes, [(history.steps[-1], ends[k]) for k in named],
                          [f"{names[k]} {tables.decimal(last[k], 2)}" for k in named],
                          [colours[names[k]] for k in named])
    if quality:
        _quality_bar(figure, axes)
    return figure


def final_weights(run: Run) -> Figure | None:
    """Bars of the final weights, highest first, coloured by planted quality where known."""
    rows = [row for row in tables.domain_rows(run.summary) if math.isfinite(row.weight)]
    if not rows:
        return None
    figure = style.new_figure(8.4, 1.5 + 0.29 * len(rows))
    axes = figure.add_subplot()
    colours, quality = _domain_colours(run, [row.name for row in rows])
    places = np.arange(len(rows))
    axes.barh(places, [row.weight for row in rows], color=[colours[row.name] for row in rows], height=0.72)
    axes.axvline(1.0, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)))
    widest = max(1.0, *(row.weight for row in rows))
    lowest = min(0.0, *(row.weight for row in rows))
    for place, row in zip(places, rows):
        known = f"  (quality {row.quality:.2f})" if math.isfinite(row.quality) else ""
        axes.annotate(f"{row.weight:.2f}{known}", (max(row.weight, 0.0), place), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=8, color=style.INK,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    axes.set_yticks(places, [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(lowest * 1.05, widest * (1.24 if quality else 1.1))
    axes.set_xlabel("learned weight alpha (1 = average domain)")
    style.tidy(axes, grid="x")
    style.title(axes, "Final domain weights", "dashed: equal weights" + (
        "; colour: planted quality, which training never sees" if quality else ""))
    if quality:
        _quality_bar(figure, axes)
    return figure


def losses(run: Run) -> Figure | None:
    """Inner, meta and language-modelling loss over inner steps: every window thin, a moving mean thick."""
    steps = run.metrics.get("step")
    shown = [name for name in LOSSES if name in run.metrics and np.isfinite(run.metrics[name]).any()]
    if steps is None or not shown:
        return None
    figure = style.new_figure(8.8, 2.6 * len(shown) + 0.4)
    grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False)
    for panel, name in zip(grid[:, 0], shown):
        values = run.metrics[name]
        window = max(1, len(values) // 25)
        several = window > 1
        panel.plot(steps, values, color=style.PLAIN, linewidth=0.7 if several else 1.5,
                   alpha=0.4 if several else 1, marker="o" if len(values) == 1 else None)
        if several:
            panel.plot(steps, moving_mean(values, window), color=style.PLAIN, linewidth=2.0)
        heading, unit = LOSSES[name]
        missing = int((~np.isfinite(values)).sum())
        detail = f"thin: each window; thick: mean of {window} windows" if several else "each window"
        style.title(panel, heading, detail + (f"; not finite: {missing} of {len(values)}" if missing else ""))
        panel.set_ylabel(unit)
        _limit_steps(panel, steps)
        style.tidy(panel)
    grid[-1, 0].set_xlabel("inner steps")
    return figure


PLOTS: Mapping[str, Callable[[Run], Figure | None]] = {
    "weights_over_time": weights_over_time,
    "final_weights": final_weights,
    "losses": losses,
    "audit": audit,
    "accuracy_over_n": accuracy_over_n,
    "best_of_n": best_of_n,
}
"""File names (without .png) and the functions that draw them, in the order of the report."""


def moving_mean(values: Floats, window: int) -> Floats:
    """(n,) centred mean over `window` neighbours, fewer at the ends; values that are not finite are left out.

    NaN where no neighbour is finite.
    """
    finite = np.isfinite(values)
    kernel = np.ones(window)
    # "full" and a slice by hand: "same" would return `window` entries where that is longer than the data.
    start = (window - 1) // 2
    total = np.convolve(np.where(finite, values, 0.0), kernel)[start:start + len(values)]
    count = np.convolve(finite.astype(float), kernel)[start:start + len(values)]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _limit_steps(axes: Axes, steps: Floats) -> None:
    first, last = np.nanmin(steps), np.nanmax(steps)
    axes.set_xlim(first if last > first else first - 1, last if last > first else last + 1)


def _ends_named(ends: Floats) -> list[int]:
    order = np.argsort(-ends, kind="stable")
    if len(order) > _NAMED:
        order = np.concatenate([order[:_NAMED // 2], order[-_NAMED // 2:]])
    return [int(k) for k in order]


def _domain_colours(run: Run, names: tuple[str, ...] | list[str]) -> tuple[dict[str, str], bool]:
    """Colour by domain, and whether it tells the planted quality; domains of unknown quality stay plain."""
    quality = {name: number(value) for name, value in (run.summary.get("quality") or {}).items()}
    known = {name: quality.get(name, math.nan) for name in names}
    colours: dict[str, str] = {
        name: to_hex(style.QUALITY_COLOURS(value)) if math.isfinite(value) else style.PLAIN
        for name, value in known.items()
    }
    return colours, any(math.isfinite(value) for value in known.values())


def _quality_bar(figure: Figure, axes: Axes) -> None:
    scale = ScalarMappable(norm=Normalize(0, 1), cmap=style.QUALITY_COLOURS)
    bar = figure.colorbar(scale, ax=axes, fraction=0.025, pad=0.02, aspect=30, ticks=[0, 0.5, 1])
    bar.set_label("planted quality", fontsize=8.5, color=style.INK)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
