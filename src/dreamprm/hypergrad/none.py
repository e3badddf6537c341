"""No hypergradient: plain training with alpha held fixed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dreamprm.hypergrad.base import Estimator, Window, WindowTask, gradients, leaves, require_graph


@dataclass(frozen=True)
class NoHypergradient(Estimator):
    """alpha_grad = 0: T AdamW steps at fixed alpha, the outer loss only evaluated.

    Use it for the vanilla PRM and the ablation without bi-level optimisation (DreamPRM, arXiv 2505.20241);
    the upper optimizer then has nothing to follow (its weight decay, if any, would still move alpha).
    """

    def _run(self, task: WindowTask) -> Window:
        params, state, losses = task.params, task.state, []
        for t, batch in enumerate(task.inner_batches):
            variables = leaves(params)
            loss = require_graph(task.problem.inner_loss(variables, task.alpha, batch), name="inner_loss")
            # after the first step the tensors are ours to overwrite
            params, state = task.optimizer.step(
                params, gradients(loss, variables), state=state, inplace=task.donate or t > 0
            )
            losses.append(loss.detach())
        with torch.no_grad():
            outer_loss = task.problem.outer_loss(params, task.alpha, task.outer_batch)
        return Window(
            params=params,
            state=state,
            alpha_grad={name: torch.zeros_like(a) for name, a in task.alpha.items()},
            inner_losses=torch.stack(losses),
            outer_loss=outer_loss,
            stats={"forward": len(losses) + 1, "backward": len(losses)},
        )
