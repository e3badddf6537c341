"""The mixed derivative of the inner loss along one direction: d/dalpha <direction, grad_phi L(phi, alpha;
B)>."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dreamprm.hypergrad.base import gradient_list, gradients, leaves
from dreamprm.hypergrad.problem import BilevelProblem

# Norm of a central difference's perturbation, by dtype: truncation grows with its square, rounding falls with
# it. Measured on Qwen2-VL language models (hidden 32-256, 2-4 layers, float32, relative error of alpha_grad,
# warm state): 1e-4 at 1e-3, 3e-5 at 3e-3, 7e-5 at 1e-2, 7e-4 at 3e-2, 5e-3 at 1e-1, about the same for all
# sizes: hence a norm that does not grow with the model. 1e-2 leaves room for larger losses and deeper models.
# transformers rounds to float32 inside its norms even in a float64 model: set radius=1e-3 there.
DEFAULT_RADIUS = {torch.float64: 1e-4, torch.float32: 1e-2}
# Of a one-sided difference, whose truncation grows with the norm itself: the square root of the rounding.
ONE_SIDED_RADIUS = {torch.float64: 1e-7, torch.float32: 2e-3}


def weights_gradient(
    problem: BilevelProblem, alpha: Mapping[str, Tensor], batch: Any, *, losses: Tensor, slopes: Tensor
) -> dict[str, Tensor]:
    """d/dalpha mean_i weights_i(alpha) slopes_i: what is left once slopes_i = <direction, grad L_i> is known.

    `losses` and `slopes` are (n,), the losses at the params of this step.
    """
    variables = leaves(alpha)
    weights = problem.weights(variables, batch, losses)
    grad_output = (slopes / slopes.numel()).to(weights)
    return dict(zip(variables, gradient_list(weights, list(variables.values()), grad_output=grad_output)))


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
) -> dict[str, Tensor]:
    """Difference along the direction: forward passes only, no second-order gradients.

    Structured: slopes_i = (L_i(phi + h direction) - L_i(phi - h direction)) / 2h, all n at once, without a
        graph; one-sided (L_i(phi + h direction) - L_i(phi)) / h, one pass, as the losses at phi are known.
    Plain: the central difference of grad_alpha L.
    h = radius / norm, so that the perturbation has norm `radius`.

    `params` are not modified: the perturbed ones are new tensors.
    """
    if norm == 0.0:
        return {name: torch.zeros_like(a) for name, a in alpha.items()}
    one_sided = one_sided and losses is not None
    defaults = ONE_SIDED_RADIUS if one_sided else DEFAULT_RADIUS
    reference = next(iter(params.values()))
    h = (radius or defaults.get(reference.dtype, defaults[torch.float32])) / norm
    origin, along = list(params.values()), [direction[name] for name in params]

    def moved(by: float) -> dict[str, Tensor]:
        return dict(zip(params, torch._foreach_add(origin, along, alpha=by)))

    if losses is None:
        variables = leaves(alpha)
        upper = gradients(problem.inner_loss(moved(h), variables, batch), variables)
        lower = gradients(problem.inner_loss(moved(-h), variables, batch), variables)
        return {name: (upper[name] - lower[name]) / (2 * h) for name in alpha}
    with torch.no_grad():
        upper_losses = problem.inner_losses(moved(h), batch)
        if one_sided:
            slopes = (upper_losses - losses) / h
        else:
            slopes = (upper_losses - problem.inner_losses(moved(-h), batch)) / (2 * h)
    return weights_gradient(problem, alpha, batch, losses=losses, slopes=slopes)


def double_backward(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Exact, by differentiating the gradient: one more backward pass, needs second-order attention."""
    variables, phi = leaves(alpha), leaves(params)
    loss = problem.weighted_loss(phi, variables, batch)
    grads = gradients(loss, phi, create_graph=True)
    product = torch.stack([(grads[name] * direction[name]).sum() for name in phi]).sum()
    return gradients(product, variables)


def forward_mode(
    problem: BilevelProblem,
    params: Mapping[str, Tensor],
    alpha: Mapping[str, Tensor],
    *,
    batch: Any,
    direction: Mapping[str, Tensor],
    losses: Tensor | None,
) -> dict[str, Tensor]:
    """Exact, by forward-mode differentiation of the losses: about two forward passes, no radius.

    Plain problems: the tangent of L is <direction, grad_phi L>, differentiated in alpha by reverse mode over
    it. Every operation of the loss must have a forward-mode formula (fused attention has none).
    """
    with forward_ad.dual_level():
        with warnings.catch_warnings():
            # torch's first make_dual imports formulas through torch.jit, which it has deprecated itself
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
            dual = {name: forward_ad.make_dual(p.detach(), direction[name]) for name, p in params.items()}
        if losses is not None:
            with torch.no_grad():
                slopes = forward_ad.unpack_dual(problem.inner_losses(dual, batch)).tangent
            if slopes is None:
                slopes = torch.zeros_like(losses)
        else:
            variables = leaves(alpha)
            tangent = forward_ad.unpack_dual(problem.inner_loss(dual, variables, batch)).tangent
            if tangent is None:
                return {name: torch.zeros_like(a) for name, a in alpha.items()}
            return gradients(tangent, variables)
    return weights_gradient(problem, alpha, batch, losses=losses, slopes=slopes)
