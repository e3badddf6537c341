"""What every window keeps to, whichever estimator runs it: one training, and its arguments left whole."""

import copy

import pytest
import torch
from bilevel_problems import Case, Tensors, logistic, mlp_plain
from checked_rows import each
from estimator_table import CASES, POLICIES, ROWS, Row, every_row

from dreamprm.hypergrad import ESTIMATORS, AdamWState, BilevelProblem, WindowResult, build_estimator

# One of each kind: plain, several losses, one loss beside a term that alpha does not touch, all that an
# optimizer can do.
SOME = ("mlp_plain", "domains_mixed", "domain_single_with_rest", "tied", "domains_mixed_with_rest-all")
every_way = each("row", {**ROWS, **POLICIES})
some_cases = pytest.mark.parametrize("name", SOME)


def _tensors(params: Tensors, state: AdamWState, alpha: Tensors) -> list[torch.Tensor]:
    return [tensor for group in (params, state.exp_avg, state.exp_avg_sq, alpha) for tensor in group.values()]


def _run(row: Row, case: Case, **options: bool) -> WindowResult:
    return case.run(row.build(), **options)


@some_cases
@every_way
def test_params_and_state_are_the_same_for_every_estimator(row, name):
    case = CASES[name]()
    want, got = case.run(build_estimator("none")), _run(row, case)
    for one, other in zip(_tensors(got.params, got.state, {}), _tensors(want.params, want.state, {})):
        # to rounding: autograd orders sums differently with create_graph, or weights a gradient after it
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert got.state.step == case.state.step + 5
    torch.testing.assert_close(got.inner_losses, want.inner_losses, rtol=1e-12, atol=0)
    assert got.inner_losses.shape == (5,) and got.outer_loss.shape == ()
    torch.testing.assert_close(got.outer_loss, want.outer_loss, rtol=1e-12, atol=0)
    results = [*_tensors(got.params, got.state, got.alpha_grad), got.inner_losses, got.outer_loss]
    assert not any(tensor.requires_grad for tensor in results)
    assert {key: grad.shape for key, grad in got.alpha_grad.items()} == {
        key: a.shape for key, a in case.alpha.items()
    }
    assert got.stats["forward"] >= 6 and got.stats["backward"] >= 5


@some_cases
@every_way
def test_arguments_are_never_modified(row, name):
    case = CASES[name]()
    given = _tensors(case.params, case.state, case.alpha)
    before, step = copy.deepcopy(given), case.state.step
    _run(row, case)
    now = _tensors(case.params, case.state, case.alpha)
    assert all(tensor is was for tensor, was in zip(now, given))
    assert all(
        torch.equal(tensor, was) and not tensor.requires_grad and tensor.grad is None
        for tensor, was in zip(now, before)
    )
    assert case.state.step == step


@some_cases
@every_way
def test_donating_changes_nothing_in_the_result(row, name):
    case = CASES[name]()
    alpha = copy.deepcopy(case.alpha)
    want = _run(row, case)
    got = _run(row, case, donate=True)
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            _tensors(got.params, got.state, got.alpha_grad),
            _tensors(want.params, want.state, want.alpha_grad),
        )
    )
    assert all(torch.equal(alpha[key], case.alpha[key]) for key in alpha)


def test_plain_training_updates_donated_tensors_in_place():
    case = mlp_plain()
    window = case.run(build_estimator("none"), donate=True)
    assert all(window.params[key].data_ptr() == case.params[key].data_ptr() for key in case.params)


@every_row
def test_two_windows_are_one_training(row):
    case = CASES["mlp_plain-all"]()
    first = case.run(row.build(), steps=2)
    second = row.build().run_window(
        case.problem,
        case.optimizer,
        first.params,
        first.state,
        case.alpha,
        inner_batches=case.batches[2:5],
        outer_batch=case.outer_batch,
    )
    whole = case.run(build_estimator("none"), steps=5)
    for one, other in zip(_tensors(second.params, second.state, {}), _tensors(whole.params, whole.state, {})):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@every_row
def test_flags_of_the_arguments_do_not_matter(row):
    case = mlp_plain()
    want = _run(row, case)
    case.params = {
        key: (p.clone().requires_grad_() if key != "b1" else p) * 1.0 for key, p in case.params.items()
    }
    with torch.no_grad():
        got = case.run(row.build(), alpha={key: torch.nn.Parameter(a) for key, a in case.alpha.items()})
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            _tensors(got.params, got.state, got.alpha_grad),
            _tensors(want.params, want.state, want.alpha_grad),
        )
    )


@every_row
def test_alpha_that_does_not_enter_gets_zeros(row):
    window = mlp_plain().run(row.build())
    assert torch.equal(window.alpha_grad["idle"], torch.zeros(2, dtype=torch.float64))


@every_row
def test_no_alpha_at_all(row):
    case = logistic()
    case.problem = BilevelProblem(lambda p, a, b: p["w"].square().sum(), lambda p, a, b: p["w"].sum())
    assert case.run(row.build(), alpha={}).alpha_grad == {}


def test_the_table_has_a_row_for_every_estimator():
    assert {row.name for row in ROWS.values()} == set(ESTIMATORS)
