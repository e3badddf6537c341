"""Baselines by name, and from a name with settings to the baseline."""

from __future__ import annotations

from dreamprm.config.strategies import Registry
from dreamprm.training.baselines.base import Baseline

BASELINES: Registry[Baseline] = Registry(
    "baseline",
    {
        "none": "dreamprm.training.baselines.none:NoBaseline",
        "orm": "dreamprm.training.baselines.orm:OutcomeRewardModel",
        "car": "dreamprm.training.baselines.car:ClusterAndRank",
        "s1": "dreamprm.training.baselines.s1:S1",
        "bis": "dreamprm.training.baselines.bis:BalancedInformation",
        "random_share": "dreamprm.training.baselines.random_share:RandomShare",
        "meta_only": "dreamprm.training.baselines.meta_only:MetaOnly",
        "with_meta": "dreamprm.training.baselines.with_meta:WithMeta",
        "random_weights": "dreamprm.training.baselines.random_weights:RandomWeights",
        "fixed_weights": "dreamprm.training.baselines.fixed_weights:FixedWeights",
        "regmix": "dreamprm.training.baselines.regmix:RegMix",
        "doremi": "dreamprm.training.baselines.doremi:DoReMi",
        "doge": "dreamprm.training.baselines.doge:DoGE",
    },
)
"""Baselines by name; each class is a frozen dataclass whose fields are its settings."""

build_baseline = BASELINES.build
"""`build_baseline(name, **settings)`: the baseline of this name; settings with a default may be left out
(`Registry.build`)."""

baseline_settings = BASELINES.settings
"""`baseline_settings(name)`: the settings of a baseline with their defaults."""
