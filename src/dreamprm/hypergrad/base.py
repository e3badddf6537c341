"""What every estimator shares: one method to write, its arguments, its result and its statuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

import torch
from torch import Tensor

from dreamprm.hypergrad.arguments import check_memory, check_sharding, check_state
from dreamprm.hypergrad.derivatives import Derivative
from dreamprm.hypergrad.further_gradients import checked_wrt
from dreamprm.hypergrad.inner_optimizer import InnerOptimizer, OptimizerState
from dreamprm.hypergrad.no_gradient import Ended, cause, says_nothing, silent_tensors
from dreamprm.hypergrad.opaque import check_backwards
from dreamprm.hypergrad.problem import BilevelProblem
from dreamprm.hypergrad.replay import Numbered, Replay, habits_of
from dreamprm.hypergrad.settings import check_numbers, refuse_old_names
from dreamprm.hypergrad.sharding import sharded, total
from dreamprm.hypergrad.torch_errors import explained
from dreamprm.hypergrad.trees import check_tensors, flatten


class Status(str, Enum):
    """How a window ended."""

    ok = "ok"
    nonfinite = "nonfinite"
    """A loss, a parameter or the gradient in alpha is NaN or infinite."""
    diverged = "diverged"
    """An iterative solver moved away from the solution; alpha_grad is NaN, as there is no estimate."""
    not_converged = "not_converged"
    """An iterative solver stopped short of its tolerance; alpha_grad is the best estimate it had."""
    imprecise = "imprecise"
    """A difference was lost in rounding or truncation; alpha_grad is the best estimate it had, and
    stats["error"] its estimated relative error."""
    no_gradient = "no_gradient"
    """alpha reaches no loss of the window, or its gradient underflowed: alpha_grad says nothing."""


@dataclass
class WindowResult:
    """The result of one window; every tensor is detached."""

    params: Any
    """phi_T, after the window's T steps, in the structure that was given: dict[str, Tensor] for a dict."""
    state: OptimizerState
    """The optimizer's state after them; pass it to the next window."""
    alpha_grad: Any
    """d outer_loss / d alpha, in the structure of alpha; zeros where alpha does not enter."""
    inner_losses: Tensor
    """(T,) the inner loss before each step."""
    outer_loss: Tensor
    """Scalar, at phi_T."""
    status: Status = Status.ok
    message: str = ""
    """What went wrong and what to do; empty when status is ok."""
    lr_grad: Tensor | None = None
    """d outer_loss / d lr where `wrt` asks for it: a scalar, or (T,), one for each step, where lr is a
    schedule."""
    weight_decay_grad: Tensor | dict[str, Tensor] | None = None
    """d outer_loss / d weight_decay where `wrt` asks for it: a scalar, or one by parameter name where it is a
    callable (add up a group's)."""
    params0_grad: Any = None
    """d outer_loss / d params, those that the window started from, where `wrt` asks for it; the moments it
    started from are held."""
    stats: dict[str, Any] = field(default_factory=dict)
    """`forward` and `backward`: passes over the inner or outer loss; `without_gradient`: names of tensors of
    alpha whose gradient is exactly 0, where there are any; further keys by estimator."""


@dataclass
class WindowTask:
    """Checked arguments of `run_window`, as the estimators receive them; tensors are detached."""

    problem: BilevelProblem
    optimizer: InnerOptimizer
    params: dict[str, Tensor]
    state: OptimizerState
    alpha: dict[str, Tensor]
    inner_batches: list[Any]
    """`Numbered`, as the losses of `problem` take them; the batch that was given is `.batch`."""
    outer_batch: Any
    donate: bool
    wrt: frozenset[str] = frozenset()
    """Gradients to give in addition to alpha's, of those that the estimator `gives`."""


