"""Selectors: their names, their order in tables, and what each of them means, in a few words.

The single source for pages, plots and model cards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dreamprm.models.model_card import MODELS

WEIGHTED = "weighted_"
"""Prefix of a scorer's name: self-consistency weighted by that scorer."""

BEST_GENERATOR = "best_generator"

_ORDER = ("base_likelihood", "base_head", "orm", "vanilla", "car", "s1")
_LAST = ("dreamprm",)

UNSCORED: Mapping[str, str] = MappingProxyType(
    {
        "random": "one candidate at random: the mean accuracy of all",
        "first": "zero-shot: the first candidate, whatever N is",
        "majority": "self-consistency: the most frequent final answer; ties are broken at random",
        BEST_GENERATOR: "the best single generator, without selection",
        "oracle": "right if any candidate is: the ceiling",
    }
)
"""Selectors that need no scores, by name; no scorer may have their names."""

BACKBONES: Mapping[str, str] = MappingProxyType(
    {
        "base_likelihood": "the likelihood of the CoT under the base model, not a reward model",
        "base_head": "the PRM before training: its step head is untrained",
    }
)
"""Scorers that need no training, by name."""

PAPER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "first": "zero-shot",
        "majority": "self-consistency",
        "orm": "ORM",
        "vanilla": "vanilla PRM",
        "car": "CaR-PRM",
        "s1": "s1-PRM",
        "dreamprm": "DreamPRM",
    }
)
"""What DreamPRM's paper calls the methods of its table (arXiv 2505.20241)."""

SINGLE = "one value a response"
"""How the aggregation of a scorer of whole responses was chosen: there is nothing to choose."""

SHORT: Mapping[str, str] = MappingProxyType({**UNSCORED, **BACKBONES, **MODELS})
"""Unscored selectors, backbones and trained models, by name."""


def ordered_scorers(names: Sequence[str]) -> list[str]:
    """Each scorer once, in the order of the paper's table: known baselines, others, dreamprm."""
    middle = [name for name in dict.fromkeys(names) if name not in (*_ORDER, *_LAST)]
    return [name for name in (*_ORDER, *middle, *_LAST) if name in names]


def is_scorer(selector: str) -> bool:
    """Whether a selector takes the highest score: neither a vote nor one that needs no score."""
    return selector not in UNSCORED and not selector.startswith(WEIGHTED)


def meaning(selector: str, aggregations: Mapping[str, Any] | None = None) -> str:
    """What a selector picks.

    An unknown scorer is described as "scores of NAME".

    Args:
        selector: its name.
        aggregations: the entry of evaluation.json; if given, the text also says how a scorer's steps become
            one score.
    """
    if selector in UNSCORED:
        return UNSCORED[selector]
    if selector.startswith(WEIGHTED):
        return (
            "self-consistency, votes weighted by the probability that "
            f"{selector.removeprefix(WEIGHTED)} gives"
        )
    known = SHORT.get(selector, f"scores of {selector}")
    choice = (aggregations or {}).get(selector)
    if choice is None:
        return known
    how = choice["chosen"]
    if how == SINGLE:
        return f"{known}; highest score, one value per response"
    return f"{known}; highest {choice['aggregation']} of the steps ({how})"
