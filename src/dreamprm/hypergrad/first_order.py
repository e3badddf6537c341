"""The adjoint recursion through AdamW without the Hessian term: a window at about the cost of plain
training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.adamw import AdamW, AdamWState, Cotangents
from dreamprm.hypergrad.base import (
    Estimator, Window, WindowTask, gradient_list, gradients, leaves, require_graph,
)
from dreamprm.hypergrad.contraction import double_backward, finite_difference, forward_mode, weights_gradient

MIXED = ("finite_difference", "forward_difference", "forward_mode", "double_backward")


@dataclass
class _Step:
    """What is kept of one inner step."""

    batch: Any
    loss: Tensor
    losses: Tensor | None = None
    """(n,) of a structured problem, at phi_t."""
    grads: dict[str, Tensor] | None = None
    """g_t, which gbar_t replaces during the sweep; None where it is weight * single."""
    weight: Tensor | None = None
    single: dict[str, Tensor] | None = None
    """The gradient of the only loss (n = 1), and that loss's weight."""
    params: dict[str, Tensor] | None = None
    """phi_t, where the contraction evaluates losses there."""
    slope: Tensor | None = None
    """<gbar_t, grad L_1>, found by the sweep (n = 1)."""

    def grad(self, name: str) -> Tensor:
        """g_t of one tensor."""
        if self.grads is not None:
            return self.grads[name]
        assert self.single is not None and self.weight is not None
        return self.single[name] * self.weight


@dataclass(frozen=True)
class FirstOrder(Estimator):
    """alpha_grad = dL_meta/dalpha + sum_t d/dalpha <gbar_t, grad_phi L(phi_t, alpha; B_t)>.

    gbar_t is the derivative of L_meta in the gradient g_t when lam = dL_meta/dphi is carried back through the
    T AdamW updates in closed form (`AdamW.vjp`) and the Hessian term lam += (d^2 L/dphi^2) gbar_t is left
    out.

    Use it where memory or time decide: only first-order gradients are taken, so fused attention and
    activation checkpointing work unchanged. The relative error against `unrolled` is O(lr T |H|); none for T
    = 1 and for inner losses linear in the params. Not where lr |H| is large: compare with `unrolled` first.

    The contraction with the mixed derivative uses the problem's structure. A structured problem with one
    loss in the batch (n = 1) needs no further pass: <gbar_t, grad L_1> is a dot product with the gradient at
    hand. All others use `mixed`:

    - "finite_difference": two forward passes a step; works with any kernel. Relative error on small Qwen2-VL
      language models: 1e-4 in float32. Under bf16 autocast set radius=0.1 to 0.2: 3e-2, which is what bf16
      itself costs there (the default's 1e-2 gives 0.2).
    - "forward_difference": one forward pass a step, one-sided; on the sandbox it agrees with the exact forms
      to three digits (experiments/results/gradients.md). Of problems in plain form it takes the central
      difference.
    - "forward_mode": exact, about two forward passes; every operation needs a forward-mode formula.
    - "double_backward": exact, a third backward pass; needs second-order attention.

    Memory beside the model's own: T gradients; one more (phi_t) a step where `mixed` is used, or an
    `unweighted_loss` stands beside a single loss.

    Args:
        mixed: the contraction, as above.
        radius: norm of the central difference's perturbation; None for 1e-2 in float32 and 1e-4 in float64
            (measured, see contraction.py). The norm is taken over entries that the step's gradient uses, as
            unused ones (tokens not in the batch) have no influence but, with v = 0, the largest gbar.

    Raises:
        ValueError: mixed is not one of the above, or radius is not positive.

    Source: the bi-level problem of DreamPRM, arXiv 2505.20241; leaving the Hessian out as first-order MAML
    does, arXiv 1703.03400, but keeping AdamW's derivative.
    """

    mixed: str = "finite_difference"
    radius: float | None = None

    def __post_init__(self) -> None:
        if self.mixed not in MIXED:
            raise ValueError(f"mixed must be one of {', '.join(MIXED)}, got {self.mixed!r}")
        if self.radius is not None and not (self.radius > 0 and math.isfinite(self.radius)):
            raise ValueError(f"radius must be > 0, got {self.radius}; use None for the default of the dtype")

    @property
    def needs_second_order(self) -> bool:
        """Only with mixed="double_backward"."""
        return self.mixed == "double_backward"

    def _run(self, task: WindowTask) -> Window:
        optimizer, params, state, start = task.optimizer, task.params, task.state, task.state
        steps: list[_Step] = []
        for t, batch in enumerate(task.inner_batches):
            step = _inner_step(task, params, batch=batch)
            # after the first step the tensors are ours to overwrite, unless the contraction needs phi_t
            inplace = (task.donate or t > 0) and step.params is None
            if inplace and t == 0:
                start = _copy(start)
            grads = {name: step.grad(name) for name in params}
            params, state = optimizer.step(params, grads, state=state, inplace=inplace)
            steps.append(step)

        phi, alpha = leaves(params), leaves(task.alpha)
        outer_loss = require_graph(task.problem.outer_loss(phi, alpha, task.outer_batch), name="outer_loss")
        partials = gradient_list(outer_loss, [*phi.values(), *alpha.values()])
        alpha_grad = dict(zip(alpha, partials[len(phi):]))
        norms = _sweep(optimizer, start, steps=steps, lam=dict(zip(phi, partials)))
        for step, (norm, used_norm) in zip(steps, norms):
            # with every used entry at 0 (a weight of exactly 0) all entries count
            part = self._contract(task, step, norm=used_norm or norm)
            alpha_grad = {name: grad + part[name] for name, grad in alpha_grad.items()}
        contracted = [step for step in steps if step.single is None]
        return Window(
            params=params,
            state=state,
            alpha_grad=alpha_grad,
            inner_losses=torch.stack([step.loss for step in steps]),
            outer_loss=outer_loss.detach(),
            stats={
                "forward": len(steps) + 1 + sum(self._contraction_passes(step) for step in contracted),
                "backward": len(steps) + 1 + len(contracted) * (2 if self.mixed == "double_backward" else 0),
                "gbar_norms": [norm for norm, _ in norms],
            },
        )

    def _contraction_passes(self, step: _Step) -> int:
        one_sided = self.mixed == "forward_difference" and step.losses is not None
        return 1 if one_sided or self.mixed == "double_backward" else 2

    def _contract(self, task: WindowTask, step: _Step, *, norm: float) -> dict[str, Tensor]:
        """d/dalpha <gbar_t, grad_phi L(phi_t, alpha; B_t)>."""
        problem, alpha, batch = task.problem, task.alpha, step.batch
        if step.slope is not None:
            assert step.losses is not None
            return weights_gradient(problem, alpha, batch, losses=step.losses, slopes=step.slope.reshape(1))
        assert step.params is not None and step.grads is not None
        if self.mixed == "double_backward":
            return double_backward(problem, step.params, alpha, batch=batch, direction=step.grads)
        if self.mixed == "forward_mode":
            return forward_mode(
                problem, step.params, alpha, batch=batch, direction=step.grads, losses=step.losses
            )
        return finite_difference(
            problem, step.params, alpha, batch=batch, direction=step.grads,
            norm=norm, radius=self.radius, losses=step.losses, one_sided=self.mixed == "forward_difference",
        )


