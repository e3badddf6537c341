"""What became of the training labels: made hard or taken away, filtered by consensus, corrected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dreamprm.evaluation.number_text import decimal
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.run import Run

_TEXT = 120  # characters of a step that are shown


def sections(report: Report) -> Iterator[Section]:
    """The labels of each run that did not train on them as they are in its files."""
    runs = [shown for run in report.runs if (shown := _labels(report, run))]
    if runs:
        yield Section("labels", "Labels", render("labels.html", runs=runs, folded=len(report.runs) > 1))


def _labels(report: Report, run: Run) -> dict[str, Any] | None:
    made, corrected = run.summary.get("labels"), run.summary.get("corrected_labels")
    if not made and not corrected:
        return None
    return {
        "label": report.label(run),
        "facts": _made(made or {}),
        "corrected": corrected and _corrected(corrected),
    }


def _made(labels: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of what was made of the labels in the files."""
    facts = []
    if "labels" in labels:
        threshold = decimal(labels.get("threshold"), 2)
        facts.append(("labels", f"{labels['labels']}, right above {threshold}"))
        facts += [
            (name, _whole(labels.get(key)))
            for name, key in (("right", "right"), ("wrong", "wrong"), ("changed by labels=hard", "changed"))
        ]
        if labels.get("mask") != "none":
            taken = f"{_whole(labels.get('masked'))} of {_whole(labels.get('masked_cots'))} CoTs"
            facts.append(("taken away after a CoT's first error", taken))
    consensus = labels.get("consensus")
    if consensus:
        facts.append(("CoTs left out without consensus", _whole(consensus.get("disagreeing"))))
        facts.append(
            ("further labels taken away without consensus", _whole(consensus.get("disagreeing_steps")))
        )
    return facts


def _corrected(found: Mapping[str, Any]) -> dict[str, Any]:
    rows = [("all", found), *found["domains"].items()]
    return {
        "head": ["domain", "labels", "changed", "mean change", "wrong to right", "right to wrong"],
        "rows": [
            [
                name,
                _whole(one["labels"]),
                _whole(one["changed"]),
                decimal(one["mean_change"], 3),
                _whole(one["to_right"]),
                _whole(one["to_wrong"]),
            ]
            for name, one in rows
        ],
        "most": [
            [
                one["id"],
                one["domain"],
                str(one["step"]),
                one["text"][:_TEXT] + ("…" if len(one["text"]) > _TEXT else ""),
                decimal(one["given"], 3),
                decimal(one["corrected"], 3),
            ]
            for one in found["most"]
        ],
    }


def _whole(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "n/a"
