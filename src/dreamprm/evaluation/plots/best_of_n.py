"""Plots of best-of-N accuracy: over N (mean of the suites, and each suite), and by suite with all N."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dreamprm.evaluation.number_text import MEAN, level_text, number, suite_names
from dreamprm.evaluation.plots import style
from dreamprm.evaluation.selector_names import WEIGHTED

_PANELS_PER_ROW = 4
_TITLE_INCHES = 6.0
_MOST_BANDS = 8  # more would overlap
_BOLD = "dreamprm"

Points = dict[int, float]


def evaluation_figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an evaluation that the plots show: all except the weighted votes, whose lines overlap.

    The mean of a single suite is left out: it would show the suite twice. The plot of the mean includes only
    selectors that every suite has.

    Args: result: what evaluation.json holds.
    """
    hidden = [MEAN] if len(result["suites"]) == 1 else []
    kept = [name for name in result["best_of_n"] if not name.startswith(WEIGHTED)]
    return {
        key: {
            name: {place: value for place, value in result[key][name].items() if place not in hidden}
            for name in kept
        }
        for key in ("best_of_n", "intervals", "accuracy_by_n", "intervals_by_n")
    } | {"stated_means": True}


def mean_over_n(summary: Mapping[str, Any], *, level: float) -> Figure | None:
    """Accuracy over the number of candidates, mean over the suites: one line per selector, with intervals.

    Args:
        summary: accuracy_by_n and intervals_by_n (or intervals) by selector and suite, as in summary.json.
            With `stated_means`, a selector for which no mean over several suites is stated is not drawn.
        level: of the intervals.
    Returns: the figure; None if there is nothing to plot: no lines, or only one N.
    """
    lines = _mean_lines(summary)
    every = sorted({n for points in lines.values() for n in points})
    if len(every) < 2:
        return None
    figure = style.new_figure(8.6, max(5.0, 1.2 + 0.19 * len(lines)))
    axes = figure.add_subplot()
    styles = style.selector_styles(list(lines))
    place, banded = _mean_place(summary), []
    for selector, points in lines.items():
        _draw_line(axes, points, styles[selector], bold=selector == _BOLD)
        if len(lines) <= _MOST_BANDS or selector == _BOLD:
            if _draw_band(axes, points, styles[selector], summary, selector, place):
                banded.append(selector)
    _candidates_axis(axes, every)
    axes.set_xlabel("candidates N")
    axes.set_ylabel("accuracy (%)")
    style.tidy(axes)
    text = level_text(level)
    bands = (
        f"; bands: {text} intervals"
        if len(banded) > 1
        else f"; band: {text} interval of {banded[0]}"
        if banded
        else ""
    )
    style.title(
        axes,
        "Accuracy over the number of candidates",
        f"{_suites_meant(summary)}; exact mean over all subsets{bands}",
    )
    figure.draw_without_rendering()
    last = [list(points.items())[-1] for points in lines.values()]
    style.label_line_ends(
        axes,
        [(n, 100 * value) for n, value in last],
        [f"{name} {100 * value:.1f}" for name, (_, value) in zip(lines, last)],
        [styles[name].colour for name in lines],
        size=9,
    )
    return figure


def suites_over_n(summary: Mapping[str, Any]) -> Figure | None:
    """Accuracy over the number of candidates: one panel per suite, each with its own scale; no intervals.

    Args: summary: as in `mean_over_n`.
    Returns: the figure; None with fewer than two suites (`mean_over_n` shows a single one) or two N.
    """
    rows = summary.get("accuracy_by_n") or {}
    suites = [name for name in suite_names(summary) if name != MEAN]
    sizes = {n for row in rows.values() for suite in suites for n in row.get(suite) or {}}
    if len(suites) < 2 or len(sizes) < 2:
        return None
    styles = style.selector_styles(list(rows))
    columns = min(3, len(suites))
    height = -(-len(suites) // columns)
    figure = style.new_figure(max(1.0 + 2.7 * columns, _TITLE_INCHES), 0.9 + 2.6 * height + 0.07 * len(rows))
    panels = list(figure.subplots(height, columns, squeeze=False).flat)
    for panel in panels[len(suites) :]:
        panel.set_visible(False)
    handles = {}
    for panel, suite in zip(panels, suites):
        every: set[int] = set()
        for selector, by_suite in rows.items():
            points = _points(by_suite.get(suite) or {})
            if points:
                handles[selector] = _draw_line(
                    panel, points, styles[selector], bold=selector == _BOLD, size=4
                )
                every |= set(points)
        panel.set_title(suite, loc="left", fontsize=9.5, color=style.INK)
        if every:
            _candidates_axis(panel, sorted(every))
        panel.set_xlabel("candidates N", fontsize=8.5)
        style.tidy(panel)
    # In the order of the tables, regardless of which suite a selector first appears in.
    names = [name for name in rows if name in handles]
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        ncols=min(6, 2 * columns),
        fontsize=8,
        frameon=False,
        handlelength=3.2,
    )
    figure.suptitle(
        "Accuracy over the number of candidates, by suite",
        x=0.01,
        ha="left",
        fontsize=11.5,
        fontweight="bold",
        color=style.INK,
    )
    figure.supylabel("accuracy (%), each suite on its own scale", fontsize=9.5)
    return figure


