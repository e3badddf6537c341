"""The truncated Neumann series as a linear solver."""

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

# Growth of the residual that counts as divergence: above what rounding and difference products add.
GROWTH = 1.1
# Negative curvature times step that counts as such, for the same reason.
SLACK = 1e-3


@dataclass(frozen=True)
class NeumannSeries(LinearSolver):
    """x = step sum_{j < terms} (I - step P A)^j P b, which tends to A^-1 b where it converges.

    Computed as x_{j+1} = x_j + step P (b - A x_j) from x_0 = 0: the same numbers, and the residual b - A x is
    available. It obeys b - A x_j = (I - step A P)^j b, so each eigenvalue mu of P^(1/2) A P^(1/2) keeps the
    share |1 - step mu| of its part per term: convergence takes 0 < step mu < 2 for all of them. In the
    norm <r, P r> the residual then never grows; once it has grown past its start it grows for ever, and the
    series is reported as diverged. So is one that meets a direction of negative curvature, where its terms
    have the wrong sign however small the step. One whose |r| is not below |b| at the end is never `ok`.

    Use it for a few cheap terms, where the truncation is wanted as damping: curvatures well below 1 / (step
    terms) count for little; set `max_residual` accordingly. Not for an accurate solve: conjugate gradients
    need far fewer products.

    Args:
        terms: of the series; one product with A each (the last one only for the residual).
        step: as above. Without a preconditioner in units of 1 / curvature, with it in those of AdamW's
            learning rate.
        preconditioner: None for P = I; "adamw" for AdamW's own, P = 1 / (sqrt(v / c2) + eps) from the state
            after the window, which evens out the curvatures. Entries with v = 0, which no inner gradient has
            ever reached, get P = 0 in place of 1 / eps = 1e8 and stay out of the solution: neither A nor the
            mixed derivative contains them. They do remain in the residual.
        max_residual: the relative residual |b - A x| / |b| above which the status is `not_converged`; None
            accepts any below 1, where the truncation is wanted.

    Raises:
        ValueError: terms that are no whole number >= 1, step that is no number > 0, an unknown
            preconditioner, or max_residual that is not positive.

    Source: Lorraine et al., arXiv 1911.02590; Betty's `neumann` (its neumann_iterations is terms - 1).
    """

    terms: int = setting(10, "neumann: terms of the series, a product with the Hessian each", minimum=1)
    step: float = setting(
        0.1,
        "neumann: factor of each term, in units of 1 / curvature, or of AdamW's lr if preconditioned",
        above=0,
        advice="less than 2 / curvature converges",
    )
    preconditioner: str | None = setting(
        None, "neumann: scale the terms as AdamW scales its steps; None: do not", choices=("adamw",)
    )
    max_residual: float | None = max_residual_setting("neumann")

    def __post_init__(self) -> None:
        check_settings(self)

    def solve(
        self, product: Callable[[Vector], Vector], rhs: Vector, *, preconditioner: Callable[[], Vector]
    ) -> Solution:
        """Sum the series; diverged once the residual grows, ok where it fell below `max_residual`."""
        scale = preconditioner() if self.preconditioner == "adamw" else None

        def scaled(vector: Vector) -> Vector:
            return vector if scale is None else {name: v * scale[name] for name, v in vector.items()}

        start = norm(rhs)
        if dot(rhs, rhs) == 0.0:
            return Solution(zeros(rhs), Status.ok, "", iterations=0, residual=0.0)
        x, residual, update = zeros(rhs), rhs, scaled(rhs)
        first = size = dot(residual, update)
        for term in range(1, self.terms + 1):
            x = plus(x, update, factor=self.step)
            new = plus(rhs, product(x), factor=-1.0)
            new_update = scaled(new)
            previous, size = size, dot(new, new_update)
            along = previous - dot(new, update)  # step <P r, A P r>, as the residual fell by step A P r
            curved = along < -SLACK * previous
            if curved or not size <= GROWTH**2 * first:  # the second is true for NaN too
                change = plus(residual, new, factor=-1.0)
                return Solution(
                    x,
                    Status.diverged,
                    iterations=term,
                    residual=norm(new) / start,
                    message=f"the Neumann series diverges: after {term} terms its residual is "
                    f"{norm(new) / start:.3g} of the start's; "
                    + self._advice(along, dot(scaled(change), change), previous),
                )
            residual, update = new, new_update
        relative = norm(residual) / start
        if relative >= 1.0 or size >= first:  # no curvature along b, or P = 0 wherever b is not
            return Solution(
                x,
                Status.not_converged,
                iterations=self.terms,
                residual=relative,
                message=f"the Neumann series has a relative residual of {relative:.3g} after "
                f"terms={self.terms}, no less than at its start: change step (now {self.step:g}; "
                "below 2 / curvature), raise terms, or use damped conjugate gradients (solver=cg)",
            )
        return within(
            Solution(x, Status.ok, "", iterations=self.terms, residual=relative),
            self.max_residual,
            advice=f"raise terms (now {self.terms}) or step (now {self.step:g}; below 2 / curvature), or use "
            "conjugate gradients (solver=cg)",
        )

    def _advice(self, along: float, square: float, size: float) -> str:
        """What to do, from step <P r, A P r>, step^2 <P A P r, A P r> and <r, P r> at the residual r before
        the last.

        For A >= 0 the ratio of the first two, square / along / step, is a mean of the eigenvalues of P A, so
        the largest is no smaller; and step times it exceeds 2 exactly where the residual grew.
        """
        if not math.isfinite(square):
            return f"lower step (now {self.step:g}): a product was not finite"
        if along < -SLACK * size:
            return (
                f"it met negative curvature, {along / size / self.step:.3g}: the inner loss curves "
                "downwards here, where no step converges; use conjugate gradients with damping "
                "(solver=cg), or train the inner problem further"
            )
        if along > 0.0 and square > 2.0 * along:
            return f"lower step (now {self.step:g}) below {2 * self.step * along / square:.3g}"
        return (
            f"the inner loss hardly curves along it: raise step (now {self.step:g}), or use conjugate "
            "gradients with damping (solver=cg)"
        )
