"""One table of estimators and problems: what every estimator must do, and where two must agree."""

import copy

import pytest
import torch
from bilevel_problems import (
    PROBLEMS, central_differences, gradient_without_hessian, logistic, mlp_plain, relative_error, unused_rows,
)

from dreamprm.hypergrad import ESTIMATORS, AdamW, BilevelProblem, Status, build_estimator

# name -> (settings, relative error of its contraction: a central difference's is r^2/6 |L'''/L'| at r = 1e-4)
FIRST_ORDER = {
    "finite_difference": ({"mixed": "finite_difference"}, 1e-6),
    # a one-sided difference's is r/2 |L''/L'| + 1e-16 |L|/(r |L'|) at r = 1e-7: either is some 1e-7 for
    # slopes that are not small beside the loss, and ten times that for those that are
    "forward_difference": ({"mixed": "forward_difference"}, 1e-5),
    "double_backward": ({"mixed": "double_backward"}, 1e-12),
    "forward_mode": ({"mixed": "forward_mode"}, 1e-12),
}
ALL = [("unrolled", {}), ("none", {}), *(("first_order", settings) for settings, _ in FIRST_ORDER.values())]
problems = pytest.mark.parametrize("factory", PROBLEMS.values(), ids=list(PROBLEMS))
estimators = pytest.mark.parametrize("name, settings", ALL)
modes = pytest.mark.parametrize("settings, tolerance", FIRST_ORDER.values(), ids=list(FIRST_ORDER))


@pytest.mark.parametrize("steps", [1, 2, 5, 6])
@problems
def test_unrolled_equals_central_differences(factory, steps):
    case, unrolled = factory(), build_estimator("unrolled")
    window = case.run(unrolled, steps=steps)
    want = central_differences(
        lambda alpha: case.run(unrolled, steps=steps, alpha=alpha).outer_loss, case.alpha)
    for name, grad in want.items():
        torch.testing.assert_close(window.alpha_grad[name], grad, rtol=1e-6, atol=1e-9)
    assert window.status is Status.ok and window.message == ""


def test_unrolled_equals_central_differences_under_a_schedule():
    case = mlp_plain(optimizer=AdamW(lr=lambda step: 3e-2 * 0.6 ** step, betas=(0.8, 0.95), weight_decay=0.3))
    unrolled = build_estimator("unrolled")
    assert case.state.step == 3  # the schedule must go on from here
    want = central_differences(lambda alpha: case.run(unrolled, alpha=alpha).outer_loss, case.alpha)
    assert relative_error(case.run(unrolled).alpha_grad, want) < 1e-6


@modes
@problems
def test_first_order_equals_the_oracle_without_hessian(factory, settings, tolerance):
    case = factory()
    window = case.run(build_estimator("first_order", **settings))
    assert relative_error(window.alpha_grad, gradient_without_hessian(case)) < tolerance


@modes
@problems
def test_first_order_equals_unrolled_for_one_step(factory, settings, tolerance):
    case = factory()
    want = case.run(build_estimator("unrolled"), steps=1).alpha_grad
    got = case.run(build_estimator("first_order", **settings), steps=1).alpha_grad
    assert relative_error(got, want) < tolerance


@pytest.mark.parametrize("structured", [False, True])
@modes
def test_first_order_equals_unrolled_for_losses_linear_in_params(settings, tolerance, structured):
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def inner_losses(params, batch):
        return batch * (x[:3] @ params["w"])

    def weights(alpha, batch, losses):
        return alpha["raw"].exp()

    def outer(params, alpha, batch):
        return (x @ params["w"] - batch).square().mean()

    if structured:
        problem = BilevelProblem(outer_loss=outer, inner_losses=inner_losses, weights=weights)
    else:
        problem = BilevelProblem(lambda p, a, b: (weights(a, b, None) * inner_losses(p, b)).mean(), outer)
    case = logistic()
    case.problem, case.batches, case.outer_batch = problem, [1.0, 0.5, 2.0, 1.5, 1.0], 0.7
    case.alpha = {"raw": torch.tensor([0.1, -0.5, 0.3], dtype=torch.float64)}
    want = case.run(build_estimator("unrolled")).alpha_grad
    assert relative_error(case.run(build_estimator("first_order", **settings)).alpha_grad, want) < tolerance