class Estimator(ABC):
    """Runs a window of T inner steps and estimates d outer_loss / d alpha through it.

    A frozen dataclass whose fields are all its settings; subclasses write `_run`.
    """

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        """Refuse settings that are called otherwise now, before the dataclass sees them."""
        refuse_old_names(cls, settings)
        return super().__new__(cls)

    @property
    def needs_second_order(self) -> bool:
        """Whether gradients of gradients are taken: fused attention has none, use eager attention then.

        That of the setting `derivative`, where there is one.
        """
        return self._derivative.needs_second_order

    @property
    def needs_forward_mode(self) -> bool:
        """Whether forward-mode derivatives are taken, which not every operation has: try a window of two
        steps before a long run. As above."""
        return self._derivative.needs_forward_mode

    @property
    def _derivative(self) -> Derivative:
        kind = getattr(self, "derivative", None)
        return kind if isinstance(kind, Derivative) else Derivative()

    @property
    def differentiates_gradients(self) -> bool:
        """Whether backward passes are differentiated, for which all of the model must be written."""
        return self.needs_second_order

    @property
    def gives(self) -> tuple[str, ...]:
        """The gradients that `run_window(..., wrt=...)` can ask for in addition to alpha's."""
        return ()

    @property
    def differentiates_steps(self) -> bool:
        """Whether alpha_grad goes through the derivative of the inner optimizer's step."""
        return False

    @property
    def evaluates_parts(self) -> bool:
        """Whether batches that the problem splits are evaluated part by part, one graph at a time."""
        return True

    @property
    def gives_gradient(self) -> bool:
        """Whether a gradient of 0 is reported as `no_gradient`; False for plain training."""
        return True

    @abstractmethod
    def _run(self, task: WindowTask) -> WindowResult:
        """Take the T steps and fill in the result; a status of its own where a solver did not succeed."""

    def run_window(
        self,
        problem: BilevelProblem,
        optimizer: InnerOptimizer,
        params: Any,
        state: OptimizerState,
        alpha: Any,
        *,
        inner_batches: Iterable[Any],
        outer_batch: Any,
        donate: bool = False,
        on_failure: str = "return",
        wrt: Collection[str] = ("alpha",),
    ) -> WindowResult:
        """Take T = len(inner_batches) inner steps and estimate the gradient in alpha of the outer loss there.

        The window is the training: continue from `window.params` and `window.state`. All estimators return
        the same params and state.

        Args:
            problem: the two losses.
            optimizer: the inner optimizer, `AdamW` or another `InnerOptimizer`.
            params: phi by name, in float32, float64 or bfloat16, on one device; requires_grad and graphs
                attached to them are ignored. A dict of tensors, or nested dicts, lists, tuples or dataclasses
                of them (see trees.py), which the losses and the result then get back.
            state: of the optimizer, from `optimizer.init` or the last window.
            alpha: outer variables by name, floating point, in any such structure; may be empty.
            inner_batches: one batch for each step.
            outer_batch: the meta batch.
            donate: allow the tensors in `params` and `state` to be overwritten; `alpha` never is.
            on_failure: when the status is not `ok`: "return" the window, whose message says what was seen
                and what to do, or "raise" it as an exception.
            wrt: what to give the gradient in, in addition to alpha: "lr" and "weight_decay" (the inner
                optimizer's), "params0" (the params that the window starts from); in `lr_grad`,
                `weight_decay_grad` and `params0_grad` of the result. `unrolled`, `adjoint` and `first_order`
                give them, the last without the Hessian term as it does alpha's; the others refuse.

        Returns:
            A `WindowResult`.

        Raises:
            ValueError: no batch, no params, a module, tensors that are not floating point, have no values or
                are on several devices, one tensor under two names, settings that are tensors, a state that
                does not match the params, a loss of the wrong shape or that does not depend on the params, or
                a difference of half-precision params.
            NotImplementedError: an operation of the model lacks a derivative that the estimator takes.
            FloatingPointError: a non-finite number, with on_failure="raise".
            ArithmeticError: any other status than ok, with on_failure="raise".
        """
        check_on_failure(on_failure)
        task = self.task(
            problem,
            optimizer,
            params,
            state,
            alpha,
            inner_batches=inner_batches,
            outer_batch=outer_batch,
            donate=donate,
            wrt=wrt,
        )
        with torch.inference_mode(False), torch.enable_grad(), explained(), sharded(problem.sharding):
            window = self._run(task)
        return self.finished(window, task, params, alpha, on_failure=on_failure)

    def task(
        self,
        problem: BilevelProblem,
        optimizer: InnerOptimizer,
        params: Mapping[str, Tensor],
        state: OptimizerState,
        alpha: Mapping[str, Tensor],
        *,
        inner_batches: Iterable[Any],
        outer_batch: Any,
        donate: bool,
        wrt: Collection[str] = ("alpha",),
        first: int = 0,
    ) -> WindowTask:
        """The arguments of `run_window`, checked, with losses whose re-evaluations repeat the first one.

        `first` is the number of the first of these batches in its window.
        """
        batches = list(inner_batches)
        if not batches:
            raise ValueError("inner_batches is empty: a window needs T >= 1 steps; give one batch per step")
        given, given_alpha = flatten(params, kind="params"), flatten(alpha, kind="alpha")
        params, alpha = given.tensors, given_alpha.tensors
        check_numbers(optimizer)
        check_tensors(params, kind="params")
        check_tensors(alpha, kind="alpha")
        if not params:
            raise ValueError("params is empty; give the tensors to train by name")
        if not isinstance(optimizer, InnerOptimizer):
            raise TypeError(
                "optimizer must be an InnerOptimizer such as AdamW(lr=1e-3), got "
                f"{type(optimizer).__name__}; subclass InnerOptimizer for an own one"
            )
        check_sharding(problem.sharding, optimizer)
        extra = checked_wrt(wrt, given=self.gives, by=type(self).__name__)
        check_state(optimizer, state, params)
        check_memory(params, alpha, state)
        habits = habits_of(problem)
        fixed = {
            f"{kind}[{name!r}]": one
            for kind, tensors in (("params", params), ("alpha", alpha))
            for name, one in tensors.items()
        }

        def check(name: str, *evaluation: Any) -> None:
            if name in ("inner_loss", "inner_losses", "unweighted_loss"):
                try:
                    check_backwards(habits.differentiable, *evaluation, together=problem.together)
                except NotImplementedError:
                    habits.checked = 0  # the next window is checked again
                    raise

        due = self.differentiates_gradients and habits.check_due()
        replay = Replay(habits, fixed=fixed, check=check if due else None)
        return WindowTask(
            problem=replay.problem(problem.rebuilding(given.rebuild, given_alpha.rebuild)),
            optimizer=optimizer,
            params=_plain(params),
            state=optimizer.make_state(
                state.step,
                {kind: _plain(moments, detach=False) for kind, moments in state.moments.items()},
            ),
            alpha=_plain(alpha),
            inner_batches=[Numbered(t, batch) for t, batch in enumerate(batches, start=first)],
            outer_batch=Numbered("outer", outer_batch),
            donate=donate,
            wrt=extra,
        )

    def finished(
        self, window: WindowResult, task: WindowTask, params: Any, alpha: Any, *, on_failure: str
    ) -> WindowResult:
        """The window with the status of what can be seen in its numbers, or the error that was asked for; in
        the form that params and alpha were given in."""
        with torch.inference_mode(False), torch.enable_grad(), explained(), sharded(task.problem.sharding):
            _judge(window, task if self.gives_gradient else None)
        given, given_alpha = flatten(params, kind="params"), flatten(alpha, kind="alpha")
        optimizer = task.optimizer
        blocked = self.differentiates_steps and optimizer.blocks_gradients
        if window.status in (Status.ok, Status.no_gradient) and task.alpha and blocked:
            window.status = Status.no_gradient
            window.message = (
                f"no derivative passes the steps of {type(optimizer).__name__}: alpha_grad is the direct "
                "part of the outer loss alone; take an optimizer whose step follows the gradient's size, or "
                "an estimator that leaves the step out (finite_difference, implicit)"
            )
        window.params, window.alpha_grad = given.like(window.params), given_alpha.like(window.alpha_grad)
        if isinstance(window.params0_grad, dict):
            window.params0_grad = given.like(window.params0_grad)
        if window.status is not Status.ok and on_failure == "raise":
            kind = FloatingPointError if window.status is Status.nonfinite else ArithmeticError
            raise kind(window.message)
        return window


