"""The paper's table of methods and benchmarks, with intervals and significance marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dreamprm.evaluation.number_text import MEAN, level_text, mean_members, percent
from dreamprm.evaluation.selector_names import PAPER_NAMES, is_scorer, meaning
from dreamprm.evaluation.significance import baseline_letters, error_rate, significant_against
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.evaluation import EvaluationFolder
from dreamprm.reporting.repeats import over_evaluations, repeated_evaluations
from dreamprm.reporting.tables import (
    ABSENT,
    Cell,
    Row,
    candidates_text,
    counted,
    grouped,
    interval_text,
    listed,
    places,
)

_SAME = 1e-9  # means of the same outcomes in another order differ by rounding


def sections(report: Report) -> Iterator[Section]:
    """A table for each evaluation; before them, one over evaluations of the same suites."""
    results = {id(one): one.result for one in report.evaluations}
    if results:
        groups = repeated_evaluations(report.evaluations)
        repeated = {id(one) for group in groups for one in group}
        yield Section(
            "methods",
            "Methods and benchmarks",
            render(
                "methods.html",
                repeats=[_repeated(group, report) for group in groups],
                evaluations=[
                    {"label": report.label(one), "folded": id(one) in repeated, **_table(results[id(one)])}
                    for one in report.evaluations
                ],
            ),
        )


def _table(result: Mapping[str, Any]) -> dict[str, Any]:
    shown, letters, marks = places(result), baseline_letters(result), significant_against(result)
    best = {
        place: best_scorers({name: row[place] for name, row in result["best_of_n"].items() if place in row})
        for place in shown
    }

    def row(selector: str) -> Row:
        by_place = result["best_of_n"][selector]
        return Row(
            selector,
            tuple(
                Cell(
                    percent(by_place[place]),
                    (interval_text(result["intervals"][selector][place]),),
                    marks_text([(sign, letters[name]) for sign, name in marks.get((selector, place), [])]),
                    selector in best[place],
                )
                if place in by_place
                else ABSENT
                for place in shown
            ),
            PAPER_NAMES.get(selector, ""),
        )

    groups = grouped(result["best_of_n"], row)
    return {
        "head": [(place, _size(result, place)) for place in shown],
        "groups": groups,
        "absent": any(cell is ABSENT for group in groups for row in group.rows for cell in row.cells),
        "level": level_text(result["level"]),
        "resamples": f"{result['resamples']:,}",
        "seed": result["seed"],
        "suites": mean_members(result),
        "best": any(best.values()),
        "outdone": _outdone(result, best),
        "compared": _compared(result),
        "family": len(result["differences"]),
        "error": error_rate(result),
        "meanings": [
            (row.name, meaning(row.name, result["aggregations"])) for group in groups for row in group.rows
        ],
    }


def best_scorers(accuracies: Mapping[str, float]) -> set[str]:
    """The scorers with the highest accuracy, all of them if they tie; never a vote or the oracle.

    Args: accuracies by selector.
    Returns: their names; empty if there is a single scorer, with nothing to be better than.
    """
    scorers = {name: value for name, value in accuracies.items() if is_scorer(name)}
    top = max(scorers.values(), default=0.0)
    return {name for name, value in scorers.items() if value >= top - _SAME} if len(scorers) > 1 else set()


def marks_text(marks: Iterable[tuple[str, str]]) -> str:
    """Signs with the letters of their baselines.

    Example: [("+", "a"), ("-", "b"), ("+", "c")] -> "+ac −b".
    """
    by_sign: dict[str, list[str]] = {}
    for sign, letter in marks:
        by_sign.setdefault(sign, []).append(letter)
    return " ".join(
        ("−" if sign == "-" else sign)
        + ("" if all(len(one) == 1 for one in by_sign[sign]) else ",").join(by_sign[sign])
        for sign in ("+", "-")
        if sign in by_sign
    )


def _size(result: Mapping[str, Any], place: str) -> str:
    if place == MEAN and place not in result["suites"]:
        return f"of {len(mean_members(result))} suites"
    suite = result["suites"][place]
    return f"{counted(suite['questions'], 'question')}, {candidates_text(suite)}"


def _outdone(result: Mapping[str, Any], best: Mapping[str, set[str]]) -> list[str]:
    """Suites in which a selector without a reward model is above every scorer: bold must not hide that."""
    found = []
    for place, names in best.items():
        top = max((result["best_of_n"][name][place] for name in names), default=1.0)
        above = [
            name
            for name, row in result["best_of_n"].items()
            if not is_scorer(name) and name != "oracle" and row.get(place, 0.0) > top + _SAME
        ]
        if above:
            verb = "is" if len(above) == 1 else "are"
            found.append(f"In {place}, {listed(above)} {verb} above every scorer.")
    return found


def _compared(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(letter, baseline, the methods that were compared with it)."""
    letters = baseline_letters(result)
    scorers = [name for name in result["best_of_n"] if is_scorer(name)]
    rows = []
    for baseline, letter in letters.items():
        methods = list(
            dict.fromkeys(row["method"] for row in result["differences"] if row["baseline"] == baseline)
        )
        every = len(methods) > 1 and set(methods) == set(scorers)
        rows.append((letter, baseline, "every scorer" if every else listed(methods)))
    return rows


def _repeated(group: Sequence[EvaluationFolder], report: Report) -> dict[str, Any]:
    results = [one.result for one in group]
    shown = places(results[0])
    names = list(dict.fromkeys(name for result in results for name in result["best_of_n"]))
    found = {(name, place): over_evaluations(results, name, place) for name in names for place in shown}
    # The mean of a selector that some evaluations lack is over fewer of them: it is not compared with the
    # others.
    best = {
        place: best_scorers(
            {name: one.mean for name in names if (one := found[name, place]) and one.count == len(results)}
        )
        for place in shown
    }

    def row(name: str) -> Row:
        cells = []
        for place in shown:
            one = found[name, place]
            if one is None:
                cells.append(ABSENT)
                continue
            fewer = () if one.count == len(results) else (f"{one.count} of {len(results)}",)
            spread = f"{percent(one.least)} to {percent(one.most)}"
            cells.append(Cell(percent(one.mean), (spread, *fewer), strong=name in best[place]))
        return Row(name, tuple(cells), PAPER_NAMES.get(name, ""))

    groups = grouped(names, row)
    return {
        "labels": [report.label(one) for one in group],
        "count": len(group),
        "head": [(place, _size(results[0], place)) for place in shown],
        "groups": groups,
        "suites": mean_members(results[0]),
        "absent": any(cell is ABSENT for group in groups for row in group.rows for cell in row.cells),
        "fewer": any(one is not None and one.count < len(results) for one in found.values()),
    }
