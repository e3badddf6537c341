"""The plot of accuracy over the tokens that searches spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from dreamprm.evaluation.number_text import level_text, number
from dreamprm.evaluation.plots import style

_MOST_BANDS = 5  # more would overlap


def accuracy_over_tokens(result: Mapping[str, Any]) -> Figure:
    """One line per search: accuracy if it were stopped earlier, over the mean tokens generated per question.

    The marker at a line's end is the whole search. A line begins where the first question has an answer.

    Args:
        result: what accuracy_over_tokens.json holds.
    """
    lines = {
        name: [(one["generated"], one["accuracy"]) for one in search["curve"] if one["generated"] > 0]
        for name, search in result["searches"].items()
    }
    axis = "tokens generated per question (mean)"
    return curves(
        lines, level=result["level"], axis=axis, detail="if stopped earlier; marker: the whole search"
    )


def curves(
    lines: Mapping[str, Sequence[tuple[float, Mapping[str, Any]]]],
    *,
    level: float,
    axis: str,
    detail: str,
    marked: bool = False,
    looks: Mapping[str, str] | None = None,
) -> Figure:
    """Accuracies with intervals over tokens, on a logarithmic scale.

    Args:
        lines: by name, points of (tokens, `value`, `low` and `high` as of `Estimate.to_json`), at least one.
        level: of the intervals.
        axis: the name of the horizontal axis.
        detail: what is shown, for the second line of the title.
        marked: mark every point, not only the last.
        looks: the selector whose style a line takes, by name; None: styles by the lines' own names.
    """
    figure = style.new_figure(8.6, max(5.0, 1.2 + 0.19 * len(lines)))
    axes = figure.add_subplot()
    looks = {name: (looks or {}).get(name, name) for name in lines}
    known = style.selector_styles(list(looks.values()))
    styles = {name: known[look] for name, look in looks.items()}
    banded = len(lines) <= _MOST_BANDS
    for name, points in lines.items():
        look, tokens = styles[name], [place for place, _ in points]
        values = [100 * number(one["value"]) for _, one in points]
        axes.plot(
            tokens,
            values,
            color=look.colour,
            linestyle=look.dash,
            linewidth=1.6,
            marker=look.marker,
            markersize=5,
            markerfacecolor=look.face,
            markevery=None if marked else [len(points) - 1],
        )
        if banded:
            low, high = ([100 * number(one[end]) for _, one in points] for end in ("low", "high"))
            axes.fill_between(tokens, low, high, color=look.colour, alpha=0.13, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.minorticks_off()
    axes.set_xlabel(axis)
    axes.set_ylabel("accuracy (%)")
    style.tidy(axes)
    bands = f"; bands: {level_text(level)} intervals over questions" if banded else ""
    style.title(axes, "Accuracy over tokens", detail + bands)
    figure.draw_without_rendering()
    last = {name: points[-1] for name, points in lines.items()}
    style.label_line_ends(
        axes,
        [(tokens, 100 * number(one["value"])) for tokens, one in last.values()],
        [f"{name} {100 * number(one['value']):.1f}" for name, (_, one) in last.items()],
        [styles[name].colour for name in lines],
        size=9,
    )
    return figure
