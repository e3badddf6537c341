"""No hypergradient: plain training with alpha held fixed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dreamprm.hypergrad.base import Estimator, WindowResult, WindowTask
from dreamprm.hypergrad.plain_steps import plain_steps
from dreamprm.hypergrad.window_passes import outer_value


@dataclass(frozen=True)
class NoHypergradient(Estimator):
    """alpha_grad = 0: T AdamW steps at fixed alpha, the outer loss only evaluated.

    Use it for the vanilla PRM and the ablation without bi-level optimisation (DreamPRM, arXiv 2505.20241);
    the upper optimizer then has nothing to follow (its weight decay, if any, would still move alpha).
    """

    @property
    def gives_gradient(self) -> bool:
        """False: the gradient is 0 by design."""
        return False

    def _run(self, task: WindowTask) -> WindowResult:
        steps = plain_steps(task)
        return WindowResult(
            params=steps.params,
            state=steps.state,
            alpha_grad={name: torch.zeros_like(a) for name, a in task.alpha.items()},
            inner_losses=steps.losses,
            outer_loss=outer_value(task, steps.params),
            stats={"forward": steps.forward + 1, "backward": len(steps.losses)},
        )
