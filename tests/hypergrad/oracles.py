"""What the estimators must equal, computed another way."""

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

import torch
from bilevel_problems import Case, Tensors
from torch import Tensor

from dreamprm.hypergrad import AdamW, BilevelProblem, InnerOptimizer, OptimizerState, build_estimator
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
        return replace(
            case,
            problem=BilevelProblem(
                outer_loss=problem.outer_loss,
                inner_losses=problem.inner_losses,
                weights=weights,
                unweighted_loss=problem.unweighted_loss if problem.has_unweighted_loss else None,
            ),
        )

    variant(record).run(build_estimator("none"), steps=steps)
    held = cycle(seen)  # a run asks for them once a step
    return variant(lambda alpha, batch, losses: problem.weights(alpha, batch, next(held)))


def implicit_gradient(
    case: Case, *, inverse: Callable[[Tensor, Tensor], Tensor], batches: str = "last", steps: int = 5
) -> Tensors:
    """direct - mixed^T inverse(H, P) grad L_meta at phi_T, all of it dense; P is AdamW's diagonal there."""
    window = case.run(build_estimator("none"), steps=steps)
    names = list(case.params)
    phi = torch.cat([window.params[name].flatten() for name in names]).requires_grad_()
    params = {
        name: part.reshape(case.params[name].shape)
        for name, part in zip(names, phi.split([case.params[name].numel() for name in names]))
    }
    alpha = {name: a.clone().requires_grad_() for name, a in case.alpha.items()}
    outer = case.problem.outer_loss(params, alpha, case.outer_batch)
    rhs, *direct = torch.autograd.grad(outer, [phi, *alpha.values()], materialize_grads=True)
    chosen = case.batches[:steps] if batches == "all" else [case.batches[steps - 1]]
    loss = torch.stack([case.problem.inner_loss(params, alpha, batch) for batch in chosen]).mean()
    (grad,) = torch.autograd.grad(loss, phi, create_graph=True)
    hessian = torch.stack(
        [torch.autograd.grad(entry, phi, retain_graph=True, materialize_grads=True)[0] for entry in grad]
    )
    scale = torch.ones_like(rhs)
    if isinstance(case.optimizer, AdamW):
        _, c2 = case.optimizer.bias_corrections(window.state.step - 1)
        v = torch.cat([window.state.moments["exp_avg_sq"][name].flatten() for name in names])
        scale = torch.where(v == 0, 0.0, 1 / ((v / c2).sqrt() + case.optimizer.eps))
    solution = inverse(hessian, scale.diag()) @ rhs
    along = torch.autograd.grad(grad @ solution, list(alpha.values()), materialize_grads=True)
    return {name: one - other for name, one, other in zip(alpha, direct, along)}


def damped_inverse(damping: float) -> Callable[[Tensor, Tensor], Tensor]:
    """(H + damping I)^-1."""
    return lambda hessian, scale: torch.linalg.inv(hessian + damping * torch.eye(len(hessian)).double())


def neumann_series(*, terms: int, step: float, preconditioned: bool = False) -> Callable[..., Tensor]:
    """step sum_{j < terms} (I - step P H)^j P, with P = I unless preconditioned."""

    def inverse(hessian: Tensor, scale: Tensor) -> Tensor:
        eye = torch.eye(len(hessian)).double()
        p = scale if preconditioned else eye
        powers = [torch.linalg.matrix_power(eye - step * p @ hessian, j) for j in range(terms)]
        return step * torch.stack(powers).sum(0) @ p

    return inverse


