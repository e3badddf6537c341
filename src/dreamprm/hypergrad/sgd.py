"""Stochastic gradient descent with momentum, dampening and Nesterov's step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

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
class SGD(InnerOptimizer):
    """Gradient descent, with momentum where it is not 0.

        g = clip(g) + weight_decay phi
        b' = momentum b + (1 - dampening) g          (b' = momentum b + g at the first step, b = 0 there)
        phi' = phi - lr b',   or phi - lr (g + momentum b') with nesterov,   or phi - lr g without momentum

    `torch.optim.SGD` agrees to rounding. The step is linear in all that it starts from: its derivative needs
    nothing kept.

    Args:
        lr: step size, or a callable from the number of steps already taken (0 at the first) to it.
        momentum: >= 0.
        dampening: of the gradient in the momentum.
        weight_decay: factor of an L2 penalty's gradient, or a callable from a parameter's name to it.
        nesterov: look ahead along the momentum; takes momentum > 0 and dampening = 0.
        max_grad_norm: bound on the norm of the whole gradient before the penalty, as
            `torch.nn.utils.clip_grad_norm_` takes it; None for no clipping.

    Raises:
        ValueError: a setting out of its range; or, at a step, a callable that returns such a number.

    Source: Sutskever et al. 2013, in the form of `torch.optim.SGD`; its hypergradient by recursion is
    Maclaurin et al., arXiv 1502.03492.
    """

    lr: Rate = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: Decay = 0.0
    nesterov: bool = False
    max_grad_norm: float | None = None
    kinds = ("momentum_buffer",)
    elementwise = True

    def __post_init__(self) -> None:
        check_common_settings(self)
        check_momentum(self.momentum)
        if not 0.0 <= self.dampening <= 1.0:
            raise ValueError(f"dampening must be a number in [0, 1], got {self.dampening}; use 0 for none")
        if self.nesterov and not (self.momentum > 0.0 and self.dampening == 0.0):
            raise ValueError(
                f"nesterov takes momentum > 0 and dampening=0, got momentum={self.momentum} and "
                f"dampening={self.dampening}"
            )

    @property
    def vjp_reads(self) -> tuple[str, ...]:
        """Nothing: the step is linear."""
        return ()

    def kinds_of(self, name: str, param: Tensor) -> tuple[str, ...]:
        """One moment, none where the momentum is 0."""
        return self.kinds if self.momentum else ()

    def update(
        self, param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], at: StepContext
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One differentiable step of one tensor."""
        if isinstance(at.weight_decay, Tensor) or at.weight_decay != 0.0:
            grad = grad + at.weight_decay * param
        if not self.momentum:
            return param - at.lr * grad, {}
        buffer = self.momentum * moments["momentum_buffer"] + self._weight(at.step) * grad
        along = grad + self.momentum * buffer if self.nesterov else buffer
        return param - at.lr * along, {"momentum_buffer": buffer}

    @torch.no_grad()
    def vjp(self, cotangents: Cotangents, taken: TensorStep) -> tuple[Tensor, Cotangents]:
        """Send derivatives backwards through one step of one tensor, in closed form.

        lam_b' += -lr lam' (times momentum with nesterov)
        gbar = (1 - dampening) lam_b' (- lr lam' with nesterov)
        lam = lam' + weight_decay gbar,  lam_b = momentum lam_b'
        """
        along = cotangents.param * -self.learning_rate(taken.step)
        moments = {}
        if not self.momentum:
            gbar = along
        else:
            lam_b = self.momentum * along if self.nesterov else along
            if "momentum_buffer" in cotangents.moments:
                lam_b = lam_b + cotangents.moments["momentum_buffer"]
            gbar = self._weight(taken.step) * lam_b
            if self.nesterov:
                gbar = gbar + along
            moments["momentum_buffer"] = self.momentum * lam_b
        return gbar, Cotangents(torch.add(cotangents.param, gbar, alpha=self.decay(taken.name)), moments)

    def _weight(self, step: int) -> float:
        """Of the gradient in the momentum."""
        return 1.0 - self.dampening if step > 0 else 1.0


def check_momentum(momentum: float) -> None:
    """Refuse a momentum that is no share of the last one.

    Raises:
        ValueError: it is negative or not finite.
    """
    if not 0.0 <= momentum < float("inf"):
        raise ValueError(f"momentum must be a finite number >= 0, got {momentum}; use 0 for none")
