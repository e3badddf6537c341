"""The ways to take second derivatives of the inner loss along a direction: exactly, or by differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dreamprm.hypergrad.registration import Registry
from dreamprm.hypergrad.settings import check_settings, setting


def radius_setting(when: Mapping[str, Sequence[Any]] | None = None) -> Any:
    """The declaration of the setting `radius` of everything that takes differences."""
    return setting(
        None,
        "norm of the perturbation of a difference; None: as far as moves the loss by a set share of itself",
        above=0,
        advice="use None for the default of the dtype and the loss",
        when=when,
    )


@dataclass(frozen=True)
class Derivative:
    """How (d^2 L/dphi^2) v and d/dalpha <v, grad_phi L> are taken: one of the classes below."""

    needs_second_order: ClassVar[bool] = False
    """Whether operations must have more than a first derivative, which fused attention has not."""
    needs_forward_mode: ClassVar[bool] = False
    """Whether operations (for a Hessian-vector product also their backward passes) must have a forward-mode
    formula."""
    passes: ClassVar[tuple[int, int]]
    """(forward, backward) passes of an exact Hessian-vector product with its mixed derivative. A pass in
    forward mode carries values and tangents and is counted as two."""


@dataclass(frozen=True)
class DoubleBackward(Derivative):
    """Exact: the gradient, taken with a graph, is differentiated once more.

    A Hessian-vector product with its mixed derivative is one forward and three backward passes (7 units of a
    forward pass; 4 where the gradient's graph was kept), the mixed derivative alone one pass less. Needs
    attention with second derivatives (eager).
    """

    needs_second_order = True
    passes = (1, 3)


@dataclass(frozen=True)
class ForwardMode(Derivative):
    """Exact: tangents through the gradient (forward over reverse), or through the losses for the mixed
    derivative alone.

    By count 6 units for a product and about two forward passes for the mixed derivative, but slower than
    double backward by the clock, as dual numbers go through unfused operations. No fused attention, no SiLU
    (write it x * sigmoid(x)), no log_softmax with alpha in its graph.
    """

    needs_second_order = True
    needs_forward_mode = True
    passes = (2, 2)


@dataclass(frozen=True)
class Difference(Derivative):
    """By first derivatives at perturbed params: every kernel will do, and the error is estimated.

    Where no radius is given and a difference is imprecise, others are tried (differences.py).

    Args:
        radius: norm of the perturbation, over the entries that the gradient uses; None moves the loss by a
            set share of itself.

    Raises:
        ValueError: radius is not positive.
    """

    one_sided: ClassVar[bool]

    radius: float | None = radius_setting()

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class CentralDifference(Difference):
    """(f(phi + h v) - f(phi - h v)) / 2h: off by O(h^2); two gradients for a product (6 units), two forward
    passes for the mixed derivative of a structured problem."""

    one_sided = False


@dataclass(frozen=True)
class ForwardDifference(Difference):
    """(f(phi + h v) - f(phi)) / h: off by O(h); half of a central difference's passes, as f(phi) is known."""

    one_sided = True


DERIVATIVES: Registry[Derivative] = Registry(
    "derivative",
    Derivative,
    {
        "double_backward": DoubleBackward,
        "central_difference": CentralDifference,
        "forward_difference": ForwardDifference,
        "forward_mode": ForwardMode,
    },
    group="dreamprm.derivatives",
    renamed={"finite_difference": "central_difference", "forward_over_reverse": "forward_mode"},
)
"""Kinds of derivatives by name, as `build_estimator` and configurations take them."""

OLD_NAMES = ("hvp", "mixed")
"""What the setting `derivative` was called, by estimator."""
