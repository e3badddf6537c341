"""Evaluation of scored candidates: best-of-N selection, intervals and tests over questions, rankings."""

from dreamprm.data.rank_statistics import spearman
from dreamprm.evaluation.bootstrap import bootstrap_interval, paired_bootstrap
from dreamprm.evaluation.selectors import (
    CandidateScores,
    best_of_n_accuracy,
    first_accuracy,
    majority_accuracy,
    oracle_accuracy,
    random_accuracy,
    subset_sizes,
)
from dreamprm.evaluation.significance import PairedTest, holm, mcnemar_p, paired_test
from dreamprm.evaluation.votes import weighted_vote_accuracy

__all__ = [
    "CandidateScores",
    "PairedTest",
    "best_of_n_accuracy",
    "bootstrap_interval",
    "first_accuracy",
    "holm",
    "majority_accuracy",
    "mcnemar_p",
    "oracle_accuracy",
    "paired_bootstrap",
    "paired_test",
    "random_accuracy",
    "spearman",
    "subset_sizes",
    "weighted_vote_accuracy",
]
