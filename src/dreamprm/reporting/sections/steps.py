"""Step-level evaluations, one section each: first errors, step AUC, calibration, and their records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from dreamprm.evaluation.number_text import MEAN, MISSING, decimal, percent, signed_points
from dreamprm.evaluation.plots.steps import reliability_plot, threshold_plot
from dreamprm.evaluation.plots.style import png
from dreamprm.evaluation.steps import wording
from dreamprm.evaluation.steps.first_errors import GUESSES
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.steps import StepsFolder
from dreamprm.reporting.tables import Cell, Group, Row, Table

FIGURES = {
    "f1": "F1 (%)",
    "error_accuracy": "Accuracy on erroneous records (%): exact index of the first error",
    "correct_accuracy": "Accuracy on correct records (%): no error found",
}
"""The figures of first errors, by their key in steps.json."""

Estimate = Mapping[str, Any] | None
Show = Callable[[object], str]


def sections(report: Report) -> Iterator[Section]:
    """A section for each folder of `dreamprm evaluate-steps`, with its plots redrawn."""
    for number, folder in enumerate(report.steps, start=1):
        name = "" if len(report.folders) == 1 else f": {report.label(folder)}"
        body = render("steps.html", **_values(folder))
        yield Section(f"steps-{number}", f"Step-level evaluation{name}", body)


def _values(folder: StepsFolder) -> dict[str, object]:
    result = folder.result
    chosen = result["thresholds"]
    curves = {
        name: (curve.log_odds, curve.f1, chosen[name]["log_odds"]) for name, curve in folder.curves.items()
    }
    scope = wording.shown_scope(result)
    return {
        "result": result,
        "settings": result["settings"],
        "wording": wording,
        "guesses": GUESSES,
        "level": wording.level_of(result),
        "scope": wording.words(scope),
        "records": record_rows(result),
        "first_errors": first_error_table(result) if result["first_error"].get("f1") else None,
        "thresholds": threshold_rows(result),
        "aucs": auc_table(result),
        "calibration": calibration_table(result),
        "differences": difference_table(result),
        "left_out": wording.left_out(result),
        "development_plot": _png(threshold_plot(curves)),
        "reliability_plot": _png(
            reliability_plot(result["calibration"], scope=scope, level=result["settings"]["level"])
        ),
    }


def _png(figure: Figure | None) -> bytes | None:
    return None if figure is None else png(figure)


def estimate_cell(estimate: Estimate, show: Show) -> Cell:
    """A figure and its interval; "n/a" if it is undefined or has none."""
    if estimate is None:
        return Cell(MISSING)
    if estimate["low"] is None:
        return Cell(show(estimate["value"]), (f"[{MISSING}]",), resampled=True)
    ends = f"[{show(estimate['low'])}, {show(estimate['high'])}]"
    return Cell(show(estimate["value"]), (ends,), resampled="undefined_resamples" in estimate)


def record_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """What each subset holds and how much of it is counted: the head, of subsets, and one row per count."""
    counts = {
        "labels": "labels",
        "records": "records",
        "for the threshold": "development_records",
        "counted": "test_records",
        "their questions": "test_questions",
        "erroneous": "erroneous",
        "correct": "correct",
        "first error unknown": "first_error_unknown",
        "labelled steps": "labelled_steps",
        "steps without label": "unlabelled_steps",
    }
    subsets = result["subsets"]
    rows: list[list[object]] = [
        [title, *(held.get(key, MISSING) for held in subsets.values())] for title, key in counts.items()
    ]
    return ["counts", *(column_name(result, name) for name in subsets)], rows


def column_name(result: Mapping[str, Any], subset: str) -> str:
    """A subset's name, marked if the thresholds were chosen on it."""
    return f"{subset} (development)" if subset == result["settings"]["development_subset"] else subset


def first_error_table(result: Mapping[str, Any]) -> Table:
    """One group per figure, one row per scorer and guess."""
    groups = {
        title: {name: (row, GUESSES.get(name, "")) for name, row in result["first_error"][figure].items()}
        for figure, title in FIGURES.items()
    }
    return _table(result, groups, lambda title: percent)


def auc_table(result: Mapping[str, Any]) -> Table:
    """One group per scope and way of pairing steps, one row per scorer; no group if no subset has pairs."""
    groups: dict[str, dict[str, tuple[Mapping[str, Estimate], str]]] = {}
    for scorer, scopes in result["auc"].items():
        for scope, kinds in scopes.items():
            for kind, row in kinds.items():
                if any(row.values()):
                    title = f"{wording.words(kind).capitalize()}, steps counted: {wording.words(scope)}"
                    groups.setdefault(title, {})[scorer] = row, ""
    return _table(result, groups, lambda title: decimal)


