"""AdamW as a function of (params, gradients, state): its step and its step's derivative in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.inner_optimizer import (
    Cotangents,
    Decay,
    InnerOptimizer,
    OptimizerState,
    Rate,
    StepContext,
    TensorStep,
    check_common_settings,
)
from dreamprm.hypergrad.trees import flatten, named

Vjp = Callable[[Any, Cotangents, TensorStep], tuple[Tensor, Cotangents]]

# Elements updated at once: bounds the step's temporaries (two of this size, a third where gradients are
# clipped) for models of billions of parameters.
CHUNK_ELEMENTS = 1 << 26


def first_step_in_float64(vjp: Vjp) -> Vjp:
    """A pullback that takes an optimizer's first step in float64, from the moments before it if known."""

    @wraps(vjp)
    def pullback(self: Any, cotangents: Cotangents, taken: TensorStep) -> tuple[Tensor, Cotangents]:
        dtype = taken.grad.dtype
        if taken.step > 0 or taken.start is None or dtype == torch.float64 or taken.grad.device.type == "mps":
            return vjp(self, cotangents, taken)
        gbar, start = vjp(
            self,
            Cotangents(cotangents.param.double(), _cast(cotangents.moments, torch.float64)),
            taken._replace(
                grad=taken.grad.double(),
                start=_cast(taken.start, torch.float64),
                param=None if taken.param is None else taken.param.double(),
                end=None,
            ),
        )
        return gbar.to(dtype), Cotangents(start.param.to(dtype), _cast(start.moments, dtype))

    return pullback


