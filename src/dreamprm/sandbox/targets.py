"""What a run on the sandbox should reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The minimum of each; `sandbox_targets` measures them in this order.
TARGETS = {
    "heldout accuracy, dreamprm - vanilla": 0.08,
    "heldout accuracy, dreamprm - majority": 0.12,
    "mean of the shifted suites, dreamprm - vanilla": 0.04,
    "rank correlation of learned weight and planted quality": 0.80,
    "mean weight of clean over bad domains": 2.5,
}


def sandbox_targets(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each target with the measured value: {name: {target, measured, met}}.

    Args:
        summary: a run's summary with best_of_n for the sandbox's suites, spearman and weight_ratio. If one of
            the last two is missing (there is no rank correlation when all weights are equal), it counts as 0.
    """
    accuracy = summary["best_of_n"]
    measured = dict(
        zip(
            TARGETS,
            (
                accuracy["dreamprm"]["heldout"] - accuracy["vanilla"]["heldout"],
                accuracy["dreamprm"]["heldout"] - accuracy["majority"]["heldout"],
                accuracy["dreamprm"]["mean"] - accuracy["vanilla"]["mean"],
                summary.get("spearman", 0.0),
                summary.get("weight_ratio", 0.0),
            ),
            strict=True,
        )
    )
    return {
        name: {"target": target, "measured": measured[name], "met": measured[name] >= target}
        for name, target in TARGETS.items()
    }
