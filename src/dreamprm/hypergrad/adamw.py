"""AdamW as a function of (params, gradients, state): its step and its step's derivative in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Elements updated at once: bounds the step's temporaries (two of this size, a third where gradients are
# clipped) for models of billions of parameters.
CHUNK_ELEMENTS = 1 << 26
# Added to the norm that clipping divides by, as torch.nn.utils.clip_grad_norm_ does.
CLIP_EPS = 1e-6

KEEP_FIXED = "use 0 to keep the params fixed"
NO_DECAY = "use 0 to disable it"


@dataclass
class AdamWState:
    """Moments by parameter name, and the number of steps taken so far."""

    step: int
    exp_avg: dict[str, Tensor]
    exp_avg_sq: dict[str, Tensor]


class Cotangents(NamedTuple):
    """Derivatives of the outer loss in one tensor's (phi, m, v); None stands for zero."""

    param: Tensor
    exp_avg: Tensor | None = None
    exp_avg_sq: Tensor | None = None


@dataclass(frozen=True)
class Clip:
    """How a gradient's norm was brought down: g' = factor g, factor = max_grad_norm / (norm + 1e-6)."""

    norm: Tensor
    """Scalar |g|, over all tensors together, before the clipping."""
    factor: Tensor
    """Scalar, below 1."""

    def clipped(self, grad: Tensor) -> Tensor:
        """g' of one tensor."""
        return grad * self.factor

    @torch.no_grad()
    def vjp(self, gbar: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Send derivatives backwards through the clipping, which couples all tensors.

            gbar = factor (gbar' - g <g, gbar'> / (norm (norm + 1e-6)))

        Args:
            gbar: gbar', derivatives in the clipped gradient g'.
            grads: g, before the clipping.
        """
        along = torch.stack([(gbar[name] * grads[name]).sum() for name in gbar]).sum()
        share = along / (self.norm * (self.norm + CLIP_EPS))
        return {name: (gbar[name] - grads[name] * share).mul_(self.factor) for name in gbar}


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay; `step` counts from 1 in the bias corrections c_i.

        g = clip(g)                          only with max_grad_norm, see `Clip`
        m' = b1 m + (1-b1) g                 c1 = 1 - b1^step
        v' = b2 v + (1-b2) g^2               c2 = 1 - b2^step
        phi' = phi - lr ((m'/c1) / (sqrt(v'/c2) + eps) + weight_decay phi)

    The operations are those of `torchopt.adamw`, in the same order, so that both give the same bits on a CPU;
    `torch.optim.AdamW` orders them differently and agrees to rounding.

    Args:
        lr: step size, or a callable from the number of steps already taken (0 at the first) to the step size.
        betas: decay rates (b1, b2) of the two moments, each in [0, 1).
        eps: added to the root; must be positive, because parameters whose gradient has always been 0
            (embedding rows not seen yet) divide 0 by it.
        weight_decay: decay per unit of lr, or a callable from a parameter's name to it (decay groups).
        max_grad_norm: bound on the norm of the whole gradient, as `torch.nn.utils.clip_grad_norm_` takes it;
            None for no clipping.

    Raises:
        ValueError: a setting out of its range; or, at a step, a callable lr or weight_decay that returns a
            negative or non-finite number.

    Source: Loshchilov and Hutter, arXiv 1711.05101; the inner optimizer of DreamPRM, arXiv 2505.20241.
    """

    lr: float | Callable[[int], float] = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float | Callable[[str], float] = 1e-2
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.lr):
            _check_not_negative(self.lr, given="lr", advice=KEEP_FIXED)
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas!r}")
        # a config's list would make the dataclass unhashable
        object.__setattr__(self, "betas", tuple(self.betas))
        if not (self.eps > 0.0 and math.isfinite(self.eps)):
            raise ValueError(f"eps must be > 0, got {self.eps}; unused parameters would become 0/0, use 1e-8")
        if not callable(self.weight_decay):
            _check_not_negative(self.weight_decay, given="weight_decay", advice=NO_DECAY)
        if self.max_grad_norm is not None and not (
            self.max_grad_norm > 0.0 and math.isfinite(self.max_grad_norm)
        ):
            raise ValueError(f"max_grad_norm must be > 0, got {self.max_grad_norm}; use None to disable it")

    def init(self, params: Mapping[str, Tensor]) -> AdamWState:
        """Zero moments for these params, no step taken."""
        return AdamWState(
            step=0,
            exp_avg={name: torch.zeros_like(p, requires_grad=False) for name, p in params.items()},
            exp_avg_sq={name: torch.zeros_like(p, requires_grad=False) for name, p in params.items()},
        )

    def learning_rate(self, step: int) -> float:
        """The step size after `step` steps have been taken (0 for the first)."""
        if not callable(self.lr):
            return float(self.lr)
        lr = float(self.lr(step))
        _check_not_negative(lr, given=f"lr({step})", advice=KEEP_FIXED)
        return lr

    def decay(self, name: str) -> float:
        """The weight decay of the parameter of this name."""
        if not callable(self.weight_decay):
            return float(self.weight_decay)
        decay = float(self.weight_decay(name))
        _check_not_negative(decay, given=f"weight_decay({name!r})", advice=NO_DECAY)
        return decay

    def clip(self, grads: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Clip | None]:
        """The gradients that the step uses; differentiable, and never modified in place.

        Returns:
            (grads, None) where nothing is clipped: the very tensors given; otherwise new ones and how they
            were had.
        """
        clip = self.clip_of(grads)
        if clip is None:
            return dict(grads), None
        return {name: clip.clipped(grad) for name, grad in grads.items()}, clip

    def clip_of(self, grads: Mapping[str, Tensor]) -> Clip | None:
        """How the step clips these gradients, differentiable; None where it does not."""
        if self.max_grad_norm is None:
            return None
        norm = global_norm(grads.values())
        length = float(norm.detach())
        if length + CLIP_EPS <= self.max_grad_norm or not math.isfinite(length):
            return None  # a gradient that is not finite stays so, to be seen
        return Clip(norm, self.max_grad_norm / (norm + CLIP_EPS))

    def bias_corrections(self, step: int) -> tuple[float, float]:
        """(c1, c2) of the step that follows `step` steps already taken."""
        return 1.0 - self.betas[0] ** (step + 1), 1.0 - self.betas[1] ** (step + 1)

    @torch.no_grad()
    def step(
        self,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        *,
        state: AdamWState,
        inplace: bool = False,
    ) -> tuple[dict[str, Tensor], AdamWState]:
        """One step along the clipped gradient; returns (params, state), all detached.

        `inplace=True` writes into the tensors given (and returns them) with two chunks of temporary memory,
        three where the gradients are clipped; the bits are the same. `grads` has an entry for each of the
        params and is never modified.
        """
        lr, (c1, c2) = self.learning_rate(state.step), self.bias_corrections(state.step)
        clip = self.clip_of(grads)
        names = list(params)
        out = [params, state.exp_avg, state.exp_avg_sq]
        if not inplace:
            out = [{name: tensors[name].detach().clone() for name in names} for tensors in out]
        for chunk in _chunks(names, params):
            p, m, v = ([tensors[name].detach() for name in chunk] for tensors in out)
            g = [grads[name].detach() for name in chunk]
            if clip is not None:
                g = [clip.clipped(grad) for grad in g]
            self._advance_moments(m, v, g)
            update = torch._foreach_div(m, c1)
            root = torch._foreach_div(v, c2)
            torch._foreach_sqrt_(root)
            torch._foreach_add_(root, self.eps)
            torch._foreach_div_(update, root)
            decays = [self.decay(name) for name in chunk]
            if len(set(decays)) == 1:
                if decays[0] != 0.0:
                    torch._foreach_add_(update, p, alpha=decays[0])
            else:
                torch._foreach_add_(update, torch._foreach_mul(p, decays))
            torch._foreach_mul_(update, -lr)
            torch._foreach_add_(p, update)
        new_params, exp_avg, exp_avg_sq = (
            {name: tensors[name].detach() for name in names} for tensors in out
        )
        return new_params, AdamWState(step=state.step + 1, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)

    def advance_moments(self, exp_avg: Tensor, exp_avg_sq: Tensor, *, grad: Tensor) -> tuple[Tensor, Tensor]:
        """(m', v') of one tensor, with the bits that `step` gives."""
        m, v = exp_avg.clone(), exp_avg_sq.clone()
        self._advance_moments([m], [v], [grad])
        return m, v

    def _advance_moments(self, m: list[Tensor], v: list[Tensor], g: list[Tensor]) -> None:
        b1, b2 = self.betas
        torch._foreach_mul_(m, b1)
        torch._foreach_add_(m, g, alpha=1 - b1)
        torch._foreach_mul_(v, b2)
        torch._foreach_addcmul_(v, g, g, value=1 - b2)

    @torch.no_grad()
    def vjp(
        self,
        cotangents: Cotangents,
        *,
        grad: Tensor,
        exp_avg: Tensor,
        exp_avg_sq: Tensor,
        step: int,
        name: str,
    ) -> tuple[Tensor, Cotangents]:
        """Send derivatives backwards through one step of one tensor.

            s = sqrt(v'/c2),  d = s + eps
            lam_m' += -lr lam' / (c1 d)
            lam_v' += lr lam' (m'/c1) / d^2 * 1 / (2 c2 s)      (0 where v' = 0, see below)
            gbar = (1-b1) lam_m' + 2 (1-b2) g lam_v'
            lam = (1 - lr weight_decay) lam',  lam_m = b1 lam_m',  lam_v = b2 lam_v'

        Where v' = 0, all gradients so far were 0 and the root's derivative is infinite; as v' = 0 stays the
        minimum of v' in g, the product is taken as 0, not as 0 * inf.

        Args:
            cotangents: (lam', lam_m', lam_v'), derivatives in the step's results.
            grad: the gradient g that the step used, clipped if it was.
            exp_avg, exp_avg_sq: the moments m', v' *after* the step.
            step: number of steps taken before this one.
            name: of the tensor, which decides its weight decay.

        Returns:
            (gbar, (lam, lam_m, lam_v)): derivatives in g and in what the step started from.
        """
        lr, (c1, c2), (b1, b2) = self.learning_rate(step), self.bias_corrections(step), self.betas
        # few passes over memory: sqrt(c2) s and sqrt(c2) d, the scalars gathered in `scale`
        scale = -lr * math.sqrt(c2) / c1
        root = exp_avg_sq.sqrt()
        denominator = root + self.eps * math.sqrt(c2)
        slope = cotangents.param / denominator  # d/dm' of <lam', phi'>, over scale
        # dividing by inf gives the 0 wanted where v' = 0
        root = torch.threshold_(root.mul_(denominator), 0.0, math.inf)
        lam_v = exp_avg * slope
        if cotangents.exp_avg_sq is None:
            lam_v.div_(root).mul_(-0.5 * scale)
        else:
            lam_v = torch.addcdiv(cotangents.exp_avg_sq, lam_v, root, value=-0.5 * scale)
        lam_m = (
            slope.mul_(scale)
            if cotangents.exp_avg is None
            else torch.add(cotangents.exp_avg, slope, alpha=scale)
        )
        gbar = lam_m.mul(1 - b1).addcmul_(grad, lam_v, value=2 * (1 - b2))
        start = Cotangents(cotangents.param.mul(1 - lr * self.decay(name)), lam_m.mul_(b1), lam_v.mul_(b2))
        return gbar, start


def global_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Scalar norm of all the tensors together, at one pass and no temporary."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))


def _check_not_negative(value: float, *, given: str, advice: str) -> None:
    if not (value >= 0.0 and math.isfinite(value)):
        raise ValueError(f"{given} must be a finite number >= 0, got {value}; {advice}")


def _chunks(names: Sequence[str], params: Mapping[str, Tensor]) -> Iterator[list[str]]:
    chunk: list[str] = []
    elements = 0
    for name in names:
        if chunk and elements + params[name].numel() > CHUNK_ELEMENTS:
            yield chunk
            chunk, elements = [], 0
        chunk.append(name)
        elements += params[name].numel()
    if chunk:
        yield chunk
