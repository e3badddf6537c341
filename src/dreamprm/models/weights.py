"""One learned weight per domain: raw parameters alpha and the normalisation that turns them into weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dreamprm.errors import UserError

NORMALISATIONS = ("softplus", "softmax", "none")
DOMAIN_WEIGHTS = "domain_weights"


@dataclass(frozen=True)
class DomainWeights:
    """Weights of K domains, a function of the raw parameters alpha_1..alpha_K.

    softplus:  w_k = softplus(alpha_k) / mean_j softplus(alpha_j)     the public code's form, the default
    softmax:   w_k = K exp(alpha_k) / sum_j exp(alpha_j)
    none:      w_k = alpha_k                                          the paper's formula as it is written

    softplus and softmax weights are positive with mean 1, so alpha changes the mixture and never the overall
    step size; both start at w_k = 1 with alpha = 0. `none` starts at alpha = 1 and is neither clipped nor
    normalised: a weight may become negative (the domain is then unlearned) and the sum may drift.

    Args:
        names: the domains in the order of alpha; not empty, each once.
        normalisation: one of `NORMALISATIONS`.

    Raises:
        UserError: no domain, a repeated name, or an unknown normalisation.

    Source: DreamPRM, arXiv 2505.20241; softplus form as in its public code.
    """

    names: tuple[str, ...]
    normalisation: str = "softplus"

    def __init__(self, names: Sequence[str], normalisation: str = "softplus") -> None:
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "normalisation", normalisation)
        if not self.names:
            raise UserError("domain weights need at least one domain, got none")
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise UserError(f"each domain may be named once, got {', '.join(repeated)} more than once")
        if normalisation not in NORMALISATIONS:
            raise UserError(
                f"unknown weight normalisation {normalisation!r}; use one of {', '.join(NORMALISATIONS)}"
            )

    def init(self) -> dict[str, Tensor]:
        """Raw parameters `{"domain_weights": (K,) float32}` at which every weight is 1."""
        start = torch.ones if self.normalisation == "none" else torch.zeros
        return {DOMAIN_WEIGHTS: start(len(self.names))}

    def weights(self, alpha: Mapping[str, Tensor]) -> Tensor:
        """Weights `(K,)` in the dtype of alpha, differentiable in it."""
        raw = alpha[DOMAIN_WEIGHTS]
        match self.normalisation:
            case "softplus":
                positive = functional.softplus(raw)
                return positive / positive.mean()
            case "softmax":
                return torch.softmax(raw, dim=0) * raw.shape[0]
            case _:
                return raw

    def named(self, alpha: Mapping[str, Tensor]) -> dict[str, float]:
        """Weights by domain name, as plain numbers for logs and reports."""
        values = self.weights({DOMAIN_WEIGHTS: alpha[DOMAIN_WEIGHTS].detach()})
        return dict(zip(self.names, values.tolist(), strict=True))
