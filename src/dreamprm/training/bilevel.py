"""The bi-level loop: T inner AdamW steps on the alpha-weighted loss, then one upper AdamW step on alpha.

    repeat:  phi_0..phi_T   T AdamW steps on L_tr(phi, alpha) = mean_k alpha_k L_k(phi)    (lower level)
             alpha          one AdamW step along d L_meta(phi_T(alpha)) / d alpha          (upper level)

The window of T steps is the training itself, not a rehearsal: parameters, moments, step count and
learning-rate schedule carry over from window to window. The loop holds an estimator, a problem and two
optimizers, and never asks which ones they are.

Source: DreamPRM, arXiv 2505.20241, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from dreamprm.hypergrad import (
    AdamWState,
    BilevelProblem,
    Estimator,
    InnerOptimizer,
    OptimizerState,
    Status,
    WindowResult,
)
from dreamprm.hypergrad.audit import Audit, AuditResult

Params = dict[str, Tensor]
# Statuses of windows whose gradient in alpha says nothing: no upper step is taken along it.
UNUSABLE = (Status.nonfinite, Status.diverged, Status.no_gradient)


class UpperOptimizer(Protocol):
    """What moves alpha along its gradient: AdamW, or another rule with a state of the same form."""

    def init(self, params: Mapping[str, Tensor]) -> AdamWState:
        """The state before the first step."""

    def learning_rate(self, step: int) -> float:
        """The step size after `step` steps."""

    def step(
        self, params: Mapping[str, Tensor], grads: Mapping[str, Tensor], *, state: AdamWState
    ) -> tuple[dict[str, Tensor], AdamWState]:
        """One step; returns (params, state)."""


@dataclass(frozen=True)
class Projected:
    """An upper optimizer whose steps are taken back to the alpha that is allowed.

    Args:
        optimizer: makes the steps.
        admissible: from an alpha to the nearest allowed one.
    """

    optimizer: UpperOptimizer
    admissible: Callable[[Params], Params]

    def init(self, params: Mapping[str, Tensor]) -> AdamWState:
        """The state before the first step."""
        return self.optimizer.init(params)

    def learning_rate(self, step: int) -> float:
        """The step size after `step` steps."""
        return self.optimizer.learning_rate(step)

    def step(
        self, params: Mapping[str, Tensor], grads: Mapping[str, Tensor], *, state: AdamWState
    ) -> tuple[Params, AdamWState]:
        """One step, then the nearest allowed alpha; the moments are those of the step."""
        moved, after = self.optimizer.step(params, grads, state=state)
        return self.admissible(moved), after


@dataclass
class BilevelState:
    """Everything the loop changes: both levels' variables and both optimizers' states.

    Attributes:
        params: phi, the inner parameters by name.
        inner: the inner optimizer's moments and step count.
        alpha: the upper variables by name.
        upper: the upper optimizer's moments and step count.
        skipped: inner steps of windows that were not finite, and changed nothing else here.
    """

    params: Params
    inner: OptimizerState
    alpha: Params
    upper: AdamWState
    skipped: int = 0

    @classmethod
    def start(
        cls, params: Params, alpha: Params, *, inner: InnerOptimizer, upper: UpperOptimizer
    ) -> BilevelState:
        """The state before the first step."""
        return cls(params, inner.init(params), alpha, upper.init(alpha))


class _Before:
    """The lower level before a window, which overwrites it: copies, put back in place.

    In place, because a module may share these tensors.
    """

    def __init__(self, state: BilevelState) -> None:
        self._step = state.inner.step
        self._tensors = [
            (tensor, tensor.detach().clone())
            for tensors in (state.params, *state.inner.moments.values())
            for tensor in tensors.values()
        ]
        self._params = dict(state.params)
        self._moments = {kind: dict(moments) for kind, moments in state.inner.moments.items()}

    def restore(self, state: BilevelState, optimizer: InnerOptimizer) -> None:
        """Bring the state back to what it was."""
        for tensor, value in self._tensors:
            tensor.detach().copy_(value)
        state.params, state.inner = self._params, optimizer.make_state(self._step, self._moments)


@dataclass(frozen=True)
class BilevelTrainer:
    """The loop's fixed parts.

    Args:
        problem: inner and outer loss.
        estimator: computes alpha's gradient from a window; any of `dreamprm.hypergrad.ESTIMATORS`.
        inner: optimizer of the lower level.
        upper: optimizer of the upper level, usually AdamW; None keeps alpha fixed.
        inner_steps: T, lower steps per upper step.
        to_device: moves a batch to the device of the parameters.
        audit: which windows' gradients are compared with the exact one; the results are in
            `window.stats["audit"]`.
        skip_nonfinite: whether a window that is not finite leaves everything as it was before it, so that the
            caller may go on. This keeps a copy of the parameters and moments.
        problem_of: why alpha cannot be used after an upper step; "" if it can. In addition, it must be
            finite.
    """

    problem: BilevelProblem
    estimator: Estimator
    inner: InnerOptimizer
    upper: UpperOptimizer | None
    inner_steps: int = 5
    to_device: Callable[[Any], Any] = field(default=lambda batch: batch)
    audit: Audit = Audit(every=0)
    skip_nonfinite: bool = False
    problem_of: Callable[[Params], str] = field(default=lambda alpha: "")

    def __post_init__(self) -> None:
        if self.inner_steps < 1:
            raise ValueError(f"inner_steps (T) must be >= 1, got {self.inner_steps}; the paper uses 5")

    def run(
        self,
        state: BilevelState,
        *,
        inner_batches: Iterator[Any],
        outer_batches: Iterator[Any],
        windows: int,
    ) -> Iterator[WindowResult]:
        """Train for `windows` windows; yields after each, with `state` updated in place.

        The generator may be abandoned between windows (a checkpoint, an interruption); a new one started from
        the same state continues as if nothing had happened, provided that the batches continue too. A window
        whose status is `nonfinite`, `diverged` or `no_gradient` leaves alpha and the upper optimizer as they
        were; `nonfinite` is also the status if the upper step would give an alpha that cannot be used. With
        `skip_nonfinite`, the first two leave everything as it was, and are counted in `state.skipped`.
        """
        for _ in range(windows):
            before = _Before(state) if self.skip_nonfinite else None
            batches = [self.to_device(next(inner_batches)) for _ in range(self.inner_steps)]
            meta = self.to_device(next(outer_batches))
            audited = self._audit(state, batches, meta)  # first: the window overwrites its initial state

            window = self.estimator.run_window(
                self.problem,
                self.inner,
                state.params,
                state.inner,
                state.alpha,
                inner_batches=batches,
                outer_batch=meta,
                donate=True,
            )
            state.params, state.inner = window.params, window.state
            if audited is not None:
                window.stats["audit"] = audited

            # without a usable gradient alpha stays as it was, so that the caller can continue from here
            if self.upper is not None and window.status not in UNUSABLE:
                alpha, upper = self.upper.step(state.alpha, window.alpha_grad, state=state.upper)
                problem = self._problem(alpha, upper)
                if problem:
                    window.status, window.message = Status.nonfinite, problem
                else:
                    state.alpha, state.upper = alpha, upper
            if before is not None and window.status in (Status.nonfinite, Status.diverged):
                before.restore(state, self.inner)
                state.skipped += self.inner_steps
            yield window

    def _problem(self, alpha: Params, upper: AdamWState) -> str:
        """Why the result of an upper step cannot be used; "" if it can."""
        held = {"alpha": alpha, **{f"alpha's {kind}": moments for kind, moments in upper.moments.items()}}
        for what, tensors in held.items():
            if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
                return f"the upper step makes {what} NaN or infinite; lower upper.lr"
        return self.problem_of(alpha)

    def _audit(self, state: BilevelState, inner_batches: list[Any], outer_batch: Any) -> AuditResult | None:
        if not self.audit.due((state.inner.step + state.skipped) // self.inner_steps + 1):
            return None
        return self.audit.compare(
            self.estimator,
            self.problem,
            self.inner,
            state.params,
            state.inner,
            state.alpha,
            inner_batches=inner_batches,
            outer_batch=outer_batch,
        )
