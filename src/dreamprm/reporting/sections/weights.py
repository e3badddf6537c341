"""The weights of the domains: at the end, over training, and against the domains' difficulty."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dreamprm.evaluation.number_text import decimal, number, percent
from dreamprm.evaluation.plots.style import png
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.run import Run
from dreamprm.reporting.plots.difficulty import difficulty_of_runs, difficulty_points, rank_correlation
from dreamprm.reporting.plots.weights_of_runs import (
    by_weight,
    final_weights_of_runs,
    weights_over_time_of_runs,
)
from dreamprm.reporting.repeats import mean_and_range, seed_groups, settings, shared_label
from dreamprm.reporting.run_figures import domain_rows, equally_weighted, trained


def sections(report: Report) -> Iterator[Section]:
    """The weights of all runs that have any: a single run on its own, several side by side."""
    runs = [run for run in report.runs if domain_rows(run.summary)]
    if not runs:
        return
    weighted = [run for run in runs if not equally_weighted(run.summary)]
    learned = bool(weighted) and all(trained(run.summary).learned for run in weighted)
    labels = [report.label(run) for run in weighted]
    values = {
        "equal": [
            (report.label(run), trained(run.summary).title) for run in runs if equally_weighted(run.summary)
        ],
        "alone": len(report.runs) == 1,
        "by_instance": [label for run, label in zip(weighted, labels) if _by_instance(run)],
        "difficulty": _difficulty(report, weighted, labels),
    }
    shown = _single(report, weighted[0]) if len(weighted) == 1 else _several(weighted, labels)
    yield Section(
        "weights",
        "Learned domain weights" if learned else "Domain weights",
        render("weights.html", weighted=len(weighted), **shown, **values),
    )


def _single(report: Report, run: Run) -> dict[str, Any]:
    rows = domain_rows(run.summary)
    known = run.summary.get("generator_accuracy") or {}
    top = max((row.weight for row in rows if math.isfinite(row.weight)), default=0.0)
    plots = report.plots(run)
    return {
        "rows": [
            {
                "name": row.name,
                "quality": decimal(row.quality, 2),
                "accuracy": percent(known.get(row.name)),
                "weight": decimal(row.weight, 2),
                "share": f"{_share(row.weight, top):.1f}",
            }
            for row in rows
        ],
        "weight": trained(run.summary).weight,
        "has_accuracy": bool(known),
        "has_quality": any(math.isfinite(row.quality) for row in rows),
        "final": plots.get("final_weights"),
        "course": plots.get("weights_over_time"),
    }


def _share(weight: float, top: float) -> float:
    return max(0.0, 100 * weight / top) if math.isfinite(weight) and top > 0 else 0.0


def _several(runs: Sequence[Run], labels: Sequence[str]) -> dict[str, Any]:
    """The values of weights.html for a table of all runs, with mean and range over seeds."""
    weights = [_weights(run) for run in runs]
    label_of = dict(zip(map(id, runs), labels, strict=True))
    groups: list[tuple[str, tuple[Run, ...]]] = []
    apart: list[tuple[str, tuple[Run, ...]]] = []
    for group in seed_groups(runs):
        name = shared_label(group, [label_of[id(run)] for run in group])
        (groups if _same_domains(group) else apart).append((name, group))
    quality = _common_quality(runs)
    head = [
        "domain",
        *(["planted quality"] if quality else []),
        *labels,
        *(f"{name}: mean (min to max)" for name, _ in groups),
    ]
    rows = [
        [
            domain,
            *([decimal(quality.get(domain), 2)] if quality else []),
            *(decimal(one.get(domain), 2) for one in weights),
            *(
                mean_and_range([_weights(run).get(domain, math.nan) for run in group], 2)
                for _, group in groups
            ),
        ]
        for domain in by_weight(weights)
    ]
    grouped = {id(run) for _, group in groups for run in group}
    series: dict[str, list[Mapping[str, float]]] = {
        name: [_weights(run) for run in group] for name, group in groups
    }
    series |= {label: [_weights(run)] for run, label in zip(runs, labels) if id(run) not in grouped}
    final, course = final_weights_of_runs(series), weights_over_time_of_runs(runs, labels)
    return {
        "head": head,
        "table": rows,
        "has_quality": bool(quality),
        "apart": [name for name, _ in apart],
        "grouped": bool(groups),
        "final": final and png(final),
        "course": course and png(course),
    }


def _difficulty(report: Report, runs: Sequence[Run], labels: Sequence[str]) -> dict[str, Any]:
    """Weights against the generator's accuracy, and the runs for which that accuracy is unknown."""
    known = [(run, label) for run, label in zip(runs, labels) if difficulty_points(run.summary)]
    if len(known) == 1:
        plot = report.plots(known[0][0]).get("weights_against_difficulty")
    else:
        figure = difficulty_of_runs([run for run, _ in known], [label for _, label in known])
        plot = None if figure is None else png(figure)
    rows = []
    for run, label in known:
        points = difficulty_points(run.summary)
        rows.append([label, decimal(rank_correlation(points), 2), str(len(points))])
    return {
        "plot": plot,
        "rows": rows,
        "missing": [label for run, label in zip(runs, labels) if not difficulty_points(run.summary)],
    }


def _weights(run: Run) -> dict[str, float]:
    return {row.name: row.weight for row in domain_rows(run.summary)}


def _quality(run: Run) -> dict[str, float]:
    return {name: number(value) for name, value in (run.summary.get("quality") or {}).items()}


def _same_domains(runs: Sequence[Run]) -> bool:
    """Whether every domain has the same planted quality in all runs."""
    return all(_quality(run) == _quality(runs[0]) for run in runs)


def _common_quality(runs: Sequence[Run]) -> dict[str, float]:
    """The planted quality by domain if all runs that know it agree; else empty."""
    known = [run for run in runs if _quality(run)]
    return _quality(known[0]) if known and _same_domains(known) else {}


def _by_instance(run: Run) -> bool:
    """Whether single CoTs were weighted, so that the weights here are means over a domain's CoTs."""
    return settings(run).get("weights.kind", "domain") != "domain"
