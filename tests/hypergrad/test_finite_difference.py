"""The one-step estimate against its formula by double backward, and where it is the exact derivative."""

import copy
import math

import pytest
import torch
from bilevel_problems import PROBLEMS, domains_mixed, logistic, unused_rows
from estimator_table import CASES
from oracles import relative_error, unrolled_gradient, with_losses_held

from dreamprm.hypergrad import AdamW, FiniteDifference, Status, build_estimator
from dreamprm.hypergrad.unrolled import torchopt_step

every_problem = pytest.mark.parametrize("make", PROBLEMS.values(), ids=list(PROBLEMS))
every_case = pytest.mark.parametrize("make", CASES.values(), ids=list(CASES))
# A central difference is off by r^2/6 |L'''/L'| + 1e-16 |L| / (r |L'|) at r = 1e-4: 1e-8 to 1e-6.
TOLERANCE = 1e-6


def _along(case, params, direction):
    """d/dalpha <direction, grad_phi L(params, alpha; last batch)> for T = 5."""
    alpha = {name: a.clone().requires_grad_() for name, a in case.alpha.items()}
    phi = {name: p.clone().requires_grad_() for name, p in params.items()}
    loss = case.problem.inner_loss(phi, alpha, case.batches[4])
    grads = torch.autograd.grad(loss, list(phi.values()), create_graph=True, materialize_grads=True)
    product = sum((g * direction[name]).sum() for name, g in zip(phi, grads))
    return dict(zip(alpha, torch.autograd.grad(product, list(alpha.values()), materialize_grads=True)))


def _outer(case, params):
    """dL_meta/dphi and dL_meta/dalpha."""
    alpha = {name: a.clone().requires_grad_() for name, a in case.alpha.items()}
    phi = {name: p.clone().requires_grad_() for name, p in params.items()}
    loss = case.problem.outer_loss(phi, alpha, case.outer_batch)
    grads = torch.autograd.grad(loss, [*phi.values(), *alpha.values()], materialize_grads=True)
    return dict(zip(phi, grads)), dict(zip(alpha, grads[len(phi) :]))


def _minus(direct, along, factor):
    return {name: direct[name] - factor * along[name] for name in direct}


@pytest.mark.parametrize("settings, factor", [({}, 1e-2), ({"scale": 1.0}, 1.0)], ids=["lr", "betty"])
@every_problem
def test_it_equals_its_formula(make, settings, factor):
    case = make()
    window = case.run(build_estimator("finite_difference", **settings))
    v, direct = _outer(case, window.params)
    want = _minus(direct, _along(case, window.params, v), factor)
    assert relative_error(window.alpha_grad, want) < TOLERANCE
    assert window.status is Status.ok


def test_at_the_point_before_the_last_step_it_is_darts():
    case = logistic()
    window = case.run(build_estimator("finite_difference", point="before"))
    before = case.run(build_estimator("none"), steps=4).params
    v, direct = _outer(case, window.params)
    assert relative_error(window.alpha_grad, _minus(direct, _along(case, before, v), 1e-2)) < TOLERANCE


def test_the_learning_rate_is_that_of_the_last_step():
    case = logistic(optimizer=AdamW(lr=lambda step: 1e-2 * 0.5**step))
    window = case.run(build_estimator("finite_difference"))
    v, direct = _outer(case, window.params)
    want = _minus(direct, _along(case, window.params, v), 1e-2 * 0.5**7)  # three warm steps and four
    assert relative_error(window.alpha_grad, want) < TOLERANCE


@every_problem
def test_preconditioned_it_goes_through_adamw(make):
    """Against autograd through torchopt's step; the default point, after the step."""
    case = make()
    window = case.run(build_estimator("finite_difference", preconditioner="adamw"))
    start = case.run(build_estimator("none"), steps=4)
    phi = {name: p.clone().requires_grad_() for name, p in start.params.items()}
    loss = case.problem.inner_loss(phi, case.alpha, case.batches[4])
    grads = torch.autograd.grad(loss, list(phi.values()), materialize_grads=True)
    leaves = {name: g.requires_grad_() for name, g in zip(phi, grads)}
    stepped, _ = torchopt_step(case.optimizer, start.params, leaves, state=start.state)
    v, direct = _outer(case, window.params)
    gbar = torch.autograd.grad(list(stepped.values()), list(leaves.values()), [v[name] for name in stepped])
    want = _minus(direct, _along(case, window.params, dict(zip(leaves, gbar))), -1.0)
    assert relative_error(window.alpha_grad, want) < TOLERANCE


