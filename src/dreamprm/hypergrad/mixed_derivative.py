"""The mixed derivative of the inner loss along one direction: d/dalpha <direction, grad_phi L(phi, alpha;
B)>."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dreamprm.hypergrad.base import gradient_list, gradients, leaves
from dreamprm.hypergrad.micro_batches import Part, place_of, share_of, summed
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.settings import setting

# Norm of a central difference's perturbation, by dtype: truncation grows with its square, rounding falls with
# it. Measured on Qwen2-VL language models (hidden 32-256, 2-4 layers, float32, relative error of alpha_grad,
# warm state): 1e-4 at 1e-3, 3e-5 at 3e-3, 7e-5 at 1e-2, 7e-4 at 3e-2, 5e-3 at 1e-1, about the same for all
# sizes: hence a norm that does not grow with the model. 1e-2 leaves room for larger losses and deeper models.
# transformers rounds to float32 inside its norms even in a float64 model: set radius=1e-3 there.
DEFAULT_RADIUS = {torch.float64: 1e-4, torch.float32: 1e-2}
# Of a one-sided difference, whose truncation grows with the norm itself: the square root of the rounding.
ONE_SIDED_RADIUS = {torch.float64: 1e-7, torch.float32: 2e-3}


def radius_setting(when: Mapping[str, Sequence[Any]] | None = None) -> Any:
    """The declaration of the setting `radius` of all estimators that take differences."""
    return setting(
        None,
        "norm of the perturbation of a difference; None: the default of the dtype",
        above=0,
        advice="use None for the default of the dtype",
        when=when,
    )


class Mixed(NamedTuple):
    """The mixed derivative along a direction."""

    alpha: dict[str, Tensor]
    """d/dalpha <direction, grad_phi L>, shaped like alpha."""
    slopes: Tensor | None
    """(n,) <direction, grad L_i>, how fast each loss rises along the direction; None for plain problems."""


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
        self.upper: dict[str, Tensor] = leaves(alpha)
        if problem.structured:
            with torch.no_grad():
                if losses is None:
                    self._losses = losses = problem.whole_inner_losses(params, batch)
                self.upper = leaves({"weights": problem.weights(alpha, batch, losses)})

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
        slopes = upper_parts[0] * self._losses.numel()
        return mixed_from_slopes(self._problem, self._alpha, self._batch, losses=self._losses, slopes=slopes)


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
    problem: BilevelProblem, alpha: Mapping[str, Tensor], batch: Any, *, losses: Tensor, slopes: Tensor
) -> Mixed:
    """d/dalpha mean_i weights_i(alpha) slopes_i: what is left once slopes_i = <direction, grad L_i> is known.

    `losses` and `slopes` are (n,), the losses at the params of this step.
    """
    variables = leaves(alpha)
    weights = problem.weights(variables, batch, losses)
    grad_output = (slopes / slopes.numel()).to(weights)
    grads = gradient_list(weights, list(variables.values()), grad_output=grad_output)
    return Mixed(dict(zip(variables, grads)), slopes)


def perturbation(
    direction: Mapping[str, Tensor], *, norm: float, radius: float | None, one_sided: bool
) -> float:
    """h = radius / norm, so that h * direction has norm `radius` (None: the default of the narrowest dtype).

    Returns:
        h; 0 for a direction that is 0, or so small that h is beyond the dtype: there is no difference to
        take along it.

    Raises:
        ValueError: the params are of half precision, whose rounding is larger than any difference.
    """
    defaults = ONE_SIDED_RADIUS if one_sided else DEFAULT_RADIUS
    dtype = max((d.dtype for d in direction.values()), key=lambda dtype: torch.finfo(dtype).eps)
    if dtype not in defaults:
        raise ValueError(
            f"differences need params in float32 or float64, got {dtype}, where rounding hides the "
            "perturbation; keep the params in float32 and run the forward pass under torch.autocast, or take "
            "exact derivatives (mixed=double_backward, hvp=double_backward)"
        )
    radius = radius or defaults[dtype]
    # twice h is a difference's width
    return radius / norm if norm > 0.0 and 2 * radius / norm <= torch.finfo(dtype).max else 0.0


def moved(params: Mapping[str, Tensor], direction: Mapping[str, Tensor], *, by: float) -> dict[str, Tensor]:
    """params + by * direction, in new tensors."""
    along = [direction[name] for name in params]
    return dict(zip(params, torch._foreach_add([p.detach() for p in params.values()], along, alpha=by)))


def finite_difference(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    norm: float,
    radius: float | None,
    losses: Tensor | None,
    one_sided: bool = False,
) -> Mixed:
    """Difference along the direction: forward passes only, no second-order gradients.

    Structured: slopes_i = (L_i(phi + h direction) - L_i(phi - h direction)) / 2h, all n at once, without a
        graph; one-sided (L_i(phi + h direction) - L_i(phi)) / h, one pass, as the losses at phi are known.
    Plain: the central difference of grad_alpha L.
    h = radius / norm, so that the perturbation has norm `radius`.

    `params` are not modified: the perturbed ones are new tensors.
    """
    level = InnerLevel(problem, params, alpha, batch=batch, losses=losses)
    upper = list(level.upper.values())
    origin = level.upper_grads_at_phi() if one_sided else None
    h = perturbation(direction, norm=norm, radius=radius, one_sided=origin is not None)
    if h == 0.0:
        return level.mixed([torch.zeros_like(variable) for variable in upper])

    def at(by: float) -> list[Tensor]:
        there = moved(params, direction, by=by)
        return summed(gradient_list(loss(there), upper) for loss in level.terms(weighted_only=True))

    above, below = at(h), at(-h) if origin is None else origin
    width = 2 * h if origin is None else h
    return level.mixed([(a - b) / width for a, b in zip(above, below)])


def double_backward(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    losses: Tensor | None,
) -> Mixed:
    """Exact, by differentiating the gradient: one more backward pass, needs second-order attention."""
    level = InnerLevel(problem, params, alpha, batch=batch, losses=losses)
    phi, upper = leaves(params), list(level.upper.values())
    return level.mixed(
        summed(
            grad_of_dot(gradients(loss(phi), phi, create_graph=True), direction, upper)
            for loss in level.terms(weighted_only=True)
        )
    )


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


def forward_mode(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    losses: Tensor | None,
) -> Mixed:
    """Exact, by forward-mode differentiation of the losses: about two forward passes, no radius.

    The tangent of L is <direction, grad_phi L>, differentiated in alpha (or the weights) by reverse mode over
    it. Every operation of the loss must have a forward-mode formula (fused attention has none).
    """
    level = InnerLevel(problem, params, alpha, batch=batch, losses=losses)
    upper = list(level.upper.values())
    with dual_params({name: p.detach() for name, p in params.items()}, direction) as dual:
        tangents = (forward_ad.unpack_dual(loss(dual)).tangent for loss in level.terms(weighted_only=True))
        parts = summed(
            [torch.zeros_like(variable) for variable in upper]
            if tangent is None
            else gradient_list(tangent, upper)
            for tangent in tangents
        )
    return level.mixed(parts)


@contextmanager
def dual_params(params: Mapping[str, Tensor], direction: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The params carrying the direction as their tangents, within a level of forward-mode differentiation."""
    with forward_ad.dual_level():
        with warnings.catch_warnings():
            # torch's first make_dual imports formulas through torch.jit, which it has deprecated itself
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
            dual = {name: forward_ad.make_dual(p, direction[name]) for name, p in params.items()}
        yield dual
