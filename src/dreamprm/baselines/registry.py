"""Baselines by name, and from a name with settings to the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dreamprm.baselines.base import Baseline
from dreamprm.registry import build, strategy_settings

BASELINES: Mapping[str, str] = MappingProxyType(
    {
        "none": "dreamprm.baselines.none:NoBaseline",
        "orm": "dreamprm.baselines.orm:OutcomeRewardModel",
        "car": "dreamprm.baselines.car:ClusterAndRank",
        "s1": "dreamprm.baselines.s1:S1",
        "meta_only": "dreamprm.baselines.meta_only:MetaOnly",
        "with_meta": "dreamprm.baselines.with_meta:WithMeta",
        "random_weights": "dreamprm.baselines.random_weights:RandomWeights",
        "fixed_weights": "dreamprm.baselines.fixed_weights:FixedWeights",
        "doremi": "dreamprm.baselines.doremi:DoReMi",
        "doge": "dreamprm.baselines.doge:DoGE",
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