def test_first_order_error_is_linear_in_the_learning_rate():
    errors = []
    for lr in (1e-3, 1e-4, 1e-5):
        case = mlp_plain()
        case.optimizer = AdamW(lr=lr)
        want = case.run(build_estimator("unrolled")).alpha_grad
        got = case.run(build_estimator("first_order", mixed="double_backward")).alpha_grad
        errors.append(float((got["raw"] - want["raw"]).norm()) / lr)
    # |error| = lr * (lr T |H| ...): divided by lr it must fall tenfold with lr, to first order
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.1)
    assert errors[2] > 0


@estimators
@problems
def test_params_and_state_are_the_same_for_every_estimator(factory, name, settings):
    case = factory()
    want, got = case.run(build_estimator("none")), case.run(build_estimator(name, **settings))
    for key in want.params:
        pairs = ((got.params[key], want.params[key]), (got.state.exp_avg[key], want.state.exp_avg[key]),
                 (got.state.exp_avg_sq[key], want.state.exp_avg_sq[key]))
        for one, other in pairs:
            # to rounding: autograd orders sums differently with create_graph, or weights a gradient after it
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert got.state.step == case.state.step + 5
    torch.testing.assert_close(got.inner_losses, want.inner_losses, rtol=1e-12, atol=0)
    assert got.inner_losses.shape == (5,) and got.outer_loss.shape == ()
    torch.testing.assert_close(got.outer_loss, want.outer_loss, rtol=1e-12, atol=0)
    assert not any(t.requires_grad for t in (*got.params.values(), *got.state.exp_avg.values(),
                                             *got.alpha_grad.values(), got.inner_losses, got.outer_loss))


@estimators
@problems
def test_arguments_are_never_modified(factory, name, settings):
    case = factory()
    before = copy.deepcopy((case.params, case.state, case.alpha))
    case.run(build_estimator(name, **settings))
    for was, now in zip((before[0], before[1].exp_avg, before[1].exp_avg_sq, before[2]),
                        (case.params, case.state.exp_avg, case.state.exp_avg_sq, case.alpha)):
        assert all(torch.equal(was[key], now[key]) and not now[key].requires_grad for key in was)
    assert case.state.step == before[1].step


@estimators
@problems
def test_donating_changes_nothing_in_the_result(factory, name, settings):
    case, estimator = factory(), build_estimator(name, **settings)
    want = case.run(estimator)
    alpha = copy.deepcopy(case.alpha)
    got = case.run(estimator, donate=True)
    assert all(torch.equal(want.params[key], got.params[key]) for key in want.params)
    assert all(torch.equal(want.state.exp_avg_sq[key], got.state.exp_avg_sq[key]) for key in want.params)
    assert all(torch.equal(want.alpha_grad[key], got.alpha_grad[key]) for key in want.alpha_grad)
    assert all(torch.equal(alpha[key], case.alpha[key]) for key in alpha)


def test_plain_training_updates_donated_tensors_in_place():
    case = mlp_plain()
    window = case.run(build_estimator("none"), donate=True)
    assert all(window.params[key].data_ptr() == case.params[key].data_ptr() for key in case.params)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@estimators
def test_rows_that_no_inner_batch_uses(name, settings, dtype):
    case = unused_rows(dtype=dtype)
    window = case.run(build_estimator(name, **settings))
    assert window.status is Status.ok
    assert all(t.dtype == dtype for t in (*window.params.values(), *window.alpha_grad.values()))
    if name == "none":
        return
    exact = unused_rows()
    want = exact.run(build_estimator("unrolled")).alpha_grad
    if name == "first_order":
        want = gradient_without_hessian(exact)
    # float32: with a cold state gbar is a difference of terms 1e4 times larger, so 1e-7 becomes 1e-3
    tolerance = 1e-6 if dtype == torch.float64 else 5e-2
    assert relative_error({"raw": window.alpha_grad["raw"].double()}, want) < tolerance