def suites_with_all(summary: Mapping[str, Any], *, level: float) -> Figure | None:
    """Each selector's accuracy with all N candidates and its interval: one panel per suite.

    Args:
        summary: best_of_n and intervals by selector and suite, as in summary.json.
        level: of the intervals.
    Returns: the figure; None if there is nothing to plot.
    """
    rows = summary.get("best_of_n") or {}
    suites = suite_names(summary)
    if not rows or not suites:
        return None
    selectors = list(rows)
    styles = style.selector_styles(selectors)
    columns = min(_PANELS_PER_ROW, len(suites))
    height = -(-len(suites) // columns)
    # The title is wider than a single panel.
    width = max(1.6 + 2.1 * columns, _TITLE_INCHES)
    figure = style.new_figure(width, height * (0.9 + 0.24 * len(selectors)) + 0.7)
    grid = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for panel in panels[len(suites) :]:
        panel.set_visible(False)
    intervals = summary.get("intervals") or {}
    for panel, suite in zip(panels, suites):
        for place, selector in enumerate(selectors):
            look = styles[selector]
            value = 100 * number(rows[selector].get(suite))
            ends = (intervals.get(selector) or {}).get(suite)
            if ends:
                panel.hlines(place, *(100 * number(end) for end in ends), color=look.colour, linewidth=2.0)
            panel.plot(
                [value],
                [place],
                color=look.colour,
                marker=look.marker,
                markersize=5.5,
                markerfacecolor=look.face,
                linestyle="none",
            )
        shifted = suite in (summary.get("shifted_suites") or [])
        panel.set_title(
            suite + (" (shifted)" if shifted else ""),
            loc="left",
            fontsize=9.5,
            color=style.INK,
            fontweight="bold" if suite == MEAN else "normal",
        )
        style.tidy(panel, grid="x")
        panel.tick_params(labelbottom=True)
    panels[0].set_yticks(range(len(selectors)), selectors)
    panels[0].set_ylim(len(selectors) - 0.5, -0.5)
    figure.suptitle(
        f"Best-of-N accuracy by suite, with {level_text(level)} intervals over questions",
        x=0.01,
        ha="left",
        fontsize=11.5,
        fontweight="bold",
        color=style.INK,
    )
    figure.supxlabel("accuracy (%)", fontsize=9.5)
    return figure


def _draw_line(axes: Axes, points: Points, look: style.LineStyle, *, bold: bool, size: float = 5) -> Any:
    (line,) = axes.plot(
        list(points),
        [100 * value for value in points.values()],
        color=look.colour,
        linestyle=look.dash,
        marker=look.marker,
        markersize=size,
        markerfacecolor=look.face,
        linewidth=2.4 if bold else 1.5,
        zorder=3 if bold else 2,
    )
    return line


def _draw_band(
    axes: Axes,
    points: Points,
    look: style.LineStyle,
    summary: Mapping[str, Any],
    selector: str,
    place: str,
) -> bool:
    """Draw intervals at every N, or a bar at the last N if the summary has only that; False without any."""
    known = ((summary.get("intervals_by_n") or {}).get(selector) or {}).get(place) or {}
    band = [[100 * number(end) for end in known.get(str(n)) or (None, None)] for n in points]
    if any(math.isfinite(low) for low, _ in band):
        axes.fill_between(
            list(points),
            [low for low, _ in band],
            [high for _, high in band],
            color=look.colour,
            alpha=0.14,
            linewidth=0,
        )
    elif ends := ((summary.get("intervals") or {}).get(selector) or {}).get(place):
        low, high = (100 * number(end) for end in ends)
        axes.vlines(list(points)[-1], low, high, color=look.colour, linewidth=1.2)
    else:
        return False
    return True


def _candidates_axis(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 2**0.06, sizes[-1] * 2**0.06 if len(sizes) > 1 else sizes[-1] * 2)


def _suites_meant(summary: Mapping[str, Any]) -> str:
    shifted = len(summary.get("shifted_suites") or [])
    if shifted:
        return f"mean of {shifted} shifted suites" if shifted > 1 else "one shifted suite"
    suites = [name for name in suite_names(summary) if name != MEAN]
    return f"mean of {len(suites)} suites" if len(suites) > 1 else f"one suite: {suites[0]}"


def _mean_place(summary: Mapping[str, Any]) -> str:
    """The key of the mean's figures: `mean`, or the only suite if no mean is stated."""
    places = suite_names(summary)
    return places[0] if len(places) == 1 else MEAN


def _mean_lines(summary: Mapping[str, Any]) -> dict[str, Points]:
    """{selector: {N: accuracy}} of the mean over suites; computed if the summary has only the suites."""
    lines: dict[str, Points] = {}
    several = len([name for name in suite_names(summary) if name != MEAN]) > 1
    for selector, suites in (summary.get("accuracy_by_n") or {}).items():
        row = suites.get(MEAN)
        if row is None and several and summary.get("stated_means"):
            continue
        if row is None:
            wanted = summary.get("shifted_suites") or list(suites)
            members = [suites[name] for name in wanted if name in suites]
            shared = [n for n in members[0] if all(n in member for member in members)] if members else []
            row = {n: sum(number(member[n]) for member in members) / len(members) for n in shared}
        if points := _points(row):
            lines[selector] = points
    return lines


def _points(row: Mapping[str, Any]) -> Points:
    return dict(sorted((int(n), number(value)) for n, value in row.items() if math.isfinite(number(value))))
