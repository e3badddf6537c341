"""The style of all plots: colours that colour-blind readers can tell apart, lines labelled directly."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from dreamprm.evaluation.selector_names import BEST_GENERATOR, WEIGHTED

INK = "#222222"
MUTED = "#6b6b6b"
GRID = "#e2e2e2"
PLAIN = "#3d6d99"
DPI = 130

# Red-brown below one half (bad), grey at it, blue above: distinct for all common kinds of colour blindness.
QUALITY_COLOURS = LinearSegmentedColormap.from_list(
    "planted_quality", ["#a63603", "#d9772f", "#a8a29a", "#4a86b8", "#08519c"]
)


Marker = str | tuple[int, int, int]


@dataclass(frozen=True)
class LineStyle:
    """Colour, marker and dash of one selector in every plot.

    Attributes:
        colour: "#rrggbb".
        marker, dash: as matplotlib names them.
        filled: whether the marker is filled.
    """

    colour: str
    marker: Marker
    dash: str
    filled: bool = True

    @property
    def face(self) -> str:
        """The colour inside the marker."""
        return self.colour if self.filled else "white"


# The first seven are from Okabe and Ito's palette. No two share a marker, and where two colours look alike to
# readers with any of the common kinds of colour blindness, their dashes differ (a test checks this).
_SELECTORS = {
    "dreamprm": LineStyle("#d55e00", "o", "-"),
    "vanilla": LineStyle("#0072b2", "s", "-"),
    "majority": LineStyle("#009e73", "^", "-"),
    "base_likelihood": LineStyle("#a8498a", "D", "--"),
    "base_head": LineStyle("#3aa0d8", "v", "--"),
    "random": LineStyle("#808080", "x", ":"),
    "oracle": LineStyle("#222222", "*", ":"),
    "first": LineStyle("#4d6a78", "<", "-."),
    BEST_GENERATOR: LineStyle("#6f8f00", "p", "--"),
    "orm": LineStyle("#b58900", "P", "-."),
    "car": LineStyle("#7a5230", "X", "-"),
    "s1": LineStyle("#5b4b9a", "d", "--"),
    "bis": LineStyle("#670fff", (7, 1, 0), ":"),
    "random_share": LineStyle("#a21afc", (5, 1, 36), "--"),
    "regmix": LineStyle("#5d0369", (7, 1, 26), ":"),
    "meta_only": LineStyle("#e0559a", ">", "-."),
    "with_meta": LineStyle("#8c1d40", (4, 1, 0), "--"),
    "random_weights": LineStyle("#009aa6", "+", ":"),
    "fixed_weights": LineStyle("#b05fe0", "h", ":"),
    "doremi": LineStyle("#1b5e20", (3, 1, 0), "-."),
    "doge": LineStyle("#2b35b8", (4, 1, 45), "-."),
}
_SPARE = (
    LineStyle("#c62828", (6, 1, 0), ":"),
    LineStyle("#00695c", "8", "--"),
    LineStyle("#8e6ad8", (3, 1, 60), "-."),
    LineStyle("#5d5d00", "H", "--"),
)
_DASHES = ("-", "--", "-.", ":")


def selector_styles(selectors: Sequence[str]) -> dict[str, LineStyle]:
    """A style for each selector, no two alike.

    Selectors that the package does not know take the spare styles in turn; once these run out, they repeat
    with other dashes. A weighted vote has its scorer's colour and marker, with the marker hollow.
    """
    scorers = dict.fromkeys(name.removeprefix(WEIGHTED) for name in selectors)
    spare = {name: _spare(k) for k, name in enumerate(name for name in scorers if name not in _SELECTORS)}
    plain = {name: _SELECTORS.get(name) or spare[name] for name in scorers}
    return {
        name: _hollow(plain[name.removeprefix(WEIGHTED)]) if name.startswith(WEIGHTED) else plain[name]
        for name in selectors
    }


def _spare(k: int) -> LineStyle:
    rounds, place = divmod(k, len(_SPARE))
    look = _SPARE[place]
    return replace(look, dash=_DASHES[(_DASHES.index(look.dash) + rounds) % len(_DASHES)])


def _hollow(look: LineStyle) -> LineStyle:
    return replace(look, dash=_DASHES[(_DASHES.index(look.dash) + 1) % len(_DASHES)], filled=False)


class _PlainTextFigure(Figure):
    """A figure that shows its texts verbatim: a name with "$" is not mathematics and might not parse."""

    def draw(self, renderer: RendererBase) -> None:
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (size in inches) that makes room for its labels; uses no global pyplot state."""
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09)
    return _PlainTextFigure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")


