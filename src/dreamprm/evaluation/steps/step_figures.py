"""All figures of a step evaluation, as JSON values: what steps.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamprm.data.step_scores import probability
from dreamprm.evaluation.bootstrap import Bootstrap, Estimate, mean_of
from dreamprm.evaluation.number_text import MEAN
from dreamprm.evaluation.steps.auc import mean_record_auc, pooled_auc
from dreamprm.evaluation.steps.calibration import (
    BINNINGS,
    Labelled,
    base_rate_brier,
    brier,
    ece_if_calibrated,
    reliability,
)
from dreamprm.evaluation.steps.development import Parts
from dreamprm.evaluation.steps.first_errors import (
    FIGURES,
    FirstErrorScore,
    counts,
    guess_hits,
    hits,
    predict_first_errors,
    score_first_errors,
)
from dreamprm.evaluation.steps.scored_steps import ScoredSteps
from dreamprm.evaluation.steps.settings import SCOPES
from dreamprm.evaluation.steps.threshold import ThresholdCurve, threshold_curve


@dataclass(frozen=True)
class Threshold:
    """A scorer's threshold in log-odds, and the development set's curve that it was chosen from, if any."""

    log_odds: float
    curve: ThresholdCurve | None = None

    def to_json(self) -> dict[str, Any]:
        """The threshold, and F1 and accuracies that it reaches on the development set."""
        result: dict[str, Any] = {"probability": probability(self.log_odds), "log_odds": self.log_odds}
        if self.curve is not None:
            best = self.curve.best
            result["development"] = {name: float(getattr(self.curve, name)[best]) for name in FIGURES} | {
                "thresholds_tried": len(self.curve.thresholds)
            }
        return result


def choose_thresholds(parts: Parts, given: float | None) -> dict[str, Threshold]:
    """A threshold for each scorer, in log-odds: the given one, or the best of the development set.

    Raises:
        UserError: the development set lacks erroneous or error-free records.
    """
    scorers = next(iter(parts.test.values())).log_odds
    if parts.development is None:
        assert given is not None
        return {name: Threshold(given) for name in scorers}
    curves = {name: threshold_curve(parts.development, name) for name in scorers}
    return {name: Threshold(float(curve.thresholds[curve.best]), curve) for name, curve in curves.items()}


def first_error_figures(
    parts: Parts, thresholds: Mapping[str, Threshold], bootstrap: Bootstrap
) -> dict[str, dict[str, FirstErrorScore]]:
    """{scorer or guess: {subset: its score}} of the test records."""
    result: dict[str, dict[str, FirstErrorScore]] = {}
    for index, (subset, steps) in enumerate(parts.test.items()):
        draws = bootstrap.draws(steps.question_numbers[1], index)
        hit = {
            name: hits(predict_first_errors(steps, name, threshold.log_odds), steps)
            for name, threshold in thresholds.items()
        }
        for name, values in (hit | guess_hits(steps, parts.development)).items():
            result.setdefault(name, {})[subset] = score_first_errors(values, steps, draws)
    return result


def auc_figures(parts: Parts, bootstrap: Bootstrap) -> dict[str, dict[str, dict[str, dict[str, Estimate]]]]:
    """{scorer: {scope: {"pooled" or "per_record": {subset: AUC}}}}."""
    result: dict[str, Any] = {}
    for index, (subset, steps) in enumerate(parts.test.items()):
        draws = bootstrap.draws(steps.question_numbers[1], index)
        for scorer in steps.log_odds:
            for scope in SCOPES:
                for kind, figure in (("pooled", pooled_auc), ("per_record", mean_record_auc)):
                    place = result.setdefault(scorer, {}).setdefault(scope, {}).setdefault(kind, {})
                    place[subset] = figure(steps, scorer, scope, draws)
    return result


def calibration_figures(parts: Parts, bootstrap: Bootstrap, *, bins: int) -> dict[str, Any]:
    """{scorer: {scope: {subset: Brier score, and ECE and bins by binning}}}, ready for JSON."""
    result: dict[str, Any] = {}
    for index, (subset, steps) in enumerate(parts.test.items()):
        draws = bootstrap.draws(steps.question_numbers[1], index)
        for scorer in steps.log_odds:
            for scope in SCOPES:
                place = result.setdefault(scorer, {}).setdefault(scope, {})
                data = Labelled.of(steps, scorer, scope, draws)
                if not len(data):
                    continue
                place[subset] = {
                    "steps": len(data),
                    "mean_label": float(data.label.mean()),
                    "mean_probability": float(data.probability.mean()),
                    "brier": brier(data).to_json(bootstrap.level),
                    "base_rate_brier": base_rate_brier(data),
                }
                for binning in BINNINGS:
                    curve = reliability(data, bins=bins, binning=binning, level=bootstrap.level)
                    place[subset][binning] = curve.to_json(bootstrap.level) | {
                        "ece_if_calibrated": ece_if_calibrated(
                            data, bins=bins, binning=binning, seed=bootstrap.seed, level=bootstrap.level
                        )
                    }
    return result


def with_mean(figures: Mapping[str, Estimate], apart: str | None) -> dict[str, Estimate]:
    """The subsets' figures and the unweighted mean of those that are defined.

    The development subset is excluded. Whether a figure is defined depends only on the labels, so all
    scorers' means are over the same subsets. There is no mean over fewer than two.
    """
    counted = [figure for name, figure in figures.items() if name != apart and np.isfinite(figure.value)]
    if len(counted) < 2:
        return dict(figures)
    return {**figures, MEAN: mean_of(counted)}


def differences(
    figures: Mapping[str, Mapping[str, Estimate]], baseline: str
) -> dict[str, dict[str, Estimate]]:
    """{other scorer: {subset: its figure minus the baseline's}}, paired; the same for the means."""
    of_baseline = figures[baseline]
    return {
        scorer: {name: one - of_baseline[name] for name, one in subsets.items() if name in of_baseline}
        for scorer, subsets in figures.items()
        if scorer != baseline
    }


def development_counts(parts: Parts) -> dict[str, int] | None:
    """What the development set holds; None without a development set."""
    if parts.development is None:
        return None
    held = parts.development
    return {"records": len(held), "questions": held.question_numbers[1], **counts(held)}


def subset_counts(subsets: Mapping[str, ScoredSteps], parts: Parts) -> dict[str, dict[str, Any]]:
    """What each subset holds, and which part of it the figures count."""
    result = {}
    for name, steps in subsets.items():
        test = parts.test[name]
        labelled = ~np.isnan(test.labels)
        result[name] = {
            "labels": "soft" if steps.soft else "hard",
            "records": len(steps),
            "development_records": len(steps) - len(test),
            "test_records": len(test),
            "test_questions": test.question_numbers[1],
            **counts(test),
            "labelled_steps": int(labelled.sum()),
            "steps_up_to_first_error": int(test.in_scope("up_to_first_error").sum()),
            "unlabelled_steps": int((~labelled).sum()),
        }
    return result
