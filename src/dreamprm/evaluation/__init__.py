"""Evaluation of scored candidates: best-of-N selection, intervals over questions, agreement of rankings."""

from dreamprm.evaluation.intervals import bootstrap_interval, paired_bootstrap
from dreamprm.evaluation.ranking import spearman, weight_summary
from dreamprm.evaluation.selectors import (
    CandidateScores, best_of_n_accuracy, majority_accuracy, oracle_accuracy, random_accuracy, subset_sizes,
)
from dreamprm.evaluation.suites import evaluate_suites

__all__ = [
    "CandidateScores", "best_of_n_accuracy", "bootstrap_interval", "evaluate_suites", "majority_accuracy",
    "oracle_accuracy", "paired_bootstrap", "random_accuracy", "spearman", "subset_sizes", "weight_summary",
]
