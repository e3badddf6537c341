"""Hessian-vector products of the inner loss, with the mixed derivative along the same direction at no extra
cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dreamprm.hypergrad.derivatives import DERIVATIVES, Derivative, Difference
from dreamprm.hypergrad.differences import (
    MOST_TRIES,
    REFINE,
    REFINE_ONE_SIDED,
    Gauge,
    Scale,
    Trial,
    best_trial,
    central_gauge,
    first_step,
    joint_gauge,
    loss_rounding,
    moved,
    narrowest,
    one_sided_gauge,
    one_sided_share,
    rehearse,
    scale_of,
    size_of,
    used_norm,
)
from dreamprm.hypergrad.gradients import gradient_list, gradients, leaves
from dreamprm.hypergrad.micro_batches import summed
from dreamprm.hypergrad.mixed_derivative import InnerLevel, Mixed, dual_params, grad_of_dot
from dreamprm.hypergrad.mixed_difference import MOST_GRADIENTS, mixed_by_gradients, mixed_trial
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.sharding import total, total_norms
from dreamprm.hypergrad.torch_errors import advice


@dataclass(frozen=True)
class Gradient:
    """First derivatives of the whole inner loss at phi, where they are already known."""

    params: Mapping[str, Tensor]
    """dL/dphi. Its zeros mark entries that the batch does not use, which differences leave out of their norm
    (they may have the largest direction and no influence)."""
    alpha: Mapping[str, Tensor] | None = None
    """dL/dalpha; only differences on a plain problem read it."""
    loss: Tensor | None = None
    """L itself, which says how far a difference may move."""
    rounding: float | None = None
    """Of the narrowest dtype in which L was computed."""
    rounded: bool = False
    """Whether it, and phi, are only about right: differences are then not compared with it."""


class Product(NamedTuple):
    """Second derivatives of the inner loss along one direction."""

    hvp: dict[str, Tensor]
    """(d^2 L/dphi^2) direction."""
    alpha: dict[str, Tensor]
    """d/dalpha <direction, grad_phi L>."""
    slopes: Tensor | None
    """(n,) <direction, grad L_i> of a structured problem's losses; None for plain problems."""
    forward: int = 0
    """Passes taken, one in forward mode being counted as two."""
    backward: int = 0
    hvp_error: float = 0.0
    """Relative error of `hvp`, or of the sum it is added to; 0 for exact kinds."""
    alpha_error: float = 0.0
    """|error| of `alpha`, over all its entries; 0 for exact kinds."""
    length: float = 0.0
    """|perturbation| of a difference."""


def hvp_and_mixed(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    derivative: Derivative,
    losses: Tensor | None = None,
    gradient: Gradient | None = None,
) -> Product:
    """(d^2 L/dphi^2) direction, and d/dalpha <direction, grad_phi L> from the same passes.

    Args:
        problem: the two losses; the inner one is differentiated whole, its unweighted term included.
        params: phi; never modified.
        alpha: outer variables.
        batch: the inner batch.
        direction: shaped like params.
        derivative: how; see derivatives.py for what each kind costs and needs.
        losses: (n,) of a structured problem at phi; None evaluates them where they are needed.
        gradient: at phi, where it is already known.

    Raises:
        ValueError: a difference of half-precision params.
        NotImplementedError: the model has an operation without the derivative that the kind takes.
    """
    return take_product(
        problem,
        params,
        alpha,
        batch=batch,
        direction=direction,
        derivative=derivative,
        losses=losses,
        gradient=gradient,
        with_alpha=True,
    )


def hvp(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    derivative: Derivative,
    losses: Tensor | None = None,
    gradient: Gradient | None = None,
) -> dict[str, Tensor]:
    """(d^2 L/dphi^2) direction alone; see `hvp_and_mixed`."""
    return take_product(
        problem,
        params,
        alpha,
        batch=batch,
        direction=direction,
        derivative=derivative,
        losses=losses,
        gradient=gradient,
        with_alpha=False,
    ).hvp


def take_product(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    derivative: Derivative,
    losses: Tensor | None,
    gradient: Gradient | None,
    with_alpha: bool,
    length: float | None = None,
    added_to: Mapping[str, Tensor] | None = None,
) -> Product:
    """`hvp_and_mixed`, or without alpha, with what a sequence of products knows of each other.

    Args:
        length: norm of a difference's perturbation to try first where no radius is given; another one is
            taken where it is bad.
        added_to: the derivative of the outer loss in the params, to which the product is added: says how
            much each tensor's error counts.
    """
    level = InnerLevel(problem, params, alpha, batch=batch, losses=losses)
    upper = list(level.upper.values()) if with_alpha else []
    if isinstance(derivative, Difference):
        difference = _Difference(
            level,
            params,
            direction,
            upper=upper,
            gradient=gradient,
            one_sided=derivative.one_sided,
            added_to=added_to,
        )
        return difference.product(radius=derivative.radius, length=length)
    with advice(DERIVATIVES.name_of(derivative)):
        take = _forward_over_reverse if derivative.needs_forward_mode else _double_backward
        parts = take(level, params, direction, upper=upper)
    mixed = level.mixed(parts[len(params) :]) if with_alpha else Mixed({}, None)
    forward, backward = derivative.passes
    return Product(dict(zip(params, parts)), mixed.alpha, mixed.slopes, forward + level.forward, backward)


