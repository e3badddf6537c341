"""One learned weight per domain: raw parameters alpha and the normalisation that turns them into weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from dreamprm.models.weights.base import (
    NO_MEMORY,
    Tensors,
    Weights,
    check_domains,
    check_normalisation,
    normalised,
    raw_start,
)

DOMAIN_WEIGHTS = "domain_weights"


@dataclass(frozen=True)
class DomainWeights(Weights):
    """Weights of K domains, a function of the raw parameters alpha_1..alpha_K; `normalised` gives the forms.

    Use it to learn which datasets to train on: there are few variables, and each occurs in many batches.

    Args:
        names: the domains in the order of alpha; at least one, each named once.
        normalisation: one of `NORMALISATIONS`.

    Raises:
        UserError: no domain, a repeated name, or an unknown normalisation.

    Source: DreamPRM, arXiv 2505.20241.
    """

    per_instance: ClassVar[bool] = False
    names: tuple[str, ...]
    normalisation: str = "softplus"

    def __init__(self, names: Sequence[str], normalisation: str = "softplus") -> None:
        check_domains(names)
        check_normalisation(normalisation)
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "normalisation", normalisation)

    @property
    def saturates(self) -> bool:
        """Whether weights stop responding to alpha where it is large: unless they are alpha itself."""
        return self.normalisation != "none"

    def init(self) -> dict[str, Tensor]:
        """Raw parameters `{"domain_weights": (K,) float32}` at which every weight is 1."""
        return {DOMAIN_WEIGHTS: raw_start(len(self.names), self.normalisation)}

    def table(self, alpha: Tensors) -> Tensor:
        """`(K,)`, the weight of every domain, in the dtype of alpha and differentiable in it."""
        return normalised(alpha[DOMAIN_WEIGHTS], self.normalisation)

    def weights(self, alpha: Tensors, batch: Mapping[str, Any], losses: Tensor) -> Tensor:
        """`(n,)`, the weights of the batch's domains, `batch["domains"]` (n,) long."""
        del losses  # a weight per domain does not depend on them
        return self.table(alpha)[batch["domains"]]

    def named(self, alpha: Tensors, memory: Tensors = NO_MEMORY) -> dict[str, float]:
        """Weights by domain name."""
        del memory
        values = self.table({DOMAIN_WEIGHTS: alpha[DOMAIN_WEIGHTS].detach()})
        return dict(zip(self.names, values.tolist(), strict=True))