def _inner_step(task: WindowTask, params: dict[str, Tensor], *, batch: Any) -> _Step:
    """Loss and gradient at phi_t, split where a single loss lets the contraction reuse its gradient."""
    problem, variables = task.problem, leaves(params)
    if not problem.structured:
        loss = require_graph(problem.inner_loss(variables, task.alpha, batch), name="inner_loss")
        return _Step(batch, loss.detach(), grads=gradients(loss, variables), params=params)
    losses = require_graph(problem.inner_losses(variables, batch), name="inner_losses")
    with torch.no_grad():
        weights = problem.weights(task.alpha, batch, losses)
    loss = (weights * losses).mean()
    if losses.numel() > 1:
        if problem.has_unweighted_loss:
            loss = loss + problem.unweighted_loss(variables, batch)
        grads = gradients(loss, variables)
        return _Step(batch, loss.detach(), losses=losses.detach(), grads=grads, params=params)
    weight, single = weights[0], gradients(losses[0], variables)
    step = _Step(batch, loss.detach(), losses=losses.detach(), weight=weight, single=single)
    if problem.has_unweighted_loss:
        rest = problem.unweighted_loss(variables, batch)
        others = gradients(rest, variables)
        step.loss = step.loss + rest.detach()
        step.grads = {name: others[name].add_(single[name] * weight) for name in params}
    return step


@torch.no_grad()
def _sweep(
    optimizer: AdamW, start: AdamWState, *, steps: list[_Step], lam: dict[str, Tensor]
) -> list[list[float]]:
    """Carry lam back through all steps and fill in each step's gbar_t (in place of g_t) or slope.

    Returns for each step |gbar_t|, over all entries and over those where g_t is not 0.

    Without the Hessian term the recursion couples no two entries, so one tensor goes through the whole window
    at a time and the recomputed moments need T times one tensor.
    """
    norms: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in steps]
    slopes: list[list[Tensor]] = [[] for _ in steps]
    for name in lam:
        moments = []
        m, v = start.exp_avg[name], start.exp_avg_sq[name]
        for step in steps:
            m, v = optimizer.advance_moments(m, v, grad=step.grad(name))
            moments.append((m, v))
        cotangents = Cotangents(lam[name])
        for t in reversed(range(len(steps))):
            step, grad = steps[t], steps[t].grad(name)
            m, v = moments.pop()
            gbar, cotangents = optimizer.vjp(
                cotangents, grad=grad, exp_avg=m, exp_avg_sq=v, step=start.step + t, name=name
            )
            norms[t][0].append(torch.linalg.vector_norm(gbar))
            norms[t][1].append(torch.linalg.vector_norm(gbar.masked_fill(grad == 0, 0.0)))
            if step.single is not None:
                slopes[t].append((gbar * step.single[name]).sum())
            else:
                assert step.grads is not None
                step.grads[name] = gbar
    for t, step in enumerate(steps):
        if step.single is not None:
            step.slope = torch.stack(slopes[t]).sum()
    # (T, 2, tensors)
    by_tensor = torch.stack([torch.stack([torch.stack(part) for part in pair]) for pair in norms])
    return torch.linalg.vector_norm(by_tensor, dim=-1).tolist()


def _copy(state: AdamWState) -> AdamWState:
    return AdamWState(
        step=state.step,
        exp_avg={name: m.clone() for name, m in state.exp_avg.items()},
        exp_avg_sq={name: v.clone() for name, v in state.exp_avg_sq.items()},
    )
