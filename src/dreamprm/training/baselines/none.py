"""No baseline: the run learns its weights as its other settings say."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.training.baselines.base import Baseline


@dataclass(frozen=True)
class NoBaseline(Baseline):
    """Changes nothing. The vanilla PRM is this one with hypergrad.name=none."""
