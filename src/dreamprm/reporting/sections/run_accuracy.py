"""Best-of-N accuracy as each run's own evaluation found it: selectors, differences, and their plots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dreamprm.evaluation.number_text import suite_names
from dreamprm.reporting import tables
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.trained import trained

CAPTIONS = {
    "accuracy_over_n": "Expected accuracy of each selector with N candidates: exact mean over all subsets of "
    "N. Bands: 95 % intervals over questions.",
    "best_of_n": "Accuracy of each selector on each suite with all candidates, with 95 % intervals over "
    "questions.",
}
"""A sentence below each plot, by file name."""


def sections(report: Report) -> Iterator[Section]:
    """The accuracies of each run that evaluated suites; folded where there are several runs."""
    runs = [_shown(report, run) for run in report.runs if tables.accuracy_rows(run.summary)]
    if runs:
        title = "Best-of-N accuracy" + (
            " by run" if len(report.runs) > 1 else " at the end of training" if report.evaluations else ""
        )
        yield Section(
            "run-accuracy", title, render("run_accuracy.html", runs=runs, folded=len(report.runs) > 1)
        )


def _shown(report: Report, run: Run) -> dict[str, Any]:
    summary, rows = run.summary, tables.accuracy_rows(run.summary)
    meanings = {name: tables.SELECTOR_MEANINGS[name] for name in rows if name in tables.SELECTOR_MEANINGS}
    plots = report.plots(run)
    return {
        "label": report.label(run),
        "suites": suite_names(summary),
        "mean": tables.mean_meaning(summary),
        "rows": [[name, *cells] for name, cells in rows.items()],
        "strong": [trained(summary).selector],
        "differences": [[name, *cells] for name, cells in tables.difference_rows(summary).items()],
        "meanings": [f"{name}: {meaning}" for name, meaning in meanings.items()],
        "plots": [(plots[name], caption) for name, caption in CAPTIONS.items() if name in plots],
    }
