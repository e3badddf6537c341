"""Step-level evaluation: first-error F1, step AUC and calibration of scored step records."""

from dreamprm.evaluation.steps.first_errors import f1_of, predict_first_errors, score_first_errors
from dreamprm.evaluation.steps.reader import read_scored_steps
from dreamprm.evaluation.steps.scored_steps import ERROR_FREE, UNKNOWN, ScoredRecord, ScoredSteps
from dreamprm.evaluation.steps.settings import SCOPES
from dreamprm.evaluation.steps.threshold import ThresholdCurve, threshold_curve

__all__ = [
    "ERROR_FREE",
    "SCOPES",
    "UNKNOWN",
    "ScoredRecord",
    "ScoredSteps",
    "ThresholdCurve",
    "f1_of",
    "predict_first_errors",
    "read_scored_steps",
    "score_first_errors",
    "threshold_curve",
]
