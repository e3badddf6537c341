"""`penalty`: its limits, its counts, and divergence. Its own formula is in the table of test_exactness.py."""

import pytest
import torch
from bilevel_problems import PROBLEMS, ridge
from oracles import relative_error

from dreamprm.hypergrad import SGD, Status, build_estimator


def test_at_a_minimum_it_is_the_neumann_series_and_tends_to_the_implicit_gradient():
    case = ridge(optimizer=SGD(lr=0.05), warm_steps=0)
    case.batches = [torch.arange(48)] * 400
    case.params = case.run(build_estimator("none"), steps=400).params
    case.optimizer, case.state = SGD(lr=0.0), SGD(lr=0.0).init(case.params)
    exact = build_estimator("cg", damping=0.0, tolerance=1e-12, max_iterations=100)
    limit = case.run(exact, steps=1).alpha_grad
    far, near = (
        case.run(build_estimator("penalty", multiplier=multiplier, steps=1, step=0.1), steps=1).alpha_grad
        for multiplier in (1e1, 1e3)
    )
    one = case.run(build_estimator("finite_difference", scale=0.1), steps=1).alpha_grad
    # O(1 / multiplier)
    assert relative_error(near, one) < 1e-3 and relative_error(near, one) < relative_error(far, one) / 30
    errors = []
    for steps in (3, 400):
        estimator = build_estimator("penalty", multiplier=1e6, steps=steps, step=0.1)
        got = case.run(estimator, steps=1).alpha_grad
        series = build_estimator("neumann", terms=steps, step=0.1)
        assert relative_error(got, case.run(series, steps=1).alpha_grad) < 1e-5
        errors.append(relative_error(got, limit))
    assert errors[1] < 1e-4 < errors[0]


def test_steps_that_are_too_long_are_reported():
    case = ridge()
    window = case.run(build_estimator("penalty", step=5.0))
    assert window.status is Status.diverged and "lower step (now 5" in window.message
    assert all(bool(grad.isnan().all()) for grad in window.alpha_grad.values())
    with pytest.raises(ArithmeticError, match="the penalised steps diverge"):
        case.run(build_estimator("penalty", step=5.0), on_failure="raise")


@pytest.mark.parametrize("factory", PROBLEMS.values(), ids=list(PROBLEMS))
def test_counts_the_passes_it_takes(factory):
    case, count = factory(), []
    name = "_inner_losses" if case.problem.structured else "_inner_loss"
    inner, outer = getattr(case.problem, name), case.problem._outer_loss
    setattr(case.problem, name, lambda *given: (count.append(1), inner(*given))[1])
    case.problem._outer_loss = lambda *given: (count.append(1), outer(*given))[1]
    window = case.run(build_estimator("penalty", steps=3, step=1e-3))
    # the losses of `tied` and `frozen` are evaluated by their outer loss as well, not through the problem
    assert window.stats["forward"] == len(count)
