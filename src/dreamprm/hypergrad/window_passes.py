"""The two gradients that every adjoint window takes: the inner one of each step, and the outer one after
them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.base import WindowTask
from dreamprm.hypergrad.differences import graph_rounding
from dreamprm.hypergrad.gradients import gradient_list, gradients, inner_gradient_list, leaves, require_graph
from dreamprm.hypergrad.micro_batches import Part, share_of, single_loss, summed, whole_losses
from dreamprm.hypergrad.mixed_derivative import InnerLevel, grad_of_dot
from dreamprm.hypergrad.products import Product


class GradientGraph:
    """The gradient of the inner loss at phi_t with its graph, for one product.

    Args:
        level: the inner loss there.
        phi: leaves.
        grads: with their graph: g_t, or the gradient of the only loss.
        factor: what takes these to g_t; None for 1.
    """

    def __init__(
        self,
        level: InnerLevel,
        phi: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        *,
        factor: Tensor | None = None,
    ) -> None:
        self._level, self._phi, self._grads, self._factor = level, phi, grads, factor

    def product(self, direction: Mapping[str, Tensor], *, hvp: bool) -> Product:
        """(d^2 L/dphi^2) direction if `hvp`, and the mixed derivative unless there is one loss; once."""
        phi = self._phi if hvp else {}
        upper = list(self._level.upper.values()) if self._factor is None else []
        parts = grad_of_dot(self._grads, direction, [*phi.values(), *upper])
        self._grads = {}
        if self._factor is not None:
            scaled = {name: part * self._factor for name, part in zip(phi, parts)}
            return Product(scaled, {}, None, backward=2)
        mixed = self._level.mixed(parts[len(phi) :])
        return Product(dict(zip(phi, parts)), mixed.alpha, mixed.slopes, backward=2)


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
    graph: GradientGraph | None = None
    """What differentiates the gradient again, where it was asked for."""
    rounding: float | None = None
    """Rounding of the narrowest dtype in which the loss was computed, where asked for."""
    forward: int = 1
    """Forward passes over the whole batch that were taken."""

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
    task: WindowTask,
    params: Mapping[str, Tensor],
    *,
    batch: Any,
    with_alpha: bool = False,
    keep_graph: bool = False,
    with_rounding: bool = False,
) -> InnerGradient:
    """One forward and one backward pass over the inner loss at `params`.

    `with_alpha` also takes dL/dalpha of a plain problem, from the same pass; `with_rounding` looks through
    the graph for the narrowest dtype. A batch in parts takes them part by part, and one more forward pass
    where the weights need all losses first.

    `keep_graph` differentiates with a graph for one product later, except of batches in parts.
    """
    problem, variables = task.problem, leaves(params)
    parts = problem.parts(batch)
    if len(parts) > 1:
        options = {"with_alpha": with_alpha, "with_rounding": with_rounding}
        return _accumulated(task, variables, batch=batch, parts=parts, **options)
    if keep_graph:
        return _with_graph(task, variables, batch=batch)
    if not problem.structured:
        alpha = leaves(task.alpha) if with_alpha else task.alpha
        loss = problem.inner_loss(variables, alpha, batch)
        grads = inner_gradient_list(loss, variables, alpha.values() if with_alpha else ())
        return InnerGradient(
            batch,
            loss.detach(),
            grads=dict(zip(variables, grads)),
            alpha=dict(zip(alpha, grads[len(variables) :])) if with_alpha else None,
            rounding=graph_rounding(loss) if with_rounding else None,
        )
    losses = require_graph(problem.inner_losses(variables, batch), name="inner_losses")
    with torch.no_grad():
        weights = problem.weights(task.alpha, batch, losses)
    loss = (weights * losses).mean()
    if losses.numel() > 1:
        if problem.has_unweighted_loss:
            loss = loss + problem.unweighted_loss(variables, batch)
        step = InnerGradient(batch, loss.detach(), losses.detach(), grads=gradients(loss, variables))
        step.rounding = graph_rounding(loss) if with_rounding else None
        return step
    weight, single = weights[0], gradients(losses[0], variables)
    step = InnerGradient(batch, loss.detach(), losses.detach(), weight=weight, single=single)
    step.rounding = graph_rounding(losses) if with_rounding else None
    if problem.has_unweighted_loss:
        rest = problem.unweighted_loss(variables, batch)
        others = gradients(rest, variables)
        step.loss = step.loss + rest.detach()
        step.grads = {name: others.pop(name) + single[name] * weight for name in params}
    return step


def _with_graph(task: WindowTask, phi: dict[str, Tensor], *, batch: Any) -> InnerGradient:
    """`inner_gradient` that can be differentiated again."""
    problem = task.problem
    if not problem.structured:
        level = InnerLevel(problem, phi, task.alpha, batch=batch, losses=None)
        loss = level.loss(phi)
        grads = dict(zip(phi, inner_gradient_list(loss, phi, create_graph=True)))
        graph = GradientGraph(level, phi, grads)
        return InnerGradient(batch, loss.detach(), grads=_detached(grads), graph=graph)
    losses = require_graph(problem.inner_losses(phi, batch), name="inner_losses")
    level = InnerLevel(problem, phi, task.alpha, batch=batch, losses=losses.detach())
    weights = level.upper["weights"]
    if losses.numel() == 1 and not problem.has_unweighted_loss:
        single, weight = gradients(losses[0], phi, create_graph=True), weights[0].detach()
        return InnerGradient(
            batch,
            weight * losses[0].detach(),
            losses.detach(),
            weight=weight,
            single=_detached(single),
            graph=GradientGraph(level, phi, single, factor=weight),
        )
    loss = (weights * losses).mean()
    if problem.has_unweighted_loss:
        loss = loss + problem.unweighted_loss(phi, batch)
    grads = gradients(loss, phi, create_graph=True)
    graph = GradientGraph(level, phi, grads)
    return InnerGradient(batch, loss.detach(), losses.detach(), grads=_detached(grads), graph=graph)


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _accumulated(
    task: WindowTask,
    phi: dict[str, Tensor],
    *,
    batch: Any,
    parts: Sequence[Part],
    with_alpha: bool,
    with_rounding: bool,
) -> InnerGradient:
    """`inner_gradient` of a batch in parts, one graph at a time."""
    step = _summed_over_parts(task, phi, batch=batch, parts=parts, with_alpha=with_alpha)
    if with_rounding:
        problem, part = task.problem, parts[0].batch
        step.rounding = graph_rounding(
            problem.inner_losses(phi, part)
            if problem.structured
            else problem.inner_loss(phi, task.alpha, part)
        )
    return step


def _summed_over_parts(
    task: WindowTask, phi: dict[str, Tensor], *, batch: Any, parts: Sequence[Part], with_alpha: bool
) -> InnerGradient:
    problem = task.problem
    values: list[Tensor] = []

    def gradient_of(loss: Tensor, upper: Sequence[Tensor] = ()) -> list[Tensor]:
        values.append(loss.detach())
        return inner_gradient_list(loss, phi, upper)

    if not problem.structured:
        alpha = leaves(task.alpha) if with_alpha else task.alpha
        upper = list(alpha.values()) if with_alpha else []
        grads = summed(
            gradient_of(problem.inner_loss(phi, alpha, part.batch) * share_of(part), upper) for part in parts
        )
        return InnerGradient(
            batch,
            torch.stack(values).sum(),
            grads=dict(zip(phi, grads)),
            alpha=dict(zip(alpha, grads[len(phi) :])) if with_alpha else None,
        )
    if single_loss(parts):
        # one loss: its gradient is wanted without the weight, so the weight can come last
        grads = summed(
            gradient_of(whole_losses([part], [problem.inner_losses(phi, part.batch)])[0]) for part in parts
        )
        losses = torch.stack(values).sum().reshape(1)
        with torch.no_grad():
            weight = problem.weights(task.alpha, batch, losses)[0]
        single = dict(zip(phi, grads))
        step = InnerGradient(batch, weight * losses[0], losses, weight=weight, single=single)
        if problem.has_unweighted_loss:
            values.clear()
            rest = summed(
                gradient_of(problem.unweighted_loss(phi, part.batch) * share_of(part)) for part in parts
            )
            step.loss = step.loss + torch.stack(values).sum()
            step.grads = {name: grad + single[name] * weight for name, grad in zip(phi, rest)}
        return step
    with torch.no_grad():
        losses = problem.whole_inner_losses(phi, batch)
    level = InnerLevel(problem, phi, task.alpha, batch=batch, losses=losses)
    grads = summed(gradient_of(loss(phi)) for loss in level.terms())
    return InnerGradient(batch, torch.stack(values).sum(), losses, grads=dict(zip(phi, grads)), forward=2)


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
    inputs, values = [*phi.values(), *alpha.values()], []
    parts = task.problem.outer_parts(task.outer_batch)

    def gradient_of(part: Part) -> list[Tensor]:
        loss = require_graph(task.problem.outer_loss(phi, alpha, part.batch), name="outer_loss")
        if len(parts) > 1:
            loss = loss * share_of(part)
        values.append(loss.detach())
        return gradient_list(loss, inputs)

    grads = summed(gradient_of(part) for part in parts)
    loss = values[0] if len(values) == 1 else torch.stack(values).sum()
    return OuterGradient(loss, dict(zip(phi, grads)), dict(zip(alpha, grads[len(phi) :])))


@torch.no_grad()
def outer_value(task: WindowTask, params: Mapping[str, Tensor]) -> Tensor:
    """The outer loss alone."""
    parts = task.problem.outer_parts(task.outer_batch)
    values = [task.problem.outer_loss(params, task.alpha, part.batch) for part in parts]
    if len(values) == 1:
        return values[0]
    return torch.stack([value * share_of(part) for value, part in zip(values, parts)]).sum()
