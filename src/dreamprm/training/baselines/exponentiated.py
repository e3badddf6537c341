"""Exponentiated gradient: the upper optimizer for weights on a simplex."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any

import torch
from torch import Tensor

from dreamprm.config.checking import check_settings
from dreamprm.config.schema import setting
from dreamprm.hypergrad import AdamWState


def lr_setting(default: Any) -> Any:
    """The declaration of `ExponentiatedGradient.lr`, also for the baselines that pass it on."""
    return setting(default, "step size of the weights", above=0)


def smoothing_setting(default: float) -> Any:
    """The declaration of `ExponentiatedGradient.smoothing`."""
    return setting(default, "share of uniform weights mixed in", minimum=0, maximum=1)


@dataclass(frozen=True)
class ExponentiatedGradient:
    """w_k <- (1 - c) K w_k exp(-lr g_k) / sum_j w_j exp(-lr g_j) + c, for K weights with mean 1.

    Mirror descent with the negative entropy: weights stay positive and their mean stays 1. c mixes in the
    uniform weights, so that no weight is lost for good. Its only state is the number of steps; it takes the
    place of AdamW in the training loop (`init`, `step`, `learning_rate`).

    Args:
        lr: step size; > 0.
        smoothing: c, in [0, 1].

    Raises:
        ValueError: a value that is not allowed.

    Source: Kivinen and Warmuth, 1997; with smoothing as in DoReMi, arXiv 2305.10429, algorithm 1, whose
    weights sum to 1, while ours have mean 1.
    """

    lr: float = lr_setting(MISSING)
    smoothing: float = smoothing_setting(0.0)

    def __post_init__(self) -> None:
        check_settings(self)

    def init(self, params: Mapping[str, Tensor]) -> AdamWState:
        """The state before the first step; it has no moments."""
        del params
        return AdamWState(step=0, exp_avg={}, exp_avg_sq={})

    def learning_rate(self, step: int) -> float:
        """The step size, which is the same for every step."""
        del step
        return self.lr

    @torch.no_grad()
    def step(
        self, params: Mapping[str, Tensor], grads: Mapping[str, Tensor], *, state: AdamWState
    ) -> tuple[dict[str, Tensor], AdamWState]:
        """One step of every tensor (K,) of weights; returns (weights, state)."""
        moved = {}
        for name, weights in params.items():
            shares = torch.softmax(weights.log() - self.lr * grads[name], dim=0)
            moved[name] = (1 - self.smoothing) * weights.numel() * shares + self.smoothing
        return moved, AdamWState(state.step + 1, {}, {})
