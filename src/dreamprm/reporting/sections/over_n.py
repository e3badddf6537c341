"""Accuracy over the number of candidates: the mean of the suites, each suite, and the exact figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dreamprm.evaluation.number_text import (
    level_text,
    percent,
)
from dreamprm.evaluation.plots import best_of_n as accuracy
from dreamprm.evaluation.plots.style import png
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.selector_tables import ABSENT, Cell, Row, grouped, interval_text, places


def sections(report: Report) -> Iterator[Section]:
    """Plots and a table for each evaluation."""
    if report.evaluations:
        yield Section(
            "over-n",
            "Accuracy over the number of candidates",
            render(
                "over_n.html",
                evaluations=[
                    {"label": report.label(one), **_shown(one.result)} for one in report.evaluations
                ],
            ),
        )


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    figures = accuracy.evaluation_figures(result)
    drawn = (accuracy.mean_over_n(figures, level=result["level"]), accuracy.suites_over_n(figures))
    mean, suites = (None if figure is None else png(figure) for figure in drawn)
    everywhere = [name for name, row in figures["best_of_n"].items() if len(row) >= len(places(result))]
    return {
        "mean": mean,
        "suites": suites,
        "level": level_text(result["level"]),
        "names": list(result["suites"]),
        "partial": [name for name in figures["best_of_n"] if name not in everywhere],
        "tables": [{"place": place, **_over_n(result, place)} for place in places(result)],
    }


def _over_n(result: Mapping[str, Any], place: str) -> dict[str, Any]:
    rows = {name: by_place[place] for name, by_place in result["accuracy_by_n"].items() if place in by_place}
    sizes = sorted({n for row in rows.values() for n in row}, key=int)

    def row(selector: str) -> Row:
        bands = result["intervals_by_n"][selector][place]
        return Row(
            selector,
            tuple(
                Cell(percent(rows[selector][n]), (interval_text(bands[n]),))
                if n in rows[selector]
                else ABSENT
                for n in sizes
            ),
        )

    return {"head": [(f"N = {n}", "") for n in sizes], "groups": grouped(rows, row)}
