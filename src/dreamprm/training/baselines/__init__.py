"""Baselines that `dreamprm train` trains in place of learned weights, with the same data and settings."""

from dreamprm.training.baselines.base import Baseline, Selection, UpperLevel, Weighting
from dreamprm.training.baselines.registry import BASELINES, baseline_settings, build_baseline

__all__ = [
    "BASELINES",
    "Baseline",
    "Selection",
    "UpperLevel",
    "Weighting",
    "baseline_settings",
    "build_baseline",
]