@every_case
def test_preconditioned_before_a_single_step_it_is_exact(make):
    """Schedules, decay groups and clipping included; a cold state too."""
    case = make()
    got = case.run(build_estimator("finite_difference", preconditioner="adamw", point="before"), steps=1)
    for name, want in unrolled_gradient(case, steps=1).items():
        # atol: a single domain's weight cancels out of a clipped gradient, which leaves rounding of 1e-16 / r
        assert float((got.alpha_grad[name] - want).norm()) < TOLERANCE * float(want.norm()) + 1e-11


@every_problem
def test_preconditioned_before_the_last_step_it_is_the_derivative_of_that_step(make):
    case = make()
    window = case.run(build_estimator("finite_difference", preconditioner="adamw", point="before"))
    start = case.run(build_estimator("none"), steps=4)
    case.params, case.state, case.batches = start.params, start.state, case.batches[4:]
    assert relative_error(window.alpha_grad, unrolled_gradient(case, steps=1)) < TOLERANCE


ALL = [{}, {"preconditioner": "adamw"}, {"preconditioner": "adamw", "point": "before"}, {"point": "before"}]
every_setting = pytest.mark.parametrize("settings", ALL)


@every_setting
def test_nothing_else_is_touched(settings):
    case = domains_mixed()
    before = copy.deepcopy((case.params, case.state, case.alpha))
    want, got = case.run(build_estimator("none")), case.run(build_estimator("finite_difference", **settings))
    donated = copy.deepcopy(case).run(build_estimator("finite_difference", **settings), donate=True)
    for name in case.params:
        assert torch.equal(case.params[name], before[0][name])
        assert torch.equal(case.state.exp_avg_sq[name], before[1].exp_avg_sq[name])
        assert torch.equal(got.params[name], want.params[name])
        assert torch.equal(got.state.moments["exp_avg"][name], want.state.moments["exp_avg"][name])
        assert torch.equal(donated.params[name], want.params[name])
    assert torch.equal(donated.alpha_grad["raw"], got.alpha_grad["raw"])
    assert torch.equal(got.inner_losses, want.inner_losses) and torch.equal(got.outer_loss, want.outer_loss)
    assert got.state.step == want.state.step and not got.alpha_grad["raw"].requires_grad


@pytest.mark.parametrize(
    "dtype, tolerance",
    [
        (torch.float64, 1e-6),
        # rounding 1e-7 / radius 1e-2 is 1e-5 of a loss, whose slope is some 1e-2 of it
        (torch.float32, 1e-2),
    ],
)
def test_rows_that_no_inner_batch_uses_do_not_shrink_the_perturbation(dtype, tolerance):
    case = unused_rows(dtype=dtype)
    warm = case.run(build_estimator("none"))
    case.params, case.state = warm.params, warm.state
    got = case.run(build_estimator("finite_difference", preconditioner="adamw", point="before"), steps=1)
    assert relative_error(got.alpha_grad, unrolled_gradient(case, steps=1)) < tolerance


@pytest.mark.parametrize(
    "make, forward, backward",
    [
        (logistic, 8, 8),  # plain: two evaluations, each differentiated in alpha
        (domains_mixed, 9, 6),  # structured: two evaluations and the losses at phi, no gradient
    ],
)
def test_passes(make, forward, backward):
    case, count = make(), []
    name = "_inner_losses" if case.problem.structured else "_inner_loss"
    function = getattr(case.problem, name)
    setattr(case.problem, name, lambda *args: (count.append(1), function(*args))[1])
    window = case.run(build_estimator("finite_difference"))
    assert window.stats.keys() == {"forward", "backward", "error"}
    assert (window.stats["forward"], window.stats["backward"]) == (forward, backward)
    assert len(count) == forward - 1  # and the outer loss


def test_weights_see_the_losses_at_phi():
    case = PROBLEMS["sample_net"]()
    held = with_losses_held(case, steps=1)
    settings = {"preconditioner": "adamw", "point": "before"}
    got = case.run(build_estimator("finite_difference", **settings), steps=1).alpha_grad
    assert relative_error(got, unrolled_gradient(held, steps=1)) < TOLERANCE


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"preconditioner": "adam"}, "preconditioner must be one of adamw or None, got 'adam'"),
        ({"point": "end"}, "point must be one of after, before, got 'end'"),
        ({"radius": 0.0}, "radius must be > 0, got 0.0; use None for the default of the dtype"),
        ({"radius": math.nan}, "radius must be > 0, got nan"),
        ({"scale": -1.0}, "scale must be > 0, got -1.0; use None for the learning rate"),
        ({"scale": 1.0, "preconditioner": "adamw"}, "scale=1.0 is only read with preconditioner=None, and"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FiniteDifference(**settings)


def test_no_gradient_of_a_gradient_is_taken():
    assert not any(FiniteDifference(**settings).needs_second_order for settings in ALL)
