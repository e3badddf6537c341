"""Plots of best-of-N accuracy: over N for the mean of the suites, and by suite for all N candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from dreamprm.reporting import tables
from dreamprm.reporting.plots import style
from dreamprm.reporting.folders.files import number
from dreamprm.reporting.folders.run import Run

_PANELS_A_ROW = 4
_TITLE_INCHES = 6.0


def accuracy_over_n(run: Run) -> Figure | None:
    """One line a selector: accuracy over the number of candidates, mean of the suites, 95 % intervals."""
    lines = _mean_lines(run.summary)
    if not lines:
        return None
    bands = run.summary.get("intervals_by_n") or {}
    full = run.summary.get("intervals") or {}
    figure = style.new_figure(8.6, 5.0)
    axes = figure.add_subplot()
    styles = style.selector_styles(list(lines))
    for selector, points in lines.items():
        look = styles[selector]
        sizes, accuracies = list(points), [100 * value for value in points.values()]
        axes.plot(sizes, accuracies, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=5,
                  linewidth=2.4 if selector == "dreamprm" else 1.5)
        known = (bands.get(selector) or {}).get(tables.MEAN) or {}
        band = [[100 * number(end) for end in known.get(str(n)) or (None, None)] for n in sizes]
        if any(math.isfinite(low) for low, _ in band):
            axes.fill_between(sizes, [low for low, _ in band], [high for _, high in band], color=look.colour,
                              alpha=0.14, linewidth=0)
        elif ends := (full.get(selector) or {}).get(tables.MEAN):
            low, high = (100 * number(end) for end in ends)
            axes.vlines(sizes[-1], low, high, color=look.colour, linewidth=1.2)
    every = sorted({n for points in lines.values() for n in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(every, [str(n) for n in every])
    axes.minorticks_off()
    axes.set_xlim(every[0] / 2**0.06, every[-1] * 2**0.06 if len(every) > 1 else every[-1] * 2)
    axes.set_xlabel("candidates N")
    axes.set_ylabel("accuracy (%)")
    style.tidy(axes)
    style.title(axes, "Accuracy over the number of candidates",
                f"{_suites_meant(run.summary)}; exact mean over all subsets; bands: 95 % intervals")
    figure.draw_without_rendering()
    last = [list(points.items())[-1] for points in lines.values()]
    style.label_line_ends(axes, [(n, 100 * value) for n, value in last],
                          [f"{name} {100 * value:.1f}" for name, (_, value) in zip(lines, last)],
                          [styles[name].colour for name in lines], size=9)
    return figure


def _suites_meant(summary: Mapping[str, Any]) -> str:
    shifted = len(summary.get("shifted_suites") or [])
    if shifted:
        return f"mean of {shifted} shifted suites" if shifted > 1 else "one shifted suite"
    suites = len([name for name in tables.suite_names(summary) if name != tables.MEAN])
    return f"mean of {suites} suites" if suites > 1 else "one suite"


def _mean_lines(summary: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """{selector: {N: accuracy}} of the mean over suites; worked out where the summary has suites alone."""
    lines: dict[str, dict[int, float]] = {}
    for selector, suites in (summary.get("accuracy_by_n") or {}).items():
        row = suites.get(tables.MEAN)
        if row is None:
            wanted = summary.get("shifted_suites") or list(suites)
            members = [suites[name] for name in wanted if name in suites]
            shared = [n for n in members[0] if all(n in member for member in members)] if members else []
            row = {n: sum(number(member[n]) for member in members) / len(members) for n in shared}
        points = {int(n): number(value) for n, value in row.items() if math.isfinite(number(value))}
        if points:
            lines[selector] = dict(sorted(points.items()))
    return lines


def best_of_n(run: Run) -> Figure | None:
    """A panel a suite: each selector's accuracy with all N candidates and its 95 % interval."""
    rows = run.summary.get("best_of_n") or {}
    suites = tables.suite_names(run.summary)
    if not rows or not suites:
        return None
    selectors = list(rows)
    styles = style.selector_styles(selectors)
    columns = min(_PANELS_A_ROW, len(suites))
    height = -(-len(suites) // columns)
    # The title is wider than a single panel.
    width = max(1.6 + 2.1 * columns, _TITLE_INCHES)
    figure = style.new_figure(width, height * (0.9 + 0.24 * len(selectors)) + 0.7)
    grid = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for panel in panels[len(suites):]:
        panel.set_visible(False)
    intervals = run.summary.get("intervals") or {}
    for panel, suite in zip(panels, suites):
        for place, selector in enumerate(selectors):
            look = styles[selector]
            value = 100 * number(rows[selector].get(suite))
            ends = (intervals.get(selector) or {}).get(suite)
            if ends:
                panel.hlines(place, *(100 * number(end) for end in ends), color=look.colour, linewidth=2.0)
            panel.plot([value], [place], color=look.colour, marker=look.marker, markersize=5.5,
                       linestyle="none")
        shifted = suite in (run.summary.get("shifted_suites") or [])
        panel.set_title(suite + (" (shifted)" if shifted else ""), loc="left", fontsize=9.5, color=style.INK,
                        fontweight="bold" if suite == tables.MEAN else "normal")
        style.tidy(panel, grid="x")
        panel.tick_params(labelbottom=True)
    panels[0].set_yticks(range(len(selectors)), selectors)
    panels[0].set_ylim(len(selectors) - 0.5, -0.5)
    figure.suptitle("Best-of-N accuracy by suite, with 95 % intervals over questions", x=0.01, ha="left",
                    fontsize=11.5, fontweight="bold", color=style.INK)
    figure.supxlabel("accuracy (%)", fontsize=9.5)
    return figure