def _double_backward(
    level: InnerLevel, params: Mapping[str, Tensor], direction: Mapping[str, Tensor], *, upper: list[Tensor]
) -> list[Tensor]:
    phi = leaves(params)
    return summed(
        grad_of_dot(gradients(loss(phi), phi, create_graph=True), direction, [*phi.values(), *upper])
        for loss in level.terms()
    )


def _forward_over_reverse(
    level: InnerLevel, params: Mapping[str, Tensor], direction: Mapping[str, Tensor], *, upper: list[Tensor]
) -> list[Tensor]:
    with dual_params(leaves(params), direction) as dual:
        inputs = [*dual.values(), *upper]
        like = [*params.values(), *upper]
        return summed(_tangents(gradient_list(loss(dual), inputs), like) for loss in level.terms())


def _tangents(grads: list[Tensor], like: list[Tensor]) -> list[Tensor]:
    tangents = [forward_ad.unpack_dual(grad).tangent for grad in grads]
    return [
        torch.zeros_like(tensor) if tangent is None else tangent.detach()
        for tensor, tangent in zip(like, tangents)
    ]


class _Difference:
    """The difference of the inner gradient along one direction, for any h; counts its passes."""

    def __init__(
        self,
        level: InnerLevel,
        params: Mapping[str, Tensor],
        direction: Mapping[str, Tensor],
        *,
        upper: list[Tensor],
        gradient: Gradient | None,
        one_sided: bool,
        added_to: Mapping[str, Tensor] | None,
    ) -> None:
        self._level, self._params, self._direction, self._upper = level, params, direction, upper
        self._gradient, self._one_sided = gradient, one_sided
        self._dtype = narrowest(direction.values())
        rounding = gradient.rounding if gradient else None
        # entries of a gradient are sums like a loss, of fewer values
        self._eps = max(torch.finfo(self._dtype).eps, (rounding or 0.0) / 2)
        self._loss_eps = loss_rounding(self._dtype, rounding)
        self._scale: Scale | None = None
        if gradient is not None and gradient.loss is not None:
            self._scale = scale_of(
                direction,
                gradient.params,
                loss=gradient.loss,
                exact=not level.has_unweighted_loss,
            )
        self._weights, self._beside = self._importance(added_to)
        self._forward, self._backward = level.forward, 0
        self._origin: list[Tensor] | None = None
        self._upper_origin = level.upper_grads_at_phi() if upper else []
        if gradient is not None and gradient.rounded:
            self._upper_origin = None
        elif gradient is not None:
            self._origin = [gradient.params[name] for name in params]
            if self._upper_origin is None and gradient.alpha is not None:
                self._upper_origin = list(gradient.alpha.values())
        if one_sided and (self._origin is None or self._upper_origin is None):
            parts = self._at(0.0)
            self._origin, self._upper_origin = parts[: len(params)], parts[len(params) :]

    def _importance(self, added_to: Mapping[str, Tensor] | None) -> tuple[list[float], float]:
        """How much an error of each tensor of the product counts, and what all of `added_to` comes to.

        An entry of lam goes through the optimizer into gbar and from there, times its inner gradient, into
        alpha: |direction * grad| / |lam| says by how much, tensor by tensor and in any units.
        """
        ones = [1.0] * len(self._params)
        if added_to is None:
            return ones, 0.0
        sizes = total_norms(
            torch.stack(torch._foreach_norm([added_to[name] for name in self._direction]))
        ).tolist()
        if self._scale is None or not self._scale.spread > 0.0:
            return ones, math.hypot(*sizes)
        each = {
            name: spread / size if size > 0.0 else 0.0
            for name, spread, size in zip(self._direction, self._scale.spreads, sizes)
        }
        return [each[name] for name in self._params], self._scale.spread

    def product(self, *, radius: float | None, length: float | None) -> Product:
        """The most precise one found."""
        norms: list[float] = []

        def norm() -> float:
            norms.append(used_norm(self._direction, self._gradient.params if self._gradient else None))
            return norms[0]

        h = first_step(
            self._dtype,
            eps=self._loss_eps,
            scale=None if length is not None else self._scale,
            norm=norm,
            radius=radius or length,
            one_sided=self._one_sided,
        )
        if h == 0.0:
            zeros = [torch.zeros_like(tensor) for tensor in (*self._params.values(), *self._upper)]
            return self._product(zeros)
        trial, share = self.take(h), 1.0
        rehearse(partial(self.take, h), partial(self._with_slopes, trial.value, always=True))
        if radius is None and self._one_sided and trial.error > REFINE:
            # where the gradient is almost 0, as at a minimum, one side does not show how it curves
            self._one_sided, share = False, one_sided_share(self._loss_eps)
            trial = self.take(h / share)
        if radius is None and trial.error > REFINE:
            trial = best_trial(trial, self.take, tries=MOST_TRIES, largest=torch.finfo(self._dtype).max / 2)
        product, self._h = trial.value, trial.h
        if radius is None:
            product = self._with_slopes(product)
        length = trial.h * share * norms[0] if norms else 0.0
        return product._replace(forward=self._forward, backward=self._backward, length=length)

    def take(self, h: float) -> Trial[Product]:
        """The product by a difference at this h."""
        count = len(self._params)
        above = self._at(h)
        if self._one_sided:
            assert self._origin is not None and self._upper_origin is not None
            below, width = [*self._origin, *self._upper_origin], h
        else:
            below, width = self._at(-h), 2 * h
        hvp = [a - b for a, b in zip(above[:count], below)]
        gauge = self._gauge(hvp, above, below)
        torch._foreach_div_(hvp, width)
        relative = gauge.error / max(gauge.first, self._beside * width, 1e-300)
        relative = relative if math.isfinite(relative) else math.inf
        product = Product(dict(zip(self._params, hvp)), {}, None, hvp_error=relative)
        if self._upper:
            mixed = mixed_trial(
                self._level,
                h,
                above=above[count:],
                below=below[count:],
                origin=None if self._one_sided else self._upper_origin,
                width=width,
                eps=self._loss_eps,
                scale=self._scale,
                rise=None,
                off=self._bend(product.hvp, h) if self._one_sided else 0.0,
            ).value
            product = product._replace(alpha=mixed.alpha, slopes=mixed.slopes, alpha_error=mixed.error)
        return Trial(h, product, relative, gauge)

    def _gauge(self, firsts: list[Tensor], above: list[Tensor], below: list[Tensor]) -> Gauge:
        norms = [list(torch._foreach_norm(firsts)), list(torch._foreach_norm(above[: len(firsts)]))]
        if not self._one_sided and self._origin is not None:
            seconds = ((a - o).add_(b - o) for a, b, o in zip(above, below, self._origin))
            norms.append([torch.linalg.vector_norm(second) for second in seconds])
        first, size, *second = total_norms(torch.stack([torch.stack(each) for each in norms])).tolist()
        if self._one_sided:
            gauges = [one_sided_gauge(f, g, eps=self._eps) for f, g in zip(first, size)]
        else:
            bends = second[0] if second else [f * f / g if g > 0.0 else f for f, g in zip(first, size)]
            gauges = [central_gauge(f, s, g, eps=self._eps) for f, s, g in zip(first, bends, size)]
        return joint_gauge(gauges, self._weights)

    def _bend(self, hvp: Mapping[str, Tensor], h: float) -> float:
        """By how much the curvature along the direction puts a one-sided slope of the inner loss off."""
        along = [(hvp[name] * toward).sum() for name, toward in self._direction.items()]
        return h / 2 * abs(float(total(torch.stack(along).sum())))

    def _with_slopes(self, product: Product, *, always: bool = False) -> Product:
        """The product, with the mixed derivative from the losses' own gradients where that is better."""
        if product.slopes is None or product.slopes.numel() > MOST_GRADIENTS:
            return product
        size = size_of(product.alpha.values())
        limit = REFINE_ONE_SIDED if self._one_sided else REFINE
        if not always and product.alpha_error <= limit * size:
            if self._scale is None or not self._scale.moves_far(self._params, self._h):
                return product
        mixed = mixed_by_gradients(self._level, self._params, self._direction)
        self._forward += mixed.forward
        self._backward += mixed.backward
        return product._replace(alpha=mixed.alpha, slopes=mixed.slopes, alpha_error=mixed.error)

    def _product(self, parts: list[Tensor]) -> Product:
        mixed = self._level.mixed(parts[len(self._params) :]) if len(parts) > len(self._params) else None
        return Product(
            dict(zip(self._params, parts)),
            mixed.alpha if mixed else {},
            mixed.slopes if mixed else None,
            self._forward,
            self._backward,
        )

    def _at(self, by: float) -> list[Tensor]:
        self._forward += 1
        self._backward += 1
        there = moved(self._params, self._direction, by=by) if by else self._params
        return _gradient(self._level, there, self._upper)


def _gradient(level: InnerLevel, params: Mapping[str, Tensor], upper: list[Tensor]) -> list[Tensor]:
    phi = leaves(params)
    return summed(gradient_list(loss(phi), [*phi.values(), *upper]) for loss in level.terms())
