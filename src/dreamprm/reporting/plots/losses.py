"""The losses of both levels over training."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dreamprm.evaluation.plots import style
from dreamprm.reporting.folders.run import Floats, Run

LOSSES = {
    "inner_loss": ("Inner loss", "weighted step loss"),
    "meta_loss": ("Meta loss", "squared error"),
    "lm_loss": ("Language-modelling loss", "cross-entropy in nats a token"),
}
"""Columns of metrics.jsonl that are plotted: title and unit."""


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
