"""What rounding of the gradients does to the derivative of an optimizer's first step, from zero moments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamprm.hypergrad.base import Status, WindowResult
from dreamprm.hypergrad.inner_optimizer import Cotangents, InnerOptimizer, TensorStep
from dreamprm.hypergrad.sharding import entry_counts, params_norm, total

# Above this estimated error of the first step's share, the window says so.
WARN = 0.05


def rounded_start(optimizer: InnerOptimizer, taken: TensorStep) -> TensorStep | None:
    """A first step from zero moments with each entry of the gradient moved by the rounding of its typical
    size, with alternating signs; None where that makes no difference: of other steps, and in float64."""
    grad = taken.grad
    # only Adam's kind divides by the gradient's own size
    adaptive = hasattr(optimizer, "eps_root")
    if not adaptive or taken.step > 0 or grad.dtype == torch.float64 or grad.numel() == 0:
        return None
    size = torch.finfo(grad.dtype).eps * params_norm([grad]) / math.sqrt(entry_counts([grad])[0])
    signs = torch.ones(grad.numel(), dtype=grad.dtype, device=grad.device)
    signs[1::2] = -1
    # entries that no batch has used are exactly 0, and stay so
    rounded = torch.where(grad == 0, grad, grad + size * signs.reshape(grad.shape))
    return taken._replace(grad=rounded, end=None)


class ColdStart:
    """Adds up, over the tensors of a first step, how far its pullback moves when the gradient is rounded.

    From zero moments AdamW's first step is -lr g / (|g| + eps), whose derivative eps / (|g| + eps)^2 comes
    from the entries with |g| near eps. These are sums of larger terms that cancel, so that their error is the
    rounding of the gradient's typical size. `error` is the relative change of the vector gbar * g when each
    entry of g is moved by that much, with alternating signs.
    """

    def __init__(self, optimizer: InnerOptimizer) -> None:
        self._optimizer = optimizer
        self._sums: list[Tensor] = []

    @torch.no_grad()
    def see(self, cotangents: Cotangents, taken: TensorStep, gbar: Tensor) -> None:
        """Look at one tensor's step and its pullback; of first steps in less than float64 only."""
        rounded = rounded_start(self._optimizer, taken)
        if rounded is None:
            return
        moved, _ = self._optimizer.vjp(cotangents, rounded)
        change, whole = (moved - gbar).double() * taken.grad, gbar.double() * taken.grad
        self._sums.append(torch.stack([change.square().sum(), whole.square().sum()]))

    @property
    def error(self) -> float | None:
        """The estimate; None where no such step was seen, or its pullback is 0."""
        if not self._sums:
            return None
        change, whole = total(torch.stack(self._sums).sum(0)).tolist()
        return math.sqrt(change / whole) if whole > 0.0 else None

    def report(self, window: WindowResult) -> None:
        """Put the estimate into the window's stats, and into its status where it is large."""
        report_cold_start(window, self.error)


def report_cold_start(window: WindowResult, error: float | None) -> None:
    """Put the estimate of `ColdStart.error` into a window."""
    if error is None:
        return
    window.stats["cold_start_error"] = error
    if error > WARN and window.status is Status.ok:
        window.status = Status.imprecise
        window.message = (
            f"the first step from zero moments has a derivative that rounding of the gradients moves by "
            f"about {error:.0%}, as it comes from entries near eps: take alpha's steps from the second "
            "window on, set eps_root of the inner optimizer (the square of the gradients' typical size), "
            "or use float64"
        )
