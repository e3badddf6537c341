"""The figures of a run's summary.json as rows of text, for the console and the page alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dreamprm.evaluation.number_text import decimal, number, percent, signed_points, suite_names
from dreamprm.reporting.tables import Cell
from dreamprm.runtime.progress import duration

LEARNED = "dreamprm"


@dataclass(frozen=True)
class Trained:
    """What a run trained.

    Attributes:
        selector: the name of its PRM among the selectors.
        title: what it is called, such as learned weights.
        weight: what the weight of one of its domains is called.
    """

    selector: str
    title: str
    weight: str

    @property
    def learned(self) -> bool:
        """Whether its weights, or labels, were learned by the upper level."""
        return self.selector == LEARNED


def trained(summary: Mapping[str, Any]) -> Trained:
    """What the run of this summary.json trained: learned weights, a vanilla PRM or a baseline."""
    baseline = summary.get("baseline")
    if baseline:
        return Trained(str(baseline), f"baseline {baseline}", f"weight in {baseline}")
    if summary.get("estimator") == "none":
        return Trained("vanilla", "vanilla PRM", "weight")
    if summary.get("corrected_labels"):
        return Trained(LEARNED, "learned labels", "weight")
    return Trained(LEARNED, "learned weights", "learned weight")


def equally_weighted(summary: Mapping[str, Any]) -> bool:
    """Whether all domains weigh the same because nothing weighted them: a vanilla PRM, such a baseline, or a
    run that corrected labels."""
    weights = [number(value) for value in (summary.get("weights") or {}).values()]
    return (
        bool(weights)
        and (not trained(summary).learned or bool(summary.get("corrected_labels")))
        and all(math.isclose(weight, weights[0], rel_tol=1e-6) for weight in weights)
    )


@dataclass(frozen=True)
class DomainRow:
    """One domain: learned weight, and planted quality if the run knows it (else NaN)."""

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


def accuracy_rows(summary: Mapping[str, Any]) -> dict[str, list[Cell]]:
    """{selector: a cell in per cent for each of suite_names}, in the order of the summary."""
    intervals = summary.get("intervals") or {}
    rows = {}
    for selector, row in (summary.get("best_of_n") or {}).items():
        known = intervals.get(selector) or {}
        rows[selector] = [
            Cell(percent(row.get(name)), _interval(known.get(name), percent, between="-"))
            for name in suite_names(summary)
        ]
    return rows


def difference_rows(summary: Mapping[str, Any]) -> dict[str, list[Cell]]:
    """{"a minus b": one cell for each of suite_names}, in percentage points; empty if the run has none."""
    rows = {}
    for pair, row in (summary.get("differences") or {}).items():
        values = [row.get(name) or [None, None, None] for name in suite_names(summary)]
        rows[" minus ".join(pair.split("-"))] = [
            Cell(signed_points(value[0]), _interval(value[1:], percent, between=", ")) for value in values
        ]
    return rows


def _interval(ends: Any, show: Callable[[object], str], *, between: str) -> tuple[str, ...]:
    if not ends or not all(math.isfinite(number(end)) for end in ends):
        return ()
    return (f"{show(ends[0])}{between}{show(ends[1])}",)


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
    """One sentence: whether the run met its targets; "" if it has none."""
    if "targets_met" not in summary:
        return ""
    if summary["targets_met"] is True:
        return "All targets are met."
    missed = [row.name for row in target_rows(summary) if not row.met]
    return "Targets not met: " + ", ".join(missed) + "." if missed else "The targets are not met."
