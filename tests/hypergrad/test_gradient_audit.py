"""The audit: agreement by hand, the estimator beside the exact one, the problem of a part of the params."""

import copy
import math

import pytest
import torch
from bilevel_problems import Case, domains_mixed, domains_mixed_with_rest, mlp_plain

from dreamprm.hypergrad import AdamW, build_estimator
from dreamprm.hypergrad.audit import Audit, agreement

CASES = [mlp_plain, domains_mixed, domains_mixed_with_rest]


def compare(case: Case, audit: Audit, *, estimator: str = "first_order", steps: int = 3):
    return audit.compare(
        build_estimator(estimator),
        case.problem,
        case.optimizer,
        case.params,
        case.state,
        case.alpha,
        inner_batches=case.batches[:steps],
        outer_batch=case.outer_batch,
    )


def test_agreement_by_hand():
    estimate = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor(4.0)}
    exact = {"a": torch.tensor([0.0, 0.0]), "b": torch.tensor(2.0)}
    assert agreement(estimate, exact) == pytest.approx((0.8, 2.5), rel=1e-12)
    assert agreement(exact, estimate) == pytest.approx((0.8, 0.4), rel=1e-12)
    assert agreement({"a": -exact["b"]}, {"a": exact["b"]}) == (-1.0, 1.0)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_agreement_is_nan_where_it_is_undefined(bad):
    for pair in [(bad, 1.0), (1.0, bad)]:
        estimate, exact = ({"a": torch.tensor([value])} for value in pair)
        assert all(math.isnan(value) for value in agreement(estimate, exact))
    assert all(math.isnan(value) for value in agreement({}, {}))


def test_tiny_and_large_gradients_keep_their_cosine():
    small = {"a": torch.tensor([1e-30, 2e-30])}  # their squares vanish in float32
    large = {"a": torch.tensor([1e30, 2e30])}
    cosine, ratio = agreement(small, large)
    assert cosine == pytest.approx(1.0, abs=1e-12) and ratio == pytest.approx(1e-60, rel=1e-5)


@pytest.mark.parametrize("make", CASES)
def test_it_tells_the_estimators_agreement_with_the_exact_gradient(make):
    case = make()
    result = compare(case, Audit(every=1))
    estimate = case.run(build_estimator("first_order"), steps=3).alpha_grad
    exact = case.run(build_estimator("unrolled"), steps=3).alpha_grad
    flat = [torch.cat([grad.flatten() for grad in grads.values()]) for grads in (estimate, exact)]
    wanted = torch.nn.functional.cosine_similarity(*flat, dim=0)
    assert result.cosine == pytest.approx(float(wanted), rel=1e-10) and result.cosine < 1 - 1e-10
    assert result.norm_ratio == pytest.approx(float(flat[0].norm() / flat[1].norm()), rel=1e-10)
    assert (result.share, result.message) == (1.0, "")


@pytest.mark.parametrize("make", CASES)
def test_the_exact_one_agrees_with_itself(make):
    result = compare(make(), Audit(every=1, exact=build_estimator("unrolled")), estimator="unrolled")
    assert (result.cosine, result.norm_ratio) == (pytest.approx(1.0, abs=1e-12), 1.0)
    assert result.exact == "unrolled"


@pytest.mark.parametrize("make", CASES)
def test_part_of_the_params_is_the_problem_where_only_they_are_trained(make):
    """Params with a learning rate of 0 of their own would stay; here they are constants of the losses."""
    case = make()
    result = compare(case, Audit(every=1, params=["w?"]))
    held = {name: p for name, p in case.params.items() if name not in ("w1", "w2")}
    part = copy.copy(case)
    part.params = {name: case.params[name] for name in ("w1", "w2")}
    part.state = copy.copy(case.state)
    part.state.exp_avg = {name: case.state.exp_avg[name] for name in part.params}
    part.state.exp_avg_sq = {name: case.state.exp_avg_sq[name] for name in part.params}
    part.problem = type(case.problem)(
        lambda params, alpha, batch: case.problem.inner_loss(params | held, alpha, batch),
        lambda params, alpha, batch: case.problem.outer_loss(params | held, alpha, batch),
    )
    estimate, exact = (
        part.run(build_estimator(name, **settings), steps=3).alpha_grad
        for name, settings in (("first_order", {}), ("unrolled", {}))
    )
    wanted = agreement(estimate, exact)
    # the plain form takes a finite difference where the structured one has directional derivatives
    assert result.cosine == pytest.approx(wanted[0], abs=1e-7)
    assert result.norm_ratio == pytest.approx(wanted[1], rel=1e-6)
    count = sum(p.numel() for p in part.params.values())
    assert result.share == count / sum(p.numel() for p in case.params.values())
    whole = compare(case, Audit(every=1))
    assert abs(whole.norm_ratio - result.norm_ratio) > 1e-4


def test_an_audit_changes_nothing():
    case = domains_mixed()
    before = copy.deepcopy((case.params, case.state, case.alpha))
    compare(case, Audit(every=1))
    compare(case, Audit(every=1, params=["w1"]))
    after = (case.params, case.state, case.alpha)
    for old, new in zip(_flat(before), _flat(after), strict=True):
        assert torch.equal(old, new)


def _flat(parts):
    params, state, alpha = parts
    return [value for group in (params, state.exp_avg, state.exp_avg_sq, alpha) for value in group.values()]


def test_a_failed_window_is_told_and_its_cosine_is_nan():
    case = domains_mixed()
    case.outer_batch = case.outer_batch[:0]  # the mean over nothing is NaN
    result = compare(case, Audit(every=1))
    assert math.isnan(result.cosine) and math.isnan(result.norm_ratio)
    assert "estimator: the outer loss is nan" in result.message and "exact: " in result.message


def test_due_counts_windows_from_one():
    assert [window for window in range(1, 8) if Audit(every=3).due(window)] == [3, 6]
    assert not any(Audit(every=0).due(window) for window in range(1, 8))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="every must be >= 0, got -1; use 0 for no audit"):
        Audit(every=-1)
    with pytest.raises(ValueError, match="pattern 'head' matches no parameter; names are such as w1, b1"):
        Audit(every=1, params=["w*", "head"]).select(["w1", "b1", "w2"])


def test_an_audit_says_what_first_order_has_lost_over_a_long_window():
    case = domains_mixed(optimizer=AdamW(lr=0.03))
    messages = {}
    for steps in (1, 20):
        result = Audit(every=1).compare(
            build_estimator("first_order", derivative="double_backward"),
            case.problem,
            case.optimizer,
            case.params,
            case.state,
            case.alpha,
            inner_batches=case.batches[:steps],
            outer_batch=case.outer_batch,
        )
        messages[steps] = result.message
        assert (result.cosine < 0.9) == (steps == 20)
    assert messages[1] == "" and "over these 20 steps its cosine to the exact gradient is" in messages[20]
