"""higher's differentiable Adam, and autograd through the T updates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from experiments.benchmarks.workload import Workload


def prepare(workload: Workload) -> Callable[[], dict[str, Tensor]]:
    """The window with `higher.optim.DifferentiableAdam`.

    higher has no AdamW: weight decay is left out (lr * weight_decay is at most 1e-6 here), and its eps is
    added before the bias correction, so that it weighs 1 / sqrt(1 - b2^t) times as much as the workload's.

    Raises:
        ImportError: higher is not installed.
    """
    import higher

    names, optimizer = list(workload.params), workload.optimizer
    phi = [workload.params[name].clone().requires_grad_() for name in names]
    adam = torch.optim.Adam(
        phi, lr=optimizer.learning_rate(workload.state.step), betas=optimizer.betas, eps=optimizer.eps
    )
    for name, p in zip(names, phi):
        adam.state[p] = {
            "step": workload.state.step,
            "exp_avg": workload.state.exp_avg[name].clone(),
            "exp_avg_sq": workload.state.exp_avg_sq[name].clone(),
        }
    differentiable = higher.get_diff_optim(adam, phi)

    def run() -> dict[str, Tensor]:
        alpha = {name: a.clone().requires_grad_() for name, a in workload.alpha.items()}
        params = phi
        for batch in workload.inner_batches:
            loss = workload.problem.inner_loss(dict(zip(names, params)), alpha, batch)
            params = list(differentiable.step(loss, params=params))
        outer = workload.problem.outer_loss(dict(zip(names, params)), alpha, workload.outer_batch)
        return dict(zip(alpha, torch.autograd.grad(outer, list(alpha.values()))))

    return run
