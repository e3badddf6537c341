"""Tangents carried through one inner step: through its gradient, and through the optimizer's update."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dreamprm.hypergrad.differences import (
    MOST_TRIES,
    REFINE,
    REFINE_ONE_SIDED,
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
    scale_of,
    used_norm,
)
from dreamprm.hypergrad.gradients import gradient_list, leaves
from dreamprm.hypergrad.inner_optimizer import InnerOptimizer, TensorStep
from dreamprm.hypergrad.micro_batches import summed
from dreamprm.hypergrad.mixed_derivative import InnerLevel, dual_params
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.sharding import once, total_norms

Tensors = Mapping[str, Tensor]


class Toward(NamedTuple):
    """A direction in the params and in what alpha reaches the inner loss through (`InnerLevel.upper`)."""

    params: Tensors
    upper: Tensors


@dataclass
class GradientTangent:
    """The derivative of an inner gradient along a direction, and how wrong a difference has made it."""

    tensors: dict[str, Tensor]
    sizes: list[float] = field(default_factory=list)
    """Norms, tensor by tensor; empty of exact kinds."""
    errors: list[float] = field(default_factory=list)
    """Estimated |error|, tensor by tensor; empty of exact kinds."""
    forward: int = 0
    """Passes that it took, one in forward mode being counted as two."""
    backward: int = 0


def upper_tangents(
    problem: BilevelProblem,
    alpha: Tensors,
    *,
    batch: Any,
    losses: Tensor | None,
    directions: Sequence[Tensors],
) -> list[dict[str, Tensor]]:
    """How `InnerLevel.upper` moves along directions in alpha: they themselves, or the weights' tangents.

    Those take one backward pass over `weights` for each of the batch's losses, which are held as everywhere.
    """
    if losses is None:
        return [dict(direction) for direction in directions]
    variables = leaves(alpha)
    weights, inputs = problem.weights(variables, batch, losses), list(variables.values())
    rows = []
    for i in range(weights.numel()):
        grads = gradient_list(weights[i], inputs, keep=True)
        rows.append(
            [
                torch.stack([(grad * along[name]).sum() for name, grad in zip(variables, grads)]).sum()
                for along in directions
            ]
        )
    return [{"weights": torch.stack([row[k] for row in rows]).to(weights)} for k in range(len(directions))]


def by_double_backward(level: InnerLevel, params: Tensors, toward: Sequence[Toward]) -> list[GradientTangent]:
    """The derivatives of grad_phi L along the directions: exact, by differentiating its graph twice.

    The second time in the cotangent of the first, which gives the derivative itself and not its transpose
    (they differ where a loss reverses gradients). One forward and three backward passes, which all directions
    share, and one backward pass for each.
    """
    count = len(params)
    parts = summed(_twice(loss, level, params, toward) for loss in level.terms())
    found = [
        GradientTangent(dict(zip(params, parts[k * count : (k + 1) * count])), backward=2)
        for k in range(len(toward))
    ]
    found[0].forward, found[0].backward = 1, 5
    return found


def _twice(
    loss: Callable[[Tensors], Tensor], level: InnerLevel, params: Tensors, toward: Sequence[Toward]
) -> list[Tensor]:
    """Tensors like params for each direction, one after the other."""
    phi, upper = leaves(params), list(level.upper.values())
    grads = gradient_list(loss(phi), list(phi.values()), create_graph=True)
    cotangents = [torch.zeros_like(grad, requires_grad=True) for grad in grads]
    graphs = [i for i, grad in enumerate(grads) if grad.requires_grad]
    pulled: Sequence[Tensor] = []
    if graphs:
        pulled = torch.autograd.grad(
            [grads[i] for i in graphs],
            [*phi.values(), *upper],
            [cotangents[i] for i in graphs],
            create_graph=True,
            materialize_grads=True,
        )
    return [
        tangent
        for one in pushed_forward(
            pulled,
            cotangents,
            [
                [*(one.params[name] for name in phi), *(one.upper[name] for name in level.upper)]
                for one in toward
            ],
        )
        for tangent in one
    ]


def pushed_forward(
    pulled: Sequence[Tensor], cotangents: Sequence[Tensor], toward: Sequence[Sequence[Tensor]]
) -> list[list[Tensor]]:
    """J t for each of the directions, from the graph of J^T c, which is linear in the cotangents c."""
    kept = [i for i, part in enumerate(pulled) if part.requires_grad]
    if not kept:  # nothing moves what was differentiated
        return [[torch.zeros_like(one) for one in cotangents] for _ in toward]
    return [
        list(
            torch.autograd.grad(
                [pulled[i] for i in kept],
                list(cotangents),
                [along[i] for i in kept],
                retain_graph=k + 1 < len(toward),
                materialize_grads=True,
            )
        )
        for k, along in enumerate(toward)
    ]


def by_forward_mode(level: InnerLevel, params: Tensors, toward: Sequence[Toward]) -> list[GradientTangent]:
    """The same by the gradient's own forward-mode derivative: a forward and a backward pass over dual numbers
    for each direction."""
    each = (_forward_over_reverse(level, params, one) for one in toward)
    return [GradientTangent(dict(zip(params, parts)), forward=2, backward=2) for parts in each]


def _forward_over_reverse(level: InnerLevel, params: Tensors, toward: Toward) -> list[Tensor]:
    named = {f"upper {name}": tensor.detach() for name, tensor in level.upper.items()}
    along = {**toward.params, **{f"upper {name}": tensor for name, tensor in toward.upper.items()}}
    with dual_params({**leaves(params), **named}, along) as dual:
        phi = {name: dual[name] for name in params}
        there = level.with_upper({name: dual[f"upper {name}"] for name in level.upper})
        return summed(_tangents(gradient_list(loss(phi), list(phi.values()))) for loss in there.terms())


def _tangents(grads: list[Tensor]) -> list[Tensor]:
    tangents = [forward_ad.unpack_dual(grad).tangent for grad in grads]
    return [
        torch.zeros_like(grad).detach() if tangent is None else tangent.detach()
        for grad, tangent in zip(grads, tangents)
    ]


class GradientDifference:
    """(grad_phi L(phi + h phi', upper + h upper') - grad_phi L(phi - h phi', upper - h upper')) / 2h.

    Or its one-sided form, against the gradient at phi. h is the one that moves the loss by a set share of
    itself (differences.py); where the estimated error of what comes out is large, others are tried.

    Args:
        level: the inner loss on the batch at phi.
        params: phi.
        grads: grad_phi L there.
        upper_grads: grad_upper L there.
        loss: L there.
        rounding: of the narrowest dtype in which L was computed.
    """

    def __init__(
        self,
        level: InnerLevel,
        params: Tensors,
        *,
        grads: Tensors,
        upper_grads: Tensors,
        loss: Tensor,
        rounding: float | None,
        one_sided: bool,
    ) -> None:
        self._level, self._params, self._loss = level, params, loss
        self._grads, self._one_sided = grads, one_sided
        self._upper = {name: tensor.detach() for name, tensor in level.upper.items()}
        self._all_grads = {**grads, **_labelled(upper_grads)}
        self._dtype = narrowest([*params.values(), *self._upper.values()])
        # entries of a gradient are sums like a loss, of fewer values
        self._eps = max(torch.finfo(self._dtype).eps, (rounding or 0.0) / 2)
        self._loss_eps = loss_rounding(self._dtype, rounding)
        self._passes = 0

    def along(self, toward: Toward, *, radius: float | None) -> GradientTangent:
        """The most precise one found."""
        direction = {**toward.params, **_labelled(once(toward.upper))}
        scale = scale_of(direction, self._all_grads, loss=self._loss)
        h = first_step(
            self._dtype,
            eps=self._loss_eps,
            scale=scale,
            norm=lambda: used_norm(direction, self._all_grads),
            radius=radius,
            one_sided=self._one_sided,
        )
        if h == 0.0:
            zeros = {name: torch.zeros_like(p) for name, p in self._params.items()}
            return GradientTangent(zeros, [0.0] * len(zeros), [0.0] * len(zeros))
        self._passes = 0

        def take(h: float) -> Trial[GradientTangent]:
            return self._take(toward, h, scale)

        trial = take(h)
        limit = REFINE_ONE_SIDED if self._one_sided else REFINE
        if radius is None and trial.error > limit:
            trial = best_trial(trial, take, tries=MOST_TRIES, largest=torch.finfo(self._dtype).max / 2)
        found = trial.value
        found.forward = found.backward = self._passes
        return found

    def _take(self, toward: Toward, h: float, scale: Scale) -> Trial[GradientTangent]:
        origin = [self._grads[name] for name in self._params]
        above = self._at(toward, h)
        below, width = (origin, h) if self._one_sided else (self._at(toward, -h), 2 * h)
        firsts = [a - b for a, b in zip(above, below)]
        norms = [list(torch._foreach_norm(firsts)), list(torch._foreach_norm(origin))]
        if not self._one_sided:
            seconds = [(a - o).add_(b - o) for a, b, o in zip(above, below, origin)]
            norms.append(list(torch._foreach_norm(seconds)))
        first, size, *second = total_norms(torch.stack([torch.stack(each) for each in norms])).tolist()
        if self._one_sided:
            gauges = [one_sided_gauge(f, g, eps=self._eps) for f, g in zip(first, size)]
        else:
            gauges = [central_gauge(f, s, g, eps=self._eps) for f, s, g in zip(first, second[0], size)]
        # a tensor counts as much as its part in how the loss moves; at a window's start nothing has moved yet
        parts = scale.spreads[: len(first)]
        shares = parts if any(parts) else first
        weights = [share / f if f > 0.0 else 0.0 for share, f in zip(shares, first)]
        gauge = joint_gauge(gauges, weights)
        relative = gauge.error / gauge.first if gauge.first > 0.0 else 0.0
        torch._foreach_div_(firsts, width)
        tangent = GradientTangent(
            dict(zip(self._params, firsts)),
            [f / width for f in first],
            [one.error / width for one in gauges],
        )
        return Trial(h, tangent, relative if math.isfinite(relative) else math.inf, gauge)

    def _at(self, toward: Toward, by: float) -> list[Tensor]:
        self._passes += 1
        phi = leaves(moved(self._params, toward.params, by=by))
        level = self._level.with_upper(moved(self._upper, toward.upper, by=by))
        return summed(gradient_list(loss(phi), list(phi.values())) for loss in level.terms())


def _labelled(upper: Tensors) -> dict[str, Tensor]:
    """Under names that no parameter has by accident."""
    return {f"upper {name}": tensor for name, tensor in upper.items()}


class StepTangent(NamedTuple):
    """Tangents of one tensor and its moments."""

    param: Tensor
    moments: dict[str, Tensor]


def step_tangents(
    optimizer: InnerOptimizer, taken: TensorStep, toward: Sequence[tuple[StepTangent, Tensor]]
) -> list[StepTangent]:
    """Tangents after one step of one tensor, from those before it and that of the gradient it used.

    By autograd of `InnerOptimizer.update`, differentiated a second time in its cotangents: any update that
    has a `vjp` by default has this. A first step's terms cancel (`AdamW.vjp`): it is taken in float64.

    Raises:
        ValueError: what `update` returns is cut off from the tensor it started from.
    """
    assert taken.param is not None and taken.start is not None
    dtype = taken.param.dtype
    wide = torch.float64 if taken.step == 0 and taken.param.device.type != "mps" else dtype
    param, grad = (t.detach().to(wide).requires_grad_() for t in (taken.param, taken.grad))
    moments = {kind: moment.detach().to(wide).requires_grad_() for kind, moment in taken.start.items()}
    with torch.enable_grad():
        new, after = optimizer.update(param, grad, moments, optimizer.context(taken.name, taken.step))
        if not new.requires_grad:
            raise ValueError(
                f"the param that {type(optimizer).__name__}.update returns is cut off from its arguments "
                "(detached, or computed under torch.no_grad()): write it by operations that autograd can "
                "follow"
            )
        results = [new, *(after[kind] for kind in moments)]
        cotangents = [torch.zeros_like(result, requires_grad=True) for result in results]
        graphs = [i for i, result in enumerate(results) if result.requires_grad]
        pulled = torch.autograd.grad(
            [results[i] for i in graphs],
            [param, grad, *moments.values()],
            [cotangents[i] for i in graphs],
            create_graph=True,
            materialize_grads=True,
        )
    # autograd may hand out one tensor twice, or the very tangents
    pushed = (
        [part.to(dtype, copy=True) for part in parts]
        for parts in pushed_forward(
            pulled,
            cotangents,
            [
                [
                    part.to(wide)
                    for part in (before.param, gradient, *(before.moments[kind] for kind in moments))
                ]
                for before, gradient in toward
            ],
        )
    )
    return [StepTangent(parts[0], dict(zip(moments, parts[1:]))) for parts in pushed]
