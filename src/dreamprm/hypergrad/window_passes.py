"""The two gradients that every adjoint window takes: the inner one of each step, and the outer one after
them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.base import (
    WindowTask,
    gradient_list,
    gradients,
    inner_gradient_list,
    leaves,
    require_graph,
)


@dataclass
class InnerGradient:
    """The inner loss of one step and its gradient, split where a single loss has its own use."""

    batch: Any
    loss: Tensor
    losses: Tensor | None = None
    """(n,) of a structured problem, at phi_t."""
    grads: dict[str, Tensor] | None = None
    """g_t, before clipping; None where it is weight * single."""
    weight: Tensor | None = None
    single: dict[str, Tensor] | None = None
    """The gradient of the only loss (n = 1), and that loss's weight: what the mixed derivative needs."""
    alpha: dict[str, Tensor] | None = None
    """dL/dalpha of a plain problem, where asked for."""

    def grad(self, name: str) -> Tensor:
        """g_t of one tensor."""
        if self.grads is not None:
            return self.grads[name]
        assert self.single is not None and self.weight is not None
        return self.single[name] * self.weight

    def all_grads(self) -> dict[str, Tensor]:
        """g_t by name."""
        tensors = self.single if self.grads is None else self.grads
        assert tensors is not None
        return {name: self.grad(name) for name in tensors}


def inner_gradient(
    task: WindowTask, params: Mapping[str, Tensor], *, batch: Any, with_alpha: bool = False
) -> InnerGradient:
    """One forward and one backward pass over the inner loss at `params`.

    `with_alpha` also takes dL/dalpha of a plain problem, from the same pass.
    """
    problem, variables = task.problem, leaves(params)
    if not problem.structured:
        alpha = leaves(task.alpha) if with_alpha else task.alpha
        loss = problem.inner_loss(variables, alpha, batch)
        parts = inner_gradient_list(loss, variables, alpha.values() if with_alpha else ())
        return InnerGradient(
            batch,
            loss.detach(),
            grads=dict(zip(variables, parts)),
            alpha=dict(zip(alpha, parts[len(variables) :])) if with_alpha else None,
        )
    losses = require_graph(problem.inner_losses(variables, batch), name="inner_losses")
    with torch.no_grad():
        weights = problem.weights(task.alpha, batch, losses)
    loss = (weights * losses).mean()
    if losses.numel() > 1:
        if problem.has_unweighted_loss:
            loss = loss + problem.unweighted_loss(variables, batch)
        return InnerGradient(batch, loss.detach(), losses.detach(), grads=gradients(loss, variables))
    weight, single = weights[0], gradients(losses[0], variables)
    step = InnerGradient(batch, loss.detach(), losses.detach(), weight=weight, single=single)
    if problem.has_unweighted_loss:
        rest = problem.unweighted_loss(variables, batch)
        others = gradients(rest, variables)
        step.loss = step.loss + rest.detach()
        step.grads = {name: others.pop(name) + single[name] * weight for name in params}
    return step


@dataclass
class OuterGradient:
    """The outer loss at phi_T and its two partial derivatives."""

    loss: Tensor
    params: dict[str, Tensor]
    """lam = dL_meta/dphi, where the adjoint recursion starts."""
    alpha: dict[str, Tensor]
    """The direct part of dL_meta/dalpha."""


def outer_gradient(task: WindowTask, params: Mapping[str, Tensor]) -> OuterGradient:
    """One forward and one backward pass over the outer loss."""
    phi, alpha = leaves(params), leaves(task.alpha)
    loss = require_graph(task.problem.outer_loss(phi, alpha, task.outer_batch), name="outer_loss")
    parts = gradient_list(loss, [*phi.values(), *alpha.values()])
    return OuterGradient(loss.detach(), dict(zip(phi, parts)), dict(zip(alpha, parts[len(phi) :])))
