"""What the estimators must equal, computed another way."""

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

import torch
from bilevel_problems import Case, Tensors
from torch import Tensor

from dreamprm.hypergrad import BilevelProblem, build_estimator
from dreamprm.hypergrad.unrolled import torchopt_step


def nothing(case: Case, *, steps: int = 5) -> Tensors:
    """The oracle of `none`."""
    return {name: torch.zeros_like(a) for name, a in case.alpha.items()}


def unrolled_gradient(case: Case, *, steps: int = 5) -> Tensors:
    """The oracle of the exact estimators; itself tested against central differences."""
    return case.run(build_estimator("unrolled"), steps=steps).alpha_grad


def with_losses_held(case: Case, *, steps: int = 5) -> Case:
    """The case with its weights computed from the losses of the unmoved window, whatever alpha does later.

    That is what all estimators differentiate: losses reach the weights detached.
    """
    if not case.problem.structured:
        return case
    problem, seen = case.problem, []

    def record(alpha: Tensors, batch: Any, losses: Tensor) -> Tensor:
        seen.append(losses)
        return problem.weights(alpha, batch, losses)

    def variant(weights: Callable[[Tensors, Any, Tensor], Tensor]) -> Case:
        return replace(case, problem=BilevelProblem(
            outer_loss=problem.outer_loss, inner_losses=problem.inner_losses, weights=weights,
            unweighted_loss=problem.unweighted_loss if problem.has_unweighted_loss else None))

    variant(record).run(build_estimator("none"), steps=steps)
    held = cycle(seen)  # a run asks for them once a step
    return variant(lambda alpha, batch, losses: problem.weights(alpha, batch, next(held)))


def central_differences(function: Callable[[Tensors], Tensor], alpha: Tensors, *, h: float = 1e-5) -> Tensors:
    """d function / d alpha; error h^2/6 of the third derivative plus 1e-16 / h: about 1e-10."""
    grads = {}
    for name, value in alpha.items():
        grad = torch.zeros_like(value)
        for index in range(value.numel()):
            sides = []
            for sign in (1, -1):
                moved = value.clone()
                moved.view(-1)[index] += sign * h
                sides.append(function({**alpha, name: moved}))
            grad.view(-1)[index] = (sides[0] - sides[1]) / (2 * h)
        grads[name] = grad
    return grads


def gradient_without_hessian(case: Case, *, steps: int = 5) -> Tensors:
    """The oracle of `first_order`: autograd through the window, its gradients taken at detached params."""
    alpha = {name: a.detach().clone().requires_grad_() for name, a in case.alpha.items()}
    params, state = case.params, case.state
    assert state is not None
    for batch in case.batches[:steps]:
        at = {name: p.detach().requires_grad_() for name, p in params.items()}
        loss = case.problem.inner_loss(at, alpha, batch)
        grads = torch.autograd.grad(loss, list(at.values()), create_graph=True, materialize_grads=True)
        params, state = torchopt_step(case.optimizer, params, dict(zip(at, grads)), state=state)
    outer = case.problem.outer_loss(params, alpha, case.outer_batch)
    return dict(zip(alpha, torch.autograd.grad(outer, list(alpha.values()), materialize_grads=True)))


def relative_error(got: Tensors, want: Tensors) -> float:
    """|got - want| / |want| over all entries."""
    difference = torch.cat([(got[name] - want[name]).flatten() for name in want])
    return float(difference.norm() / torch.cat([w.flatten() for w in want.values()]).norm())
