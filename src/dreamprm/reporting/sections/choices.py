"""What was chosen and on what: aggregations, checkpoints, the best single generator; and the notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dreamprm.evaluation.number_text import level_text, percent
from dreamprm.evaluation.selector_names import SINGLE
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.tables import (
    ABSENT,
    Cell,
    Group,
    Row,
    candidates_text,
    counted,
    interval_text,
    listed,
)

_HOW = {
    "fixed": "fixed in the configuration",
    "development": "picked on development",
    SINGLE: "none: one value per response",
}


def sections(report: Report) -> Iterator[Section]:
    """The choices of each evaluation, folded if there are several."""
    if report.evaluations:
        yield Section(
            "choices",
            "What was chosen, and on what",
            render(
                "choices.html",
                evaluations=[
                    {"label": report.label(one), **_shown(one.result)} for one in report.evaluations
                ],
            ),
        )


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    picked = {name: row for name, row in result["aggregations"].items() if "development" in row}
    return {
        "notes": result["notes"],
        "level": level_text(result["level"]),
        "development": [
            f"{name} ({counted(suite['questions'], 'question')})"
            for name, suite in result["development"].items()
        ],
        "aggregations": [
            [name, "" if row["chosen"] == SINGLE else row["aggregation"], _HOW[row["chosen"]]]
            for name, row in result["aggregations"].items()
        ],
        "picked": _picked(picked),
        "checkpoints": _checkpoints(result["checkpoints"]),
        "generators": _generators(result),
        "suites": _suites(result),
    }


def _figure(row: Mapping[str, Any], *, strong: bool = False) -> Cell:
    return Cell(percent(row["accuracy"]), (interval_text(row["interval"]),), strong=strong)


def _picked(picked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Scorers by the aggregations they were tried with, the picked one of each in bold."""
    if not picked:
        return None
    tried = list(dict.fromkeys(name for row in picked.values() for name in row["development"]))
    rows = tuple(
        Row(
            scorer,
            tuple(
                _figure(row["development"][name], strong=name == row["aggregation"])
                if name in row["development"]
                else ABSENT
                for name in tried
            ),
        )
        for scorer, row in picked.items()
    )
    return {"head": [(name, "") for name in tried], "groups": [Group("", rows)]}


def _checkpoints(checkpoints: Mapping[str, Any]) -> list[Group]:
    return [
        Group(
            f"{model} is {choice['picked']}",
            tuple(
                Row(scorer, (Cell(row["aggregation"]), _figure(row, strong=scorer == choice["picked"])))
                for scorer, row in choice["development"].items()
            ),
        )
        for model, choice in checkpoints.items()
    ]


def _generators(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Generators by suite, the best one of each in bold."""
    held = {suite: row for suite, row in result["generators"].items() if row["accuracy"]}
    if not held:
        return None
    best = {suite: row["best"] for suite, row in held.items()}

    def cell(suite: str, generator: str) -> Cell:
        row = held[suite]["accuracy"].get(generator)
        if row is None:
            return ABSENT
        questions = result["suites"][suite]["questions"]
        figure = _figure(row, strong=bool(best[suite]) and best[suite]["name"] == generator)
        if row["questions"] == questions:
            return figure
        return Cell(figure.main, (*figure.small, f"{row['questions']:,} of {questions:,} questions"))

    names = list(dict.fromkeys(name for row in held.values() for name in row["accuracy"]))
    rows = tuple(Row(name, tuple(cell(suite, name) for suite in held)) for name in names)
    chosen = [
        f"In {suite} it is {one['name']}, chosen on {_chosen_on(one['chosen_on'], result)}."
        for suite, one in best.items()
        if one
    ]
    lacking = [suite for suite, one in best.items() if not one]
    if lacking:
        chosen.append(f"In {listed(lacking)} no generator answered every question, so there is no best one.")
    return {"head": [(suite, "") for suite in held], "groups": [Group("", rows)], "chosen": chosen}


def _chosen_on(what: str, result: Mapping[str, Any]) -> str:
    if what == "development":
        return f"development ({', '.join(result['development'])})"
    return "the test answers themselves, which makes its accuracy slightly too high"


def _suites(result: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            role,
            f"{suite['questions']:,}",
            candidates_text(suite).removeprefix("N = "),
            ", ".join(suite["files"]),
        ]
        for role, key in (("test", "suites"), ("development", "development"))
        for name, suite in result[key].items()
    ]
