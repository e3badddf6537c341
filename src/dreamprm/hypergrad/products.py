"""Hessian-vector products of the inner loss, with the mixed derivative along the same direction at no extra
cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dreamprm.hypergrad.base import gradient_list, gradients, leaves
from dreamprm.hypergrad.clipping import global_norm
from dreamprm.hypergrad.micro_batches import summed
from dreamprm.hypergrad.mixed_derivative import (
    InnerLevel,
    Mixed,
    dual_params,
    grad_of_dot,
    moved,
    perturbation,
)
from dreamprm.hypergrad.problem import BilevelProblem

KINDS = ("double_backward", "finite_difference", "forward_difference", "forward_over_reverse")
DIFFERENCES = ("finite_difference", "forward_difference")
# (forward, backward) passes of one product with its mixed derivative, by kind. A pass in forward mode carries
# values and tangents and is counted as two.
PRODUCT_PASSES = {
    "double_backward": (1, 3),
    "finite_difference": (2, 2),
    "forward_difference": (1, 1),
    "forward_over_reverse": (2, 2),
}


def takes_second_order(kind: str) -> bool:
    """Whether products of this kind differentiate a gradient, for which fused attention has no formula."""
    return kind in ("double_backward", "forward_over_reverse")


def check_kind(kind: str, *, setting: str) -> None:
    """Refuse a kind of product that does not exist.

    Raises:
        ValueError: naming the setting that was given and the kinds there are.
    """
    if kind not in KINDS:
        raise ValueError(f"{setting} must be one of {', '.join(KINDS)}, got {kind!r}")


@dataclass(frozen=True)
class Gradient:
    """First derivatives of the whole inner loss at phi, where they are already known."""

    params: Mapping[str, Tensor]
    """dL/dphi. Its zeros mark entries that the batch does not use, which differences leave out of their norm
    (they may have the largest direction and no influence)."""
    alpha: Mapping[str, Tensor] | None = None
    """dL/dalpha; only `forward_difference` on a plain problem reads it."""


class Product(NamedTuple):
    """Second derivatives of the inner loss along one direction."""

    hvp: dict[str, Tensor]
    """(d^2 L/dphi^2) direction."""
    alpha: dict[str, Tensor]
    """d/dalpha <direction, grad_phi L>."""
    slopes: Tensor | None
    """(n,) <direction, grad L_i> of a structured problem's losses; None for plain problems."""


def hvp_and_mixed(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    kind: str,
    radius: float | None = None,
    losses: Tensor | None = None,
    gradient: Gradient | None = None,
) -> Product:
    """(d^2 L/dphi^2) direction, and d/dalpha <direction, grad_phi L> from the same passes.

    - "double_backward": exact; one forward, one backward with a graph, one backward through both (7 units of
      a forward pass). Needs second-order kernels.
    - "forward_over_reverse": exact; the gradient's own forward-mode derivative (6 units). Every operation
      needs a forward-mode formula for itself and its backward pass; fused attention and SiLU have none.
    - "finite_difference": (grad L(phi + h d) - grad L(phi - h d)) / 2h, two gradients (6 units); any kernel.
    - "forward_difference": (grad L(phi + h d) - grad L(phi)) / h, one gradient (3 units) if the one at phi is
      already computed; any kernel.

    Args:
        problem: the two losses; the inner one is differentiated whole, its unweighted term included.
        params: phi; never modified.
        alpha: outer variables.
        batch: the inner batch.
        direction: shaped like params.
        kind: as above.
        radius: norm of the differences' perturbation, None for the default of the dtype
            (mixed_derivative.py).
        losses: (n,) of a structured problem at phi; None evaluates them where they are needed.
        gradient: at phi, where it is already known.

    Raises:
        ValueError: an unknown kind, or a difference of half-precision params.
        NotImplementedError: the model has an operation without the derivative that the kind takes.
    """
    return _product(
        problem,
        params,
        alpha,
        batch=batch,
        direction=direction,
        kind=kind,
        radius=radius,
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
    kind: str,
    radius: float | None = None,
    losses: Tensor | None = None,
    gradient: Gradient | None = None,
) -> dict[str, Tensor]:
    """(d^2 L/dphi^2) direction alone; see `hvp_and_mixed`."""
    return _product(
        problem,
        params,
        alpha,
        batch=batch,
        direction=direction,
        kind=kind,
        radius=radius,
        losses=losses,
        gradient=gradient,
        with_alpha=False,
    ).hvp


