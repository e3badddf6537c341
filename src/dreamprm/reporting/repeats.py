"""Several evaluations of the same suites: how far an accuracy moves from one to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamprm.reporting.folders.evaluation import EvaluationFolder


@dataclass(frozen=True)
class Repeated:
    """An accuracy over evaluations: mean, least, most, and how many have it."""

    mean: float
    least: float
    most: float
    count: int


def repeated_evaluations(evaluations: Sequence[EvaluationFolder]) -> list[tuple[EvaluationFolder, ...]]:
    """Groups of two or more evaluations whose suites have the same names, questions and candidates in number.

    In the order of their first evaluations. That the questions themselves are the same is not checked: the
    folders do not hold them.
    """
    alike: dict[str, list[EvaluationFolder]] = {}
    for one in evaluations:
        key = sorted(
            (name, suite["questions"], sorted(suite["candidates"].items()))
            for name, suite in one.result["suites"].items()
        )
        alike.setdefault(repr(key), []).append(one)
    return [tuple(group) for group in alike.values() if len(group) > 1]


def over_evaluations(results: Sequence[Mapping[str, Any]], selector: str, place: str) -> Repeated | None:
    """A selector's accuracy in a suite (or the mean over suites) over those evaluations that have it.

    Args:
        results: what each evaluation.json holds.
    Returns: None where none has it.
    """
    values = [
        result["best_of_n"][selector][place]
        for result in results
        if place in result["best_of_n"].get(selector, {})
    ]
    if not values:
        return None
    return Repeated(sum(values) / len(values), min(values), max(values), len(values))
