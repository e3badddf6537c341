"""The table: estimators with what they must equal, problems, and optimizers to run the problems under."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from bilevel_problems import PROBLEMS, Case, Tensors
from oracles import gradient_without_hessian, nothing, unrolled_gradient

from dreamprm.hypergrad import ESTIMATORS, AdamW, Estimator, build_estimator

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


ROWS: dict[str, Row] = {
    "none": Row("none", oracle=nothing),
    "unrolled": Row("unrolled"),
    # a central difference is off by r^2/6 |L'''/L'| at r = 1e-4
    "first_order": Row("first_order", oracle=gradient_without_hessian, tolerance=1e-6),
    # a one-sided difference is off by r/2 |L''/L'| + 1e-16 |L|/(r |L'|) at r = 1e-7: either is some 1e-7 for
    # slopes that are not small beside the loss, and a hundred times that for those that are
    "first_order-one_sided": Row("first_order", {"mixed": "forward_difference"},
                                 oracle=gradient_without_hessian, tolerance=1e-5),
    "first_order-double_backward": Row("first_order", {"mixed": "double_backward"},
                                       oracle=gradient_without_hessian),
    "first_order-forward_mode": Row("first_order", {"mixed": "forward_mode"},
                                    oracle=gradient_without_hessian),
}
EXACT = {label: row for label, row in ROWS.items() if row.oracle is unrolled_gradient}

# (problem, max_grad_norm): a bound that some steps of the window meet and others do not.
_VARIED = [("mlp_plain", 1.0), ("domains_varying", 1.0), ("domain_single", 1.0),
           ("domain_single_with_rest", 1.3), ("domains_mixed_with_rest", 2.5)]


def _decay(name: str) -> float:
    return 0.5 if name.startswith("w") else 0.0


def _schedule(step: int) -> float:
    return 3e-2 * 0.8 ** step


CASES: dict[str, Callable[[], Case]] = dict(PROBLEMS)
for _name, _bound in _VARIED:
    _problem = PROBLEMS[_name]
    CASES[f"{_name}-cold"] = partial(_problem, warm_steps=0)
    CASES[f"{_name}-schedule"] = partial(_problem, optimizer=AdamW(
        lr=_schedule, betas=(0.8, 0.95), weight_decay=0.3))
    CASES[f"{_name}-decay_groups"] = partial(_problem, optimizer=AdamW(lr=1e-2, weight_decay=_decay))
    CASES[f"{_name}-clipping"] = partial(_problem, optimizer=AdamW(lr=1e-2, max_grad_norm=_bound))
    CASES[f"{_name}-all"] = partial(_problem, optimizer=AdamW(
        lr=_schedule, betas=(0.8, 0.95), weight_decay=_decay, max_grad_norm=_bound))
CLIPPING = [label for label in CASES if label.endswith(("-clipping", "-all"))]

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
exact_rows = pytest.mark.parametrize("row", EXACT.values(), ids=list(EXACT))
every_case = pytest.mark.parametrize("make", CASES.values(), ids=list(CASES))
every_problem = pytest.mark.parametrize("make", PROBLEMS.values(), ids=list(PROBLEMS))
estimating = pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "none"])