def difference_table(result: Mapping[str, Any]) -> Table:
    """One group per figure, one row per scorer: its figure minus the baseline's; none without one."""
    names = FIGURES | {
        f"auc_{kind}": f"Step AUC, {wording.words(kind)}, steps counted: {wording.words('up_to_first_error')}"
        for kind in ("pooled", "per_record")
    }
    held = result.get("differences") or {}
    groups = {
        title.replace("(%)", "(points)"): {
            name: (row, "") for name, row in held[figure].items() if any(row.values())
        }
        for figure, title in names.items()
        if figure in held
    }
    return _table(result, groups, lambda title: signed_points if "(points)" in title else signed)


def signed(value: object) -> str:
    """A difference with its sign and three decimals; "n/a" if it is not a number."""
    text = decimal(value)
    return text if text == MISSING or text.startswith("-") else f"+{text}"


def threshold_rows(result: Mapping[str, Any]) -> list[list[object]]:
    """Scorer, threshold as probability and log-odds, and what it reaches on the development set."""
    rows: list[list[object]] = []
    for name, threshold in result["thresholds"].items():
        found = threshold.get("development") or {}
        rows.append(
            [
                name,
                f"{threshold['probability']:.4g}",
                f"{threshold['log_odds']:.4g}",
                found.get("thresholds_tried", "given"),
                *(percent(found.get(figure)) for figure in FIGURES),
            ]
        )
    return rows


def calibration_table(result: Mapping[str, Any]) -> Table:
    """One group per subset, one row per scorer, for the scope that is shown."""
    scope = wording.shown_scope(result)
    head = (
        "steps",
        "mean label",
        "mean probability",
        "ECE, equal mass",
        "by chance",
        "ECE, equal width",
        "by chance",
        "Brier",
        "Brier of the mean label",
    )
    groups = []
    for subset in result["subsets"]:
        rows = tuple(
            Row(scorer, tuple(_calibration_cells(scopes[scope][subset])))
            for scorer, scopes in result["calibration"].items()
            if subset in scopes.get(scope, {})
        )
        if rows:
            groups.append(Group(column_name(result, subset), rows))
    return Table(tuple((name, "") for name in head), tuple(groups))


def _calibration_cells(held: Mapping[str, Any]) -> Iterator[Cell]:
    yield Cell(str(held["steps"]))
    yield Cell(decimal(held["mean_label"]))
    yield Cell(decimal(held["mean_probability"]))
    for binning in ("equal_mass", "equal_width"):
        yield estimate_cell(held[binning]["ece"], decimal)
        chance = held[binning]["ece_if_calibrated"]
        yield (
            Cell(MISSING)
            if chance is None
            else Cell(decimal(chance["mean"]), (f"up to {decimal(chance['high'])}",))
        )
    yield estimate_cell(held["brier"], decimal)
    yield Cell(decimal(held["base_rate_brier"]))


def _table(
    result: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, tuple[Mapping[str, Estimate], str]]],
    show: Callable[[str], Show],
) -> Table:
    """One column for each subset that any row has, and one for their mean.

    Args: groups {title: {row: (estimates by subset, note)}}; show: how the figures of a title are formatted.
    """
    places = [
        name
        for name in (*result["subsets"], MEAN)
        if any(name in row for rows in groups.values() for row, _ in rows.values())
    ]
    return Table(
        tuple((column_name(result, name), "") for name in places),
        tuple(
            Group(
                title,
                tuple(
                    Row(
                        name, tuple(estimate_cell(row.get(place), show(title)) for place in places), note=note
                    )
                    for name, (row, note) in rows.items()
                ),
                mean_meaning(result, [row for row, _ in rows.values()]),
            )
            for title, rows in groups.items()
            if rows
        ),
    )


def mean_meaning(result: Mapping[str, Any], rows: Sequence[Mapping[str, Estimate]]) -> str:
    """The subsets that a group's mean is over: those that have the figure, except the development subset."""
    if not any(MEAN in row for row in rows):
        return ""
    apart = result["settings"]["development_subset"]
    counted = [
        name for name in result["subsets"] if name != apart and any(row.get(name) is not None for row in rows)
    ]
    return f"mean of {', '.join(counted)}"
