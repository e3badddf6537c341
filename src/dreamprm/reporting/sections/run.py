"""A training run: what came of it, its own accuracies, and how the training went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dreamprm.evaluation.number_text import suite_names
from dreamprm.evaluation.selector_names import SHORT
from dreamprm.reporting import run_figures
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.plots.training import audit_sentence
from dreamprm.reporting.run_figures import trained

CAPTIONS = {
    "accuracy_over_n": "Expected accuracy of each selector with N candidates: exact mean over all subsets of "
    "N. Bands: 95 % intervals over questions.",
    "best_of_n": "Accuracy of each selector on each suite with all candidates, with 95 % intervals over "
    "questions.",
}
"""A sentence below each plot, by file name."""


def verdict(report: Report) -> Iterator[Section]:
    """The verdict of the report's only run; several runs have a row each in the overview."""
    if len(report.runs) != 1:
        return
    run = report.runs[0]
    yield Section(
        "run",
        "Run",
        render(
            "verdict.html",
            name=run.name,
            verdict=run_figures.verdict(run.summary),
            met=run.summary.get("targets_met") is True,
            facts=_facts(run),
            targets=run_figures.target_rows(run.summary),
        ),
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    estimator = run.summary.get("estimator")
    facts = [("trained", trained(run.summary).title)]
    if estimator not in (None, "none"):
        facts.append(("estimator of the upper gradient", str(estimator)))
    facts += run_figures.fact_rows(run.summary)
    failed = failed_windows(run)
    facts += [("windows with a status other than ok", failed)] if failed else []
    given = run.summary.get("warnings")
    found = [one.get("message") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [*facts, *(("warning", str(message)) for message in found if message)]


def failed_windows(run: Run) -> str:
    """How many windows ended with each status other than ok; "" if none did."""
    failed = [status for status in run.statuses if status not in ("", "ok")]
    kinds = ", ".join(f"{failed.count(kind)} {kind}" for kind in sorted(set(failed)))
    return f"{kinds}, of {len(run.statuses)}" if failed else ""


def accuracy(report: Report) -> Iterator[Section]:
    """The accuracies that runs' summaries hold; folded if there are several runs.

    A summary that has them from an evaluation on the same page is left out.
    """
    evaluations = {one.folder.resolve() for one in report.evaluations}
    runs = [
        _accuracies(report, run)
        for run in report.runs
        if run_figures.accuracy_rows(run.summary)
        and (run.folder / str(run.summary.get("evaluation", ""))).resolve() not in evaluations
    ]
    if runs:
        title = "Best-of-N accuracy" + (
            " by run" if len(report.runs) > 1 else " at the end of training" if report.evaluations else ""
        )
        yield Section(
            "run-accuracy", title, render("run_accuracy.html", runs=runs, folded=len(report.runs) > 1)
        )


def _accuracies(report: Report, run: Run) -> dict[str, Any]:
    summary, rows = run.summary, run_figures.accuracy_rows(run.summary)
    meanings = {name: SHORT[name] for name in rows if name in SHORT}
    plots = report.plots(run)
    return {
        "label": report.label(run),
        "suites": suite_names(summary),
        "mean": run_figures.mean_meaning(summary),
        "rows": [[name, *cells] for name, cells in rows.items()],
        "strong": [trained(summary).selector],
        "differences": [[name, *cells] for name, cells in run_figures.difference_rows(summary).items()],
        "meanings": [f"{name}: {meaning}" for name, meaning in meanings.items()],
        "plots": [(plots[name], caption) for name, caption in CAPTIONS.items() if name in plots],
    }


def training(report: Report) -> Iterator[Section]:
    """Losses and audit of each run that has any; folded if there are several runs."""
    runs = [shown for run in report.runs if (shown := _course(report, run))]
    if runs:
        yield Section("training", "Training", render("training.html", runs=runs, folded=len(report.runs) > 1))


def _course(report: Report, run: Run) -> dict[str, Any] | None:
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
