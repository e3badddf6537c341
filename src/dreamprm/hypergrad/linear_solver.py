"""Linear systems as large as the params, known only through products: what every solver shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad.base import Status
from dreamprm.hypergrad.settings import setting
from dreamprm.hypergrad.sharding import params_norm, total

Vector = dict[str, Tensor]


@dataclass
class Solution:
    """What a solver found, and how it ended."""

    value: Vector
    """x; meaningless when status is diverged."""
    status: Status
    message: str
    """What was seen and which setting to change; empty when status is ok."""
    iterations: int
    """Of the method, one product with A each; conjugate gradients take one more to confirm their residual."""
    residual: float
    """|b - A x| / |b| of the system that was asked for, undamped; 0 for b = 0, or b so small that its dtype
    rounds its square to 0."""
    damped_residual: float | None = None
    """|b - (A + damping I) x| / |b|, what the iteration brings down; None where nothing is damped."""


def max_residual_setting(solver: str) -> Any:
    """The declaration of the setting `max_residual` of all solvers.

    Each eigenvector of A keeps the same share of its part of b as residual and of its part of x as error, so
    the residual is the error of x as a mean over these parts of b: 0.1 says that a tenth of b is not
    answered. Truncation or damping that is wanted sets a larger bound, or None.
    """
    return setting(
        0.1,
        f"{solver}: the relative residual of the undamped system above which the window ends not_converged; "
        "None: any",
        above=0,
        advice="use None to accept any residual",
    )


def within(solution: Solution, limit: float | None, *, advice: str) -> Solution:
    """The solution, `not_converged` where it was `ok` and its undamped residual is above the limit."""
    if solution.status is not Status.ok or limit is None or solution.residual <= limit:
        return solution
    damped = solution.damped_residual
    of_damped = "" if damped is None else f" (that of the damped one is {damped:.3g})"
    return replace(
        solution,
        status=Status.not_converged,
        message=f"the relative residual of the undamped system is {solution.residual:.3g}{of_damped}, above "
        f"max_residual={limit:g}: {advice}, or accept it by max_residual=null (None)",
    )


class LinearSolver(ABC):
    """Solves A x = b for a symmetric A. A frozen dataclass whose fields are all its settings."""

    @abstractmethod
    def solve(
        self, product: Callable[[Vector], Vector], rhs: Vector, *, preconditioner: Callable[[], Vector]
    ) -> Solution:
        """Solve product(x) = rhs, both finite; `preconditioner` makes a diagonal >= 0 near A's inverse."""


def dot(a: Vector, b: Vector) -> float:
    """<a, b> over all tensors."""
    return float(total(torch.stack([(a[name] * b[name]).sum() for name in a]).sum()))


def norm(vector: Vector) -> float:
    """|vector| over all tensors."""
    return float(params_norm(vector.values()))


def plus(a: Vector, b: Vector, *, factor: float) -> Vector:
    """a + factor b, in new tensors."""
    along = [b[name] for name in a]
    return dict(zip(a, torch._foreach_add(list(a.values()), along, alpha=factor)))


def zeros(like: Vector) -> Vector:
    """0, shaped like the vector."""
    return {name: torch.zeros_like(tensor) for name, tensor in like.items()}
