"""Several runs side by side: what each trained, and its accuracy; seeds of the same training together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from dreamprm.evaluation.number_text import MEAN, MISSING, decimal, number, percent, suite_names
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.repeats import mean_and_range, seed_groups, seed_of, settings, shared_label
from dreamprm.reporting.run_figures import accuracy_rows, trained
from dreamprm.reporting.tables import Cell
from dreamprm.runtime.progress import duration


def sections(report: Report) -> Iterator[Section]:
    """One row per run and one per group of seeds; a single run has a verdict instead."""
    if len(report.runs) < 2:
        return
    suites, mean_of = shared_suites(report.runs)
    correlated = any(math.isfinite(_correlation(run)) for run in report.runs)
    judged = any("targets_met" in run.summary for run in report.runs)
    head = [
        "run",
        "trained",
        "seed",
        "steps",
        "estimator",
        "time",
        *suites,
        *(["rank correlation"] if correlated else []),
        *(["targets"] if judged else []),
    ]
    rows = [
        [
            report.label(run),
            *_facts(run),
            *_accuracies(run, suites, mean_of),
            *([decimal(_correlation(run), 2)] if correlated else []),
            *([_targets(run)] if judged else []),
        ]
        for run in report.runs
    ]
    groups = seed_groups(report.runs)
    yield Section(
        "runs",
        "Runs",
        render(
            "overview.html",
            head=head,
            rows=rows,
            suites=bool(suites),
            correlated=correlated,
            mean=_mean_meaning(report.runs, suites, mean_of),
            seeds_head=["runs", "trained", "seeds", *suites, *(["rank correlation"] if correlated else [])],
            seeds=[
                [
                    shared_label(group, [report.label(run) for run in group]),
                    trained(group[0].summary).title,
                    ", ".join(str(seed_of(run)) for run in group),
                    *(
                        mean_and_range([100 * _accuracy(run, suite, mean_of) for run in group], 1)
                        for suite in suites
                    ),
                    *([mean_and_range([_correlation(run) for run in group], 2)] if correlated else []),
                ]
                for group in groups
            ],
            own_suites=_own_suites(report.runs),
        ),
    )


def shared_suites(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """The suites that all runs with accuracies have, and those of them that the mean is over.

    The mean, which comes last among the suites, is over the shifted ones if all runs agree on them and share
    them, else over all that they share. Both are empty if the runs share none.
    """
    measured = [run.summary for run in runs if accuracy_rows(run.summary)]
    if not measured:
        return [], []
    each = [[name for name in suite_names(summary) if name != MEAN] for summary in measured]
    shared = [name for name in each[0] if all(name in names for names in each)]
    shifted = [list(summary.get("shifted_suites") or []) for summary in measured]
    agreed = shifted[0] and all(one == shifted[0] for one in shifted) and set(shifted[0]) <= set(shared)
    return ([*shared, MEAN] if shared else []), (shifted[0] if agreed else shared)


def _accuracy(run: Run, suite: str, mean_of: Sequence[str]) -> float:
    """The accuracy of the PRM that the run trained, in [0, 1]; NaN if it is not known."""
    row = (run.summary.get("best_of_n") or {}).get(trained(run.summary).selector) or {}
    if suite == MEAN:
        return sum(number(row.get(name)) for name in mean_of) / len(mean_of)
    return number(row.get(suite))


def _accuracies(run: Run, suites: Sequence[str], mean_of: Sequence[str]) -> list[Cell]:
    names, known = suite_names(run.summary), accuracy_rows(run.summary)
    cells = known.get(trained(run.summary).selector)
    own = set(mean_of) == set(run.summary.get("shifted_suites") or [one for one in names if one != MEAN])
    return [
        cells[names.index(suite)]
        if cells and suite in names and (suite != MEAN or own)
        else Cell(percent(_accuracy(run, suite, mean_of)))
        for suite in suites
    ]


def _mean_meaning(runs: Sequence[Run], suites: Sequence[str], mean_of: Sequence[str]) -> str:
    if not suites:
        return ""
    shifted = all(
        list(mean_of) == list(run.summary.get("shifted_suites") or [])
        for run in runs
        if accuracy_rows(run.summary)
    )
    return f"mean: over the {'shifted ' if shifted else ''}suites {', '.join(mean_of)}"


def _own_suites(runs: Sequence[Run]) -> bool:
    """Whether some runs read the files of their suites from different places than others."""
    # In the summary; a run that evaluated itself has them in its configuration.
    places = [
        run.summary.get("suite_files")
        or {
            name.removeprefix("evaluation.suites."): value
            for name, value in _read(run).items()
            if name.startswith("evaluation.suites.")
        }
        for run in runs
    ]
    return any(
        one.get(name) != value
        for one in places
        for other in places
        for name, value in other.items()
        if name in one
    )


def _read(run: Run) -> dict[str, Any]:
    return settings(run, star_seed=False)


def _facts(run: Run) -> list[str]:
    steps, seconds, seed = number(run.summary.get("steps")), number(run.summary.get("seconds")), seed_of(run)
    return [
        trained(run.summary).title,
        MISSING if seed is None else str(seed),
        decimal(steps, 0),
        str(run.summary.get("estimator", MISSING)),
        duration(seconds) if math.isfinite(seconds) else MISSING,
    ]


def _targets(run: Run) -> str:
    if "targets_met" not in run.summary:
        return "none"
    return "met" if run.summary["targets_met"] is True else "missed"


def _correlation(run: Run) -> float:
    return number(run.summary.get("spearman"))
