"""The truncated Neumann series as a linear solver."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dreamprm.hypergrad.base import Status
from dreamprm.hypergrad.linear_solver import LinearSolver, Solution, Vector, dot, norm, plus, zeros

PRECONDITIONERS = (None, "adamw")
# Growth of the residual that counts as divergence: above what rounding and difference products add.
GROWTH = 1.1


@dataclass(frozen=True)
class NeumannSeries(LinearSolver):
    """x = step sum_{j < terms} (I - step P A)^j P b, which tends to A^-1 b where it converges.

    Computed as x_{j+1} = x_j + step P (b - A x_j) from x_0 = 0: the same numbers, and the residual b - A x is
    at hand. It obeys b - A x_j = (I - step A P)^j b, so each eigenvalue mu of P^(1/2) A P^(1/2) keeps the
    share |1 - step mu| of its part a term: 0 < step mu < 2 for all of them is what convergence takes. In the
    norm <r, P r> the residual then never grows; once it has grown past its start it grows for ever, and the
    series is reported as diverged.

    Use it for a few cheap terms, where the truncation is wanted as damping: curvatures well below 1 / (step
    terms) count for little. Not for an accurate solve: conjugate gradients need far fewer products.

    Args:
        terms: of the series; one product with A each (the last one only for the residual).
        step: as above. Without a preconditioner in units of 1 / curvature, with it in those of AdamW's
            learning rate.
        preconditioner: None for P = I; "adamw" for AdamW's own, P = 1 / (sqrt(v / c2) + eps) from the state
            after the window, which evens out the curvatures. Entries with v = 0, which no inner gradient has
            ever reached, get P = 0 in place of 1 / eps = 1e8 and stay out of the solution: neither A nor the
            mixed derivative contains them. They do remain in the residual.

    Raises:
        ValueError: terms below 1, step not positive, or an unknown preconditioner.

    Source: Lorraine et al., arXiv 1911.02590; Betty's `neumann` (its neumann_iterations is terms - 1).
    """

    terms: int = 10
    step: float = 0.1
    preconditioner: str | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.terms, int) and self.terms >= 1):
            raise ValueError(f"terms must be a whole number >= 1, got {self.terms}")
        if not (self.step > 0 and math.isfinite(self.step)):
            raise ValueError(f"step must be > 0, got {self.step}; less than 2 / curvature converges")
        if self.preconditioner not in PRECONDITIONERS:
            raise ValueError(f'preconditioner must be None or "adamw", got {self.preconditioner!r}')

    def solve(
        self, product: Callable[[Vector], Vector], rhs: Vector, *, preconditioner: Callable[[], Vector]
    ) -> Solution:
        """Sum the series; diverged once the residual has grown, ok otherwise, as truncation is intended."""
        scale = preconditioner() if self.preconditioner == "adamw" else None

        def scaled(vector: Vector) -> Vector:
            return vector if scale is None else {name: v * scale[name] for name, v in vector.items()}

        start = norm(rhs)
        if start == 0.0:
            return Solution(zeros(rhs), Status.ok, "", iterations=0, residual=0.0)
        x, residual, update = zeros(rhs), rhs, scaled(rhs)
        first = dot(residual, update)
        for term in range(1, self.terms + 1):
            x = plus(x, update, factor=self.step)
            new = plus(rhs, product(x), factor=-1.0)
            new_update = scaled(new)
            size = dot(new, new_update)
            if not size <= GROWTH ** 2 * first:  # true for NaN too
                change = plus(residual, new, factor=-1.0)
                return Solution(
                    x, Status.diverged, iterations=term, residual=norm(new) / start,
                    message=f"the Neumann series diverges: after {term} terms its residual is "
                            f"{norm(new) / start:.3g} of the start's; "
                            + self._advice(dot(update, change), dot(scaled(change), change)))
            residual, update = new, new_update
        return Solution(x, Status.ok, "", iterations=self.terms, residual=norm(residual) / start)

    def _advice(self, along: float, square: float) -> str:
        """What to do, from step <P r, A P r> and step^2 <P A P r, A P r> at the residual r before the last.

        For A >= 0 their ratio, square / along / step, is a mean of the eigenvalues of P A, so the largest is
        no smaller; and step times it exceeds 2 exactly where the residual grew.
        """
        if not math.isfinite(square):
            return f"lower step (now {self.step:g}): a product was not finite"
        if along <= 0.0:
            return ("the inner loss curves downwards here, where no step converges: train the inner problem "
                    "further, or use conjugate gradients with damping (solver=cg)")
        return f"lower step (now {self.step:g}) below {2 * self.step * along / square:.3g}"
