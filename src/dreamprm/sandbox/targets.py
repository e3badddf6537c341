"""The sandbox's planted quality: how well learned weights agree with it, and the targets of `make train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamprm.data.rank_statistics import spearman


def weight_summary(weights: Mapping[str, float], quality: Mapping[str, float]) -> dict[str, float]:
    """The `spearman` and `weight_ratio` entries of summary.json.

    weight_ratio = (mean weight of the domains of quality >= 1/2) / (mean weight of those below).
    Undefined entries are absent: no rank correlation if all weights (training without an upper level) or all
    qualities are equal, no ratio without domains on both sides or if the mean weight of the bad domains is
    not above 0.

    Args: weights and quality by domain, for the same domains.
    Raises: ValueError if the two name different domains.
    """
    if set(weights) != set(quality):
        raise ValueError(
            f"weights and quality must name the same domains; only in one of them: "
            f"{', '.join(sorted(set(weights) ^ set(quality)))}"
        )
    names = list(weights)
    learned = np.array([weights[name] for name in names], dtype=np.float64)
    planted = np.array([quality[name] for name in names], dtype=np.float64)
    summary: dict[str, float] = {}
    if len(names) >= 2 and np.ptp(learned) > 0 and np.ptp(planted) > 0:
        summary["spearman"] = spearman(learned, planted)
    bad = planted < 0.5
    if bad.any() and not bad.all() and learned[bad].mean() > 0:
        summary["weight_ratio"] = float(learned[~bad].mean() / learned[bad].mean())
    return summary


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
