"""Domain weights: over training, and at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure

from dreamprm.evaluation.number_text import decimal, number
from dreamprm.evaluation.plots import style
from dreamprm.reporting.folders.run import Floats, Run, WeightHistory
from dreamprm.reporting.run_figures import domain_rows, equally_weighted, trained

_NAMED = 24  # more names than this do not fit next to a plot; then only the highest and lowest are named


def weights_over_time(run: Run) -> Figure | None:
    """One line per domain over inner steps, coloured by planted quality where known, named at its end.

    None without a history, or if nothing weighted the domains.
    """
    history = run.weights
    if history is None or equally_weighted(run.summary):
        return None
    colours, quality = domain_colours(run, history.names)
    figure = style.new_figure(9.2, max(4.6, 1.6 + 0.19 * min(len(history.names), _NAMED)))
    axes = figure.add_subplot()
    draw_over_time(axes, history, colours)
    finite = history.values[np.isfinite(history.values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    margin = max(0.05 * (high - low), 0.02)
    axes.set_ylim(min(low, 1.0) - margin, max(high, 1.0) + margin)
    style.limit_steps(axes, history.steps)
    axes.set_xlabel("inner steps")
    axes.set_ylabel("weight alpha (1 = average domain)")
    style.title(
        axes,
        "Domain weights over training",
        "dashed: equal weights" + ("; colour: planted quality, which training never sees" if quality else ""),
    )
    figure.draw_without_rendering()
    name_ends(axes, history, colours)
    if quality:
        quality_bar(figure, [axes])
    return figure


def draw_over_time(axes: Axes, history: WeightHistory, colours: Mapping[str, str]) -> None:
    """The lines of `weights_over_time`, in colours by domain, and the dashed line of equal weights."""
    for k, name in enumerate(history.names):
        axes.plot(
            history.steps,
            history.values[:, k],
            color=colours[name],
            linewidth=1.6,
            marker="o" if len(history.steps) == 1 else None,
        )
    axes.axhline(1.0, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.9)
    style.tidy(axes)


def name_ends(axes: Axes, history: WeightHistory, colours: Mapping[str, str], *, size: float = 8.5) -> None:
    """Name the lines at their ends with their last weights; if they are many, only the highest and lowest."""
    names, last = history.names, history.values[-1]
    ends = np.where(np.isfinite(last), last, 1.0)
    named = _ends_named(ends)
    style.label_line_ends(
        axes,
        [(history.steps[-1], ends[k]) for k in named],
        [f"{names[k]} {decimal(last[k], 2)}" for k in named],
        [colours[names[k]] for k in named],
        size=size,
    )


def final_weights(run: Run) -> Figure | None:
    """Bars of the final weights, highest first, coloured by planted quality where known.

    None without weights, or if nothing weighted the domains.
    """
    rows = [row for row in domain_rows(run.summary) if math.isfinite(row.weight)]
    if not rows or equally_weighted(run.summary):
        return None
    figure = style.new_figure(8.4, 1.5 + 0.29 * len(rows))
    axes = figure.add_subplot()
    colours, quality = domain_colours(run, [row.name for row in rows])
    places = np.arange(len(rows))
    axes.barh(places, [row.weight for row in rows], color=[colours[row.name] for row in rows], height=0.72)
    axes.axvline(1.0, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)))
    widest = max(1.0, *(row.weight for row in rows))
    lowest = min(0.0, *(row.weight for row in rows))
    for place, row in zip(places, rows):
        known = f"  (quality {row.quality:.2f})" if math.isfinite(row.quality) else ""
        axes.annotate(
            f"{row.weight:.2f}{known}",
            (max(row.weight, 0.0), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=style.INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    axes.set_yticks(places, [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(lowest * 1.05, widest * (1.24 if quality else 1.1))
    axes.set_xlabel(f"{trained(run.summary).weight}, alpha (1 = average domain)")
    style.tidy(axes, grid="x")
    style.title(
        axes,
        "Final domain weights",
        "dashed: equal weights" + ("; colour: planted quality, which training never sees" if quality else ""),
    )
    if quality:
        quality_bar(figure, [axes])
    return figure


def _ends_named(ends: Floats) -> list[int]:
    order = np.argsort(-ends, kind="stable")
    if len(order) > _NAMED:
        order = np.concatenate([order[: _NAMED // 2], order[-_NAMED // 2 :]])
    return [int(k) for k in order]


def domain_colours(run: Run, names: tuple[str, ...] | list[str]) -> tuple[dict[str, str], bool]:
    """Colour by domain, and whether it shows the planted quality; domains of unknown quality stay plain."""
    quality = {name: number(value) for name, value in (run.summary.get("quality") or {}).items()}
    known = {name: quality.get(name, math.nan) for name in names}
    colours: dict[str, str] = {
        name: to_hex(style.QUALITY_COLOURS(value)) if math.isfinite(value) else style.PLAIN
        for name, value in known.items()
    }
    return colours, any(math.isfinite(value) for value in known.values())


def quality_bar(figure: Figure, axes: Sequence[Axes]) -> None:
    """Add the scale of planted quality next to the axes whose colours show it."""
    scale = ScalarMappable(norm=Normalize(0, 1), cmap=style.QUALITY_COLOURS)
    bar = figure.colorbar(scale, ax=list(axes), fraction=0.025, pad=0.02, aspect=30, ticks=[0, 0.5, 1])
    bar.set_label("planted quality", fontsize=8.5, color=style.INK)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