def _cast(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {kind: tensor.to(dtype) for kind, tensor in tensors.items()}


def check_eps_root(eps_root: float) -> None:
    """Refuse what cannot stand under a root.

    Raises:
        ValueError: it is negative or not finite.
    """
    if not (eps_root >= 0.0 and math.isfinite(eps_root)):
        raise ValueError(f"eps_root must be a finite number >= 0, got {eps_root}; use 0 for the plain root")


@dataclass
class AdamWState:
    """Moments by parameter name, and the number of steps taken so far."""

    step: int
    exp_avg: dict[str, Tensor]
    exp_avg_sq: dict[str, Tensor]

    @property
    def moments(self) -> dict[str, dict[str, Tensor]]:
        """The moments by kind and parameter name."""
        return {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}


@dataclass(frozen=True)
class AdamW(InnerOptimizer):
    """Adam with decoupled weight decay; `step` counts from 1 in the bias corrections c_i.

        g = clip(g)                          only with max_grad_norm, see `Clip`
        m' = b1 m + (1-b1) g                 c1 = 1 - b1^step
        v' = b2 v + (1-b2) g^2               c2 = 1 - b2^step
        phi' = phi - lr ((m'/c1) / (sqrt(v'/c2 + eps_root) + eps) + weight_decay phi)

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
        eps_root: added under the root. 0 is AdamW itself, whose first step from zero moments is
            -lr g / (|g| + eps): its derivative comes from entries with |g| near eps alone, which float32
            gradients hold with few digits (docs/hypergradients.md, "A cold start in float32"). The square of
            the gradients' typical size makes it well conditioned, and steps along smaller entries smaller.

    Raises:
        ValueError: a setting out of its range; or, at a step, a callable lr or weight_decay that returns a
            negative or non-finite number.

    Source: Loshchilov and Hutter, arXiv 1711.05101; the inner optimizer of DreamPRM, arXiv 2505.20241.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Decay = 1e-2
    max_grad_norm: float | None = None
    eps_root: float = 0.0
    kinds = ("exp_avg", "exp_avg_sq")
    elementwise = True

    def __post_init__(self) -> None:
        check_common_settings(self)
        object.__setattr__(self, "betas", checked_betas(self.betas))
        check_eps(self.eps)
        check_eps_root(self.eps_root)

    @property
    def vjp_reads(self) -> tuple[str, ...]:
        """The moments after the step: the decay is decoupled, so nothing depends on the params."""
        return ("end",)

    def make_state(self, step: int, moments: dict[str, dict[str, Tensor]]) -> AdamWState:
        """The state with these moments."""
        return AdamWState(step, **moments)

    def init(self, params: Any) -> AdamWState:
        """Zero moments for these params, no step taken."""
        state = super().init(params)
        assert isinstance(state, AdamWState)
        return state

    def bias_corrections(self, step: int) -> tuple[float, float]:
        """(c1, c2) of the step that follows `step` steps already taken."""
        return bias_corrections(self.betas, step)

    @torch.no_grad()
    def step(
        self,
        params: Any,
        grads: Any,
        *,
        state: OptimizerState,
        inplace: bool = False,
    ) -> tuple[Any, AdamWState]:
        """One step along the clipped gradient; returns (params, state), all detached.

        `inplace=True` writes into the tensors given (and returns them) with two chunks of temporary memory,
        three where the gradients are clipped; the bits are the same. `grads` has an entry for each of the
        params and is never modified.
        """
        given = flatten(params, kind="params")
        if given.rebuild is not None:
            new, after = self.step(given.tensors, named(grads, kind="params"), state=state, inplace=inplace)
            return given.rebuild(new), after
        lr, (c1, c2) = self.learning_rate(state.step), self.bias_corrections(state.step)
        clip = self.clip_of(grads)
        names = list(params)
        out = [params, *(state.moments[kind] for kind in self.kinds)]
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
            if self.eps_root:
                torch._foreach_add_(root, self.eps_root)
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

    def update(
        self, param: Tensor, grad: Tensor, moments: Mapping[str, Tensor], at: StepContext
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One differentiable step of one tensor, with the bits that `step` gives."""
        (b1, b2), (c1, c2) = self.betas, self.bias_corrections(at.step)
        m = torch.add(moments["exp_avg"].mul(b1), grad, alpha=1 - b1)
        v = torch.addcmul(moments["exp_avg_sq"].mul(b2), grad, grad, value=1 - b2)
        # the smallest number takes 0 * inf = NaN from the root's derivative at 0; values keep their bits
        root = v.div(c2).add(max(torch.finfo(v.dtype).tiny, self.eps_root)).sqrt()
        direction = m.div(c1).div(root + self.eps)
        decay, lr = at.weight_decay, at.lr
        if isinstance(decay, Tensor):
            direction = direction + decay * param
        elif decay != 0.0:
            direction = direction.add(param, alpha=decay)
        return param + direction * -lr, {"exp_avg": m, "exp_avg_sq": v}

    @torch.no_grad()
    def advance_moments(self, taken: TensorStep) -> dict[str, Tensor]:
        """(m', v') of one tensor, with the bits that `step` gives."""
        assert taken.start is not None
        b1, b2 = self.betas
        m, v = (taken.start[kind] for kind in self.kinds)
        return {
            "exp_avg": m.mul(b1).add_(taken.grad, alpha=1 - b1),
            "exp_avg_sq": v.mul(b2).addcmul_(taken.grad, taken.grad, value=1 - b2),
        }

    def _advance_moments(self, m: list[Tensor], v: list[Tensor], g: list[Tensor]) -> None:
        b1, b2 = self.betas
        torch._foreach_mul_(m, b1)
        torch._foreach_add_(m, g, alpha=1 - b1)
        torch._foreach_mul_(v, b2)
        torch._foreach_addcmul_(v, g, g, value=1 - b2)

    @torch.no_grad()
    @first_step_in_float64
    def vjp(self, cotangents: Cotangents, taken: TensorStep) -> tuple[Tensor, Cotangents]:
        """Send derivatives backwards through one step of one tensor.

            s = sqrt(v'/c2 + eps_root),  d = s + eps
            lam_m' += -lr lam' / (c1 d)
            lam_v' += lr lam' (m'/c1) / d^2 * 1 / (2 c2 s)      (0 where v' = 0, see below)
            gbar = (1-b1) lam_m' + 2 (1-b2) g lam_v'
            lam = (1 - lr weight_decay) lam',  lam_m = b1 lam_m',  lam_v = b2 lam_v'

        Where v' = 0, all gradients so far were 0 and the root's derivative is infinite; as v' = 0 stays the
        minimum of v' in g, the product is taken as 0, not as 0 * inf.

        Of a first step (from zero moments) the two terms of gbar cancel up to a share eps / |g|: it is taken
        in float64, from the moments before it.

        Args:
            cotangents: (lam', lam_m', lam_v'), derivatives in the step's results.
            taken: the step; of its moments those after it serve, and those before it where these are not
                known.

        Returns:
            (gbar, (lam, lam_m, lam_v)): derivatives in g and in what the step started from.
        """
        return self._vjp(cotangents, taken, inplace=False)

    @torch.no_grad()
    def vjp_inplace(self, cotangents: Cotangents, taken: TensorStep) -> tuple[Tensor, Cotangents]:
        """`vjp` with its bits, in the memory of the moments after the step and of their cotangents."""
        if taken.step == 0 or type(self).vjp is not AdamW.vjp:
            return self.vjp(cotangents, taken)
        return self._vjp(cotangents, taken, inplace=True)

    def _vjp(self, cotangents: Cotangents, taken: TensorStep, *, inplace: bool) -> tuple[Tensor, Cotangents]:
        end = self.advance_moments(taken) if taken.end is None else taken.end
        b1, b2 = self.betas
        lr = self.learning_rate(taken.step)
        after_m, after_v = (cotangents.moments.get(kind) for kind in self.kinds)
        lam_m, lam_v = direction_vjp(
            cotangents.param,
            exp_avg=end["exp_avg"],
            exp_avg_sq=end["exp_avg_sq"],
            after=(after_m, after_v),
            lr=lr,
            eps=self.eps,
            eps_root=self.eps_root,
            corrections=self.bias_corrections(taken.step),
            inplace=inplace,
        )
        gbar = torch.mul(lam_m, 1 - b1, out=end["exp_avg"] if inplace else None)
        gbar.addcmul_(taken.grad, lam_v, value=2 * (1 - b2))
        lam, decayed = cotangents.param, lr * self.decay(taken.name)
        if not inplace or decayed > torch.finfo(lam.dtype).eps / 4:  # else 1 - decayed is 1
            lam = lam.mul(1 - decayed)
        return gbar, Cotangents(lam, dict(zip(self.kinds, (lam_m.mul_(b1), lam_v.mul_(b2)))))


def bias_corrections(betas: tuple[float, float], step: int) -> tuple[float, float]:
    """(1 - b1^(step+1), 1 - b2^(step+1))."""
    return 1.0 - betas[0] ** (step + 1), 1.0 - betas[1] ** (step + 1)


def direction_vjp(
    param: Tensor,
    *,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    after: tuple[Tensor | None, Tensor | None],
    lr: float,
    eps: float,
    eps_root: float,
    corrections: tuple[float, float],
    inplace: bool = False,
) -> tuple[Tensor, Tensor]:
    """Send derivatives backwards through -lr (m'/c1) / (sqrt(v'/c2 + eps_root) + eps).

    Args:
        param: lam', the derivative in phi'.
        exp_avg, exp_avg_sq: m', v'.
        after: derivatives in m' and v' from later steps; None for zero.
        inplace: whether exp_avg_sq and `after` may be overwritten.

    Returns:
        (lam_m', lam_v'): all of the derivatives in m' and v', in new tensors unless `inplace`.
    """
    c1, c2 = corrections
    # few passes over memory: sqrt(c2) s and sqrt(c2) d, the scalars gathered in `scale`
    scale = -lr * math.sqrt(c2) / c1
    if eps_root:
        root = exp_avg_sq.add(eps_root * c2).sqrt_()
    else:
        root = exp_avg_sq.sqrt_() if inplace else exp_avg_sq.sqrt()
    denominator = root + eps * math.sqrt(c2)
    slope = param / denominator  # d/dm' of <lam', phi'>, over scale
    # dividing by inf gives the 0 wanted where v' = 0
    root = torch.threshold_(root.mul_(denominator), 0.0, math.inf)
    lam_v = torch.mul(exp_avg, slope, out=denominator)
    after_m, after_v = after
    if after_v is None:
        lam_v.div_(root).mul_(-0.5 * scale)
    elif inplace:
        lam_v = after_v.addcdiv_(lam_v, root, value=-0.5 * scale)
    else:
        lam_v = torch.addcdiv(after_v, lam_v, root, value=-0.5 * scale)
    if after_m is None:
        lam_m = slope.mul_(scale)
    else:
        lam_m = after_m.add_(slope, alpha=scale) if inplace else torch.add(after_m, slope, alpha=scale)
    return lam_m, lam_v


def checked_betas(betas: Sequence[float]) -> tuple[float, float]:
    """The two decay rates, as a tuple: a config's list would make the dataclass unhashable.

    Raises:
        ValueError: they are not two numbers in [0, 1).
    """
    if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
        raise ValueError(f"betas must be two numbers in [0, 1), got {betas!r}")
    return betas[0], betas[1]


def check_eps(eps: float) -> None:
    """Refuse a number that is not added to the root.

    Raises:
        ValueError: it is not positive.
    """
    if not (eps > 0.0 and math.isfinite(eps)):
        raise ValueError(f"eps must be > 0, got {eps}; unused parameters would become 0/0, use 1e-8")


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
