"""The table: estimators with what they must equal, problems, and optimizers to run the problems under."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from bilevel_problems import PROBLEMS, Case, Tensors
from checked_rows import each
from oracles import (
    damped_inverse,
    gradient_without_hessian,
    implicit_gradient,
    last_step_gradient,
    neumann_series,
    nothing,
    penalty_gradient,
    relative_error,
    unrolled_gradient,
)

from dreamprm.hypergrad import AdamW, Estimator, Status, WindowResult, build_estimator

Oracle = Callable[..., Tensors]


@dataclass(frozen=True)
class Row:
    """An estimator, its oracle (case, steps=...) -> gradient in alpha, and how closely it must meet it."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    oracle: Oracle = unrolled_gradient
    tolerance: float = 1e-10
    """Relative, over all entries of alpha."""

    def build(self) -> Estimator:
        return build_estimator(self.name, **self.settings)

    def meets(self, window: WindowResult, want: Tensors) -> None:
        """Assert that the window ended well, with this gradient."""
        assert window.status is Status.ok and window.message == ""
        if self.name == "none":
            assert all(torch.equal(window.alpha_grad[name], want[name]) for name in want)
        else:
            assert relative_error(window.alpha_grad, want) < self.tolerance


class Expected:
    """What the oracles say of one case, each asked once."""

    def __init__(self, case: Case, *, steps: int = 5) -> None:
        self._case, self._steps = case, steps
        self._found: dict[Oracle, Tensors] = {}

    def __call__(self, row: Row) -> Tensors:
        if row.oracle not in self._found:
            self._found[row.oracle] = row.oracle(self._case, steps=self._steps)
        return self._found[row.oracle]


# Above every negative curvature that the problems have. The oracle is that of the damped system, whose
# solution leaves most of the undamped one's residual.
DAMPING = 20.0
CG = {"damping": DAMPING, "tolerance": 1e-12, "max_iterations": 200, "max_residual": None}

ROWS: dict[str, Row] = {
    "none": Row("none", oracle=nothing),
    "unrolled": Row("unrolled"),
    "adjoint": Row("adjoint"),
    "adjoint-forward_mode": Row("adjoint", {"derivative": "forward_mode"}),
    "adjoint-difference": Row("adjoint", {"derivative": "central_difference"}, tolerance=1e-6),
    "adjoint-one_sided": Row("adjoint", {"derivative": "forward_difference"}, tolerance=1e-5),
    # a central difference is off by r^2/6 |L'''/L'| at r = 1e-4
    "first_order": Row("first_order", oracle=gradient_without_hessian, tolerance=1e-6),
    # a one-sided difference is off by r/2 |L''/L'| + 1e-16 |L|/(r |L'|) at r = 1e-7: either is some 1e-7 for
    # slopes that are not small beside the loss, and a hundred times that for those that are
    "first_order-one_sided": Row(
        "first_order", {"derivative": "forward_difference"}, oracle=gradient_without_hessian, tolerance=1e-5
    ),
    "first_order-double_backward": Row(
        "first_order", {"derivative": "double_backward"}, oracle=gradient_without_hessian
    ),
    "first_order-forward_mode": Row(
        "first_order", {"derivative": "forward_mode"}, oracle=gradient_without_hessian
    ),
    "cg": Row(
        "cg",
        CG,
        oracle=partial(implicit_gradient, inverse=damped_inverse(DAMPING)),
        tolerance=1e-8,
    ),
    "cg-all_batches": Row(
        "implicit",
        {
            **CG,
            "solver": "cg",
            "batches": "all",
            "derivative": "forward_mode",
        },
        oracle=partial(implicit_gradient, inverse=damped_inverse(DAMPING), batches="all"),
        tolerance=1e-8,
    ),
    "neumann": Row(
        "neumann",
        {"terms": 8, "step": 0.01, "max_residual": None},
        oracle=partial(implicit_gradient, inverse=neumann_series(terms=8, step=0.01)),
    ),
    "neumann-adamw": Row(
        "neumann",
        {"terms": 8, "step": 1e-3, "preconditioner": "adamw", "max_residual": None},
        oracle=partial(implicit_gradient, inverse=neumann_series(terms=8, step=1e-3, preconditioned=True)),
    ),
    # a difference of gradients at points 1/50 apart: its rounding is 50 times theirs
    "penalty": Row(
        "penalty",
        {"multiplier": 50.0, "steps": 4, "step": 0.01},
        oracle=partial(penalty_gradient, multiplier=50.0, step=0.01, count=4),
    ),
    # as many directions as alpha has entries
    "forward_gradient": Row("forward_gradient", {"directions": 24}, tolerance=1e-6),
    "forward_gradient-double_backward": Row(
        "forward_gradient", {"directions": 24, "derivative": "double_backward"}
    ),
    # the same error of a central difference as above
    "finite_difference": Row(
        "finite_difference", oracle=partial(last_step_gradient, preconditioned=False), tolerance=1e-6
    ),
    "finite_difference-adamw": Row(
        "finite_difference",
        {"preconditioner": "adamw"},
        oracle=partial(last_step_gradient, preconditioned=True),
        tolerance=1e-6,
    ),
    "finite_difference-last_step": Row(
        "finite_difference",
        {"preconditioner": "adamw", "point": "before"},
        oracle=partial(last_step_gradient, preconditioned=True, before=True),
        tolerance=1e-6,
    ),
}
# Where a window keeps what: no other numbers, other tensors that must be left whole.
POLICIES = {
    "adjoint-keep": Row("adjoint", {"checkpoint": "keep"}),
    "adjoint-disk": Row("adjoint", {"offload": "disk"}),
    "first_order-disk": Row("first_order", {"offload": "disk"}),
}
EXACT = {label: row for label, row in ROWS.items() if row.oracle is unrolled_gradient}

# (problem, max_grad_norm): a bound that some steps of the window meet and others do not. Not the last one of
# a single loss: what its weight does to a clipped gradient is 0 but for eps, and has no relative error.
_VARIED = [
    ("mlp_plain", 1.0),
    ("domains_varying", 1.5),
    ("domain_single", 1.1),
    ("domain_single_with_rest", 1.3),
    ("domains_mixed_with_rest", 2.5),
]


def _decay(name: str) -> float:
    return 0.5 if name.startswith("w") else 0.0


def _schedule(step: int) -> float:
    return 3e-2 * 0.8**step


CASES: dict[str, Callable[[], Case]] = dict(PROBLEMS)
for _name, _bound in _VARIED:
    _problem = PROBLEMS[_name]
    CASES[f"{_name}-cold"] = partial(_problem, warm_steps=0)
    CASES[f"{_name}-schedule"] = partial(
        _problem, optimizer=AdamW(lr=_schedule, betas=(0.8, 0.95), weight_decay=0.3)
    )
    CASES[f"{_name}-decay_groups"] = partial(_problem, optimizer=AdamW(lr=1e-2, weight_decay=_decay))
    CASES[f"{_name}-clipping"] = partial(_problem, optimizer=AdamW(lr=1e-2, max_grad_norm=_bound))
    CASES[f"{_name}-all"] = partial(
        _problem, optimizer=AdamW(lr=_schedule, betas=(0.8, 0.95), weight_decay=_decay, max_grad_norm=_bound)
    )
CLIPPING = [label for label in CASES if label.endswith(("-clipping", "-all"))]

every_row = each("row", ROWS)
exact_rows = each("row", EXACT)
every_case = pytest.mark.parametrize("make", CASES.values(), ids=list(CASES))
every_problem = pytest.mark.parametrize("make", PROBLEMS.values(), ids=list(PROBLEMS))
