"""A run's summary.json: what was trained, the weights it ended with, and how its windows went."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dreamprm.config.errors import UserError
from dreamprm.data.image_notes import ImageSummary
from dreamprm.data.label_rule import LabelRule
from dreamprm.data.records import StepRecord
from dreamprm.files.append_only import require_fields
from dreamprm.files.json_values import parse_json
from dreamprm.hypergrad import Status
from dreamprm.models.collation import META, STEP, TEXT
from dreamprm.training.assembly import Run
from dreamprm.training.corrected_labels import CorrectedLabels
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.run_warnings import WindowWarnings, data_warnings, loss_warnings
from dreamprm.training.selected_set import (
    consensus_before_selection,
    consensus_counts,
    images_before_selection,
)


def summarise(run: Run, folder: RunFolder) -> dict[str, Any]:
    """The entries of summary.json, except the seconds."""
    config = run.config
    summary: dict[str, Any] = {
        "name": config.name,
        "seed": config.seed,
        "steps": run.position,
        "estimator": config.hypergrad.name,
        "aggregation": config.aggregation,
        **run.trained_part(),
        "weights": run.named_weights(),
        # of the files' own labels: hard ones would not say how often the generator comes right
        "generator_accuracy": generator_accuracy(run.records.relabelled(LabelRule())),
        **window_summary(folder.metrics()),
    }
    images = {kind: found.to_json() for kind, found in image_summaries(run, folder).items() if found.lines()}
    if images:
        summary["images"] = images
    warnings = [
        *data_warnings(run.records.label_ranges()),
        *logged_warnings(window_warnings(run), folder),
        *loss_warnings(folder.metrics()),
    ]
    if warnings:
        summary["warnings"] = warnings
    if run.state.skipped:
        summary["skipped_windows"] = run.state.skipped // config.inner_steps
    if folder.left_out.exists():
        summary["left_out"] = _left_out(folder.left_out)
    labels = label_facts(run, folder)
    if labels:
        summary["labels"] = labels
    corrected = CorrectedLabels.of(run)
    if corrected is not None:
        summary["corrected_labels"] = corrected.facts(run)
    if config.baseline.name != "none":
        summary["baseline"] = config.baseline.name
    return summary


def label_facts(run: Run, folder: RunFolder) -> dict[str, Any]:
    """What was made of the labels in the files, with counts; empty if they were trained on as they are."""
    data = run.config.data
    facts: dict[str, Any] = {}
    if run.records.rule.changes:
        facts = {
            "labels": data.labels,
            "threshold": data.right_above,
            "mask": data.mask,
            **dataclasses.asdict(run.records.label_counts()),
        }
    if data.consensus is not None:
        facts["consensus"] = consensus_counts(run.records.reports)
    elif (before := consensus_before_selection(folder)) is not None:
        facts["consensus"] = before
    return facts


def _left_out(path: Path) -> dict[str, int]:
    """How many records of each file were left out.

    Raises:
        UserError: left_out.json is damaged.
    """
    try:
        content = parse_json(path.read_bytes())
        require_fields(content, {})
        for file, found in content.items():
            require_fields(found, {"left_out": "a whole number >= 0"}, within=file)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove it, then run the same command again") from error
    return {file: found["left_out"] for file, found in content.items()}


def window_warnings(run: Run) -> WindowWarnings:
    """The warnings of this run's windows, none given yet."""
    log = run.config.log
    return WindowWarnings(log.collapse_share, log.collapse_floor, learns=run.trainer.upper is not None)


def logged_warnings(warnings: WindowWarnings, folder: RunFolder) -> list[dict[str, Any]]:
    """The warnings of the windows that the run's logs hold."""
    both = zip(folder.metrics(), folder.weights(), strict=False)
    return [warning for row, weights in both for warning in warnings.of(row, weights["weights"])]


def image_summaries(run: Run, folder: RunFolder) -> dict[str, ImageSummary]:
    """How many records of each kind were used without their images, or with one that is cut off.

    Images that do not exist are found when a file is read, broken ones when a record is used; a record that
    no batch held is not counted for the latter.
    """
    found = {
        "step records": ImageSummary.of(len(run.records), run.records.reports, run.image_notes, prefix=STEP),
        "meta records": ImageSummary.of(len(run.meta), run.meta_reports, run.image_notes, prefix=META),
        "texts": ImageSummary.of(run.step_batches.text_count, [], run.image_notes, prefix=TEXT),
    }
    selected_from = images_before_selection(folder)
    return found if selected_from is None else {"step records before the selection": selected_from, **found}


def generator_accuracy(records: Iterable[StepRecord]) -> dict[str, float]:
    """How hard each domain is for the generator of its CoTs: the generator's share of right completions.

    The mean over the domain's CoTs of the first known label. A CoT's first labelled step comes right (or
    soon) after the question, and for CoTs that were sampled, not selected, E[p_1] = E[p_0]: the mean is the
    generator's accuracy on the domain's questions. It takes the labels as they are: a wrong answer key lowers
    it just as a hard question does, and CoTs selected by their outcome shift it.

    Args:
        records: step records; those without any label do not count.
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
    """The entries of summary.json on the quality of the upper gradients, from the lines of metrics.jsonl.

    Returns:
        `not_converged`: number of windows whose solver stopped early or left too large a residual;
        if there were any, `imprecise`: whose differences were; `no_gradient`: whose alpha reached no loss.
        `audit`, if windows were audited:
        `exact` (the estimators compared with), `windows`, `undefined` (how many of them have no cosine), and
        for the others `cosine` {median, least} and `norm_ratio` {median, least, most}.
    """
    entries: dict[str, Any] = {Status.not_converged.value: 0}
    audited = []
    for row in rows:
        if row.get("status") in (Status.not_converged, Status.imprecise, Status.no_gradient):
            entries[row["status"]] = entries.get(row["status"], 0) + 1
        if "audit_cosine" in row:
            audited.append(row)
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
