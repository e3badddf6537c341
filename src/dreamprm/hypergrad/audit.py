"""How far an estimator's gradient can be trusted here: compared with the exact one, once every so many
windows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dreamprm.hypergrad.adjoint import Adjoint
from dreamprm.hypergrad.base import Estimator, Status, WindowResult
from dreamprm.hypergrad.derivatives import CentralDifference
from dreamprm.hypergrad.first_order import FirstOrder
from dreamprm.hypergrad.inner_optimizer import InnerOptimizer, OptimizerState
from dreamprm.hypergrad.problem import BilevelProblem, Tensors
from dreamprm.hypergrad.replay import undisturbed
from dreamprm.hypergrad.trees import flatten

# The exact gradient where an operation of the model has no second derivative.
_BY_DIFFERENCES = Adjoint(derivative=CentralDifference())


# Cosine below which an audit says what first_order has left out.
LOST = 0.9


@dataclass(frozen=True)
class AuditResult:
    """An estimate compared with the exact gradient of the same window.

    cosine = <estimate, exact> / (|estimate| |exact|),  norm_ratio = |estimate| / |exact|

    Both over all entries of alpha. A cosine near 1 says that the upper step's direction can be trusted; a
    norm ratio that differs from 1 alone does little harm, as the upper AdamW divides scale out. Two weights
    of fixed mean have one direction to move in: their cosine is 1 or -1 and tells the sign alone. An implicit
    estimator answers another question (what alpha does to the minimiser), so its cosine also measures how far
    the window is from the minimum.
    """

    cosine: float
    """In [-1, 1]; NaN where undefined: one of the two is 0, NaN or infinite."""
    norm_ratio: float
    """>= 0; NaN where undefined."""
    exact: str
    """The exact estimator, by its class in lower case."""
    share: float
    """Entries of params that both were computed over, as a share of all; below 1 with `Audit.params`."""
    message: str = ""
    """What went wrong in either window; empty where nothing did."""


@dataclass(frozen=True)
class Audit:
    """Compares an estimator with an exact one every so many windows, on the training's state and batches.

    Use it to learn whether a cheap estimator fits your problem: its error depends on the learning
    rate, the curvature and the window's length. An audit costs one window of either estimator and changes
    nothing. The compared windows run one after the other, in addition to the training's own tensors: 3 more
    sizes of the params (phi_T and its moments), and what each of the two estimators needs. Attention by
    `scaled_dot_product_attention` runs on its math backend in the exact window, since the fused kernels have
    no second derivative. Where an operation of the model has none at all (kernels of other libraries, opaque
    autograd functions), the comparison is with `adjoint` by differences, and the message says so.

    Args:
        every: windows between two audits, the `every`-th being the first; 0 for never.
        exact: what to compare with.
        params: patterns (shell style: `*`, `?`, `[...]`) of names of params; where memory forbids the exact
            gradient. Both estimators then run on the problem in which only the matching params are trained
            in the window and the others stay at phi_0, and those two are compared; gradient clipping sees the
            matching ones alone. Empty: all params, as they are trained.

    Raises:
        ValueError: every is negative; in `select`, a pattern that matches no name.
    """

    every: int
    exact: Estimator = field(default_factory=Adjoint)
    params: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.every < 0:
            raise ValueError(f"every must be >= 0, got {self.every}; use 0 for no audit")
        # a config's list would make the dataclass unhashable
        object.__setattr__(self, "params", tuple(self.params))

    def due(self, window: int) -> bool:
        """Whether the window of this number, counted from 1, is audited."""
        return self.every > 0 and window % self.every == 0

    def select(self, names: Iterable[str]) -> list[str]:
        """The names that a pattern matches, in their order; all where there is no pattern.

        Raises:
            ValueError: a pattern that matches none.
        """
        names = list(names)
        for pattern in self.params:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"the audit's pattern {pattern!r} matches no parameter; names are such as "
                    f"{', '.join(names[:2] + names[-2:])}"
                )
        return [
            name
            for name in names
            if not self.params or any(fnmatchcase(name, pattern) for pattern in self.params)
        ]

    def compare(
        self,
        estimator: Estimator,
        problem: BilevelProblem,
        optimizer: InnerOptimizer,
        params: Any,
        state: OptimizerState,
        alpha: Any,
        *,
        inner_batches: Iterable[Any],
        outer_batch: Any,
    ) -> AuditResult:
        """Run one window with `estimator` and one with `exact`, from the same start; nothing is modified.

        Arguments and errors are those of `Estimator.run_window`, and those of `select`.
        """
        given, given_alpha = flatten(params, kind="params"), flatten(alpha, kind="alpha")
        problem = problem.rebuilding(given.rebuild, given_alpha.rebuild)
        params, alpha = given.tensors, given_alpha.tensors
        chosen = self.select(params)
        start: tuple[Any, ...] = (
            _held(problem, {name: p.detach() for name, p in params.items() if name not in set(chosen)}),
            optimizer,
            {name: params[name] for name in chosen},
            optimizer.make_state(
                state.step,
                {
                    kind: {name: moments[name] for name in chosen if name in moments}
                    for kind, moments in state.moments.items()
                },
            ),
            alpha,
        )
        batches = list(inner_batches)
        devices = {p.device for p in params.values()}
        # of each window its gradient alone is kept: phi_T and the moments are three times the model's size
        with undisturbed(start[0], devices):
            estimate, failure = _outcome(
                "estimator", estimator.run_window(*start, inner_batches=batches, outer_batch=outer_batch)
            )
        by, exact_failure, instead = self.exact, "", ""
        try:
            with undisturbed(start[0], devices):
                exact, exact_failure = _outcome(
                    "exact", self.exact_window(*start, inner_batches=batches, outer_batch=outer_batch)
                )
        except NotImplementedError as error:
            by, instead = _BY_DIFFERENCES, f"compared with differences, as {error}"
            with undisturbed(start[0], devices):
                exact, exact_failure = _outcome(
                    "exact", by.run_window(*start, inner_batches=batches, outer_batch=outer_batch)
                )
        cosine, norm_ratio = agreement(estimate, exact)
        lost = ""
        if isinstance(estimator, FirstOrder) and len(batches) > 1 and cosine < LOST:
            lost = (
                f"first_order leaves out the Hessian, whose share grows with the window: over these "
                f"{len(batches)} steps its cosine to the exact gradient is {cosine:.2f}; take adjoint "
                "(derivative=central_difference with fused attention), fewer steps or a lower learning rate"
            )
        return AuditResult(
            cosine,
            norm_ratio,
            exact=type(by).__name__.lower(),
            message="; ".join(part for part in (failure, exact_failure, instead, lost) if part),
            share=sum(params[name].numel() for name in chosen) / sum(p.numel() for p in params.values()),
        )

    def exact_window(self, *start: Any, inner_batches: Iterable[Any], outer_batch: Any) -> WindowResult:
        """The window by the exact estimator, all of it with second-order attention.

        Arguments and errors are those of `Estimator.run_window`.
        """
        with sdpa_kernel(SDPBackend.MATH):
            return self.exact.run_window(*start, inner_batches=inner_batches, outer_batch=outer_batch)


def agreement(estimate: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> tuple[float, float]:
    """(cosine, |estimate| / |exact|) of two gradients by name, in float64; NaN where one is undefined."""
    if not exact:
        return math.nan, math.nan
    # (3,) <a, a>, <e, e>, <a, e>
    sums = sum(
        torch.stack([(a * a).sum(), (e * e).sum(), (a * e).sum()])
        for a, e in ((estimate[name].double(), grad.double()) for name, grad in exact.items())
    )
    assert isinstance(sums, Tensor)
    of_estimate, of_exact, product = sums.tolist()
    scale = math.sqrt(of_estimate) * math.sqrt(of_exact)
    if not (scale > 0.0 and math.isfinite(scale)):
        return math.nan, math.nan
    return max(-1.0, min(1.0, product / scale)), math.sqrt(of_estimate / of_exact)


def _outcome(who: str, window: WindowResult) -> tuple[dict[str, Tensor], str]:
    return window.alpha_grad, "" if window.status is Status.ok else f"{who}: {window.message}"


def _held(problem: BilevelProblem, held: Tensors) -> BilevelProblem:
    """The problem over the other params, with these ones constant."""
    if not held:
        return problem

    def outer_loss(params: Tensors, alpha: Tensors, batch: Any) -> Tensor:
        return problem.outer_loss({**held, **params}, alpha, batch)

    split = problem.parts if problem.splits else None
    split_outer = problem.outer_parts if problem.splits_outer else None
    if not problem.structured:
        return BilevelProblem(
            lambda params, alpha, batch: problem.inner_loss({**held, **params}, alpha, batch),
            outer_loss,
            split=split,
            split_outer=split_outer,
            sharding=problem.sharding,
            together=problem.together,
        )
    return BilevelProblem(
        outer_loss=outer_loss,
        inner_losses=lambda params, batch: problem.inner_losses({**held, **params}, batch),
        weights=problem.weights,
        unweighted_loss=(lambda params, batch: problem.unweighted_loss({**held, **params}, batch))
        if problem.has_unweighted_loss
        else None,
        split=split,
        split_outer=split_outer,
        sharding=problem.sharding,
        together=problem.together,
    )
