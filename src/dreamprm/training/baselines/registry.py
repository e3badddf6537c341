"""Baselines by name, and from a name with settings to the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dreamprm.config.strategies import build, strategy_settings
from dreamprm.training.baselines.base import Baseline

BASELINES: Mapping[str, str] = MappingProxyType(
    {
        "none": "dreamprm.training.baselines.none:NoBaseline",
        "orm": "dreamprm.training.baselines.orm:OutcomeRewardModel",
        "car": "dreamprm.training.baselines.car:ClusterAndRank",
        "s1": "dreamprm.training.baselines.s1:S1",
        "meta_only": "dreamprm.training.baselines.meta_only:MetaOnly",
        "with_meta": "dreamprm.training.baselines.with_meta:WithMeta",
        "random_weights": "dreamprm.training.baselines.random_weights:RandomWeights",
        "fixed_weights": "dreamprm.training.baselines.fixed_weights:FixedWeights",
        "doremi": "dreamprm.training.baselines.doremi:DoReMi",
        "doge": "dreamprm.training.baselines.doge:DoGE",
    }
)
"""`module:class` by name; each class is a frozen dataclass whose fields are its settings."""


def build_baseline(name: str, **settings: Any) -> Baseline:
    """The baseline of this name (a key of `BASELINES`) with its settings; defaults work where there are any.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), a setting that is missing, or a
            value that the baseline refuses.
    """
    baseline: Baseline = build("baseline", name, BASELINES, settings)
    return baseline


def baseline_settings(name: str) -> dict[str, Any]:
    """The settings of a baseline with their defaults.

    Raises:
        UserError: an unknown name.
    """
    return strategy_settings("baseline", name, BASELINES)