def tidy(axes: Axes, *, grid: str = "y") -> None:
    """Thin the frame and draw the grid behind the data. grid: "x", "y" or "both"."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(True, axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]


def limit_steps(axes: Axes, steps: NDArray[np.float64]) -> None:
    """Set the x limits to the first and last of the steps (n,), with a little room if there is only one."""
    first, last = np.nanmin(steps), np.nanmax(steps)
    axes.set_xlim(first if last > first else first - 1, last if last > first else last + 1)


def title(axes: Axes, text: str, detail: str = "") -> None:
    """The plot's subject in bold, its conditions in a smaller line below."""
    axes.set_title(text, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=22 if detail else 8)
    if detail:
        axes.annotate(
            detail,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 7),
            textcoords="offset points",
            fontsize=8.5,
            color=MUTED,
            annotation_clip=False,
        )


def spread(
    positions: ArrayLike,
    gap: float,
    *,
    low: float = -np.inf,
    high: float = np.inf,
) -> NDArray[np.float64]:
    """(n,) positions moved as little as possible (least squares) so that neighbours are `gap` apart.

    Labels that would overlap form a block around their mean; blocks that then touch merge. All stay between
    low and high; if they do not fit, they overrun both ends equally.
    """
    wanted = np.asarray(positions, dtype=np.float64)
    order = np.argsort(wanted, kind="stable")
    # With x_i = y_i + i * gap the constraint is that y rises: isotonic regression, by pooling violators.
    blocks: list[tuple[float, int]] = []  # (mean of y, members)
    for rank, index in enumerate(order):
        mean, members = wanted[index] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, members = (before * count + mean * members) / (count + members), count + members
        blocks.append((mean, members))
    settled = np.concatenate([np.full(count, mean) for mean, count in blocks]) if blocks else np.zeros(0)
    # The bounded solution is the unbounded one, clipped: the last label has y = x - (n - 1) * gap.
    top = high - (len(wanted) - 1) * gap
    settled = np.clip(settled, low, top) if top >= low else np.full(len(wanted), (low + top) / 2)
    result = np.empty_like(wanted)
    result[order] = settled + gap * np.arange(len(wanted))
    return result


def _darker(colour: str) -> tuple[float, float, float]:
    """The colour for text: thin strokes of a pale colour are hard to read on white."""
    red, green, blue = to_rgb(colour)
    return 0.78 * red, 0.78 * green, 0.78 * blue


def label_line_ends(
    axes: Axes,
    ends: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    *,
    size: float = 8.5,
) -> None:
    """Name lines at their right ends, outside the axes, spread so that no two names overlap.

    Call it after the axes' limits are final: positions are computed from them.
    Args: ends (x, y) in data units of a linear y axis; texts and colours, one per line.
    """
    low, high = axes.get_ylim()
    height_points = axes.get_position().height * axes.figure.get_figheight() * 72  # type: ignore[union-attr]
    gap = 1.25 * size * (high - low) / height_points
    places = spread([y for _, y in ends], gap, low=low, high=high)
    for (x, y), text, colour, label_y in zip(ends, texts, colours, places):
        axes.annotate(
            text,
            (x, y),
            xytext=(1.035, (label_y - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            ha="left",
            fontsize=size,
            color=_darker(colour),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
