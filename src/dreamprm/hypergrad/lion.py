"""Lion: steps along the sign of the momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamprm.hypergrad.adamw import checked_betas
from dreamprm.hypergrad.inner_optimizer import (
    Cotangents,
    Decay,
    InnerOptimizer,
    Rate,
    StepContext,
    TensorStep,
    check_common_settings,
)


@dataclass(frozen=True)
class Lion(InnerOptimizer):
    """Steps of one size in every entry, along the sign of a momentum.

        g = clip(g)
        phi' = phi - lr (sign(b1 m + (1-b1) g) + weight_decay phi)
        m' = b2 m + (1-b2) g

    **No derivative in alpha passes its steps.** The sign's is 0 wherever it has one, so the window is a step
    function of alpha: estimators that differentiate the steps (`unrolled`, `adjoint`, `first_order`,
    `finite_difference` with a preconditioner) give the direct part of the outer loss alone, with the status
    `no_gradient`. `implicit` and plain `finite_difference`, which ask something else, work; so do the
    gradients in lr, weight_decay and params0.

    Args:
        lr: step size, or a callable from the number of steps already taken (0 at the first) to it; a third to
            a tenth of AdamW's.
        betas: (b1, b2), of the momentum in the step and of the one that is kept, each in [0, 1).
        weight_decay: decay per unit of lr, or a callable from a parameter's name to it.
        max_grad_norm: bound on the norm of the whole gradient, as `torch.nn.utils.clip_grad_norm_` takes it;
            None for no clipping.

    Raises:
        ValueError: a setting out of its range; or, at a step, a callable that returns such a number.

    Source: Chen et al., arXiv 2302.06675, algorithm 2.
    """

    lr: Rate = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: Decay = 0.0
    max_grad_norm: float | None = None
    kinds = ("exp_avg",)
    elementwise = True

    def __post_init__(self) -> None:
        check_common_settings(self)
        object.__setattr__(self, "betas", checked_betas(self.betas))

    @property
    def vjp_reads(self) -> tuple[str, ...]:
        """Nothing: the derivative of the sign is 0, and the rest is linear."""
        return ()

    @property
    def blocks_gradients(self) -> bool:
        """True: the sign."""
        return True

    def update(
        self, param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], at: StepContext
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One differentiable step of one tensor."""
        (b1, b2), m = self.betas, moments["exp_avg"]
        along = torch.add(m.mul(b1), grad, alpha=1 - b1).sign()
        new = param - at.lr * (along + at.weight_decay * param)
        return new, {"exp_avg": torch.add(m.mul(b2), grad, alpha=1 - b2)}

    @torch.no_grad()
    def vjp(self, cotangents: Cotangents, taken: TensorStep) -> tuple[Tensor, Cotangents]:
        """Send derivatives backwards through one step of one tensor, in closed form.

        gbar = (1-b2) lam_m',  lam = (1 - lr weight_decay) lam',  lam_m = b2 lam_m'
        """
        _, b2 = self.betas
        lam = cotangents.param * (1 - self.learning_rate(taken.step) * self.decay(taken.name))
        after = cotangents.moments.get("exp_avg")
        if after is None:
            return torch.zeros_like(lam), Cotangents(lam)
        return (1 - b2) * after, Cotangents(lam, {"exp_avg": b2 * after})