@estimators
def test_a_gradient_that_is_zero_everywhere(name, settings):
    case = logistic()
    case.problem = BilevelProblem(
        outer_loss=lambda params, alpha, batch: params["w"].square().sum(),
        inner_losses=lambda params, batch: 0.0 * params["w"][:2],
        weights=lambda alpha, batch, losses: alpha["offset"])
    case.state = case.optimizer.init(case.params)
    window = case.run(build_estimator(name, **settings))
    assert window.status is Status.ok
    assert torch.equal(window.alpha_grad["offset"], torch.zeros(2, dtype=torch.float64))


def test_none_leaves_alpha_alone():
    window = mlp_plain().run(build_estimator("none"))
    assert torch.equal(window.alpha_grad["raw"], torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "none"])
def test_alpha_that_does_not_enter_gets_zeros(name):
    window = mlp_plain().run(build_estimator(name))
    assert torch.equal(window.alpha_grad["idle"], torch.zeros(2, dtype=torch.float64))


@estimators
def test_no_alpha_at_all(name, settings):
    case = logistic()
    case.problem = BilevelProblem(lambda p, a, b: p["w"].square().sum(), lambda p, a, b: p["w"].sum())
    assert case.run(build_estimator(name, **settings), alpha={}).alpha_grad == {}


@estimators
def test_flags_of_the_arguments_do_not_matter(name, settings):
    case, estimator = mlp_plain(), build_estimator(name, **settings)
    want = case.run(estimator)
    case.params = {key: (p.clone().requires_grad_() if key != "b1" else p) * 1.0
                   for key, p in case.params.items()}
    with torch.no_grad():
        got = case.run(estimator, alpha={key: torch.nn.Parameter(a) for key, a in case.alpha.items()})
    assert all(torch.equal(want.alpha_grad[key], got.alpha_grad[key]) for key in want.alpha_grad)
    assert all(torch.equal(want.params[key], got.params[key]) for key in want.params)


@pytest.mark.parametrize("factory, mixed, evaluations", [
    ("domain_single", "finite_difference", 5),  # one loss a batch: its gradient is at hand, no further pass
    ("domain_single_with_rest", "finite_difference", 5),
    ("domains_mixed", "finite_difference", 15),
    ("domains_mixed_with_rest", "finite_difference", 15),
    ("domains_mixed", "forward_mode", 10),
    ("domains_mixed", "forward_difference", 10),
    ("domains_varying", "finite_difference", 9),  # two of the five batches hold two domains
])
def test_passes_of_first_order(factory, mixed, evaluations):
    case, count = PROBLEMS[factory](), []
    inner_losses = case.problem._inner_losses
    case.problem._inner_losses = lambda params, batch: (count.append(1), inner_losses(params, batch))[1]
    window = case.run(build_estimator("first_order", mixed=mixed))
    assert len(count) == evaluations
    # a forward-mode pass carries values and tangents, and is counted as two
    assert window.stats["forward"] == evaluations + 1 + (5 if mixed == "forward_mode" else 0)
    assert window.stats["backward"] == 6
    assert len(window.stats["gbar_norms"]) == 5 and min(window.stats["gbar_norms"]) > 0


def test_unused_rows_do_not_shrink_the_perturbation_of_the_used_ones():
    case = unused_rows(dtype=torch.float32)
    warm = case.run(build_estimator("none"))
    case.params, case.state = warm.params, warm.state
    got = case.run(build_estimator("first_order", mixed="finite_difference"))
    want = case.run(build_estimator("first_order", mixed="double_backward"))
    assert min(got.stats["gbar_norms"]) > 1e3  # of the unused row: lr (1 - b1) / eps = 1e5 times lam
    # float32: rounding 1e-7 / radius 1e-2 is 1e-5 of a loss, whose slope is some 1e-2 of it
    assert relative_error(got.alpha_grad, want.alpha_grad) < 1e-2
