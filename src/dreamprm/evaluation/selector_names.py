"""The names of selectors and their order in tables."""

from __future__ import annotations

from collections.abc import Sequence

WEIGHTED = "weighted_"
"""Before a scorer's name: weighted self-consistency by it."""

BEST_GENERATOR = "best_generator"

RESERVED = ("random", "first", "majority", BEST_GENERATOR, "oracle")
"""Selectors that need no score; no scorer may have their names."""

_ORDER = ("base_likelihood", "base_head", "orm", "vanilla", "car", "s1")
_LAST = ("dreamprm",)


def ordered_scorers(names: Sequence[str]) -> list[str]:
    """Each scorer once, in the order of the paper's table: known baselines, others, dreamprm."""
    middle = [name for name in dict.fromkeys(names) if name not in (*_ORDER, *_LAST)]
    return [name for name in (*_ORDER, *middle, *_LAST) if name in names]


def is_scorer(selector: str) -> bool:
    """Whether a selector takes the highest score: no vote, and none that needs no score."""
    return selector not in RESERVED and not selector.startswith(WEIGHTED)
