"""Selectors compared: accuracy over the number of candidates, and differences on the same questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dreamprm.evaluation.number_text import level_text, mean_members, p_text, percent, signed_points
from dreamprm.evaluation.plots import best_of_n as accuracy
from dreamprm.evaluation.plots.style import png
from dreamprm.evaluation.significance import error_rate, how_tested
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.plots.forest import forest
from dreamprm.reporting.tables import ABSENT, Cell, Group, Row, grouped, interval_text, places

_LEARNED = "dreamprm"
_SHORT = 12  # rows that are shown unfolded


def over_n(report: Report) -> Iterator[Section]:
    """Plots and a table for each evaluation."""
    if report.evaluations:
        yield Section(
            "over-n",
            "Accuracy over the number of candidates",
            render(
                "over_n.html",
                evaluations=[
                    {"label": report.label(one), **_accuracy_over_n(one.result)} for one in report.evaluations
                ],
            ),
        )


def _accuracy_over_n(result: Mapping[str, Any]) -> dict[str, Any]:
    figures = accuracy.evaluation_figures(result)
    drawn = (accuracy.mean_over_n(figures, level=result["level"]), accuracy.suites_over_n(figures))
    mean, suites = (None if figure is None else png(figure) for figure in drawn)
    everywhere = [name for name, row in figures["best_of_n"].items() if len(row) >= len(places(result))]
    return {
        "mean": mean,
        "suites": suites,
        "level": level_text(result["level"]),
        "names": mean_members(result),
        "partial": [name for name in figures["best_of_n"] if name not in everywhere],
        "tables": [{"place": place, **_figures(result, place)} for place in places(result)],
    }


def _figures(result: Mapping[str, Any], place: str) -> dict[str, Any]:
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


def differences(report: Report) -> Iterator[Section]:
    """A plot of one method's differences and a table of all, for each evaluation that compared any."""
    shown = [
        {"label": report.label(one), **_compared(result)}
        for one in report.evaluations
        if (result := one.result)["differences"]
    ]
    if shown:
        yield Section(
            "differences", "Differences between selectors", render("differences.html", evaluations=shown)
        )


def _compared(result: Mapping[str, Any]) -> dict[str, Any]:
    methods = list(dict.fromkeys(row["method"] for row in result["differences"]))
    method = _LEARNED if _LEARNED in methods else methods[0]
    figure = forest(result, method)
    there = {row["suite"] for row in result["differences"]}
    columns = [place for place in places(result) if place in there]
    groups = [
        Group(f"{one} minus", _rows(result, one, columns))
        for one in (method, *(other for other in methods if other != method))
    ]
    return {
        "method": method,
        "plot": None if figure is None else png(figure),
        "head": [(c, "") for c in columns],
        "groups": groups,
        "long": sum(len(group.rows) for group in groups) > _SHORT,
        "level": level_text(result["level"]),
        "error": error_rate(result),
        "tested": how_tested(result),
        "resamples": f"{result['resamples']:,}",
        "seed": result["seed"],
        "suites": mean_members(result),
    }


def _rows(result: Mapping[str, Any], method: str, columns: list[str]) -> tuple[Row, ...]:
    found = {(row["baseline"], row["suite"]): row for row in result["differences"] if row["method"] == method}
    return tuple(
        Row(
            baseline,
            tuple(
                _cell(found[baseline, place]) if (baseline, place) in found else ABSENT for place in columns
            ),
        )
        for baseline in dict.fromkeys(baseline for baseline, _ in found)
    )


def _cell(row: Mapping[str, Any]) -> Cell:
    low, high = row["interval"]
    drawn = "~" if row["test"] == "sign_flip" else ""
    return Cell(
        signed_points(row["difference"]) + (" *" if row["significant"] else ""),
        (
            f"[{signed_points(low)}, {signed_points(high)}]",
            f"{row['better']} better, {row['worse']} worse",
            f"p {drawn}{p_text(row['p'])}, Holm {p_text(row['p_holm'])}",
        ),
        strong=row["significant"],
    )
