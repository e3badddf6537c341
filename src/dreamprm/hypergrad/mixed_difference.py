"""The mixed derivative by differences of losses: where to move, and how wrong the result is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.differences import (
    COARSE,
    LEAST_ROUNDING,
    MOST_ROUNDING,
    MOST_TRIES,
    REFINE,
    REFINE_ONE_SIDED,
    SECOND_ROUNDING,
    TRUNCATION,
    Gauge,
    Scale,
    Trial,
    best_trial,
    central_gauge,
    first_step,
    loss_rounding,
    moved,
    narrowest,
    next_step,
    one_sided_gauge,
    one_sided_share,
    rehearse,
    size_of,
    used_norm,
)
from dreamprm.hypergrad.gradients import gradient_list
from dreamprm.hypergrad.micro_batches import summed
from dreamprm.hypergrad.mixed_derivative import InnerLevel, Mixed, Seen, mixed_from_slopes
from dreamprm.hypergrad.problem import BilevelProblem

# A batch of more losses than this is not taken apart where differences of them are imprecise.
MOST_GRADIENTS = 64


def finite_difference(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    radius: float | None,
    losses: Tensor | None,
    scale: Scale | None = None,
    norm: float | None = None,
    alpha_grad: Mapping[str, Tensor] | None = None,
    rounding: float | None = None,
    seen: Seen | None = None,
    one_sided: bool = False,
) -> Mixed:
    """Difference along the direction: forward passes only, no second-order gradients.

    Structured: slopes_i = (L_i(phi + h direction) - L_i(phi - h direction)) / 2h, all n at once, without a
        graph; one-sided (L_i(phi + h direction) - L_i(phi)) / h, one pass, as the losses at phi are known.
    Plain: the central difference of grad_alpha L.

    h is the one that moves the loss by a set share of itself (`Scale.step`), or as far as an earlier
    difference showed to be best (`seen`), or radius / |direction|. The error is estimated from the values at
    hand. Where it is large and no radius was given, a one-sided difference gives way to a central one, that
    to differences at other h, and those, of few losses, to one backward pass for each loss.
    `params` are not modified: the perturbed ones are new tensors.

    Args:
        radius: norm of the perturbation; None leaves it to the rule above.
        losses: (n,) at phi; None evaluates them, one forward pass.
        scale: how fast the loss moves along the direction.
        norm: of the direction, over the entries that the batch uses; None takes all of them.
        alpha_grad: grad_alpha L of a plain problem at phi, which the error's estimate reads.
        rounding: of the narrowest dtype in which the loss is computed; None for that of the params.
        seen: `Mixed.seen` of an earlier step of the window. Where the scale is not exact nothing else tells
            how a one-sided difference is off, so that without it a central one is taken.
        one_sided: a structured problem's differences are one-sided where that is precise enough.
    """
    level = InnerLevel(problem, params, alpha, batch=batch, losses=losses)
    one_sided = one_sided and problem.structured
    limit = REFINE_ONE_SIDED if one_sided else REFINE
    dtype = narrowest(direction.values())
    eps = loss_rounding(dtype, rounding)
    share = one_sided_share(eps)
    if problem.has_unweighted_loss and (seen is None or seen.bend * share > limit):
        one_sided = False
    length = scale.length if scale is not None and radius is None else 0.0
    if seen is not None and length > 0.0:
        h = seen.length / length * (share if one_sided else 1.0)
    else:
        h = first_step(
            dtype,
            eps=eps,
            scale=scale,
            norm=lambda: norm or used_norm(direction, None),
            radius=radius,
            one_sided=one_sided,
        )
    upper = list(level.upper.values())
    if h == 0.0:
        return level.mixed([torch.zeros_like(variable) for variable in upper])
    difference = _Difference(level, params, direction, scale=scale, eps=eps, seen=seen, one_sided=one_sided)
    if alpha_grad is not None:
        difference.origin = list(alpha_grad.values())
    if radius is None and problem.structured and scale is not None and scale.moves_far(params, h):
        return difference.exactly()  # nothing else would show what a loss that levels off hides
    trial = difference.take(h)
    few = problem.structured and upper[0].numel() <= MOST_GRADIENTS
    if few:
        rehearse(difference.exactly)
    if radius is None and one_sided and trial.error > limit:
        trial = difference.central(h / share)
    if radius is None and trial.error > limit:
        # a backward pass for each of few losses costs no more than many differences, and is exact
        tries = min(MOST_TRIES, upper[0].numel() // 2) if few else MOST_TRIES
        largest = torch.finfo(dtype).max / 2
        trial = best_trial(trial, difference.take, tries=tries, largest=largest, limit=limit)
        if few and trial.error > limit:
            return difference.exactly()
    mixed = trial.value._replace(forward=difference.forward)
    if length > 0.0 and not difference.one_sided:
        # no further than this one: a smaller one may show nothing but rounding
        best = min(trial.h, next_step([trial]))
        mixed = mixed._replace(seen=Seen(best * length, trial.bend * best / trial.h))
    return mixed


class _Difference:
    """The difference of d(inner loss)/d(upper) along one direction, for any h; counts its passes."""

    def __init__(
        self,
        level: InnerLevel,
        params: Mapping[str, Tensor],
        direction: Mapping[str, Tensor],
        *,
        scale: Scale | None,
        eps: float,
        seen: Seen | None,
        one_sided: bool,
    ) -> None:
        self._seen = seen
        self._level, self._params, self._direction = level, params, direction
        self._scale, self._eps, self.one_sided = scale, eps, one_sided
        self._upper = list(level.upper.values())
        self.origin = level.upper_grads_at_phi()
        self.forward = level.forward
        self._tries = 0

    def take(self, h: float) -> Trial[Mixed]:
        """The difference at this h, with its error."""
        above, loss_above = self._at(h)
        if self.one_sided:
            assert self.origin is not None
            below, loss_below, width = self.origin, None, h
        else:
            below, loss_below = self._at(-h)
            width = 2 * h
        origin = None if self.one_sided else self._origin(above, below)
        self._tries += 1
        return mixed_trial(
            self._level,
            h,
            above=above,
            below=below,
            origin=origin,
            width=width,
            eps=self._eps,
            scale=self._scale,
            rise=None if loss_below is None else loss_above - loss_below,
            bend=self._seen.bend if self.one_sided and self._seen is not None else None,
        )

    def central(self, h: float) -> Trial[Mixed]:
        """From now on central differences: two more passes in place of one for each loss."""
        self.one_sided = False
        return self.take(h)

    def exactly(self) -> Mixed:
        """From the gradient of each loss of a structured problem."""
        mixed = mixed_by_gradients(self._level, self._params, self._direction)
        return mixed._replace(forward=self.forward + mixed.forward, backward=mixed.backward)

    def _origin(self, above: list[Tensor], below: list[Tensor]) -> list[Tensor] | None:
        """d(inner loss)/d(upper) at phi, evaluated where it is not known and the difference is not small."""
        if self.origin is None:
            change = size_of(a - b for a, b in zip(above, below))
            if self._tries or change > COARSE * size_of(above):
                self.origin, _ = self._at(0.0)
        return self.origin

    def _at(self, by: float) -> tuple[list[Tensor], Tensor]:
        there = moved(self._params, self._direction, by=by) if by else self._params
        values: list[Tensor] = []

        def grads_of(loss: Tensor) -> list[Tensor]:
            values.append(loss.detach())
            return gradient_list(loss, self._upper)

        grads = summed(grads_of(loss(there)) for loss in self._level.terms(weighted_only=True))
        self.forward += 1
        return grads, torch.stack(values).sum()


def mixed_trial(
    level: InnerLevel,
    h: float,
    *,
    above: list[Tensor],
    below: list[Tensor],
    origin: list[Tensor] | None,
    width: float,
    eps: float,
    scale: Scale | None,
    rise: Tensor | None,
    off: float = 0.0,
    bend: float | None = None,
) -> Trial[Mixed]:
    """The mixed derivative from d(inner loss)/d(upper) at two points, with its estimated error.

    Args:
        above, below: at phi + h direction and phi - h direction; or at phi, if width = h.
        origin: at phi; None where it is `below`, or not known.
        rise: the inner loss above, less that below; None where `scale` does not say what it must be.
        off: by how much the weighted mean of the slopes is known to be off.
        bend: second over first of a central difference, which tells how this one, being one-sided, is off.
    """
    firsts = [a - b for a, b in zip(above, below)]
    seconds = None
    if origin is not None:
        seconds = [(a - o).add_(b - o) for a, b, o in zip(above, below, origin)]
    first, size = size_of(firsts), size_of(above if origin is None else origin)
    second = None if seconds is None else size_of(seconds)
    if second is not None:
        gauge = central_gauge(first, second, size, eps=eps)
    elif width == h:
        gauge = one_sided_gauge(first, size, eps=eps)
    else:  # f(0) is not known, but the difference is small beside it
        gauge = central_gauge(first, first**2 / size if size > 0.0 else first, size, eps=eps)
    if not level.structured:
        mixed = level.mixed([one / width for one in firsts])
        error = gauge.error
        if off > 0.0 and scale is not None:
            error = max(error, gauge.first * min(1.0, off / max(abs(scale.slope), scale.spread, off)))
        if rise is not None and scale is not None and scale.exact:
            beyond = abs(float(rise) - width * scale.slope) - 4.0 * eps * scale.loss
            speed = width * max(abs(scale.slope), scale.spread)
            error = max(error, gauge.first * min(1.0, beyond / speed if speed > 0.0 else 0.0))
        relative = error / gauge.first if gauge.first > 0.0 else math.inf if error > 0.0 else 0.0
        return Trial(h, mixed._replace(error=error / width), relative, gauge)
    count = firsts[0].numel()
    slopes = firsts[0] * (count / width)
    errors = _errors_of_each(gauge, firsts[0], seconds, origin, above[0], eps)
    errors = errors * (count / width)
    if bend is not None:
        off_each = slopes.norm() * min(1.0, bend * one_sided_share(eps)) / math.sqrt(count)
        errors = errors + off_each
    weights = level.upper["weights"].detach()
    length = float(weights.norm())
    if scale is not None and scale.exact:
        seen = abs(float((weights * slopes).mean()) - scale.slope) - 4.0 * eps * scale.spread
        off = max(off, seen)
    if length > 0.0 and off > 0.0:
        # errors of random signs that add up to what the slopes are off by in all
        errors = torch.maximum(errors, torch.full_like(errors, off * count / length))
    mixed = level.mixed_from(slopes, errors=errors)
    size = size_of(mixed.alpha.values())
    relative = mixed.error / size if size > 0.0 else math.inf if mixed.error > 0.0 else 0.0
    return Trial(h, mixed, relative if math.isfinite(relative) else math.inf, gauge)


def shared_error(
    problem: BilevelProblem,
    alpha: Mapping[str, Tensor],
    batch: Any,
    *,
    losses: Tensor | None,
    mixed: Mixed,
    share: float,
) -> float:
    """|error| of the mixed derivative along a direction that is off by this share of itself."""
    if share == 0.0 or not math.isfinite(share):
        return share
    if mixed.slopes is None or losses is None:
        return share * size_of(mixed.alpha.values())
    errors = torch.full_like(mixed.slopes, share * float(mixed.slopes.norm()))
    return mixed_from_slopes(problem, alpha, batch, losses=losses, slopes=mixed.slopes, errors=errors).error


def mixed_by_gradients(
    level: InnerLevel, params: Mapping[str, Tensor], direction: Mapping[str, Tensor]
) -> Mixed:
    """Of a structured problem, from the gradient of each loss: one forward pass, n backward passes."""
    slopes, spreads, rounding = level.slopes(params, direction)
    mixed = level.mixed_from(slopes, errors=rounding / 4 * spreads)
    return mixed._replace(forward=1, backward=slopes.numel())


def _errors_of_each(
    gauge: Gauge,
    first: Tensor,
    seconds: list[Tensor] | None,
    origins: list[Tensor] | None,
    above: Tensor,
    eps: float,
) -> Tensor:
    """(n,) the gauge's error loss by loss, as they may differ by decades."""
    if seconds is None or origins is None:
        return 3.0 * math.sqrt(2.0) * LEAST_ROUNDING * eps * above.abs()
    second, floor = seconds[0], eps * origins[0].abs()
    rounding = (second.abs() / SECOND_ROUNDING).clamp(LEAST_ROUNDING * floor, MOST_ROUNDING * floor)
    bend = min(1.0, gauge.second / gauge.first) if gauge.first > 0.0 else 1.0
    return math.sqrt(2.0) * rounding + TRUNCATION * bend * second.abs()
