"""Adam, with the decay in the gradient and AMSGrad's maximum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamprm.hypergrad.adamw import (
    bias_corrections,
    check_eps,
    check_eps_root,
    checked_betas,
    direction_vjp,
    first_step_in_float64,
)
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
class Adam(InnerOptimizer):
    """Adam with an L2 penalty in the gradient; `step` counts from 1 in the bias corrections c_i.

        g = clip(g) + weight_decay phi
        m' = b1 m + (1-b1) g                 c1 = 1 - b1^step
        v' = b2 v + (1-b2) g^2               c2 = 1 - b2^step
        phi' = phi - lr (m'/c1) / (sqrt(w'/c2 + eps_root) + eps),   w' = v', or max(w, v') with amsgrad

    `torch.optim.Adam` agrees to rounding. Derivatives: where w' = 0 all gradients so far were 0 and that of
    the root is taken as 0, as in `AdamW`. AMSGrad's maximum passes its derivative to the larger of the two,
    and half to either where they are equal.

    Args:
        lr: step size, or a callable from the number of steps already taken (0 at the first) to it.
        betas: decay rates (b1, b2) of the two moments, each in [0, 1).
        eps: added to the root; positive.
        weight_decay: factor of the penalty's gradient, or a callable from a parameter's name to it.
        amsgrad: divide by the largest second moment so far.
        max_grad_norm: bound on the norm of the whole gradient before the penalty, as
            `torch.nn.utils.clip_grad_norm_` takes it; None for no clipping.
        eps_root: added under the root, as in `AdamW`.

    Raises:
        ValueError: a setting out of its range; or, at a step, a callable that returns such a number.

    Source: Kingma and Ba, arXiv 1412.6980; Reddi et al., arXiv 1904.09237.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Decay = 0.0
    amsgrad: bool = False
    max_grad_norm: float | None = None
    eps_root: float = 0.0
    kinds = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    elementwise = True

    def __post_init__(self) -> None:
        check_common_settings(self)
        object.__setattr__(self, "betas", checked_betas(self.betas))
        check_eps(self.eps)
        check_eps_root(self.eps_root)

    @property
    def vjp_reads(self) -> tuple[str, ...]:
        """The moments after the step, with amsgrad also before it, and the params where they are in the
        gradient."""
        penalised = callable(self.weight_decay) or self.weight_decay != 0.0
        return (
            "end",
            *(("param",) if penalised else ()),
            *(("start",) if self.amsgrad else ()),
        )

    def kinds_of(self, name: str, param: Tensor) -> tuple[str, ...]:
        """Two moments, and the largest second one with amsgrad."""
        return self.kinds if self.amsgrad else self.kinds[:2]

    def update(
        self, param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], at: StepContext
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One differentiable step of one tensor."""
        c1, c2 = bias_corrections(self.betas, at.step)
        new = self._moments(_penalised(grad, param, at.weight_decay), moments)
        used = new["max_exp_avg_sq"] if self.amsgrad else new["exp_avg_sq"]
        # the smallest number takes 0 * inf = NaN from the root's derivative at 0; values keep their bits
        root = used.div(c2).add(max(torch.finfo(used.dtype).tiny, self.eps_root)).sqrt()
        return param - at.lr * (new["exp_avg"].div(c1) / (root + self.eps)), new

    @torch.no_grad()
    def advance_moments(self, taken: TensorStep) -> dict[str, Tensor]:
        """The moments of one tensor after a step, with the bits that `step` gives."""
        assert taken.start is not None
        return self._moments(self._used_grad(taken), taken.start)

    @torch.no_grad()
    @first_step_in_float64
    def vjp(self, cotangents: Cotangents, taken: TensorStep) -> tuple[Tensor, Cotangents]:
        """Send derivatives backwards through one step of one tensor, in closed form.

        lam_m', lam_w' as in `AdamW`; lam_v' += lam_w' where v' is the larger, else lam_w = lam_w'
        gbar = (1-b1) lam_m' + 2 (1-b2) g lam_v'
        lam = lam' + weight_decay gbar,  lam_m = b1 lam_m',  lam_v = b2 lam_v'
        """
        end = self.advance_moments(taken) if taken.end is None else taken.end
        (b1, b2), after = self.betas, cotangents.moments
        used = "max_exp_avg_sq" if self.amsgrad else "exp_avg_sq"
        lam_m, lam_v = direction_vjp(
            cotangents.param,
            exp_avg=end["exp_avg"],
            exp_avg_sq=end[used],
            after=(after.get("exp_avg"), after.get(used)),
            lr=self.learning_rate(taken.step),
            eps=self.eps,
            eps_root=self.eps_root,
            corrections=bias_corrections(self.betas, taken.step),
        )
        start = {}
        if self.amsgrad:
            assert taken.start is not None
            # 1 where v' is the larger, 0 where w is, half where they are equal
            share = (end["exp_avg_sq"] - taken.start[used]).sign().add_(1).mul_(0.5)
            start[used] = lam_v * (1 - share)
            lam_v = lam_v * share
            if "exp_avg_sq" in after:
                lam_v += after["exp_avg_sq"]
        gbar = lam_m.mul(1 - b1).addcmul_(self._used_grad(taken), lam_v, value=2 * (1 - b2))
        lam = torch.add(cotangents.param, gbar, alpha=self.decay(taken.name))
        return gbar, Cotangents(lam, {"exp_avg": lam_m.mul_(b1), "exp_avg_sq": lam_v.mul_(b2), **start})

    def _moments(self, grad: Tensor, moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
        b1, b2 = self.betas
        v = torch.addcmul(moments["exp_avg_sq"].mul(b2), grad, grad, value=1 - b2)
        new = {"exp_avg": torch.add(moments["exp_avg"].mul(b1), grad, alpha=1 - b1), "exp_avg_sq": v}
        if self.amsgrad:
            new["max_exp_avg_sq"] = torch.maximum(moments["max_exp_avg_sq"], v)
        return new

    def _used_grad(self, taken: TensorStep) -> Tensor:
        decay = self.decay(taken.name)
        if decay == 0.0:
            return taken.grad
        assert taken.param is not None
        return _penalised(taken.grad, taken.param, decay)


def _penalised(grad: Tensor, param: Tensor, decay: float | Tensor) -> Tensor:
    return grad + decay * param if isinstance(decay, Tensor) or decay != 0.0 else grad
