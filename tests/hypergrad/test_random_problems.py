"""Random small problems, drawn by hypothesis: the exact kinds against central differences, in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bilevel_problems import Case, Tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import central_differences, relative_error
from torch.nn.functional import softplus

from dreamprm.hypergrad import SGD, Adam, AdamW, BilevelProblem, InnerOptimizer, Muon, build_estimator

EXACT: dict[str, dict[str, Any]] = {
    "unrolled": {"name": "unrolled"},
    "adjoint": {"name": "adjoint"},
    "adjoint, two graphs": {"name": "adjoint", "keep_graphs": 2, "checkpoint": "keep"},
    "adjoint, forward mode": {"name": "adjoint", "derivative": "forward_mode"},
    "forward_gradient": {"name": "forward_gradient", "directions": 3, "derivative": "double_backward"},
}
OPTIMIZERS: dict[str, Callable[..., InnerOptimizer]] = {
    "adamw": AdamW,
    "adam": Adam,
    "amsgrad": lambda **common: Adam(amsgrad=True, betas=(0.8, 0.9), **common),
    "sgd": lambda **common: SGD(momentum=0.8, nesterov=True, **common),
    "muon": Muon,
}


@st.composite
def cases(draw: st.DrawFn, optimizer: str) -> tuple[Case, int]:
    """A regression on random numbers, and the number of steps; three entries of alpha."""
    # derandomized draws are the same for every optimizer
    seed = draw(st.integers(0, 9_999)) + 10_000 * list(OPTIMIZERS).index(optimizer)
    numbers = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=numbers, dtype=torch.float64)

    width, hidden, rows = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x, y, z = random(5, 2, rows, width), random(5, 2, rows), random(4, width)

    def predicted(params: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        return torch.tanh(inputs @ params["w"]) @ params["u"]

    def losses(params: Tensors, batch: int) -> torch.Tensor:
        return (predicted(params, x[batch]) - y[batch]).square().mean(1)

    def weights(alpha: Tensors, batch: int, losses: torch.Tensor) -> torch.Tensor:
        return softplus(alpha["a"]) * (1 + alpha["b"] * y[batch, :, 0].sin())

    def rest(params: Tensors, batch: int) -> torch.Tensor:
        return 0.1 * params["w"].square().sum()

    def whole(params: Tensors, alpha: Tensors, batch: int) -> torch.Tensor:
        each = losses(params, batch)
        return (weights(alpha, batch, each) * each).mean() + alpha["b"].exp() * rest(params, batch)

    def outer(params: Tensors, alpha: Tensors, batch: None) -> torch.Tensor:
        return (predicted(params, z) - 0.3).square().mean() + 0.1 * alpha["b"].square()

    form = draw(st.sampled_from(["plain", "structured", "with rest"]))
    if form == "plain":
        problem = BilevelProblem(whole, outer)
    else:
        problem = BilevelProblem(
            outer_loss=outer,
            inner_losses=losses,
            weights=weights,
            unweighted_loss=rest if form == "with rest" else None,
        )
    made = OPTIMIZERS[optimizer](
        lr=10 ** draw(st.floats(-3, -1)),
        weight_decay=draw(st.sampled_from([0.0, 0.1])),
        max_grad_norm=draw(st.sampled_from([None, 0.5])),
    )
    case = Case(
        problem,
        {"w": random(width, hidden), "u": random(hidden)},
        {"a": random(2), "b": torch.tensor(-0.5, dtype=torch.float64)},
        list(range(5)),
        None,
        optimizer=made,
    )
    return case, draw(st.integers(1, 5))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(derandomize=True, database=None, deadline=None, max_examples=4)
@given(data=st.data())
def test_exact_kinds_equal_central_differences(data, optimizer):
    case, steps = data.draw(cases(optimizer))

    def end(alpha: Tensors) -> torch.Tensor:
        return case.run(build_estimator("none"), steps=steps, alpha=alpha).outer_loss

    want = central_differences(end, case.alpha)
    size = float(torch.cat([w.flatten() for w in want.values()]).norm())
    for label, estimator in EXACT.items():
        got = case.run(build_estimator(**estimator), steps=steps).alpha_grad
        # truncation: 1e-10 of third derivatives, of which Newton-Schulz iterations have large ones
        assert relative_error(got, want) < max(1e-5, 1e-10 / max(size, 1e-14)), label