def check_on_failure(on_failure: str) -> None:
    """Refuse what is neither "return" nor "raise".

    Raises:
        ValueError: naming both.
    """
    if on_failure not in ("return", "raise"):
        raise ValueError(f'on_failure must be "return" or "raise", got {on_failure!r}')


def _plain(tensors: Mapping[str, Tensor], *, detach: bool = True) -> dict[str, Tensor]:
    """The tensors without their graphs; copies of those made under torch.inference_mode()."""
    with torch.inference_mode(False):
        return {
            name: one.clone() if one.is_inference() else one.detach() if detach else one
            for name, one in tensors.items()
        }


def _judge(window: WindowResult, task: WindowTask | None) -> None:
    """Set the status of a window with numbers that are not finite, or whose gradient in alpha is nothing.

    `task` is None for plain training, which has no gradient to judge.
    """
    if window.status is Status.diverged:
        return
    nonfinite = _nonfinite(window)
    if nonfinite:
        window.status, window.message = Status.nonfinite, nonfinite
        return
    if task is None:
        return
    silent = silent_tensors(window.alpha_grad)
    if silent:
        window.stats["without_gradient"] = silent
    if says_nothing(window.alpha_grad, silent):
        ended = Ended(
            task.problem,
            task.optimizer,
            window.params,
            task.alpha,
            step=window.state.step,
            inner_batches=task.inner_batches,
            outer_batch=task.outer_batch,
        )
        window.status, window.message = Status.no_gradient, cause(ended)


