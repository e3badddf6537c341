"""What a trained PRM is, in a few words, by the name of what trained it: for model cards, pages and plots."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MODELS: Mapping[str, str] = MappingProxyType(
    {
        "vanilla": "PRM trained with equal weights",
        "orm": "outcome reward model: trained on one outcome label a CoT, at its last step",
        "car": "PRM trained with equal weights on data selected by cluster and rank",
        "s1": "PRM trained with equal weights on data selected by quality, difficulty and diversity",
        "meta_only": "PRM trained on the meta set alone",
        "with_meta": "PRM trained with equal weights on all domains and the meta set as one more",
        "random_weights": "PRM trained with fixed weights drawn at random",
        "fixed_weights": "PRM trained with weights that an earlier run ended with or had on average",
        "doremi": "PRM trained with weights moved by excess loss over a reference model (DoReMi)",
        "doge": "PRM trained with weights moved by the alignment of gradients with the meta loss (DoGE)",
        "dreamprm": "PRM trained with learned weights",
    }
)
"""Trained models by the name of their baseline; `vanilla` and `dreamprm` are none."""
