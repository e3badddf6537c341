"""The rows of the benchmark: plain training, this package's estimators, and the peers that are installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dreamprm.hypergrad import AdamWState, Status, build_estimator
from dreamprm.hypergrad.replay import habits_of
from experiments.benchmarks.peers import PEERS
from experiments.benchmarks.workload import Workload, in_micro_batches


class Taken(NamedTuple):
    """A window's result: alpha's gradient (empty for plain training), and notes on it."""

    alpha_grad: dict[str, Tensor]
    note: str = ""


IN_THE_MIDDLE = 2**20 + 1
"""The number of a window that does not watch its losses, nor do many that follow."""

Run = Callable[[], Taken]
"""Takes one window. To be called once."""


@dataclass(frozen=True)
class Case:
    """One row: an estimator of `dreamprm.hypergrad` with its settings, or a peer, or plain training."""

    estimator: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    peer: str = ""
    micro_batches: int = 1
    """Parts in which an estimator evaluates its batches."""
    meta_pass: bool = True
    """Whether plain training takes the gradient of the outer loss."""

    @property
    def model(self) -> str:
        """The model variant that the row runs on: fused attention if possible.

        Raises:
            ValueError: an estimator or setting that does not exist.
        """
        if self.peer:
            return PEERS[self.peer].model
        if not self.estimator:
            return "sdpa"
        estimator = build_estimator(self.estimator, **self.settings)
        if estimator.needs_forward_mode:
            return "forward_mode"
        return "eager" if estimator.needs_second_order else "sdpa"

    def prepare(self, workload: Workload, *, consume: bool = False) -> Run:
        """Do everything that a training loop does before a window; the window itself remains to be run.

        The window may overwrite its tensors, as in a training loop: copies of the workload's, or with
        `consume` the workload's own, which cannot be used again (for when two copies do not fit).

        Raises:
            ImportError: the peer is not installed.
            ValueError: an estimator or setting that does not exist.
            ArithmeticError: from the window itself, if it gave no gradient.
        """
        if self.peer:
            window = PEERS[self.peer].prepare(workload)
            return lambda: Taken(window())
        params, state = workload.params, workload.state
        if not consume:
            params, state = (
                _copies(params),
                AdamWState(state.step, _copies(state.exp_avg), _copies(state.exp_avg_sq)),
            )
        if not self.estimator:
            return lambda: Taken(plain_training(workload, params, state, meta_pass=self.meta_pass))
        problem = workload.problem
        if self.micro_batches > 1:
            problem = in_micro_batches(problem, self.micro_batches)
        # As in the middle of a training: its windows 1, 2, 4, 8, ... watch the losses too (see guards.py).
        habits_of(problem).windows = max(habits_of(problem).windows, IN_THE_MIDDLE)
        estimator = build_estimator(self.estimator, **self.settings)

        def run() -> Taken:
            window = estimator.run_window(
                problem,
                workload.optimizer,
                params,
                state,
                workload.alpha,
                inner_batches=workload.inner_batches,
                outer_batch=workload.outer_batch,
                donate=True,
            )
            if window.status in (Status.nonfinite, Status.diverged):
                raise ArithmeticError(f"{window.status.value}: {window.message}")
            note = "" if window.status is Status.ok else f"{window.status.value}: {window.message}"
            return Taken(window.alpha_grad, note)

        return run


PLAIN = "plain"
VANILLA = "vanilla"
CASES: dict[str, Case] = {
    PLAIN: Case(),
    VANILLA: Case(meta_pass=False),
    "none": Case("none"),
    "first_order": Case("first_order"),
    "first_order, one-sided": Case("first_order", {"derivative": "forward_difference"}),
    "adjoint": Case("adjoint"),
    "adjoint, central difference": Case("adjoint", {"derivative": "central_difference"}),
    "adjoint, one-sided": Case("adjoint", {"derivative": "forward_difference"}),
    "adjoint, forward over reverse": Case("adjoint", {"derivative": "forward_mode"}),
    "adjoint, on disk": Case("adjoint", {"offload": "disk"}),
    "adjoint, 4 micro-batches": Case("adjoint", micro_batches=4),
    "adjoint, 4 micro-batches, on disk": Case("adjoint", {"offload": "disk"}, micro_batches=4),
    "first_order, on disk": Case("first_order", {"offload": "disk"}),
    "unrolled": Case("unrolled"),
    # A random model's inner loss is not convex: with their defaults both correctly report that they diverge.
    # The 5M model has a curvature of -74.
    "neumann": Case("neumann", {"step": 1e-3}),
    "cg": Case("cg", {"damping": 100.0, "max_iterations": 20}),
    "finite_difference": Case("finite_difference"),
    "finite_difference, AdamW": Case("finite_difference", {"preconditioner": "adamw"}),
    **{name: Case(peer=name) for name in PEERS},
}


def plain_training(
    workload: Workload, params: dict[str, Tensor], state: AdamWState, *, meta_pass: bool = True
) -> dict[str, Tensor]:
    """T inner steps and one gradient of the outer loss, each one forward and one backward pass, in place;
    without the latter it is what somebody trains who learns no weights."""
    problem, alpha = workload.problem, workload.alpha

    def gradient(loss: Callable[..., Tensor], batch: Any) -> dict[str, Tensor]:
        variables = {name: p.detach().requires_grad_() for name, p in params.items()}
        grads = torch.autograd.grad(
            loss(variables, alpha, batch), list(variables.values()), materialize_grads=True
        )
        return dict(zip(params, grads, strict=True))

    for batch in workload.inner_batches:
        grads = gradient(problem.inner_loss, batch)
        params, state = workload.optimizer.step(params, grads, state=state, inplace=True)
        del grads
    if meta_pass:
        gradient(problem.outer_loss, workload.outer_batch)
    return {}


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
