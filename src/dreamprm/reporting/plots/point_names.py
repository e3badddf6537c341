"""Names beside the points of a plot, placed so that they cover neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from dreamprm.evaluation.plots import style

_CLEARANCE = 5.0  # pixels around a point that a name keeps away from
_RINGS = (6.0, 13.0, 22.0, 33.0, 47.0, 64.0)  # points between a point and its name, tried in turn
# Right and left first: names beside their points read best.
_DIRECTIONS = tuple(math.radians(angle) for angle in (0, 180, 90, 270, 35, 145, 325, 215, 60, 120, 300, 240))


def name_points(
    axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], *, size: float = 8.0
) -> list[Annotation]:
    """Name each point inside the axes: the nearest free place wins, the last one tried where none is free.

    Call it after the axes' limits and the figure's layout are final: places are worked out from them.
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
    """(ring, x, y): middles of a name of this size around its point, in points, nearest first."""
    for ring in _RINGS:
        for angle in _DIRECTIONS:
            across, up = math.cos(angle), math.sin(angle)
            yield (ring, across * ring + (width / 2) * _side(across), up * ring + (height / 2) * _side(up))


def _side(direction: float) -> float:
    return math.copysign(1.0, direction) if abs(direction) > 0.3 else 0.0
