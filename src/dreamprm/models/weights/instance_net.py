"""A small network that maps features of a CoT, above all its own loss, to its weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dreamprm.config.choices import WEIGHT_FEATURES
from dreamprm.config.errors import UserError
from dreamprm.models.weights.base import NO_MEMORY, Tensors, Weights, check_domains

MEANS = "weight_means"
# Decay of a domain's logged mean per batch: the mean covers about its last ten batches.
KEPT = 0.9


@dataclass(frozen=True)
class InstanceNet(Weights):
    """w_i = 2 sigmoid(w2 . tanh(W1 x_i + b1) + b2), x_i the features of CoT i; alpha is (W1, b1, w2, b2).

    Use it if there are too many CoTs for a table: what it learns on some CoTs carries over to all. The weight
    is in (0, 2) and starts at 1 (w2 = b2 = 0), so training starts as the vanilla PRM. It is not normalised: a
    batch may hold a single CoT, whose weight would then always be 1.

    The features, in this order:
        loss    the CoT's own loss (detached: no estimator differentiates the weight with respect to phi)
        steps   log(number of labelled steps)
        label   mean label
        domain  one-hot, K entries

    `named` returns the running mean of the weights given to each domain's CoTs: after every window, the
    weights of its last inner batch are computed (a forward pass without gradients, a few per cent of the
    window's time), and the domains in that batch keep 9/10 of their old mean. It is 1 until a domain first
    occurs.

    Args:
        names: the domains in the order of the batches' domain indices.
        features: some of `WEIGHT_FEATURES`, at least one.
        hidden: width of the hidden layer.
        seed: for W1 and b1, which are initialised as in torch.nn.Linear.

    Raises:
        UserError: no domain or a repeated one; no feature, or an unknown or repeated one; or hidden < 1.

    Source: DreamPRM-1.5's instance net (a weight from an instance's own loss); the form of Meta-Weight-Net,
    arXiv 1902.07379. The other features, the factor 2 and tanh are our additions.
    """

    per_instance: ClassVar[bool] = True
    names: tuple[str, ...]
    features: tuple[str, ...] = ("loss",)
    hidden: int = 16
    seed: int = 0

    def __init__(
        self, names: Sequence[str], features: Sequence[str] = ("loss",), *, hidden: int = 16, seed: int = 0
    ) -> None:
        check_domains(names)
        unknown = [feature for feature in features if feature not in WEIGHT_FEATURES]
        if unknown or not features or len(set(features)) < len(features):
            raise UserError(
                f"features must be some of {', '.join(WEIGHT_FEATURES)}, each once, got "
                f"{', '.join(features) or 'none'}"
            )
        if hidden < 1:
            raise UserError(f"hidden must be >= 1, got {hidden}")
        for name, value in {
            "names": tuple(names),
            "features": tuple(features),
            "hidden": hidden,
            "seed": seed,
        }.items():
            object.__setattr__(self, name, value)

    def init(self) -> dict[str, Tensor]:
        """`{"w1": (hidden, F), "b1": (hidden,), "w2": (hidden,), "b2": ()}` float32; every weight is 1."""
        width = sum(len(self.names) if feature == "domain" else 1 for feature in self.features)
        generator = torch.Generator().manual_seed(self.seed)

        def draw(*shape: int) -> Tensor:
            return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(width)

        return {
            "w1": draw(self.hidden, width),
            "b1": draw(self.hidden),
            "w2": torch.zeros(self.hidden),
            "b2": torch.zeros(()),
        }

    def weights(self, alpha: Tensors, batch: Mapping[str, Any], losses: Tensor) -> Tensor:
        """`(n,)`, the weights of the batch's CoTs, in the dtype of alpha.

        Args:
            batch: `cot` (S,), each step's CoT in the batch; `labels` (S,); `cot_domains` (n,) long.
            losses: `(n,)`, detached.
        """
        x = self._inputs(batch, losses).to(alpha["w1"].dtype)  # (n, F)
        hidden = torch.tanh(x @ alpha["w1"].T + alpha["b1"])  # (n, hidden)
        return 2 * torch.sigmoid(hidden @ alpha["w2"] + alpha["b2"])

    def _inputs(self, batch: Mapping[str, Any], losses: Tensor) -> Tensor:
        labels = batch["labels"].to(losses.dtype)
        # A CoT without labelled steps is treated as having a single step with label 0; its loss is 0.
        steps = _sums(torch.ones_like(labels), batch["cot"], like=losses).clamp_min(1)
        columns = []
        for feature in self.features:
            if feature == "loss":
                columns.append(losses[:, None])
            elif feature == "steps":
                columns.append(steps.log()[:, None])
            elif feature == "label":
                columns.append((_sums(labels, batch["cot"], like=losses) / steps)[:, None])
            else:
                one_hot = torch.nn.functional.one_hot(batch["cot_domains"], len(self.names))
                columns.append(one_hot.to(losses.dtype))
        return torch.cat(columns, dim=1)

    def memory(self) -> dict[str, Tensor]:
        """`{"weight_means": (K,) float64}`, all 1."""
        return {MEANS: torch.ones(len(self.names), dtype=torch.float64)}

    @torch.no_grad()
    def remember(
        self, memory: Tensors, alpha: Tensors, *, last: Callable[[], tuple[Mapping[str, Any], Tensor]]
    ) -> dict[str, Tensor]:
        """The running means, updated with the last batch's weights."""
        batch, losses = last()
        weights = self.weights(alpha, batch, losses).cpu().double()
        domains, means = batch["cot_domains"].cpu(), memory[MEANS].clone()
        for domain in domains.unique().tolist():
            means[domain] = KEPT * means[domain] + (1 - KEPT) * weights[domains == domain].mean()
        return {MEANS: means}

    def named(self, alpha: Tensors, memory: Tensors = NO_MEMORY) -> dict[str, float]:
        """Running mean of the weights given to each domain's CoTs."""
        del alpha
        return dict(zip(self.names, memory[MEANS].tolist(), strict=True))


def _sums(values: Tensor, group: Tensor, *, like: Tensor) -> Tensor:
    return torch.zeros_like(like).index_add(0, group, values)
