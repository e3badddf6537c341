"""Gradient clipping by the norm of the whole gradient, and its derivative."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamprm.hypergrad.sharding import params_norm, shared, total

# Added to the norm that clipping divides by, as torch.nn.utils.clip_grad_norm_ does.
CLIP_EPS = 1e-6


@dataclass(frozen=True)
class Clip:
    """How a gradient's norm was brought down: g' = factor g, factor = max_grad_norm / (norm + 1e-6)."""

    norm: Tensor
    """Scalar |g|, over all tensors together, before the clipping."""
    factor: Tensor
    """Scalar, below 1."""

    def clipped(self, grad: Tensor) -> Tensor:
        """g' of one tensor."""
        return grad * self.factor

    @torch.no_grad()
    def vjp(self, gbar: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Send derivatives backwards through the clipping, which couples all tensors.

            gbar = factor (gbar' - g <g, gbar'> / (norm (norm + 1e-6)))

        Args:
            gbar: gbar', derivatives in the clipped gradient g'.
            grads: g, before the clipping.
        """
        along = total(torch.stack([(gbar[name] * grads[name]).sum() for name in gbar]).sum())
        share = along / (self.norm * (self.norm + CLIP_EPS))
        return {name: (gbar[name] - grads[name] * share).mul_(self.factor) for name in gbar}


def clip_of(grads: Mapping[str, Tensor], max_grad_norm: float | None) -> Clip | None:
    """How these gradients are clipped to the norm, differentiable; None where they are not."""
    if max_grad_norm is None:
        return None
    norm = params_norm(grads.values())
    length = float(norm.detach())
    if length + CLIP_EPS <= max_grad_norm or not math.isfinite(length):
        return None  # a gradient that is not finite stays so, to be seen
    return Clip(norm, shared(max_grad_norm / (norm + CLIP_EPS)))
