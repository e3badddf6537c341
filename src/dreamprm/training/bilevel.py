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


@dataclass
class BilevelState:
    """Everything the loop changes: both levels' variables and both optimizers' states.

    Attributes:
        params: phi, the inner parameters by name.
        inner: the inner optimizer's moments and step count.
        alpha: the upper variables by name.
        upper: the upper optimizer's moments and step count (its count is the number of windows done).
    """

    params: Params
    inner: OptimizerState
    alpha: Params
    upper: AdamWState

    @classmethod
    def start(
        cls, params: Params, alpha: Params, *, inner: InnerOptimizer, upper: UpperOptimizer
    ) -> BilevelState:
        """The state before the first step."""
        return cls(params, inner.init(params), alpha, upper.init(alpha))


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
    """

    problem: BilevelProblem
    estimator: Estimator
    inner: InnerOptimizer
    upper: UpperOptimizer | None
    inner_steps: int = 5
    to_device: Callable[[Any], Any] = field(default=lambda batch: batch)
    audit: Audit = Audit(every=0)

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
        were.
        """
        for _ in range(windows):
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
                state.alpha, state.upper = self.upper.step(state.alpha, window.alpha_grad, state=state.upper)
            yield window

    def _audit(self, state: BilevelState, inner_batches: list[Any], outer_batch: Any) -> AuditResult | None:
        if not self.audit.due(state.inner.step // self.inner_steps + 1):
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
