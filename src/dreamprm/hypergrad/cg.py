"""Damped conjugate gradients as a linear solver."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dreamprm.hypergrad.base import Status
from dreamprm.hypergrad.linear_solver import (
    LinearSolver,
    Solution,
    Vector,
    dot,
    max_residual_setting,
    norm,
    plus,
    within,
    zeros,
)
from dreamprm.hypergrad.settings import check_settings, setting


@dataclass(frozen=True)
class ConjugateGradient(LinearSolver):
    """(A + damping I) x = b by conjugate gradients, for A + damping I positive definite.

    Use it where the inner problem is near a minimum and the solution should be accurate: the error falls
    like ((sqrt(k) - 1) / (sqrt(k) + 1))^iterations, k the ratio of the largest to the smallest damped
    curvature. Not with a loss that curves downwards by more than `damping`, as an unconverged network's
    does: the first such direction met is reported as divergence, never used.

    Args:
        damping: added to every curvature. It biases the solution (by damping / (curvature + damping) along
            each eigenvector), bounds it by |b| / damping, and is needed where A is singular: entries that
            the outer loss uses and the inner one does not (token rows of no inner batch) have curvature 0.
        tolerance: the relative residual |b - (A + damping I) x| / |b| of the damped system to reach. The
            recursion's residual drifts from the true one by rounding, so one more product confirms it; where
            the true one is above the tolerance, the iteration starts again from it, as long as that halves
            it.
        max_iterations: at most, one product with A each; short of the tolerance then, the status is
            `not_converged` and the solution the iterate with the smallest residual.
        max_residual: the relative residual |b - A x| / |b| of the undamped system, which is the damped one's
            plus damping x, above which the status is `not_converged`: the damping then answers another
            question than was asked. None accepts any, where the damping is wanted.

    Raises:
        ValueError: damping that is no number >= 0, tolerance none in (0, 1), max_iterations no whole number
            >= 1, or max_residual that is not positive.

    Source: Hestenes and Stiefel 1952; for hypergradients Pedregosa, arXiv 1602.02355, and iMAML, arXiv
    1909.04630. Betty's `cg` has neither damping nor a check of the curvature.
    """

    damping: float = setting(
        0.1, "cg: added to every curvature; bounds the solution", minimum=0, advice="use 0 to disable it"
    )
    tolerance: float = setting(
        1e-3,
        "cg: the relative residual to reach",
        above=0,
        below=1,
        advice="it is relative to |b|: set one in (0, 1)",
    )
    max_iterations: int = setting(50, "cg: products with the Hessian at most", minimum=1)
    max_residual: float | None = max_residual_setting("cg")

    def __post_init__(self) -> None:
        check_settings(self)

    def solve(
        self, product: Callable[[Vector], Vector], rhs: Vector, *, preconditioner: Callable[[], Vector]
    ) -> Solution:
        """Iterate until the damped residual is below the tolerance; then judge the undamped one."""
        del preconditioner
        return within(
            self._iterate(product, rhs),
            self.max_residual,
            advice=f"lower damping (now {self.damping:g}), or train the inner problem further",
        )

    def _iterate(self, product: Callable[[Vector], Vector], rhs: Vector) -> Solution:
        x = best = zeros(rhs)
        residual = direction = rhs
        square = dot(rhs, rhs)
        if square == 0.0:
            return Solution(x, Status.ok, "", iterations=0, residual=0.0, damped_residual=0.0)
        start, reached, undamped, confirmed = math.sqrt(square), 1.0, 1.0, math.inf

        def without_damping() -> float:
            # b - A x = b - (A + damping I) x + damping x: no further product
            return norm(plus(residual, x, factor=self.damping)) / start if self.damping else reached

        for iteration in range(1, self.max_iterations + 1):
            image = plus(product(direction), direction, factor=self.damping)
            curvature = dot(direction, image)
            if not 0.0 < curvature < math.inf:  # true for NaN too
                return Solution(
                    best,
                    Status.diverged,
                    iterations=iteration,
                    residual=undamped,
                    damped_residual=reached,
                    message=self._advice(curvature, dot(direction, direction), iteration),
                )
            length = square / curvature
            x = plus(x, direction, factor=length)
            residual = plus(residual, image, factor=-length)
            previous, square = square, dot(residual, residual)
            relative = math.sqrt(square) / start
            if relative < reached:
                best, reached = x, relative
                undamped = without_damping()
            if relative > self.tolerance:
                direction = plus(residual, direction, factor=square / previous)
                continue
            del image  # not in memory during the confirming product
            residual = direction = plus(rhs, plus(product(x), x, factor=self.damping), factor=-1.0)
            square = dot(residual, residual)
            best, reached = x, math.sqrt(square) / start
            undamped = without_damping()
            if reached <= self.tolerance:
                return Solution(
                    x, Status.ok, "", iterations=iteration, residual=undamped, damped_residual=reached
                )
            if not reached <= confirmed / 2:  # true for NaN too
                return Solution(
                    x,
                    Status.not_converged,
                    iterations=iteration,
                    residual=undamped,
                    damped_residual=reached,
                    message=f"conjugate gradients stay at a relative residual of {reached:.3g}, not "
                    f"tolerance={self.tolerance:g}: the products are no more precise; raise "
                    f"tolerance or damping (now {self.damping:g}), or compute in float64"
                    + self._of_undamped(undamped),
                )
            confirmed = reached
        return Solution(
            best,
            Status.not_converged,
            iterations=self.max_iterations,
            residual=undamped,
            damped_residual=reached,
            message=f"conjugate gradients reached a relative residual of {reached:.3g} in "
            f"max_iterations={self.max_iterations}, not tolerance={self.tolerance:g}; raise "
            f"max_iterations, damping (now {self.damping:g}) or tolerance" + self._of_undamped(undamped),
        )

    def _of_undamped(self, residual: float) -> str:
        return f" (the residual of the undamped system is {residual:.3g})" if self.damping else ""

    def _advice(self, along: float, square: float, iteration: int) -> str:
        """What to do, from <d, (A + damping I) d> and <d, d> of the direction d."""
        if not math.isfinite(along):
            return (
                f"conjugate gradients met a product that is not finite in iteration {iteration}; raise "
                f"damping (now {self.damping:g})"
            )
        # a direction too short for its square to be represented shows no curvature; + 0.0 turns -0.0 to 0.0
        curvature = (along / square if square > 0.0 else 0.0) - self.damping + 0.0
        return (
            f"conjugate gradients met a direction along which the inner loss has curvature "
            f"{curvature:.3g} in iteration {iteration}; raise damping (now {self.damping:g}) above "
            f"{0.0 - curvature:.3g}, or train the inner problem further"
        )
