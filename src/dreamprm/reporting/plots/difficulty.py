"""Domain weights against difficulty: the generator's accuracy on a domain, and its weight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from dreamprm.data.rank_statistics import spearman
from dreamprm.evaluation.number_text import number
from dreamprm.evaluation.plots import style
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.plots.weights import domain_colours, quality_bar
from dreamprm.reporting.run_figures import domain_rows, equally_weighted, trained

_ACROSS = "generator's accuracy on the domain (%): harder on the left"
_COLUMNS = 2
_PANEL = (4.7, 3.9)  # inches

_CLEARANCE = 5.0  # pixels around a point that names keep clear
_RINGS = (6.0, 13.0, 22.0, 33.0, 47.0, 64.0)  # points between a point and its name, tried in turn
# Right and left first: names next to their points read best.
_DIRECTIONS = tuple(math.radians(angle) for angle in (0, 180, 90, 270, 35, 145, 325, 215, 60, 120, 300, 240))


@dataclass(frozen=True)
class DomainPoint:
    """A domain: the share of the generator's completions on it that are right, in [0, 1], and its weight."""

    name: str
    accuracy: float
    weight: float


def difficulty_points(summary: Mapping[str, Any]) -> list[DomainPoint]:
    """The domains whose weight and generator's accuracy are both known, highest weight first."""
    known = summary.get("generator_accuracy") or {}
    points = [DomainPoint(row.name, number(known.get(row.name)), row.weight) for row in domain_rows(summary)]
    return [one for one in points if math.isfinite(one.accuracy) and math.isfinite(one.weight)]


def rank_correlation(points: Sequence[DomainPoint]) -> float | None:
    """Spearman's rank correlation of generator's accuracy and weight; None if it is undefined."""
    accuracies, weights = [one.accuracy for one in points], [one.weight for one in points]
    if len(points) < 2 or np.ptp(accuracies) == 0 or np.ptp(weights) == 0:
        return None
    return spearman(accuracies, weights)


def weights_against_difficulty(run: Run) -> Figure | None:
    """One point per domain: its weight over the generator's accuracy on it, coloured by planted quality."""
    return difficulty_of_runs([run], [""])


def difficulty_of_runs(runs: Sequence[Run], labels: Sequence[str]) -> Figure | None:
    """One panel per run, on the same axes; runs without these figures are left out; None without any."""
    shown = [
        (run, label, points)
        for run, label in zip(runs, labels, strict=True)
        if not equally_weighted(run.summary) and (points := difficulty_points(run.summary))
    ]
    if not shown:
        return None
    columns = min(_COLUMNS, len(shown))
    height = -(-len(shown) // columns)
    alone = len(shown) == 1
    figure = (
        style.new_figure(8.8, 5.4)
        if alone
        else style.new_figure(_PANEL[0] * columns, _PANEL[1] * height + 0.5)
    )
    panels = list(figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    any_quality = False
    for panel, (run, label, points) in zip(panels, shown):
        colours, quality = domain_colours(run, [one.name for one in points])
        any_quality = any_quality or quality
        panel.axhline(1.0, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.9)
        panel.scatter(
            [100 * one.accuracy for one in points],
            [one.weight for one in points],
            s=34,
            color=[colours[one.name] for one in points],
            edgecolor=style.INK,
            linewidth=0.5,
            zorder=3,
        )
        panel.set_ylabel(f"{trained(run.summary).weight} (1 = average domain)", fontsize=9.5)
        panel.tick_params(labelbottom=True)
        style.tidy(panel, grid="both")
        if not alone:
            panel.set_title(label, loc="left", fontsize=9.5, color=style.INK)
    _limit(panels[0], [one for _, _, points in shown for one in points])
    detail = "dashed: equal weights" + (
        "; colour: planted quality, which training never sees" if any_quality else ""
    )
    if alone:
        style.title(panels[0], "Domain weights against difficulty", detail)
        panels[0].set_xlabel(_ACROSS)
    else:
        figure.suptitle(
            "Domain weights against difficulty",
            x=0.01,
            ha="left",
            fontsize=11.5,
            fontweight="bold",
            color=style.INK,
        )
        figure.supxlabel(f"{_ACROSS}\n{detail}", fontsize=9.5)
    if any_quality:
        quality_bar(figure, panels[: len(shown)])
    figure.draw_without_rendering()
    for panel, (_, _, points) in zip(panels, shown):
        name_points(
            panel,
            [(100 * one.accuracy, one.weight) for one in points],
            [one.name for one in points],
            size=8.0 if alone else 7.0,
        )
    return figure


def _limit(axes: Axes, points: Sequence[DomainPoint]) -> None:
    """Set the axes' limits so that there is room around the points for their names."""
    xs, ys = [100 * one.accuracy for one in points], [1.0, *(one.weight for one in points)]
    across, up = max(np.ptp(xs), 5.0), max(np.ptp(ys), 0.1)
    axes.set_xlim(min(xs) - 0.14 * across, max(xs) + 0.14 * across)
    axes.set_ylim(min(ys) - 0.1 * up, max(ys) + 0.1 * up)


def name_points(
    axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], *, size: float = 8.0
) -> list[Annotation]:
    """Name each point inside the axes: the nearest free place wins, or the last one tried if none is free.

    Call it after the axes' limits and the figure's layout are final: places are computed from them.
    Args: points (x, y) in data units, each with its name; size of the letters in points.
    """
    figure = axes.figure
    scale = figure.dpi / 72
    places = axes.transData.transform(np.asarray(points, dtype=np.float64).reshape(-1, 2))
    taken = [
        Bbox.from_extents(x - _CLEARANCE, y - _CLEARANCE, x + _CLEARANCE, y + _CLEARANCE) for x, y in places
    ]
    frame = axes.get_window_extent()
    written = []
    for (x, y), place, name in zip(points, places, names, strict=True):
        note = axes.annotate(
            name,
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=size,
            color=style.INK,
            va="center",
            ha="center",
        )
        extent = note.get_window_extent()
        width, height = extent.width, extent.height
        for ring, dx, dy in _offsets(width / scale, height / scale):
            middle = place + scale * np.array([dx, dy])
            box = Bbox.from_bounds(middle[0] - width / 2, middle[1] - height / 2, width, height)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not box.count_overlaps(taken):
                break
        note.set_position((dx, dy))
        taken.append(box)
        written.append(note)
        if ring > _RINGS[0]:  # a line leads from the point to the edge of its name
            edge = np.clip(place, (box.x0, box.y0), (box.x1, box.y1))
            axes.plot(
                *zip((x, y), axes.transData.inverted().transform(edge)),
                color=style.MUTED,
                linewidth=0.6,
                zorder=0.95,
            )
    return written


def _offsets(width: float, height: float) -> Iterator[tuple[float, float, float]]:
    """(ring, x, y): centres of a name of this size around its point, in points, nearest first."""
    for ring in _RINGS:
        for angle in _DIRECTIONS:
            across, up = math.cos(angle), math.sin(angle)
            yield (ring, across * ring + (width / 2) * _side(across), up * ring + (height / 2) * _side(up))


def _side(direction: float) -> float:
    return math.copysign(1.0, direction) if abs(direction) > 0.3 else 0.0
