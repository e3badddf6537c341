"""The table of proof: every estimator on every problem against what it must equal, in float64."""

import pytest
import torch
from bilevel_problems import PROBLEMS, logistic, unused_rows
from checked_rows import check_each
from estimator_table import CASES, CLIPPING, EXACT, ROWS, Expected, every_case, every_row, exact_rows
from oracles import central_differences, relative_error, unrolled_gradient, with_losses_held

from dreamprm.hypergrad import BilevelProblem, Status, build_estimator


@every_case
def test_unrolled_equals_central_differences(make):
    case, unrolled = make(), build_estimator("unrolled")
    held = with_losses_held(case)
    want = central_differences(lambda alpha: held.run(unrolled, alpha=alpha).outer_loss, case.alpha)
    for name, grad in unrolled_gradient(case).items():
        torch.testing.assert_close(grad, want[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
@pytest.mark.parametrize("name", ["mlp_plain-all", "domains_mixed_with_rest-all", "sample_net"])
def test_unrolled_equals_central_differences_in_windows_of_any_length(name, steps):
    case, unrolled = CASES[name](), build_estimator("unrolled")
    held = with_losses_held(case, steps=steps)
    want = central_differences(
        lambda alpha: held.run(unrolled, steps=steps, alpha=alpha).outer_loss, case.alpha
    )
    assert relative_error(unrolled_gradient(case, steps=steps), want) < 1e-6


@pytest.mark.parametrize("name", CLIPPING)
def test_the_bounds_of_the_clipping_cases_are_met_by_some_steps_only(name):
    case, clipped = CASES[name](), []
    params, state = case.params, case.state
    for batch in case.batches[:5]:
        leaves = {key: p.clone().requires_grad_() for key, p in params.items()}
        loss = case.problem.inner_loss(leaves, case.alpha, batch)
        grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)))
        clipped.append(case.optimizer.clip(grads)[1] is not None)
        params, state = case.optimizer.step(params, grads, state=state)
    assert set(clipped) == {True, False}


@every_case
def test_every_estimator_equals_its_oracle(make):
    case = make()
    expected = Expected(case)

    def check(row):
        window, want = case.run(row.build()), expected(row)
        row.meets(window, want)

    check_each(ROWS, check)


@pytest.mark.parametrize(
    "name", ["mlp_plain-all", "domains_mixed_with_rest-all", "domain_single_with_rest-clipping"]
)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 20])
def test_every_estimator_equals_its_oracle_in_windows_of_any_length(steps, name):
    case = CASES[name]()
    expected = Expected(case, steps=steps)

    def check(row):
        got = case.run(row.build(), steps=steps).alpha_grad
        assert relative_error(got, expected(row)) < row.tolerance

    # every length for the exact ones, the shortest and the longest for the others
    rows = {label: row for label, row in ROWS.items() if label in EXACT or steps in (1, 20)}
    check_each({label: row for label, row in rows.items() if label not in ("none", "unrolled")}, check)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_row
def test_rows_that_no_inner_batch_uses(row, dtype):
    case, exact = unused_rows(dtype=dtype), unused_rows()
    window = case.run(row.build())
    # cg: where no inner batch reaches, the Hessian is 0, and how far a residual can fall is limited
    assert window.status is Status.ok or "damping" in row.settings and window.stats["damped_residual"] < 1e-6
    assert all(t.dtype == dtype for t in (*window.params.values(), *window.alpha_grad.values()))
    if row.name != "none":
        # float32: with a cold state gbar is a difference of terms 1e4 times larger, so 1e-7 becomes 1e-3
        tolerance = max(row.tolerance, 1e-6) if dtype == torch.float64 else 5e-2
        assert relative_error({"raw": window.alpha_grad["raw"].double()}, row.oracle(exact)) < tolerance


@every_row
def test_a_gradient_that_is_zero_everywhere(row):
    case = logistic(warm_steps=0)
    case.problem = BilevelProblem(
        outer_loss=lambda params, alpha, batch: params["w"].square().sum(),
        inner_losses=lambda params, batch: 0.0 * params["w"][:2],
        weights=lambda alpha, batch, losses: alpha["offset"],
    )
    window = case.run(row.build())
    assert window.status is (Status.ok if row.name == "none" else Status.no_gradient)
    assert torch.equal(window.alpha_grad["offset"], torch.zeros(2, dtype=torch.float64))


@exact_rows
def test_a_frozen_tensor_collects_nothing_whatever_its_flag(row):
    case = PROBLEMS["frozen"]()
    held = [cell for cell in _tensors_of(case.problem._inner_losses) if cell.requires_grad]
    before = [tensor.detach().clone() for tensor in held]
    case.run(row.build())
    assert len(held) == 2
    assert all(tensor.grad is None and torch.equal(tensor, was) for tensor, was in zip(held, before))


def _tensors_of(function):
    """Tensors in the dictionaries that the function closes over."""
    contents = [cell.cell_contents for cell in function.__closure__]
    return [tensor for content in contents if isinstance(content, dict) for tensor in content.values()]


@pytest.mark.parametrize("name", ["domains_mixed_with_rest-all", "domain_single_with_rest-clipping"])
def test_influences_are_the_gradient_in_a_weight_for_each_step_and_loss(name):
    case = CASES[name]()
    adjoint, n = ROWS["adjoint"].build(), len(case.batches[0]["domains"])
    influences = torch.stack(case.run(adjoint).stats["influences"])  # (5, n)
    weights = [case.problem.weights(case.alpha, batch, torch.zeros(n)) for batch in case.batches[:5]]
    problem, case.batches = case.problem, list(enumerate(case.batches))
    case.problem = BilevelProblem(
        outer_loss=lambda params, alpha, batch: problem.outer_loss(params, {}, batch),
        inner_losses=lambda params, batch: problem.inner_losses(params, batch[1]),
        weights=lambda alpha, batch, losses: alpha["w"][batch[0]],
        unweighted_loss=lambda params, batch: problem.unweighted_loss(params, batch[1]),
    )
    case.alpha = {"w": torch.stack(weights)}
    assert relative_error({"w": influences}, unrolled_gradient(case)) < 1e-10
