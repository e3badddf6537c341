"""Muon: orthogonalised momentum for matrices, AdamW for all else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamprm.hypergrad.adamw import AdamW
from dreamprm.hypergrad.inner_optimizer import (
    Cotangents,
    Decay,
    InnerOptimizer,
    Rate,
    StepContext,
    TensorStep,
    check_common_settings,
)
from dreamprm.hypergrad.sgd import check_momentum

ADJUSTMENTS = ("original", "match_rms_adamw")
NS_DTYPES = ("params", "bfloat16")


@dataclass(frozen=True)
class Muon(InnerOptimizer):
    """Of a matrix (A, B) the momentum's singular values are brought near 1 by Newton-Schulz iterations.

        g = clip(g)
        b' = momentum b + (1 - momentum) g
        u = b',   or momentum b' + (1 - momentum) g with nesterov
        phi' = (1 - lr weight_decay) phi - lr r NS(u)
        NS(u): x_0 = u / max(|u|, eps),  x <- a x + (b s + c s^2) x with s = x x^T,  ns_steps times
        r = sqrt(max(1, A / B)),  or 0.2 sqrt(max(A, B)) with adjust_lr_fn="match_rms_adamw"

    Tensors that are not matrices, and matrices that `matrices` does not take (embeddings and output layers
    usually), are stepped by AdamW with learning rate `adamw_lr_factor` lr, the same weight_decay, and `betas`
    and `adamw_eps`. `torch.optim.Muon` takes matrices alone; there it agrees bit for bit with
    ns_dtype="bfloat16", the dtype of its iterations.

    The derivative of NS is autograd's through its iterations, in the dtype of the params, tensor by tensor;
    the rest is in closed form. It is exact for ns_dtype="params". With "bfloat16" it passes over the
    iterations' rounding: the value is bfloat16's (relative error 1e-2), the derivative that of the exact
    iterations.

    Args:
        lr: step size, or a callable from the number of steps already taken (0 at the first) to it.
        weight_decay: decay per unit of lr, or a callable from a parameter's name to it.
        momentum: in [0, 1).
        nesterov: look ahead along the momentum.
        ns_coefficients: (a, b, c).
        eps: the least norm that x_0 is divided by; positive.
        ns_steps: iterations, >= 1.
        adjust_lr_fn: None or "original", or "match_rms_adamw", with which AdamW's learning rates serve.
        ns_dtype: of the iterations, "params" or "bfloat16".
        matrices: from a parameter's name to whether it is stepped by Muon, asked of matrices only; None: all.
        adamw_lr_factor, betas, adamw_eps: of AdamW, as above.
        max_grad_norm: bound on the norm of the whole gradient, as `torch.nn.utils.clip_grad_norm_` takes it;
            None for no clipping.

    Raises:
        ValueError: a setting out of its range; or, at a step, a callable that returns such a number.

    Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon); Liu et al., arXiv 2502.16982; in the form
    of `torch.optim.Muon`.
    """

    lr: Rate = 1e-3
    weight_decay: Decay = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    eps: float = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: str | None = None
    ns_dtype: str = "params"
    matrices: Callable[[str], bool] | None = None
    adamw_lr_factor: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    adamw_eps: float = 1e-8
    max_grad_norm: float | None = None
    kinds = ("momentum_buffer", "exp_avg", "exp_avg_sq")

    def __post_init__(self) -> None:
        check_common_settings(self)
        check_momentum(self.momentum)
        if self.momentum >= 1.0:
            raise ValueError(f"momentum must be below 1, got {self.momentum}; use 0.95")
        if len(self.ns_coefficients) != 3:
            raise ValueError(f"ns_coefficients must be three numbers, got {self.ns_coefficients!r}")
        # a config's list would make the dataclass unhashable
        object.__setattr__(self, "ns_coefficients", tuple(self.ns_coefficients))
        object.__setattr__(self, "betas", tuple(self.betas))
        if not (self.eps > 0.0 and math.isfinite(self.eps)):
            raise ValueError(f"eps must be > 0, got {self.eps}; a gradient of 0 would become 0/0, use 1e-7")
        if self.ns_steps < 1:
            raise ValueError(f"ns_steps must be >= 1, got {self.ns_steps}; use 5")
        if self.adjust_lr_fn is not None and self.adjust_lr_fn not in ADJUSTMENTS:
            raise ValueError(
                f"adjust_lr_fn must be None or one of {', '.join(ADJUSTMENTS)}, got {self.adjust_lr_fn!r}"
            )
        if self.ns_dtype not in NS_DTYPES:
            raise ValueError(f"ns_dtype must be one of {', '.join(NS_DTYPES)}, got {self.ns_dtype!r}")
        if not (self.adamw_lr_factor >= 0.0 and math.isfinite(self.adamw_lr_factor)):
            raise ValueError(f"adamw_lr_factor must be a finite number >= 0, got {self.adamw_lr_factor}")
        _ = self._adamw  # refuses its own settings

    @property
    def vjp_reads(self) -> tuple[str, ...]:
        """The moments after the step: the decay is decoupled, so nothing depends on the params."""
        return ("end",)

    def kinds_of(self, name: str, param: Tensor) -> tuple[str, ...]:
        """The momentum of a matrix; AdamW's moments of other tensors."""
        muon = param.ndim == 2 and (self.matrices is None or self.matrices(name))
        return self.kinds[:1] if muon else self.kinds[1:]

    def update(
        self, param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], at: StepContext
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One differentiable step of one tensor."""
        if "momentum_buffer" not in moments:
            return self._adamw.update(param, grad, moments, at._replace(lr=self.adamw_lr_factor * at.lr))
        buffer = torch.lerp(moments["momentum_buffer"], grad, 1 - self.momentum)
        orthogonal = self._orthogonal(self._ahead(grad, buffer))
        kept, lr = param * (1 - at.lr * at.weight_decay), at.lr * self._adjustment(param)
        if isinstance(lr, Tensor):
            return kept - lr * orthogonal, {"momentum_buffer": buffer}
        return torch.add(kept, orthogonal, alpha=-lr), {"momentum_buffer": buffer}

    @torch.no_grad()
    def advance_moments(self, taken: TensorStep) -> dict[str, Tensor]:
        """The moments of one tensor after a step, with the bits that `step` gives."""
        assert taken.start is not None
        if "momentum_buffer" not in taken.start:
            return self._adamw.advance_moments(taken)
        return {"momentum_buffer": torch.lerp(taken.start["momentum_buffer"], taken.grad, 1 - self.momentum)}

    @torch.no_grad()
    def vjp(self, cotangents: Cotangents, taken: TensorStep) -> tuple[Tensor, Cotangents]:
        """Send derivatives backwards through one step of one tensor.

        lam_u = -lr r NS'(u)^T lam',  lam_b' += lam_u (times momentum with nesterov)
        gbar = (1 - momentum) (lam_b' + lam_u with nesterov)
        lam = (1 - lr weight_decay) lam',  lam_b = momentum lam_b'
        """
        end = self.advance_moments(taken) if taken.end is None else taken.end
        if "momentum_buffer" not in end:
            return self._adamw.vjp(cotangents, taken._replace(end=end))
        lr = self.learning_rate(taken.step)
        with torch.enable_grad():
            ahead = self._ahead(taken.grad, end["momentum_buffer"]).detach().requires_grad_()
            (lam_u,) = torch.autograd.grad(
                self._newton_schulz(ahead), ahead, cotangents.param * (-lr * self._adjustment(ahead))
            )
        lam_b = self.momentum * lam_u if self.nesterov else lam_u
        if "momentum_buffer" in cotangents.moments:
            lam_b = lam_b + cotangents.moments["momentum_buffer"]
        gbar = (1 - self.momentum) * (lam_b + lam_u if self.nesterov else lam_b)
        lam = cotangents.param * (1 - lr * self.decay(taken.name))
        return gbar, Cotangents(lam, {"momentum_buffer": self.momentum * lam_b})

    @property
    def _adamw(self) -> AdamW:
        """For the other tensors."""
        return AdamW(
            lr=lambda step: self.adamw_lr_factor * self.learning_rate(step),
            betas=self.betas,
            eps=self.adamw_eps,
            weight_decay=self.weight_decay,
        )

    def _ahead(self, grad: Tensor, buffer: Tensor) -> Tensor:
        return torch.lerp(grad, buffer, self.momentum) if self.nesterov else buffer

    def _adjustment(self, param: Tensor) -> float:
        rows, columns = param.shape
        if self.adjust_lr_fn == "match_rms_adamw":
            return 0.2 * math.sqrt(max(rows, columns))
        return math.sqrt(max(1, rows / columns))

    def _orthogonal(self, matrix: Tensor) -> Tensor:
        if self.ns_dtype == "params":
            return self._newton_schulz(matrix)
        rounded = self._newton_schulz(matrix.detach().bfloat16()).to(matrix)
        if not (torch.is_grad_enabled() and matrix.requires_grad):
            return rounded
        exact = self._newton_schulz(matrix)
        return exact + (rounded - exact.detach())

    def _newton_schulz(self, matrix: Tensor) -> Tensor:
        """U s V^T of a matrix U S V^T with s near 1, in its dtype; differentiable."""
        a, b, c = self.ns_coefficients
        tall = matrix.shape[0] > matrix.shape[1]
        x = matrix.T if tall else matrix
        x = x / x.norm().clamp(min=self.eps)
        for _ in range(self.ns_steps):
            gram = x @ x.T
            x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.T if tall else x
