"""Windows whose gradient in alpha says nothing: how that is seen, and what the cause was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dreamprm.hypergrad.inner_optimizer import InnerOptimizer
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.sharding import total

Tensors = Mapping[str, Tensor]


def silent_tensors(grads: Tensors) -> list[str]:
    """Names of the gradients whose entries are all 0, or below the smallest normal number of their dtype.

    Numbers below it (1.2e-38 in float32) have lost digits; with flush-to-zero they are 0.
    """
    held = {name: grad for name, grad in grads.items() if grad.numel()}
    if not held:
        return []
    largest = torch._foreach_norm(list(held.values()), ord=float("inf"))
    return [name for (name, grad), size in zip(held.items(), largest) if size < torch.finfo(grad.dtype).tiny]


def says_nothing(grads: Tensors, silent: list[str]) -> bool:
    """Whether no entry of any gradient is left."""
    return bool(silent) and all(grad.numel() == 0 or name in silent for name, grad in grads.items())


class Ended(NamedTuple):
    """A window at its end."""

    problem: BilevelProblem
    optimizer: InnerOptimizer
    params: Tensors
    """phi_T."""
    alpha: Tensors
    step: int
    """Number of steps taken so far."""
    inner_batches: list[Any]
    outer_batch: Any


def cause(window: Ended) -> str:
    """Why the gradient in alpha is nothing, from one more evaluation of both losses at the window's end."""
    lengths = range(len(window.inner_batches))
    rates = [window.optimizer.learning_rate(window.step - 1 - t) for t in lengths]
    if not any(rates):
        return (
            "the gradient in alpha is 0, as the inner learning rate is 0 in all steps of the window: alpha "
            "moves no params; raise lr"
        )
    outer_params, outer_alpha = _gradients(window, of="outer_loss")
    inner_params, inner_alpha = _gradients(window, of="inner_loss")
    if outer_alpha is None and inner_alpha is None:
        return (
            "alpha reaches neither loss: it was detached, used under torch.no_grad(), cast to integers or "
            "compared (both have no derivative), or the losses read other tensors than those they were given"
        )
    if outer_params is None and outer_alpha is not None:
        return (
            "outer_loss does not depend on params, and its own gradient in alpha is 0: it judges "
            "nothing that was trained; compute it from the params that it was given"
        )
    if outer_params is None or _empty_in_params(outer_params):
        return (
            "the outer loss has gradient 0 in the params: it is saturated, or made of rounded or thresholded "
            "predictions (an accuracy); take a differentiable loss, or train in float64"
        )
    if inner_alpha is None:
        return (
            "alpha does not reach inner_loss, and the outer loss's own gradient in it is 0: it was detached, "
            "used under torch.no_grad(), cast to integers, or inner_loss reads other tensors than those it "
            "was given"
        )
    if inner_params is not None and _empty_in_params(inner_params):
        return "the inner loss has gradient 0 in the params: nothing is trained, so that alpha moves nothing"
    if _empty(inner_alpha):
        return (
            "the inner loss's gradient in alpha is 0: the weights have collapsed (a softmax or sigmoid that "
            "is exactly 0 or 1, a clamp or a relu at its flat side, rounding); raise its temperature, or "
            "move alpha to where its weights differ from 0 and 1"
        )
    return (
        "the gradient in alpha is 0 or below the smallest normal number of its dtype: it underflowed, or "
        "what alpha does to the params does not change the outer loss; scale the losses up, or "
        "compute in float64"
    )


def _empty(grads: list[Tensor]) -> bool:
    named = {str(i): grad for i, grad in enumerate(grads)}
    return not grads or says_nothing(named, silent_tensors(named))


def _empty_in_params(grads: list[Tensor]) -> bool:
    """The same of gradients in params, of which others may hold a shard."""
    if not grads:
        return True
    return not bool(
        total(torch.tensor(float(not _empty(grads)), dtype=torch.float64, device=grads[0].device))
    )


def _gradients(window: Ended, *, of: str) -> tuple[list[Tensor] | None, list[Tensor] | None]:
    """(d/dparams, d/dalpha) of a loss at the window's end; None where it does not depend on them at all."""
    problem = window.problem
    params, alpha = (
        [tensor.detach().requires_grad_() for tensor in tensors.values()]
        for tensors in (window.params, window.alpha)
    )
    phi, upper = dict(zip(window.params, params)), dict(zip(window.alpha, alpha))
    if of == "outer_loss":
        batch, parts, loss = window.outer_batch, problem.outer_parts, problem.outer_loss
    else:
        batch, parts, loss = window.inner_batches[-1], problem.parts, problem.inner_loss
    # one part shows the dependence as well as the whole batch does, which might not fit
    value = loss(phi, upper, parts(batch)[0].batch)
    if not value.requires_grad:
        return None, None
    grads = torch.autograd.grad(value, [*params, *alpha], allow_unused=True)
    groups = grads[: len(params)], grads[len(params) :]
    of_params, of_alpha = ([g for g in group if g is not None] or None for group in groups)
    return of_params, of_alpha
