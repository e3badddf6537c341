"""Differences between selectors on the same questions: plot, intervals and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dreamprm.evaluation.number_text import (
    level_text,
    p_text,
    signed_points,
)
from dreamprm.evaluation.plots.style import png
from dreamprm.evaluation.significance import (
    error_rate,
    how_tested,
)
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.plots.forest import forest
from dreamprm.reporting.selector_tables import ABSENT, Cell, Row, RowGroup, places

_LEARNED = "dreamprm"
_SHORT = 12  # rows that are shown unfolded


def sections(report: Report) -> Iterator[Section]:
    """A plot of one method's differences and a table of all, for each evaluation that compared any."""
    shown = [
        {"label": report.label(one), **_shown(result)}
        for one in report.evaluations
        if (result := one.result)["differences"]
    ]
    if shown:
        yield Section(
            "differences", "Differences between selectors", render("differences.html", evaluations=shown)
        )


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    methods = list(dict.fromkeys(row["method"] for row in result["differences"]))
    method = _LEARNED if _LEARNED in methods else methods[0]
    figure = forest(result, method)
    there = {row["suite"] for row in result["differences"]}
    columns = [place for place in places(result) if place in there]
    groups = [
        RowGroup(f"{one} minus", _rows(result, one, columns))
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
        "suites": list(result["suites"]),
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
