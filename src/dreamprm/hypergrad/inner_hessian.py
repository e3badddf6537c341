"""The Hessian of the inner loss at one point, for many products, and its mixed derivative there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.derivatives import DERIVATIVES, Derivative, Difference, DoubleBackward
from dreamprm.hypergrad.differences import graph_rounding
from dreamprm.hypergrad.gradients import gradient_list, leaves
from dreamprm.hypergrad.linear_solver import Vector, plus
from dreamprm.hypergrad.micro_batches import summed
from dreamprm.hypergrad.mixed_derivative import InnerLevel, Mixed, grad_of_dot
from dreamprm.hypergrad.mixed_difference import shared_error
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.products import Gradient, Product, take_product
from dreamprm.hypergrad.torch_errors import advice


class InnerHessian:
    """H = d^2 L/dphi^2 and the mixed derivative, of the mean inner loss over the batches.

    With one batch and `DoubleBackward` the gradient's graph is kept and each product is a backward pass
    through it. Several batches, and batches in parts, take their passes anew for each product, so that one
    graph is alive at a time.

    Args:
        problem, params, alpha: the inner loss and the point.
        batches: one or more.
        derivative: of the products. Differences keep one gradient a batch, which says which entries are in
            use.
        length: norm of the first perturbation to try where no radius is given; each product tells the next.

    Raises:
        NotImplementedError: when made or in a product, where an operation lacks a derivative that is taken.
    """

    def __init__(
        self,
        problem: BilevelProblem,
        params: Vector,
        alpha: Mapping[str, Tensor],
        *,
        batches: Sequence[Any],
        derivative: Derivative,
        length: float | None = None,
    ) -> None:
        self._problem, self._params, self._alpha, self._batches = problem, params, alpha, batches
        self._derivative, self._name = derivative, DERIVATIVES.name_of(derivative)
        self._length = length
        self.forward = self.backward = 0
        self.product_error = 0.0
        """The largest relative error of a product so far, estimated."""
        self.mixed_error = 0.0
        """|error| of the mixed derivative along a solution found with these products, estimated."""
        self._losses = [self._losses_of(batch) for batch in batches]
        self._gradients = [
            self._gradient_of(batch, losses) if isinstance(derivative, Difference) else None
            for batch, losses in zip(batches, self._losses)
        ]
        self._graph = None
        whole = len(batches) == 1 and len(problem.parts(batches[0])) == 1
        if isinstance(derivative, DoubleBackward) and whole:
            with advice(self._name):
                self._graph = _Graph(problem, params, alpha, batch=batches[0], losses=self._losses[0])
            self._count(1, 1)

    def product(self, direction: Vector) -> Vector:
        """H direction."""
        if self._graph is not None:
            self._count(0, 2)
            with advice(self._name):
                return dict(zip(direction, self._graph.grad_of_dot(direction, self._graph.phi)))
        return self._mean(product.hvp for product in self._products(direction, with_alpha=False))

    def mixed(self, direction: Vector) -> dict[str, Tensor]:
        """d/dalpha <direction, grad_phi L>, shaped like alpha."""
        if self._graph is not None:
            self._count(0, 2)
            with advice(self._name):
                upper = self._graph.grad_of_dot(direction, list(self._graph.level.upper.values()))
            return self._graph.level.mixed(upper).alpha
        share = self.product_error
        products = list(self._products(direction, with_alpha=True))
        for product, batch, losses in zip(products, self._batches, self._losses):
            self.mixed_error += product.alpha_error / len(products)
            self.mixed_error += shared_error(
                self._problem,
                self._alpha,
                batch,
                losses=losses,
                mixed=Mixed(product.alpha, product.slopes),
                share=share,
            ) / len(products)
        return self._mean(product.alpha for product in products)

    def _products(self, direction: Vector, *, with_alpha: bool) -> Iterator[Product]:
        """One for each batch, counted; each is let go before the next one is computed."""
        for batch, losses, gradient in zip(self._batches, self._losses, self._gradients):
            product = take_product(
                self._problem,
                self._params,
                self._alpha,
                batch=batch,
                direction=direction,
                derivative=self._derivative,
                losses=losses,
                gradient=gradient,
                with_alpha=with_alpha,
                length=self._length,
            )
            self._count(product.forward, product.backward)
            if product.length > 0.0:
                self._length = product.length
            self.product_error = max(self.product_error, product.hvp_error)
            yield product

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
        roundings: list[float] = []

        def gradient_of(loss: Tensor) -> list[Tensor]:
            roundings.append(graph_rounding(loss))
            return gradient_list(loss, inputs)

        grads = summed(gradient_of(loss(phi)) for loss in level.terms())
        # of a structured problem nothing reads the gradient in alpha
        alpha = dict(zip(upper, grads[len(phi) :])) or None
        return Gradient(dict(zip(phi, grads)), alpha, rounding=max(roundings))

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
