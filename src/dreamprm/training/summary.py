"""A run's summary.json: what was trained, the weights it ended with, and how its windows went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dreamprm.data.records import StepRecord
from dreamprm.hypergrad import Status
from dreamprm.training.assembly import Run
from dreamprm.training.run_folder import RunFolder


def summarise(run: Run, folder: RunFolder) -> dict[str, Any]:
    """The entries of summary.json, but for the seconds."""
    config = run.config
    summary: dict[str, Any] = {
        "name": config.name,
        "seed": config.seed,
        "steps": run.state.inner.step,
        "estimator": config.hypergrad.name,
        "aggregation": config.aggregation,
        "weights": run.named_weights(),
        "generator_accuracy": generator_accuracy(run.records),
        **window_summary(folder.metrics()),
    }
    if config.baseline.name != "none":
        summary["baseline"] = config.baseline.name
    return summary


def generator_accuracy(records: Iterable[StepRecord]) -> dict[str, float]:
    """How hard each domain is for the generator that its CoTs come from: its share of right completions.

    The mean over the domain's CoTs of the first known label. A CoT's first labelled step stands at (or next
    to) the question, and over CoTs that were sampled, not chosen, E[p_1] = E[p_0]: the mean is the
    generator's accuracy on the domain's questions. It is that of the labels as they are: a wrong answer key
    lowers it like a hard question, and CoTs that were chosen by their outcome shift it.

    Args:
        records: step records; those without a single label do not count.
    Returns:
        accuracy in [0, 1] by domain, in order of first appearance; a domain without labels is absent.
    """
    total: dict[str, float] = {}
    count: dict[str, int] = {}
    for record in records:
        first = next((label for label in record.labels if label is not None), None)
        if first is not None:
            total[record.domain] = total.get(record.domain, 0.0) + first
            count[record.domain] = count.get(record.domain, 0) + 1
    return {domain: total[domain] / count[domain] for domain in total}


def window_summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries of summary.json on how well the upper gradients were had, from the lines of metrics.jsonl.

    Returns:
        `not_converged`: windows whose solver stopped short. `audit`, where windows were audited: `exact` (the
        estimators compared with), `windows`, `undefined` (those of them without a cosine), and of the others
        `cosine` {median, least} and `norm_ratio` {median, least, most}.
    """
    stopped_short, audited = 0, []
    for row in rows:
        stopped_short += row["status"] == Status.not_converged.value
        if "audit_cosine" in row:
            audited.append(row)
    entries: dict[str, Any] = {"not_converged": stopped_short}
    if not audited:
        return entries
    known = [row for row in audited if row["audit_cosine"] is not None]
    entries["audit"] = audit = {
        "exact": sorted({row["audit_exact"] for row in audited}),
        "windows": len(audited),
        "undefined": len(audited) - len(known),
    }
    if known:
        cosines, ratios = ([row[name] for row in known] for name in ("audit_cosine", "audit_norm_ratio"))
        audit["cosine"] = {"median": float(np.median(cosines)), "least": min(cosines)}
        audit["norm_ratio"] = {"median": float(np.median(ratios)), "least": min(ratios), "most": max(ratios)}
    return entries