def _product(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    kind: str,
    radius: float | None,
    losses: Tensor | None,
    gradient: Gradient | None,
    with_alpha: bool,
) -> Product:
    check_kind(kind, setting="kind")
    level = InnerLevel(problem, params, alpha, batch=batch, losses=losses)
    upper = list(level.upper.values()) if with_alpha else []
    with advice(kind):
        if kind == "double_backward":
            parts = _double_backward(level, params, direction, upper=upper)
        elif kind == "forward_over_reverse":
            parts = _forward_over_reverse(level, params, direction, upper=upper)
        else:
            parts = _difference(
                level,
                params,
                direction,
                upper=upper,
                gradient=gradient,
                radius=radius,
                one_sided=kind == "forward_difference",
            )
    mixed = level.mixed(parts[len(params) :]) if with_alpha else Mixed({}, None)
    return Product(dict(zip(params, parts)), mixed.alpha, mixed.slopes)


def used_norm(direction: Mapping[str, Tensor], grads: Mapping[str, Tensor] | None) -> float:
    """|direction| over the entries whose gradient is not exactly 0; over all where none is left."""
    used = 0.0
    if grads:
        used = float(global_norm(d.masked_fill(grads[name] == 0, 0.0) for name, d in direction.items()))
    return used or float(global_norm(direction.values()))


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


def _difference(
    level: InnerLevel,
    params: Mapping[str, Tensor],
    direction: Mapping[str, Tensor],
    *,
    upper: list[Tensor],
    gradient: Gradient | None,
    radius: float | None,
    one_sided: bool,
) -> list[Tensor]:
    norm = used_norm(direction, gradient.params if gradient else None)
    h = perturbation(direction, norm=norm, radius=radius, one_sided=one_sided)
    if h == 0.0:
        return [torch.zeros_like(tensor) for tensor in (*params.values(), *upper)]
    above = _gradient(level, moved(params, direction, by=h), upper)
    if one_sided:
        below, width = _gradient_at_phi(level, params, upper, gradient=gradient), h
    else:
        below, width = _gradient(level, moved(params, direction, by=-h), upper), 2 * h
    return [(a - b).div_(width) for a, b in zip(above, below)]


def _gradient(level: InnerLevel, params: Mapping[str, Tensor], upper: list[Tensor]) -> list[Tensor]:
    phi = leaves(params)
    return summed(gradient_list(loss(phi), [*phi.values(), *upper]) for loss in level.terms())


def _gradient_at_phi(
    level: InnerLevel, params: Mapping[str, Tensor], upper: list[Tensor], *, gradient: Gradient | None
) -> list[Tensor]:
    upper_grads = level.upper_grads_at_phi() if upper else []
    if upper_grads is None and gradient is not None and gradient.alpha is not None:
        upper_grads = list(gradient.alpha.values())
    if gradient is None or upper_grads is None:
        return _gradient(level, params, upper)
    return [*(gradient.params[name] for name in params), *upper_grads]


@contextmanager
def advice(kind: str) -> Iterator[None]:
    """Where an operation of the model lacks the derivative that this kind takes, say what to do.

    Raises:
        NotImplementedError: in place of torch's own error.
    """
    try:
        yield
    except RuntimeError as error:  # NotImplementedError is one
        if "not implemented" not in str(error) and "does not support" not in str(error):
            raise
        raise NotImplementedError(
            f"{kind} takes a derivative that an operation of the model does not have ({error}); take "
            "differences, which every kernel can do (finite_difference as hvp or mixed; adjoint with them in "
            "place of unrolled), or use attention that has second derivatives (eager, or the math backend of "
            "scaled_dot_product_attention)"
        ) from error
