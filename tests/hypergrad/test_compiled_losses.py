"""Losses under torch.compile: differences and first_order take them, exact kinds say what to do."""

import pytest
import torch
from bilevel_problems import Case, logistic
from estimator_table import ROWS
from oracles import relative_error
from torch._dynamo.utils import counters

from dreamprm.hypergrad import BilevelProblem, Status, build_estimator

# What can be had from first derivatives: every other row takes a derivative that compiled code lacks.
WORK = ["none", "first_order", "first_order-one_sided", "adjoint-difference", "finite_difference"]
EXACT = ["unrolled", "adjoint", "first_order-double_backward", "neumann"]
FORWARD_MODE = ["adjoint-forward_mode", "first_order-forward_mode"]


@pytest.fixture(autouse=True)
def _nothing_compiled_before_or_after():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def _compiled(case: Case) -> Case:
    inner = case.problem._inner_loss
    case.problem = BilevelProblem(torch.compile(inner, backend="aot_eager"), case.problem._outer_loss)
    return case


@pytest.mark.parametrize("label", WORK)
def test_differences_and_first_order_take_compiled_losses(label):
    want, case = logistic(), _compiled(logistic())
    for _ in range(3):  # the third window is not watched
        window, plain = case.run(ROWS[label].build()), want.run(ROWS[label].build())
        assert window.status is plain.status
        assert relative_error(window.params, plain.params) < 1e-12
        # rounding of the reordered operations, over the differences' radius of 1e-7 to 1e-4
        assert label == "none" or relative_error(window.alpha_grad, plain.alpha_grad) < 1e-6
    assert counters["frames"]["ok"] > 0  # it was compiled, not run as plain Python


@pytest.mark.parametrize("label", [*EXACT, *FORWARD_MODE])
def test_exact_kinds_refuse_compiled_losses_and_name_what_helps(label):
    case = _compiled(logistic())
    with pytest.raises(NotImplementedError, match="difference|uncompiled"):
        for _ in range(3):
            case.run(ROWS[label].build())


def test_buffers_of_a_compiled_loss_move_once_a_step():
    case, norm = logistic(), torch.nn.BatchNorm1d(4).double()
    inner = case.problem._inner_loss
    x = torch.randn(60, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def loss(params, alpha, rows):
        return inner(params, alpha, rows) + 0.1 * norm(x[rows] * params["w"]).tanh().square().mean()

    case.problem = BilevelProblem(torch.compile(loss, backend="aot_eager"), case.problem._outer_loss)
    window = case.run(build_estimator("adjoint", derivative="central_difference"), steps=3)
    assert window.status is Status.ok and int(norm.num_batches_tracked) == 3
