"""How well learned domain weights agree with the planted quality of the domains."""

from __future__ import annotations

from collections.abc import Mapping

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
