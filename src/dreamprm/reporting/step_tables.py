"""The figures of steps.json as rows of text: groups of rows under a heading, columns of subsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamprm.evaluation.number_text import MISSING, decimal, percent, signed_points
from dreamprm.evaluation.steps import wording
from dreamprm.evaluation.steps.first_errors import GUESSES

MEAN = "mean"
FIGURES = {
    "f1": "F1 (%)",
    "error_accuracy": "Accuracy on erroneous records (%): index of the first error exact",
    "correct_accuracy": "Accuracy on correct records (%): no error found",
}
"""The figures of first errors, by their key in steps.json."""

Estimate = Mapping[str, Any] | None
Show = Callable[[object], str]


@dataclass(frozen=True)
class Cell:
    """A figure; `interval` "" where the figure has none; `resampled`: not all bootstrap samples count."""

    text: str
    interval: str = ""
    resampled: bool = False


@dataclass(frozen=True)
class Row:
    """A scorer, or a guess with its meaning as `note`."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Rows of one figure; `note` says what their mean is over."""

    title: str
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Groups of rows with the same columns, whose first names the rows."""

    head: tuple[str, ...]
    groups: tuple[Group, ...]

    @property
    def resampled(self) -> bool:
        """Whether any cell needs the remark that not all bootstrap samples count."""
        return any(cell.resampled for group in self.groups for row in group.rows for cell in row.cells)


def estimate_cell(estimate: Estimate, show: Show) -> Cell:
    """A figure and its interval; "n/a" where it is undefined or has none."""
    if estimate is None:
        return Cell(MISSING)
    if estimate["low"] is None:
        return Cell(show(estimate["value"]), f"[{MISSING}]", resampled=True)
    ends = f"[{show(estimate['low'])}, {show(estimate['high'])}]"
    return Cell(show(estimate["value"]), ends, resampled="undefined_resamples" in estimate)


def record_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """What each subset holds and what of it is counted: the head, of subsets, and a row a count."""
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
    """A subset's name, marked where the thresholds were chosen on it."""
    return f"{subset} (development)" if subset == result["settings"]["development_subset"] else subset


def first_error_table(result: Mapping[str, Any]) -> Table:
    """A group a figure, a row a scorer and a guess."""
    groups = {
        title: {name: (row, GUESSES.get(name, "")) for name, row in result["first_error"][figure].items()}
        for figure, title in FIGURES.items()
    }
    return _table(result, groups, lambda title: percent)


def auc_table(result: Mapping[str, Any]) -> Table:
    """A group a scope and a way of pairing steps, a row a scorer; none where no subset has pairs."""
    groups: dict[str, dict[str, tuple[Mapping[str, Estimate], str]]] = {}
    for scorer, scopes in result["auc"].items():
        for scope, kinds in scopes.items():
            for kind, row in kinds.items():
                if any(row.values()):
                    title = f"{wording.words(kind).capitalize()}, steps counted: {wording.words(scope)}"
                    groups.setdefault(title, {})[scorer] = row, ""
    return _table(result, groups, lambda title: decimal)


def difference_table(result: Mapping[str, Any]) -> Table:
    """A group a figure, a row a scorer: its figure minus the baseline's; none without a baseline."""
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
    """A difference with its sign and three decimals; "n/a" for what is no number."""
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
    """A group a subset, a row a scorer, of the shown scope."""
    scope = wording.shown_scope(result)
    head = (
        "",
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
    return Table(head, tuple(groups))


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
            else Cell(decimal(chance["mean"]), f"up to {decimal(chance['high'])}")
        )
    yield estimate_cell(held["brier"], decimal)
    yield Cell(decimal(held["base_rate_brier"]))


def _table(
    result: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, tuple[Mapping[str, Estimate], str]]],
    show: Callable[[str], Show],
) -> Table:
    """Columns of the subsets that any row has, and their mean.

    Args: groups {title: {row: (estimates by subset, note)}}; show: how the figures of a title are written.
    """
    places = [
        name
        for name in (*result["subsets"], MEAN)
        if any(name in row for rows in groups.values() for row, _ in rows.values())
    ]
    return Table(
        ("", *(column_name(result, name) for name in places)),
        tuple(
            Group(
                title,
                tuple(
                    Row(name, tuple(estimate_cell(row.get(place), show(title)) for place in places), note)
                    for name, (row, note) in rows.items()
                ),
                mean_meaning(result, [row for row, _ in rows.values()]),
            )
            for title, rows in groups.items()
            if rows
        ),
    )


def mean_meaning(result: Mapping[str, Any], rows: Sequence[Mapping[str, Estimate]]) -> str:
    """Which subsets the mean of a group is over: those that have the figure, the development subset apart."""
    if not any(MEAN in row for row in rows):
        return ""
    apart = result["settings"]["development_subset"]
    counted = [
        name for name in result["subsets"] if name != apart and any(row.get(name) is not None for row in rows)
    ]
    return f"mean of {', '.join(counted)}"