def last_step_gradient(case: Case, *, preconditioned: bool, before: bool = False, steps: int = 5) -> Tensors:
    """direct + d/dalpha <gbar, grad_phi L> on the last batch, at phi_T or (before) at phi_{T-1}.

    gbar = dL_meta/dg through the last step by autograd, or -lr dL_meta/dphi_T where not preconditioned.
    """
    params, state = case.params, case.state
    if steps > 1:
        window = case.run(build_estimator("none"), steps=steps - 1)
        params, state = window.params, window.state
    alpha = {name: a.clone().requires_grad_() for name, a in case.alpha.items()}
    start = {name: p.clone().requires_grad_() for name, p in params.items()}
    loss = case.problem.inner_loss(start, case.alpha, case.batches[steps - 1])
    grads = {
        name: g.requires_grad_()
        for name, g in zip(start, torch.autograd.grad(loss, list(start.values()), materialize_grads=True))
    }
    end, _ = differentiable_step(case.optimizer, params, grads, state=state)
    outer = case.problem.outer_loss(end, alpha, case.outer_batch)
    wanted = grads if preconditioned else end
    found = torch.autograd.grad(outer, [*wanted.values(), *alpha.values()], materialize_grads=True)
    factor = 1.0 if preconditioned else -case.optimizer.learning_rate(state.step)
    point = start if before else {name: p.detach().requires_grad_() for name, p in end.items()}
    loss = case.problem.inner_loss(point, alpha, case.batches[steps - 1])
    at_point = torch.autograd.grad(loss, list(point.values()), create_graph=True, materialize_grads=True)
    gbar = dict(zip(wanted, found))
    product = torch.stack([factor * (g * gbar[name]).sum() for name, g in zip(point, at_point)]).sum()
    along = torch.autograd.grad(product, list(alpha.values()), materialize_grads=True)
    return {name: one + other for name, one, other in zip(alpha, found[len(wanted) :], along)}


def penalty_gradient(case: Case, *, multiplier: float, step: float, count: int, steps: int = 5) -> Tensors:
    """grad_alpha of L_meta(z) + multiplier (L(z) - L(y)), from y and z after `count` plain gradient steps."""
    window, problem, batch = (
        case.run(build_estimator("none"), steps=steps),
        case.problem,
        case.batches[steps - 1],
    )
    alpha = {name: a.clone().requires_grad_() for name, a in case.alpha.items()}
    seen = problem.inner_losses(window.params, batch).detach() if problem.structured else None

    def inner(params: Tensors) -> Tensor:
        if seen is None:
            return problem.inner_loss(params, alpha, batch)
        loss = (problem.weights(alpha, batch, seen) * problem.inner_losses(params, batch)).mean()
        return loss + problem.unweighted_loss(params, batch) if problem.has_unweighted_loss else loss

    def descend(loss: Callable[[Tensors], Tensor]) -> Tensors:
        params = window.params
        for _ in range(count):
            at = {name: p.detach().requires_grad_() for name, p in params.items()}
            grads = torch.autograd.grad(loss(at), list(at.values()), materialize_grads=True)
            params = {name: p.detach() - step * grad for (name, p), grad in zip(at.items(), grads)}
        return params

    def outer(params: Tensors) -> Tensor:
        return problem.outer_loss(params, alpha, case.outer_batch)

    y, z = descend(inner), descend(lambda params: inner(params) + outer(params) / multiplier)
    value = outer(z) + multiplier * (inner(z) - inner(y))
    return dict(zip(alpha, torch.autograd.grad(value, list(alpha.values()), materialize_grads=True)))


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
        params, state = differentiable_step(case.optimizer, params, dict(zip(at, grads)), state=state)
    outer = case.problem.outer_loss(params, alpha, case.outer_batch)
    return dict(zip(alpha, torch.autograd.grad(outer, list(alpha.values()), materialize_grads=True)))


def differentiable_step(
    optimizer: InnerOptimizer, params: Tensors, grads: Tensors, *, state: OptimizerState
) -> tuple[Tensors, OptimizerState]:
    """By torchopt where it has the optimizer, else by autograd through its `update`, whose values are those
    of torch.optim."""
    if isinstance(optimizer, AdamW):
        return torchopt_step(optimizer, params, grads, state=state)
    return optimizer.differentiable_step(params, grads, state=state)


def relative_error(got: Tensors, want: Tensors) -> float:
    """|got - want| / |want| over all entries."""
    difference = torch.cat([(got[name] - want[name]).flatten() for name in want])
    return float(difference.norm() / torch.cat([w.flatten() for w in want.values()]).norm())
