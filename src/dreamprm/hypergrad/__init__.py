"""Hypergradients of bilevel problems through windows of inner AdamW steps. Usable without the rest of
dreamprm."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from dreamprm.hypergrad.adamw import AdamW, AdamWState
from dreamprm.hypergrad.base import Estimator, Status, Window
from dreamprm.hypergrad.first_order import FirstOrder
from dreamprm.hypergrad.none import NoHypergradient
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.unrolled import Unrolled

__all__ = [
    "ESTIMATORS", "AdamW", "AdamWState", "BilevelProblem", "Estimator", "FirstOrder", "NoHypergradient",
    "Status", "Unrolled", "Window", "build_estimator",
]

ESTIMATORS: Mapping[str, type[Estimator]] = MappingProxyType({
    "unrolled": Unrolled,
    "first_order": FirstOrder,
    "none": NoHypergradient,
})


def build_estimator(name: str, **settings: Any) -> Estimator:
    """The estimator of this name (a key of `ESTIMATORS`) with its settings; defaults alone work.

    Raises:
        ValueError: an unknown name or setting (the message gives the nearest known one), or a value that the
            estimator refuses.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"unknown estimator {name!r}{_nearest(name, list(ESTIMATORS))}; "
                         f"known: {', '.join(ESTIMATORS)}")
    estimator = ESTIMATORS[name]
    known = [field.name for field in fields(estimator)]  # type: ignore[arg-type]
    for setting in settings:
        if setting not in known:
            raise ValueError(f"estimator {name!r} has no setting {setting!r}{_nearest(setting, known)}; "
                             f"its settings: {', '.join(known) or 'none'}")
    return estimator(**settings)


def _nearest(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
    return f", did you mean {close[0]!r}?" if close else ""
