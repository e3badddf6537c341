"""The audit of the upper gradient in a report: a plot over the run, and what its figures mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dreamprm.evaluation.number_text import number
from dreamprm.evaluation.plots import style
from dreamprm.reporting.folders.run import Run

# Bounds of the sentence: within 8 degrees of the exact direction, and within 30.
GOOD, FAIR = 0.99, 0.87


def audit(run: Run) -> Figure | None:
    """Cosine and norm ratio of the estimator against the exact gradient, over inner steps; None unaudited."""
    cosine = run.metrics.get("audit_cosine")
    if cosine is None or not np.isfinite(cosine).any():
        return None
    known = np.isfinite(cosine)
    steps, cosine = run.metrics["step"][known], cosine[known]
    ratio = run.metrics["audit_norm_ratio"][known]
    figure = style.new_figure(8.8, 4.4)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, values, wanted in ((above, cosine, 1.0), (below, ratio, 1.0)):
        axes.axhline(wanted, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot(steps, values, color=style.PLAIN, linewidth=1.5, marker="o", markersize=3)
        style.tidy(axes)
    above.set_ylim(min(0.0, float(cosine.min())) - 0.05, 1.05)
    above.set_ylabel("cosine")
    style.title(above, "Audit of the upper gradient", "estimator against exact; dashed: equal")
    below.set_yscale("log")
    below.set_ylabel("norm, estimate / exact")
    below.set_xlabel("inner steps")
    return figure


def audit_sentence(summary: Mapping[str, Any]) -> str:
    """What the audit found, for a reader who has not met it before; "" where the run has none."""
    found = summary.get("audit")
    if not found:
        return ""
    estimator, exact = summary.get("estimator", "the estimator"), " and ".join(found["exact"])
    counted = f"{found['windows']} windows of {estimator} were compared with the exact gradient ({exact})"
    if found["undefined"]:
        counted += f"; the cosine of {found['undefined']} is undefined (a gradient of 0, or a failure)"
    if "cosine" not in found:
        return counted + "."
    median, least = number(found["cosine"]["median"]), number(found["cosine"]["least"])
    ratio = number(found["norm_ratio"]["median"])
    if median >= GOOD:
        verdict = "the upper steps went where the exact gradient would have sent them"
    elif median >= FAIR:
        verdict = "the upper steps went roughly where the exact gradient would have sent them"
    else:
        verdict = (
            "the upper steps did not go where the exact gradient would have sent them: take a more "
            "exact estimator (adjoint), or a lower inner learning rate"
        )
    return (
        f"{counted}. Median cosine {_digits(median)} (least {_digits(least)}): {verdict}. Median norm "
        f"ratio {ratio:.2f}, which the upper optimizer's own scaling mostly evens out."
    )


def _digits(cosine: float) -> str:
    """Rounded down, so that 0.9996 does not become 1."""
    return f"{math.floor(1000 * cosine) / 1000:.3f}"
