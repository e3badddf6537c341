"""What a run trained, in the words of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dreamprm.evaluation.number_text import number

LEARNED = "dreamprm"


@dataclass(frozen=True)
class Trained:
    """What a run trained.

    Attributes:
        selector: the name of its PRM among the selectors.
        title: what it is called.
        weight: what the weight of one of its domains is called.
    """

    selector: str
    title: str
    weight: str

    @property
    def learned(self) -> bool:
        """Whether its weights were learned by the upper level."""
        return self.selector == LEARNED


def trained(summary: Mapping[str, Any]) -> Trained:
    """What the run of this summary.json trained: learned weights, a vanilla PRM or a baseline."""
    baseline = summary.get("baseline")
    if baseline:
        return Trained(str(baseline), f"baseline {baseline}", f"weight in {baseline}")
    if summary.get("estimator") == "none":
        return Trained("vanilla", "vanilla PRM", "weight")
    return Trained(LEARNED, "learned weights", "learned weight")


def equally_weighted(summary: Mapping[str, Any]) -> bool:
    """Whether all domains weigh the same because nothing weighed them: a vanilla PRM, or such a baseline."""
    weights = [number(value) for value in (summary.get("weights") or {}).values()]
    return (
        bool(weights)
        and not trained(summary).learned
        and all(math.isclose(weight, weights[0], rel_tol=1e-6) for weight in weights)
    )
