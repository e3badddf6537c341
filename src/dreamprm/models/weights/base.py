"""The interface of all weights: from the upper variables alpha to one weight for each loss of a batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from dreamprm.config.choices import NORMALISATIONS
from dreamprm.config.errors import UserError

LARGEST_ALPHA = 2.0**70
"""Beyond it the slope of K weights, at most K / alpha, is below 2^-63 even for 100 of them, and its square
below the smallest normal number of float32."""

Tensors = Mapping[str, Tensor]
NO_MEMORY: Tensors = MappingProxyType({})


class Weights(ABC):
    """One weight for each loss of a batch, a function of alpha; `names` are the domains, for logs.

    The problem, the training loop and the reports use these methods and never ask which weights they hold.
    """

    per_instance: ClassVar[bool]
    """Whether a batch has one loss per CoT (True) or one per domain (False)."""
    corrects_labels: ClassVar[bool] = False
    """Whether alpha corrects the labels (`labels`), and the weights are all 1."""
    names: tuple[str, ...]
    """The domains, in the order of the batches' domain indices."""

    @abstractmethod
    def init(self) -> dict[str, Tensor]:
        """The initial alpha (float32), at which every weight is 1."""

    @abstractmethod
    def weights(self, alpha: Tensors, batch: Mapping[str, Any], losses: Tensor) -> Tensor:
        """`(n,)`, the weight of each of the batch's losses, differentiable in alpha; losses are detached."""

    def labels(self, alpha: Tensors, batch: Mapping[str, Any]) -> Tensor:
        """`(S,)`, the labels that the batch's steps are trained on; those of the data for most weights."""
        del alpha
        labels: Tensor = batch["labels"]
        return labels

    def admissible(self, alpha: Tensors) -> dict[str, Tensor]:
        """The nearest alpha that is allowed, taken after each upper step: for most weights any is."""
        return dict(alpha)

    @abstractmethod
    def named(self, alpha: Tensors, memory: Tensors = NO_MEMORY) -> dict[str, float]:
        """One weight per domain, as plain numbers for logs and reports; the mean over the domain's CoTs if
        each has its own weight. `memory` is what `remember` returned last."""

    @property
    def saturates(self) -> bool:
        """Whether weights stop responding to alpha where it is large."""
        return True

    def problem(self, alpha: Tensors) -> str:
        """Why alpha cannot be used although it is finite; "" if it can.

        Either a weight is not finite, or alpha is so large that the upper level cannot correct it: the slope
        of every weight in it is 0 or so small that AdamW's second moment, its square, underflows in float32.
        """
        for name, value in self.named(alpha, self.memory()).items():
            if not math.isfinite(value):
                return f"the upper step makes weights NaN or infinite ({name} {value}); lower upper.lr"
        largest = max((float(one.detach().abs().max()) for one in alpha.values() if one.numel()), default=0.0)
        if self.saturates and largest > LARGEST_ALPHA:
            return (
                f"the upper step makes alpha as large as {largest:.3g}, where the weights no longer respond "
                "to it; lower upper.lr"
            )
        return ""

    def by_instance(self, alpha: Tensors) -> Tensor | None:
        """`(N,)`, the weight of every CoT of the training table; None if CoTs have no own weights."""
        del alpha
        return None

    def memory(self) -> dict[str, Tensor]:
        """What `named` needs in addition to alpha, before the first window: nothing, for most weights."""
        return {}

    def remember(
        self, memory: Tensors, alpha: Tensors, *, last: Callable[[], tuple[Mapping[str, Any], Tensor]]
    ) -> dict[str, Tensor]:
        """The memory after a window. `last()` returns the window's last inner batch and its losses, computed
        by a forward pass that runs only if it is called."""
        del alpha, last
        return dict(memory)


def check_domains(names: Sequence[str]) -> None:
    """Require at least one domain, each named once (UserError otherwise)."""
    if not names:
        raise UserError("domain weights need at least one domain, got none")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise UserError(f"each domain must be named once, got {', '.join(repeated)} more than once")


def check_normalisation(normalisation: str) -> None:
    """Require one of `NORMALISATIONS` (UserError otherwise)."""
    if normalisation not in NORMALISATIONS:
        raise UserError(
            f"unknown weight normalisation {normalisation!r}; use one of {', '.join(NORMALISATIONS)}"
        )


def raw_start(count: int, normalisation: str) -> Tensor:
    """`(count,)` float32 raw parameters at which every normalised weight is 1."""
    return torch.ones(count) if normalisation == "none" else torch.zeros(count)


def normalised(raw: Tensor, normalisation: str) -> Tensor:
    """Weights of a table from its raw parameters, both `(n,)`.

    softplus:  w_i = softplus(a_i) / mean_j softplus(a_j)     the public code's form, the default
    softmax:   w_i = n exp(a_i) / sum_j exp(a_j)
    none:      w_i = a_i                                      the paper's formula as written

    softplus and softmax weights are positive with mean 1, so alpha changes the mixture and never the overall
    step size. `none` neither clips nor normalises: a weight may become negative (its domain or CoT is then
    unlearned) and the sum may drift.

    Source: DreamPRM, arXiv 2505.20241; softplus form as in its public code.
    """
    match normalisation:
        case "softplus":
            positive = functional.softplus(raw)
            return positive / positive.mean()
        case "softmax":
            return torch.softmax(raw, dim=0) * raw.shape[0]
        case _:
            return raw