def _nonfinite(window: WindowResult) -> str:
    """Say what is not finite, first cause first."""
    advice = "lower the learning rate, check the data of this window's batches, or train in float32"
    finite = [
        bool(torch.isfinite(window.inner_losses).all()),
        _all_finite(window.params, shards=True),
        bool(torch.isfinite(window.outer_loss)),
        _all_finite(window.alpha_grad),
        _all_finite(_further(window), shards=True),
    ]
    if all(finite):
        return ""
    if not finite[0]:
        first = int(torch.isfinite(window.inner_losses).logical_not().nonzero()[0])
        return f"the inner loss of the window's step {first} is {float(window.inner_losses[first])}; {advice}"
    if not finite[1]:
        return f"the inner gradient is not finite: parameters became NaN or infinite; {advice}"
    if not finite[2]:
        return f"the outer loss is {float(window.outer_loss)}; {advice}, or check the meta batch"
    what = "alpha" if not finite[3] else ", ".join(_further(window))
    return f"the gradient in {what} is not finite; {advice}, or lower the settings of the estimator"


def _further(window: WindowResult) -> dict[str, Tensor]:
    """The gradients in addition to alpha's."""
    parts = {"lr": window.lr_grad, "weight_decay": window.weight_decay_grad, "params0": window.params0_grad}
    further = {}
    for name, part in parts.items():
        if isinstance(part, Tensor):
            further[name] = part
        elif part:
            further[name] = torch.cat([tensor.flatten() for tensor in part.values()])
    return further


def _all_finite(tensors: Mapping[str, Tensor], *, shards: bool = False) -> bool:
    if not tensors:
        return True
    # a norm is finite exactly when its entries are (short of overflow at 1e19), at one pass and no temporary
    bad = torch.isfinite(torch.stack(torch._foreach_norm(list(tensors.values())))).logical_not().sum()
    return not bool(total(bad.double()) if shards else bad)
