"""Gradients of the outer loss in what a window starts from in addition to alpha: lr, weight decay, params."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from dreamprm.hypergrad.inner_optimizer import Cotangents, InnerOptimizer, SettingTensors, TensorStep
from dreamprm.hypergrad.sharding import total

WRT = ("lr", "weight_decay", "params0")


def checked_wrt(wrt: Collection[str], *, given: Collection[str], by: str) -> frozenset[str]:
    """The gradients asked for in addition to alpha's.

    Args:
        wrt: as given to `run_window`; "alpha" is always computed and may be named.
        given: what the estimator can give.
        by: the estimator's name.

    Raises:
        ValueError: an unknown name, or one that the estimator cannot give.
    """
    names = [wrt] if isinstance(wrt, str) else list(wrt)
    for name in names:
        if name not in ("alpha", *WRT):
            raise ValueError(f"wrt must be some of alpha, {', '.join(WRT)}, got {name!r}")
        if name != "alpha" and name not in given:
            raise ValueError(
                f"{by} gives no gradient in {name}, it does not follow the steps back to it; use unrolled, "
                "adjoint or first_order"
            )
    return frozenset(names) - {"alpha"}


class SettingGradients:
    """Collects the derivatives in the learning rate of every step and the weight decay of every tensor, while
    an estimator carries derivatives back through the steps."""

    def __init__(self, optimizer: InnerOptimizer, wrt: Collection[str], *, first: int) -> None:
        """`first` is the number of steps taken before the window."""
        self._optimizer, self._first = optimizer, first
        self._wrt = settings_among(wrt)
        self._lr: dict[int, list[Tensor]] = {}
        self._decay: dict[str, list[Tensor]] = {}

    @property
    def wanted(self) -> bool:
        """Whether any of the two is asked for."""
        return bool(self._wrt)

    def add(self, cotangents: Cotangents, taken: TensorStep) -> None:
        """Of one step of one tensor, from the derivatives in its results."""
        if not self.wanted:
            return
        found = self._optimizer.settings_vjp(cotangents, taken, self._wrt)
        if "lr" in found:
            self._lr.setdefault(taken.step - self._first, []).append(found["lr"])
        if "weight_decay" in found:
            self._decay.setdefault(taken.name, []).append(found["weight_decay"])

    @property
    def lr(self) -> Tensor | None:
        """As `WindowResult.lr_grad` has it."""
        if "lr" not in self._wrt:
            return None
        return shaped_lr(self._optimizer, [_sum(self._lr[t]) for t in sorted(self._lr)])

    def weight_decay(self, names: Iterable[str]) -> Tensor | dict[str, Tensor] | None:
        """As `WindowResult.weight_decay_grad` has it."""
        if "weight_decay" not in self._wrt:
            return None
        return shaped_decay(self._optimizer, {name: _sum(self._decay[name]) for name in names})


def settings_among(wrt: Collection[str]) -> tuple[str, ...]:
    """Which of the optimizer's settings are asked for."""
    return tuple(name for name in ("lr", "weight_decay") if name in wrt)


def setting_tensors(
    optimizer: InnerOptimizer, wrt: Collection[str], *, steps: range, names: Iterable[str]
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Leaves for the learning rate of each step and the weight decay of each tensor, where they are asked
    for; in float64, as the numbers are."""

    def leaf(value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    rates = [leaf(optimizer.learning_rate(step)) for step in steps] if "lr" in wrt else []
    decays = {name: leaf(optimizer.decay(name)) for name in names} if "weight_decay" in wrt else {}
    return rates, decays


def at_step(rates: list[Tensor], decays: dict[str, Tensor], *, t: int) -> SettingTensors | None:
    """Those of one step, None where none is asked for."""
    if not rates and not decays:
        return None
    return SettingTensors(rates[t] if rates else None, decays or None)


def shaped_lr(optimizer: InnerOptimizer, parts: list[Tensor]) -> Tensor:
    """From one derivative a step: as they are of a schedule, else their sum."""
    each = total(torch.stack(parts))
    return each if callable(optimizer.lr) else each.sum()


def shaped_decay(optimizer: InnerOptimizer, parts: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
    """From one derivative a tensor: as they are of decay groups, else their sum."""
    if not callable(optimizer.weight_decay):
        return total(_sum(parts.values()))
    return dict(zip(parts, total(torch.stack(list(parts.values()))).unbind(), strict=True))


def _sum(parts: Iterable[Tensor]) -> Tensor:
    # float64: the parts of thousands of tensors and steps may cancel
    return torch.stack([part.double() for part in parts]).sum()
