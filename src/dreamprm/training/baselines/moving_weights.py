"""What DoReMi and DoGE share: domain weights that start uniform and move by exponentiated gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dreamprm.config.schema import setting
from dreamprm.hypergrad import Estimator
from dreamprm.hypergrad.base import WindowTask
from dreamprm.models.weights import DomainWeights
from dreamprm.training.baselines.base import UpperLevel
from dreamprm.training.baselines.exponentiated import ExponentiatedGradient

BATCHES = ("last", "all")


def moving_weights(
    domains: Sequence[str], estimator: Estimator, *, lr: float, smoothing: float
) -> UpperLevel:
    """An upper level whose alpha is the weights themselves, all 1 at the start."""
    weights = DomainWeights(domains, "none")
    return UpperLevel(weights, weights.init(), estimator, ExponentiatedGradient(lr, smoothing))


def batches_setting() -> Any:
    """The declaration of the setting `batches` of these baselines."""
    return setting(
        "all",
        "read the window's last batch, or all of them; use all if micro-batches hold one domain "
        "(sampling=single)",
        choices=BATCHES,
    )


def chosen_batches(task: WindowTask, batches: str) -> list[Any]:
    """The window's last batch, or all of them."""
    return task.inner_batches if batches == "all" else task.inner_batches[-1:]


class DomainMeans:
    """The mean over batches of a value per domain; a domain that is in no batch has 0, so that only the
    normalisation changes its weight."""

    def __init__(self, like: Tensor) -> None:
        self._sums, self._counts = torch.zeros_like(like), torch.zeros_like(like)

    def add(self, domains: Tensor, values: Tensor) -> None:
        """Add one batch: `(n,)` the domains' indices, each once, and their values."""
        self._sums.index_add_(0, domains, values.to(self._sums))
        self._counts.index_add_(0, domains, torch.ones_like(values).to(self._counts))

    def means(self) -> Tensor:
        """`(K,)`: the mean of each domain's values."""
        return self._sums / self._counts.clamp_min(1.0)
