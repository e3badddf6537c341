"""The mixed derivative of the inner loss along one direction: d/dalpha <direction, grad_phi L(phi, alpha;
B)>."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dreamprm.hypergrad.derivatives import DERIVATIVES, Derivative
from dreamprm.hypergrad.differences import graph_rounding, size_of
from dreamprm.hypergrad.gradients import gradient_list, gradients, leaves
from dreamprm.hypergrad.micro_batches import Part, place_of, share_of, summed, whole_losses
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.sharding import global_norm, total, total_norms
from dreamprm.hypergrad.torch_errors import advice

# Random signs by which the error of many losses is carried to alpha; fewer losses take one each.
SIGNS = 8


class Seen(NamedTuple):
    """What a central difference tells the next one, along a similar direction on a similar batch."""

    length: float
    """How far to move params, as a norm, for rounding and truncation to balance."""
    bend: float
    """|L(h) - 2 L(0) + L(-h)| / |L(h) - L(-h)| over the losses, at that length."""


class Mixed(NamedTuple):
    """The mixed derivative along a direction."""

    alpha: dict[str, Tensor]
    """d/dalpha <direction, grad_phi L>, shaped like alpha."""
    slopes: Tensor | None
    """(n,) <direction, grad L_i>, how fast each loss rises along the direction; None for plain problems."""
    error: float = 0.0
    """|error| of `alpha`, over all its entries, as a difference estimates it; 0 for exact kinds."""
    forward: int = 0
    """Passes taken."""
    backward: int = 0
    seen: Seen | None = None
    """What a central difference of the losses showed of how they curve; None where none was taken."""


class InnerLevel:
    """The inner loss on one batch as a function of params and of what alpha reaches it through.

    That is alpha itself, or the (n,) weights of a structured problem. As `weights` sees the losses detached,
    the weights stay at their values at phi_t while params move; the mixed derivative in them is slopes / n,
    and one further step takes it to alpha.

    Args:
        losses: (n,) of a structured problem at phi_t; None evaluates them at `params`, one forward pass.
    """

    def __init__(
        self,
        problem: BilevelProblem,
        params: Mapping[str, Tensor],
        alpha: Mapping[str, Tensor],
        *,
        batch: Any,
        losses: Tensor | None,
    ) -> None:
        self._problem, self._alpha, self._batch, self._losses = problem, alpha, batch, losses
        self._parts = problem.parts(batch)
        self.structured, self.has_unweighted_loss = problem.structured, problem.has_unweighted_loss
        self.forward = 0
        """Forward passes taken to know the losses."""
        self.upper: dict[str, Tensor] = leaves(alpha)
        if problem.structured:
            with torch.no_grad():
                if losses is None:
                    self._losses = losses = problem.whole_inner_losses(params, batch)
                    self.forward += 1
                self.upper = leaves({"weights": problem.weights(alpha, batch, losses)})

    def with_upper(self, upper: Mapping[str, Tensor]) -> InnerLevel:
        """The same function where alpha, or the weights, have these values."""
        level = copy.copy(self)
        level.upper = dict(upper)
        return level

    def terms(self, *, weighted_only: bool = False) -> Iterator[Callable[[Mapping[str, Tensor]], Tensor]]:
        """Functions of params whose sum is the inner loss (or the part that alpha enters), one for each part
        of the batch; each is evaluated before the next one is asked for."""
        if len(self._parts) == 1:
            yield self.weighted_loss if weighted_only else self.loss
            return
        start = 0
        for part in self._parts:
            term = _PartOfLoss(self._problem, self.upper, part, start=start, weighted_only=weighted_only)
            yield term
            start += term.size

    def weighted_loss(self, params: Mapping[str, Tensor]) -> Tensor:
        """The part of the inner loss that alpha enters."""
        if not self._problem.structured:
            return self._problem.inner_loss(params, self.upper, self._batch)
        return (self.upper["weights"] * self._problem.inner_losses(params, self._batch)).mean()

    def loss(self, params: Mapping[str, Tensor]) -> Tensor:
        """The whole inner loss."""
        loss = self.weighted_loss(params)
        if self._problem.has_unweighted_loss:
            loss = loss + self._problem.unweighted_loss(params, self._batch)
        return loss

    def upper_grads_at_phi(self) -> list[Tensor] | None:
        """dL/d upper at phi_t, where it is known without a pass."""
        return None if self._losses is None else [self._losses / self._losses.numel()]

    def mixed(self, upper_parts: list[Tensor]) -> Mixed:
        """From d/d upper <direction, grad_phi L> to alpha."""
        if self._losses is None:
            return Mixed(dict(zip(self.upper, upper_parts)), None)
        return self.mixed_from(upper_parts[0] * self._losses.numel())

    def mixed_from(self, slopes: Tensor, *, errors: Tensor | None = None) -> Mixed:
        """From (n,) slopes of a structured problem to alpha."""
        assert self._losses is not None
        return mixed_from_slopes(
            self._problem, self._alpha, self._batch, losses=self._losses, slopes=slopes, errors=errors
        )

    def slopes(
        self, params: Mapping[str, Tensor], direction: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, float]:
        """(n,) <direction, grad L_i>, (n,) |direction * grad L_i|, and the rounding of the losses."""
        phi, along = leaves(params), list(direction.values())
        inputs, parts, rounding = [phi[name] for name in direction], [], 0.0
        for part in self._parts:
            losses = self._problem.inner_losses(phi, part.batch)
            rounding = max(rounding, graph_rounding(losses))
            each = []
            for i in range(losses.numel()):
                grads = gradient_list(losses[i], inputs, keep=True)
                products = [grad * toward for grad, toward in zip(grads, along)]
                slope = torch.stack([product.sum() for product in products]).sum()
                each.append(torch.stack([slope, global_norm(products)]))
                del grads, products
            slopes, spreads = torch.stack(each).unbind(1)
            parts.append(torch.stack([total(slopes), total_norms(spreads)], 1))  # (n of the part, 2)
        if len(parts) == 1:
            return parts[0][:, 0], parts[0][:, 1], rounding
        slopes, spreads = (whole_losses(self._parts, [part[:, i] for part in parts]) for i in (0, 1))
        return slopes, spreads, rounding


class _PartOfLoss:
    """What one part of a batch adds to the inner loss; `size`, once evaluated: its number of losses."""

    def __init__(
        self,
        problem: BilevelProblem,
        upper: Mapping[str, Tensor],
        part: Part,
        *,
        start: int,
        weighted_only: bool,
    ) -> None:
        self._problem, self._upper, self._part = problem, upper, part
        self._start, self._weighted_only = start, weighted_only
        self.size = 0

    def __call__(self, params: Mapping[str, Tensor]) -> Tensor:
        problem, part = self._problem, self._part
        if not problem.structured:
            return problem.inner_loss(params, self._upper, part.batch) * share_of(part)
        losses, weights = problem.inner_losses(params, part.batch), self._upper["weights"]
        self.size = losses.numel()
        place = place_of(part, start=self._start, size=self.size)
        loss = (place.weights(weights) * losses).sum() / weights.numel()
        if problem.has_unweighted_loss and not self._weighted_only:
            loss = loss + problem.unweighted_loss(params, part.batch) * share_of(part)
        return loss


def mixed_from_slopes(
    problem: BilevelProblem,
    alpha: Mapping[str, Tensor],
    batch: Any,
    *,
    losses: Tensor,
    slopes: Tensor,
    errors: Tensor | None = None,
) -> Mixed:
    """d/dalpha mean_i weights_i(alpha) slopes_i: what is left once slopes_i = <direction, grad L_i> is known.

    `losses` and `slopes` are (n,), the losses at the params of this step; `errors` (n,) those of the slopes,
    taken as independent.
    """
    variables = leaves(alpha)
    weights = problem.weights(variables, batch, losses)
    inputs = list(variables.values())
    signs = [] if errors is None or not weights.requires_grad else _signs(errors)
    grads, *others = (
        gradient_list(weights, inputs, grad_output=(of / of.numel()).to(weights), keep=True)
        for of in (slopes, *signs)
    )
    squares = sum(size_of(other) ** 2 for other in others)
    if len(signs) < slopes.numel():
        squares /= max(1, len(signs))  # else each loss had its own
    return Mixed(dict(zip(variables, grads)), slopes, error=math.sqrt(squares))


def _signs(errors: Tensor) -> list[Tensor]:
    """Vectors along which the errors' effect adds up in squares: one loss at a time, or with drawn signs."""
    if errors.numel() <= SIGNS:
        return list(torch.diag(errors))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(2, (SIGNS, errors.numel()), generator=generator)
    return list(errors * (2 * drawn - 1).to(errors))


