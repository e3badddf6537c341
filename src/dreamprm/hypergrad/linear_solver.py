"""Linear systems as large as the params, known only through products: what every solver shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamprm.hypergrad.base import Status
from dreamprm.hypergrad.clipping import global_norm

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
    """|b - A x| / |b|, with A as the solver damps it; 0 for b = 0, or b so small that its dtype rounds its
    square to 0."""


class LinearSolver(ABC):
    """Solves A x = b for a symmetric A. A frozen dataclass whose fields are all its settings."""

    @abstractmethod
    def solve(
        self, product: Callable[[Vector], Vector], rhs: Vector, *, preconditioner: Callable[[], Vector]
    ) -> Solution:
        """Solve product(x) = rhs, both finite; `preconditioner` makes a diagonal >= 0 near A's inverse."""


def dot(a: Vector, b: Vector) -> float:
    """<a, b> over all tensors."""
    return float(torch.stack([(a[name] * b[name]).sum() for name in a]).sum())


def norm(vector: Vector) -> float:
    """|vector| over all tensors."""
    return float(global_norm(vector.values()))


def plus(a: Vector, b: Vector, *, factor: float) -> Vector:
    """a + factor b, in new tensors."""
    along = [b[name] for name in a]
    return dict(zip(a, torch._foreach_add(list(a.values()), along, alpha=factor)))


def zeros(like: Vector) -> Vector:
    """0, shaped like the vector."""
    return {name: torch.zeros_like(tensor) for name, tensor in like.items()}
