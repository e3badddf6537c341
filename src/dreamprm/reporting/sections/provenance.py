"""Where the figures come from: folders, notes, versions and configurations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dreamprm.evaluation.number_text import MISSING
from dreamprm.reporting.contents import Folder, Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.evaluation import EvaluationFolder
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.repeats import differing_settings


def sections(report: Report) -> Iterator[Section]:
    """The provenance, which every report shows."""
    several = len(report.runs) > 1
    yield Section(
        "provenance",
        "Provenance",
        render(
            "provenance.html",
            folders=[[report.label(one), _kind(one), str(one.folder)] for one in report.folders],
            labels=[report.label(run) for run in report.runs],
            several=several,
            differing=[
                [name, *map(_shown, values)] for name, values in differing_settings(report.runs).items()
            ]
            if several
            else [],
            runs=[
                {
                    "label": report.label(run),
                    "notes": [str(note) for note in run.summary.get("notes") or []],
                    "config": run.config,
                }
                for run in report.runs
            ],
        ),
    )


def _kind(folder: Folder) -> str:
    if isinstance(folder, Run):
        return "training run"
    return "evaluation of selectors" if isinstance(folder, EvaluationFolder) else "step-level evaluation"


def _shown(value: Any) -> str:
    return MISSING if value is None else str(value)
