"""How a training went: the losses of both levels, and the audit of the upper gradient in plots and words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dreamprm.evaluation.number_text import number
from dreamprm.evaluation.plots import style
from dreamprm.reporting.folders.run import Floats, Run

LOSSES = {
    "inner_loss": ("Inner loss", "weighted step loss"),
    "meta_loss": ("Meta loss", "squared error"),
    "lm_loss": ("Language-modelling loss", "cross-entropy in nats per token"),
}
"""Columns of metrics.jsonl that are plotted: title and unit."""

# Bounds on the cosine in `audit_sentence`: within 8 degrees of the exact direction, and within 30.
GOOD, FAIR = 0.99, 0.87


def losses(run: Run) -> Figure | None:
    """Inner, meta and language-modelling loss over inner steps: every window thin, a moving mean thick."""
    steps = run.metrics.get("step")
    shown = [name for name in LOSSES if name in run.metrics and np.isfinite(run.metrics[name]).any()]
    if steps is None or not shown:
        return None
    figure = style.new_figure(8.8, 2.6 * len(shown) + 0.4)
    grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False)
    for panel, name in zip(grid[:, 0], shown):
        values = run.metrics[name]
        window = max(1, len(values) // 25)
        several = window > 1
        panel.plot(
            steps,
            values,
            color=style.PLAIN,
            linewidth=0.7 if several else 1.5,
            alpha=0.4 if several else 1,
            marker="o" if len(values) == 1 else None,
        )
        if several:
            panel.plot(steps, moving_mean(values, window), color=style.PLAIN, linewidth=2.0)
        heading, unit = LOSSES[name]
        missing = int((~np.isfinite(values)).sum())
        detail = f"thin: each window; thick: mean of {window} windows" if several else "each window"
        style.title(panel, heading, detail + (f"; not finite: {missing} of {len(values)}" if missing else ""))
        panel.set_ylabel(unit)
        style.limit_steps(panel, steps)
        style.tidy(panel)
    grid[-1, 0].set_xlabel("inner steps")
    return figure


def moving_mean(values: Floats, window: int) -> Floats:
    """(n,) centred mean over `window` neighbours, fewer at the ends; values that are not finite are left out.

    NaN where no neighbour is finite.
    """
    finite = np.isfinite(values)
    kernel = np.ones(window)
    # "full" and a slice by hand: "same" would return `window` entries where that is longer than the data.
    start = (window - 1) // 2
    total = np.convolve(np.where(finite, values, 0.0), kernel)[start : start + len(values)]
    count = np.convolve(finite.astype(float), kernel)[start : start + len(values)]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def audit(run: Run) -> Figure | None:
    """Cosine and norm ratio of estimator and exact gradient over inner steps; None without an audit."""
    cosine = run.metrics.get("audit_cosine")
    if cosine is None or not np.isfinite(cosine).any():
        return None
    known = np.isfinite(cosine)
    steps, cosine = run.metrics["step"][known], cosine[known]
    ratio = run.metrics.get("audit_norm_ratio", np.full(len(known), np.nan))[known]
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
    """What the audit found, for a reader who does not know it; "" if the run has none."""
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
            "the upper steps did not go where the exact gradient would have sent them: use a more exact "
            "estimator (adjoint) or a lower inner learning rate"
        )
    return (
        f"{counted}. Median cosine {_digits(median)} (least {_digits(least)}): {verdict}. Median norm "
        f"ratio {ratio:.2f}, which the upper optimizer's own scaling mostly compensates for."
    )


def _digits(cosine: float) -> str:
    """Rounded down, so that 0.9996 does not become 1."""
    return f"{math.floor(1000 * cosine) / 1000:.3f}"
