"""Differences of one selector from others: a dot and an interval for each, and a line at no difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from dreamprm.evaluation.number_text import MEAN, level_text
from dreamprm.evaluation.plots import style

_PANELS_PER_ROW = 4


def forest(result: Mapping[str, Any], method: str) -> Figure | None:
    """The method's gain in points: one panel per suite and one for their mean, one row per baseline.

    Args:
        result: what evaluation.json holds.
        method: whose differences are shown.
    Returns: the figure; None if the method was not compared with anything.
    """
    rows = [row for row in result["differences"] if row["method"] == method]
    baselines = list(dict.fromkeys(row["baseline"] for row in rows))
    places = [name for name in (*result["suites"], MEAN) if any(row["suite"] == name for row in rows)]
    if not rows:
        return None
    columns = min(_PANELS_PER_ROW, len(places))
    height = -(-len(places) // columns)
    styles = style.selector_styles(list(result["best_of_n"]))
    figure = style.new_figure(max(1.8 + 2.1 * columns, 6.6), height * (0.8 + 0.27 * len(baselines)) + 1.0)
    panels = list(figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel in panels[len(places) :]:
        panel.set_visible(False)
    for panel, place in zip(panels, places):
        panel.axvline(0, color=style.INK, linewidth=0.9)
        for row in rows:
            if row["suite"] == place:
                look, line = styles[row["baseline"]], baselines.index(row["baseline"])
                panel.hlines(line, *(100 * end for end in row["interval"]), color=look.colour, linewidth=1.8)
                panel.plot(
                    [100 * row["difference"]],
                    [line],
                    color=look.colour,
                    marker="o",
                    markersize=6,
                    linestyle="none",
                    markerfacecolor=look.colour if row["significant"] else "white",
                )
        panel.set_title(
            place,
            loc="left",
            fontsize=9.5,
            color=style.INK,
            fontweight="bold" if place == MEAN else "normal",
        )
        style.tidy(panel, grid="x")
        panel.tick_params(labelbottom=True)
    panels[0].set_yticks(range(len(baselines)), [f"minus {name}" for name in baselines])
    panels[0].set_ylim(len(baselines) - 0.5, -0.5)
    figure.suptitle(
        f"Gain of {method}, with {level_text(result['level'])} paired intervals",
        x=0.01,
        ha="left",
        fontsize=11.5,
        fontweight="bold",
        color=style.INK,
    )
    figure.supxlabel(
        "difference in points; right of the line: better\n"
        "filled: significant after Holm's correction; hollow: not",
        fontsize=9.5,
    )
    return figure
