"""A bilevel problem: what is trained (inner loss over params) and what judges it (outer loss)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Loss = Callable[[Any, Any, Any], Tensor]


class BilevelProblem:
    """Two pure loss functions over params phi and outer variables alpha.

        min_alpha  outer_loss(phi_T(alpha), alpha; meta batch),
        phi_T: T optimizer steps on inner_loss(phi, alpha; batch)

    Give the inner level in one of two forms:

    - **plain**: `BilevelProblem(inner_loss, outer_loss)`; alpha may enter both in any differentiable way.
    - **structured**: `BilevelProblem(outer_loss=..., inner_losses=..., weights=..., unweighted_loss=...)`,
      for inner_loss = mean_i weights(alpha, batch, losses)_i * inner_losses(params, batch)_i +
      unweighted_loss. Prefer it where it applies: estimators that can exploit the structure then need fewer
      passes.

    In the structured form `weights` is handed the losses *detached*, so every estimator takes the derivative
    with these inputs held constant. That is the whole derivative where the weights ignore the losses (domain
    weights, instance tables); for weights computed from losses (InstanceNet) the path
    phi_t -> losses -> weights is left out, in all estimators alike.

    All callables must be pure: no logging, no `.item()`, the same value for the same arguments (fix dropout's
    seed inside, or switch it off). `params` and `alpha` arrive as dict[str, Tensor]; batches are passed
    through untouched.

    Args:
        inner_loss: (params, alpha, batch) -> scalar tensor.
        outer_loss: (params, alpha, batch) -> scalar tensor.
        inner_losses: (params, batch) -> (n,) tensor; n may differ from batch to batch.
        weights: (alpha, batch, losses) -> (n,) tensor; losses is (n,), detached.
        unweighted_loss: (params, batch) -> scalar tensor that alpha does not touch; None for no such term.

    Raises:
        ValueError: both forms are given, or neither, or one is incomplete, or an argument is not callable.

    Source: DreamPRM, arXiv 2505.20241 (domain weights); DreamPRM-1.5 (weights from losses).
    """

    def __init__(
        self,
        inner_loss: Loss | None = None,
        outer_loss: Loss | None = None,
        *,
        inner_losses: Callable[[Any, Any], Tensor] | None = None,
        weights: Loss | None = None,
        unweighted_loss: Callable[[Any, Any], Tensor] | None = None,
    ) -> None:
        structure = {"inner_losses": inner_losses, "weights": weights, "unweighted_loss": unweighted_loss}
        given = [name for name, function in structure.items() if function is not None]
        if outer_loss is None:
            raise ValueError("outer_loss is missing; give a callable (params, alpha, batch) -> scalar")
        if inner_loss is not None and given:
            raise ValueError(
                f"inner_loss and {', '.join(given)} were both given; give inner_loss alone "
                "(plain form) or inner_losses with weights (structured form)"
            )
        if inner_loss is None and (inner_losses is None or weights is None):
            raise ValueError(
                f"the inner level is incomplete: got {', '.join(given) or 'nothing'}; give "
                "inner_loss (plain form) or both inner_losses and weights (structured form)"
            )
        for name, function in {"inner_loss": inner_loss, "outer_loss": outer_loss, **structure}.items():
            if function is not None and not callable(function):
                raise ValueError(f"{name} must be callable, got {type(function).__name__}")
        self._inner_loss = inner_loss
        self._outer_loss = outer_loss
        self._inner_losses = inner_losses
        self._weights = weights
        self._unweighted_loss = unweighted_loss

    @property
    def structured(self) -> bool:
        """Whether the inner loss was given as a weighted mean of losses."""
        return self._inner_loss is None

    @property
    def has_unweighted_loss(self) -> bool:
        """Whether the inner loss has a term that alpha does not touch (structured form only)."""
        return self._unweighted_loss is not None

    def inner_loss(self, params: Tensors, alpha: Tensors, batch: Any) -> Tensor:
        """The whole inner loss, a scalar, in both forms."""
        loss = self.weighted_loss(params, alpha, batch)
        return loss + self.unweighted_loss(params, batch) if self.has_unweighted_loss else loss

    def weighted_loss(self, params: Tensors, alpha: Tensors, batch: Any) -> Tensor:
        """The part of the inner loss that alpha enters: all of it in the plain form."""
        if self._inner_loss is not None:
            return _scalar(self._inner_loss(params, alpha, batch), name="inner_loss")
        losses = self.inner_losses(params, batch)
        return (self.weights(alpha, batch, losses) * losses).mean()

    def inner_losses(self, params: Tensors, batch: Any) -> Tensor:
        """The losses before weighting, (n,). Structured form only.

        Raises:
            ValueError: the callable returned something else than a non-empty vector.
        """
        assert self._inner_losses is not None, "inner_losses of a problem in plain form"
        losses = self._inner_losses(params, batch)
        if losses.ndim != 1 or losses.numel() == 0:
            raise ValueError(
                f"inner_losses must return a vector (n,) with n >= 1, got shape {tuple(losses.shape)}"
            )
        return losses

    def weights(self, alpha: Tensors, batch: Any, losses: Tensor) -> Tensor:
        """The weight of each loss, (n,). Structured form only; the losses are detached here.

        Raises:
            ValueError: the callable returned another shape than that of the losses.
        """
        assert self._weights is not None, "weights of a problem in plain form"
        weights = self._weights(alpha, batch, losses.detach())
        if weights.shape != losses.shape:
            raise ValueError(
                f"weights must return one weight per loss, shape {tuple(losses.shape)}, "
                f"got {tuple(weights.shape)}"
            )
        return weights

    def unweighted_loss(self, params: Tensors, batch: Any) -> Tensor:
        """The term that alpha does not touch, a scalar. Only where `has_unweighted_loss`."""
        assert self._unweighted_loss is not None, "this problem has no unweighted_loss"
        return _scalar(self._unweighted_loss(params, batch), name="unweighted_loss")

    def outer_loss(self, params: Tensors, alpha: Tensors, batch: Any) -> Tensor:
        """The outer (meta) loss, a scalar."""
        return _scalar(self._outer_loss(params, alpha, batch), name="outer_loss")


def _scalar(loss: Tensor, *, name: str) -> Tensor:
    if not isinstance(loss, torch.Tensor) or loss.ndim != 0:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise ValueError(
            f"{name} must return a scalar tensor (0-dimensional), got {got}; reduce it, e.g. by mean()"
        )
    return loss
