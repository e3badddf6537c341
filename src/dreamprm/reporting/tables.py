"""The figures of a summary as rows of text, for the console and the page alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dreamprm.evaluation.meanings import SHORT
from dreamprm.progress import duration
from dreamprm.reporting.folders.files import number
from dreamprm.reporting.trained import trained

MISSING = "n/a"
MEAN = "mean"

SELECTOR_MEANINGS: Mapping[str, str] = SHORT
"""What each selector picks, for readers of a report."""


def decimal(value: object, digits: int = 3) -> str:
    """A number with fixed decimals; "n/a" for what is absent, not a number or not finite."""
    as_float = number(value)
    return f"{as_float:.{digits}f}" if math.isfinite(as_float) else MISSING


def percent(value: object) -> str:
    """A share in [0, 1] as per cent with one decimal, without the sign. Example: 0.9204 -> "92.0"."""
    return decimal(100.0 * number(value), 1)


def signed_points(value: object) -> str:
    """A difference of shares in percentage points, with its sign. Example: 0.081 -> "+8.1"."""
    as_float = 100.0 * number(value)
    return f"{as_float:+.1f}" if math.isfinite(as_float) else MISSING


@dataclass(frozen=True)
class DomainRow:
    """One domain: learned weight, and planted quality where the run knows it (else NaN)."""

    name: str
    weight: float
    quality: float


def domain_rows(summary: Mapping[str, Any]) -> list[DomainRow]:
    """All domains, highest weight first; those without a finite weight last."""
    quality = summary.get("quality") or {}
    rows = [
        DomainRow(name=name, weight=number(weight), quality=number(quality.get(name)))
        for name, weight in (summary.get("weights") or {}).items()
    ]
    return sorted(rows, key=lambda row: (-row.weight if math.isfinite(row.weight) else math.inf, row.name))


@dataclass(frozen=True)
class AccuracyCell:
    """A selector's accuracy on one suite and its interval, as per cent in text; interval "" where unknown."""

    accuracy: str
    interval: str


def suite_names(summary: Mapping[str, Any]) -> list[str]:
    """Suites of the accuracy tables in the order of the summary, "mean" last."""
    rows = (summary.get("best_of_n") or {}).values()
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [name for name in names if name != MEAN] + [name for name in names if name == MEAN]


def accuracy_rows(summary: Mapping[str, Any]) -> dict[str, list[AccuracyCell]]:
    """{selector: one cell for each of suite_names}, in the order of the summary."""
    intervals = summary.get("intervals") or {}
    rows = {}
    for selector, row in (summary.get("best_of_n") or {}).items():
        known = intervals.get(selector) or {}
        rows[selector] = [
            AccuracyCell(percent(row.get(name)), _interval(known.get(name), percent, between="-"))
            for name in suite_names(summary)
        ]
    return rows


def difference_rows(summary: Mapping[str, Any]) -> dict[str, list[AccuracyCell]]:
    """{"a minus b": one cell for each of suite_names}, in percentage points; empty where the run has none."""
    rows = {}
    for pair, row in (summary.get("differences") or {}).items():
        values = [row.get(name) or [None, None, None] for name in suite_names(summary)]
        rows[" minus ".join(pair.split("-"))] = [
            AccuracyCell(signed_points(value[0]), _interval(value[1:], percent, between=", "))
            for value in values
        ]
    return rows


def _interval(ends: Any, show: Callable[[object], str], *, between: str) -> str:
    if not ends or not all(math.isfinite(number(end)) for end in ends):
        return ""
    return f"{show(ends[0])}{between}{show(ends[1])}"


def mean_meaning(summary: Mapping[str, Any]) -> str:
    """What "mean" stands for in this run."""
    shifted = summary.get("shifted_suites") or []
    return "mean: over " + ("the shifted suites " + ", ".join(map(str, shifted)) if shifted else "all suites")


def fact_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of the run's single figures; those that do not apply are left out."""
    seconds = number(summary.get("seconds"))
    facts = [
        ("steps", _whole(summary.get("steps"))),
        ("seed", _whole(summary.get("seed"))),
        ("time", duration(seconds) if math.isfinite(seconds) else ""),
        (
            f"rank correlation of {trained(summary).weight} with planted quality",
            _known(summary.get("spearman")),
        ),
        ("mean weight of good over bad domains", _known(summary.get("weight_ratio"))),
        ("vanilla PRM", VANILLA_SOURCES.get(str(summary.get("vanilla_source")), "")),
    ]
    return [(name, value) for name, value in facts if value]


VANILLA_SOURCES = {"live": "trained in this run", "recorded": "recorded figures, not trained in this run"}


def _known(value: object) -> str:
    return "" if value is None else decimal(value, 2)


def _whole(value: object) -> str:
    as_float = number(value)
    return f"{as_float:.0f}" if math.isfinite(as_float) else ""


@dataclass(frozen=True)
class TargetRow:
    """A target, what was measured, and whether it was met."""

    name: str
    target: str
    measured: str
    met: bool


def target_rows(summary: Mapping[str, Any]) -> list[TargetRow]:
    """The targets in the order of the summary."""
    return [
        TargetRow(name, decimal(row.get("target")), decimal(row.get("measured")), row.get("met") is True)
        for name, row in (summary.get("targets") or {}).items()
    ]


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence: whether the run met its targets; "" where it has none."""
    if "targets_met" not in summary:
        return ""
    if summary["targets_met"] is True:
        return "All targets are met."
    missed = [row.name for row in target_rows(summary) if not row.met]
    return "Targets not met: " + ", ".join(missed) + "." if missed else "The targets are not met."
