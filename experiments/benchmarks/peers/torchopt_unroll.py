"""TorchOpt's own unroll: its functional AdamW, out of place, and autograd through the T updates."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchopt
from torch import Tensor
from torchopt.transform.scale_by_adam import ScaleByAdamState

from experiments.benchmarks.workload import Workload


def prepare(workload: Workload) -> Callable[[], dict[str, Tensor]]:
    """The window with one `torchopt.adamw` for all steps, as TorchOpt's documentation uses it.

    The warm moments and the step count are put into its state. Its weight decay and eps are the workload's.
    `eps_root` is the smallest normal number: with TorchOpt's default of 0, embedding rows that no batch has
    used turn the gradient into 0 * inf = NaN, and there would be no cosine to give.
    """
    names, optimizer = list(workload.params), workload.optimizer
    phi = [workload.params[name].clone().requires_grad_() for name in names]
    transform = torchopt.adamw(
        lr=optimizer.learning_rate(workload.state.step),
        betas=optimizer.betas,
        eps=optimizer.eps,
        eps_root=torch.finfo(phi[0].dtype).tiny,
        weight_decay=optimizer.decay(names[0]),
    )
    moments = ScaleByAdamState(
        mu=[workload.state.exp_avg[name].clone() for name in names],
        nu=[workload.state.exp_avg_sq[name].clone() for name in names],
        count=[torch.tensor(workload.state.step, device=p.device) for p in phi],
    )
    state = tuple(
        moments if isinstance(part, ScaleByAdamState) else part
        for part in transform.init([p.new_empty(0) for p in phi])
    )

    def run() -> dict[str, Tensor]:
        alpha = {name: a.clone().requires_grad_() for name, a in workload.alpha.items()}
        params, chained = phi, state
        for batch in workload.inner_batches:
            loss = workload.problem.inner_loss(dict(zip(names, params)), alpha, batch)
            grads = torch.autograd.grad(loss, params, create_graph=True, materialize_grads=True)
            updates, chained = transform.update(list(grads), chained, params=params, inplace=False)
            params = torchopt.apply_updates(params, updates, inplace=False)
        outer = workload.problem.outer_loss(dict(zip(names, params)), alpha, workload.outer_batch)
        return dict(zip(alpha, torch.autograd.grad(outer, list(alpha.values()))))

    return run
