"""What came of a single run: its targets, its single figures, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator

from dreamprm.reporting import tables
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.trained import trained


def sections(report: Report) -> Iterator[Section]:
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
            verdict=tables.verdict(run.summary),
            met=run.summary.get("targets_met") is True,
            facts=_facts(run),
            targets=tables.target_rows(run.summary),
        ),
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    estimator = run.summary.get("estimator")
    facts = [("trained", trained(run.summary).title)]
    if estimator not in (None, "none"):
        facts.append(("estimator of the upper gradient", str(estimator)))
    facts += tables.fact_rows(run.summary)
    failed = failed_windows(run)
    return [*facts, ("windows that did not end well", failed)] if failed else facts


def failed_windows(run: Run) -> str:
    """How many windows ended in which status other than ok; "" where none did."""
    failed = [status for status in run.statuses if status not in ("", "ok")]
    kinds = ", ".join(f"{failed.count(kind)} {kind}" for kind in sorted(set(failed)))
    return f"{kinds}, of {len(run.statuses)}" if failed else ""
