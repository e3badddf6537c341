"""The Hessian of the inner loss at one point, for many products, and its mixed derivative there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.base import gradient_list, leaves
from dreamprm.hypergrad.linear_solver import Vector, plus
from dreamprm.hypergrad.micro_batches import summed
from dreamprm.hypergrad.mixed_derivative import InnerLevel, grad_of_dot
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.products import PRODUCT_PASSES, Gradient, advice, hvp, hvp_and_mixed

DIFFERENCES = ("finite_difference", "forward_difference")


class InnerHessian:
    """H = d^2 L/dphi^2 and the mixed derivative, of the mean inner loss over the batches.

    With one batch and kind="double_backward" the gradient's graph is kept and each product is a backward pass
    through it. Several batches, and batches in parts, take their passes anew for each product, so that one
    graph is alive at a time.

    Args:
        problem, params, alpha: the inner loss and the point.
        batches: one or more.
        kind, radius: of the products, see products.py. Differences keep one gradient a batch, which says
            which entries are in use.

    Raises:
        NotImplementedError: when made or in a product, where an operation lacks a derivative that kind takes.
    """

    def __init__(
        self,
        problem: BilevelProblem,
        params: Vector,
        alpha: Mapping[str, Tensor],
        *,
        batches: Sequence[Any],
        kind: str,
        radius: float | None,
    ) -> None:
        self._problem, self._params, self._alpha, self._batches = problem, params, alpha, batches
        self._kind, self._radius = kind, radius
        self.forward = self.backward = 0
        self._losses = [self._losses_of(batch) for batch in batches]
        self._gradients = [
            self._gradient_of(batch, losses) if kind in DIFFERENCES else None
            for batch, losses in zip(batches, self._losses)
        ]
        self._graph = None
        if kind == "double_backward" and len(batches) == 1 and len(problem.parts(batches[0])) == 1:
            with advice(kind):
                self._graph = _Graph(problem, params, alpha, batch=batches[0], losses=self._losses[0])
            self._count(1, 1)

    def product(self, direction: Vector) -> Vector:
        """H direction."""
        if self._graph is not None:
            self._count(0, 2)
            with advice(self._kind):
                return dict(zip(direction, self._graph.grad_of_dot(direction, self._graph.phi)))
        return self._mean(
            hvp(self._problem, self._params, self._alpha, direction=direction, **options)
            for options in self._each_batch()
        )

    def mixed(self, direction: Vector) -> dict[str, Tensor]:
        """d/dalpha <direction, grad_phi L>, shaped like alpha."""
        if self._graph is not None:
            self._count(0, 2)
            with advice(self._kind):
                upper = self._graph.grad_of_dot(direction, list(self._graph.level.upper.values()))
            return self._graph.level.mixed(upper).alpha
        return self._mean(
            hvp_and_mixed(self._problem, self._params, self._alpha, direction=direction, **options).alpha
            for options in self._each_batch()
        )

    def _each_batch(self) -> list[dict[str, Any]]:
        forward, backward = PRODUCT_PASSES[self._kind]
        self._count(forward * len(self._batches), backward * len(self._batches))
        return [
            {
                "batch": batch,
                "losses": losses,
                "gradient": gradient,
                "kind": self._kind,
                "radius": self._radius,
            }
            for batch, losses, gradient in zip(self._batches, self._losses, self._gradients)
        ]

    def _losses_of(self, batch: Any) -> Tensor | None:
        if not self._problem.structured:
            return None
        self._count(1, 0)
        with torch.no_grad():
            return self._problem.whole_inner_losses(self._params, batch)

    def _gradient_of(self, batch: Any, losses: Tensor | None) -> Gradient:
        self._count(1, 1)
        level = InnerLevel(self._problem, self._params, self._alpha, batch=batch, losses=losses)
        phi, upper = leaves(self._params), level.upper if losses is None else {}
        inputs = [*phi.values(), *upper.values()]
        grads = summed(gradient_list(loss(phi), inputs) for loss in level.terms())
        # of a structured problem nothing reads the gradient in alpha
        return Gradient(dict(zip(phi, grads)), dict(zip(upper, grads[len(phi) :])) or None)

    def _mean(self, parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for part in parts:
            total = plus(total, part, factor=1.0) if total else part
        return {name: tensor / len(self._batches) for name, tensor in total.items()}

    def _count(self, forward: int, backward: int) -> None:
        self.forward += forward
        self.backward += backward


class _Graph:
    """The gradient on one batch with the graph that differentiates it, kept for product after product."""

    def __init__(
        self,
        problem: BilevelProblem,
        params: Vector,
        alpha: Mapping[str, Tensor],
        *,
        batch: Any,
        losses: Tensor | None,
    ) -> None:
        self.level = InnerLevel(problem, params, alpha, batch=batch, losses=losses)
        phi = leaves(params)
        self.phi = list(phi.values())
        self._grads = dict(zip(phi, gradient_list(self.level.loss(phi), self.phi, create_graph=True)))

    def grad_of_dot(self, direction: Vector, inputs: list[Tensor]) -> list[Tensor]:
        """d <direction, grad_phi L> / d inputs."""
        return grad_of_dot(self._grads, direction, inputs, keep=True)
