"""How the training went: the losses of both levels, windows that failed, the audit of the upper gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.plots.audit import audit_sentence
from dreamprm.reporting.sections.verdict import failed_windows


def sections(report: Report) -> Iterator[Section]:
    """Losses and audit of each run that has any; folded where there are several runs."""
    runs = [shown for run in report.runs if (shown := _shown(report, run))]
    if runs:
        yield Section("training", "Training", render("training.html", runs=runs, folded=len(report.runs) > 1))


def _shown(report: Report, run: Run) -> dict[str, Any] | None:
    losses, audit = (report.plots(run).get(name) for name in ("losses", "audit"))
    sentence, failed = audit_sentence(run.summary), failed_windows(run)
    if losses is None and audit is None and not sentence and not failed:
        return None
    return {
        "label": report.label(run),
        "losses": losses,
        "audit": audit,
        "sentence": sentence,
        "failed": failed,
    }
