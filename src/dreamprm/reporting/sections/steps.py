"""Step-level evaluations, a section each: first errors, step AUC, calibration, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from dreamprm.evaluation.plots.calibration import reliability_plot
from dreamprm.evaluation.plots.style import png
from dreamprm.evaluation.plots.threshold import threshold_plot
from dreamprm.evaluation.steps import wording
from dreamprm.evaluation.steps.first_errors import GUESSES
from dreamprm.reporting import step_tables
from dreamprm.reporting.contents import Report
from dreamprm.reporting.document import Section, render
from dreamprm.reporting.folders.steps import StepsFolder


def sections(report: Report) -> Iterator[Section]:
    """A section for each folder of `dreamprm evaluate-steps`, with its plots drawn anew."""
    for number, folder in enumerate(report.steps, start=1):
        name = "" if len(report.folders) == 1 else f": {report.label(folder)}"
        body = render("steps.html", **_values(folder))
        yield Section(f"steps-{number}", f"Step-level evaluation{name}", body)


def _values(folder: StepsFolder) -> dict[str, object]:
    result = folder.result
    chosen = result["thresholds"]
    curves = {
        name: (curve.log_odds, curve.f1, chosen[name]["log_odds"]) for name, curve in folder.curves.items()
    }
    scope = wording.shown_scope(result)
    return {
        "result": result,
        "settings": result["settings"],
        "wording": wording,
        "guesses": GUESSES,
        "level": wording.level_of(result),
        "scope": wording.words(scope),
        "records": step_tables.record_rows(result),
        "first_errors": step_tables.first_error_table(result) if result["first_error"].get("f1") else None,
        "thresholds": step_tables.threshold_rows(result),
        "aucs": step_tables.auc_table(result),
        "calibration": step_tables.calibration_table(result),
        "differences": step_tables.difference_table(result),
        "left_out": wording.left_out(result),
        "development_plot": _png(threshold_plot(curves)),
        "reliability_plot": _png(
            reliability_plot(result["calibration"], scope=scope, level=result["settings"]["level"])
        ),
    }


def _png(figure: Figure | None) -> bytes | None:
    return None if figure is None else png(figure)
