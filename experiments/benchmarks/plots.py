"""The benchmark's plots: a window's cost over T, and the accuracy of its gradient against its cost."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from dreamprm.evaluation.plots import style
from experiments.benchmarks.cases import CASES, PLAIN

Ratio = Callable[[dict[str, Any], str], list[float] | None]
# Okabe and Ito's colours by family; marker and dash tell the members apart, and peers are hollow.
COLOURS = {
    "vanilla": "#b0b0b0",
    "none": "#808080",
    "first_order": "#009e73",
    "adjoint": "#0072b2",
    "unrolled": "#222222",
    "neumann": "#e69f00",
    "cg": "#56b4e9",
    "finite_difference": "#a8498a",
    "TorchOpt": "#222222",
    "higher": "#7a5230",
    "bergson": "#b59b00",
    "Betty": "#d55e00",
}
MARKERS = "osD^vPX*"
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)))
# Ratios labelled on an axis, if they are in its range.
RATIOS = [0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024]
# 1 - cosine below this is float32 rounding of the two dot products; it is drawn at this level.
ROUNDING = 1e-8


def looks(case: str) -> dict[str, Any]:
    """Colour, marker and dash of a row in every plot."""
    family = next(name for name in sorted(COLOURS, key=len, reverse=True) if case.startswith(name))
    place = [name for name in CASES if name.startswith(family)].index(case)
    colour, hollow = COLOURS[family], bool(CASES[case].peer)
    return {
        "color": colour,
        "marker": MARKERS[place % len(MARKERS)],
        "markersize": 6,
        "linestyle": DASHES[place % len(DASHES)],
        "linewidth": 1.4,
        "label": case,
        "markerfacecolor": "none" if hollow else colour,
    }


def over_steps(points: list[dict[str, Any]], ratio: Ratio, *, what: str) -> Figure | None:
    """A panel for each size and kind, with one line over T per table row; None with fewer than two T."""
    steps = sorted({point["steps"] for point in points})
    if len(steps) < 2:
        return None
    sizes = list(dict.fromkeys(point["size"] for point in points))
    kinds = list(dict.fromkeys(point["kind"] for point in points))
    measured = {(point["size"], point["kind"]) for point in points}
    figure = style.new_figure(3.4 * len(sizes) + 2.6, 3.3 * len(kinds) + 0.5)
    panels = figure.subplots(len(kinds), len(sizes), sharex=True, sharey=True, squeeze=False)
    for i, kind in enumerate(kinds):
        for j, size in enumerate(sizes):
            axes = panels[i, j]
            here = [point for point in points if (point["size"], point["kind"]) == (size, kind)]
            if not here:
                axes.set_visible(False)
                continue
            for case in CASES:
                found = [(point["steps"], ratio(point, case)) for point in here if case != PLAIN]
                line = [(step, median(values)) for step, values in found if values]
                if line:
                    axes.plot(*zip(*line), **looks(case))
            axes.set_xscale("log")
            axes.set_xticks(steps, [str(step) for step in steps])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_yscale("log")
            _name_ratios(axes.yaxis)
            axes.axhline(1.0, color=style.MUTED, linewidth=0.9, zorder=0.9)
            style.tidy(axes, grid="both")
            axes.set_title(f"{size} parameters, {kind} batches", loc="left", fontsize=9.5, color=style.INK)
            if not any((size, k) in measured for k in kinds[i + 1 :]):
                axes.set_xlabel("inner steps of a window, T")
                axes.tick_params(labelbottom=True)
            if not any((s, kind) in measured for s in sizes[:j]):
                axes.tick_params(labelleft=True)
                axes.set_ylabel(f"{what} / plain training")
    _legend(figure, panels.flat)
    return figure


def cost_against_agreement(points: list[dict[str, Any]]) -> Figure | None:
    """1 - cosine over time relative to plain training; one column per learning rate, one row per kind.

    Drawn for the largest size at the T nearest to 5; None if no agreement was measured.
    """
    measured = [p for p in points if any("agreement" in row for row in p["rows"].values())]
    if not measured:
        return None
    first = min(measured, key=lambda point: (abs(point["steps"] - 5), -point["parameters"]))
    chosen = [p for p in measured if (p["size"], p["steps"]) == (first["size"], first["steps"])]
    lrs = sorted(
        {lr for p in chosen for row in p["rows"].values() for lr in row.get("agreement", {})}, key=float
    )
    figure = style.new_figure(3.9 * len(lrs) + 2.6, 3.3 * len(chosen) + 0.5)
    panels = figure.subplots(len(chosen), len(lrs), sharex=True, sharey=True, squeeze=False)
    for i, point in enumerate(chosen):
        for j, lr in enumerate(lrs):
            axes = panels[i, j]
            for case, row in point["rows"].items():
                cosine = row.get("agreement", {}).get(lr, {}).get("cosine")
                if cosine is not None and row.get("seconds"):
                    cost = median(row["seconds"]) / median(point["rows"][PLAIN]["seconds"])
                    axes.plot(cost, max(1 - cosine, ROUNDING), **looks(case) | {"linestyle": "none"})
            axes.set_xscale("log")
            _name_ratios(axes.xaxis)
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter(NullFormatter())
            style.tidy(axes, grid="both")
            axes.set_title(
                f"{point['size']} parameters, T = {point['steps']}, {point['kind']}, lr {lr}",
                loc="left",
                fontsize=9.5,
                color=style.INK,
            )
            if i == len(chosen) - 1:
                axes.set_xlabel("time / plain training")
            if j == 0:
                axes.set_ylabel("1 - cosine to the exact gradient")
    _legend(figure, panels.flat, lines=False)
    return figure


def _name_ratios(axis: Axis) -> None:
    axis.set_major_locator(FixedLocator(RATIOS))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _legend(figure: Figure, panels: Any, *, lines: bool = True) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles))
    hidden = {} if lines else {"linestyle": "none"}
    entries = [Line2D([], [], **looks(case) | hidden) for case in CASES if case in found]
    figure.legend(handles=entries, loc="outside right upper", fontsize=8.5, frameon=False, handlelength=3.4)