def exact_mixed(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    losses: Tensor | None,
    derivative: Derivative,
) -> Mixed:
    """The mixed derivative by a kind that is exact.

    Raises:
        NotImplementedError: the model has an operation without the derivative that this kind takes.
    """
    level = InnerLevel(problem, params, alpha, batch=batch, losses=losses)
    take = _forward_mode if derivative.needs_forward_mode else _double_backward
    with advice(DERIVATIVES.name_of(derivative)):
        return take(level, params, direction)


def _double_backward(
    level: InnerLevel, params: Mapping[str, Tensor], direction: Mapping[str, Tensor]
) -> Mixed:
    phi, upper = leaves(params), list(level.upper.values())
    mixed = level.mixed(
        summed(
            grad_of_dot(gradients(loss(phi), phi, create_graph=True), direction, upper)
            for loss in level.terms(weighted_only=True)
        )
    )
    return mixed._replace(forward=level.forward + 1, backward=2)


def grad_of_dot(
    grads: Mapping[str, Tensor], direction: Mapping[str, Tensor], inputs: list[Tensor], *, keep: bool = False
) -> list[Tensor]:
    """d <direction, grads> / d inputs, by a backward pass over the gradients' graph, freed unless `keep`."""
    graphs = {name: grad for name, grad in grads.items() if grad.requires_grad}
    if not graphs or not inputs:
        return [torch.zeros_like(tensor) for tensor in inputs]
    return list(
        torch.autograd.grad(
            list(graphs.values()),
            inputs,
            [direction[name] for name in graphs],
            retain_graph=keep,
            materialize_grads=True,
        )
    )


def _forward_mode(level: InnerLevel, params: Mapping[str, Tensor], direction: Mapping[str, Tensor]) -> Mixed:
    """The tangent of L is <direction, grad_phi L>, differentiated in alpha (or the weights) by reverse mode
    over it."""
    upper = list(level.upper.values())
    with dual_params({name: p.detach() for name, p in params.items()}, direction) as dual:
        tangents = (forward_ad.unpack_dual(loss(dual)).tangent for loss in level.terms(weighted_only=True))
        parts = summed(
            [torch.zeros_like(variable) for variable in upper]
            if tangent is None
            else gradient_list(tangent, upper)
            for tangent in tangents
        )
    # a pass in forward mode carries values and tangents and is counted as two
    return level.mixed(parts)._replace(forward=level.forward + 2)


@contextmanager
def dual_params(params: Mapping[str, Tensor], direction: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The params carrying the direction as their tangents, within a level of forward-mode differentiation."""
    with forward_ad.dual_level():
        with warnings.catch_warnings():
            # torch's first make_dual imports formulas through torch.jit, which it has deprecated itself
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
            dual = {name: forward_ad.make_dual(p, direction[name]) for name, p in params.items()}
        yield dual
