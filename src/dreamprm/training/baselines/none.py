"""No baseline: the run learns its weights as its other settings say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dreamprm.training.baselines.base import Baseline

if TYPE_CHECKING:
    from dreamprm.training.settings import TrainConfig


@dataclass(frozen=True)
class NoBaseline(Baseline):
    """Changes nothing. The vanilla PRM is this one with hypergrad.name=none."""

    def settle(self, config: TrainConfig) -> TrainConfig:
        """The settings as they are."""
        return config
