"""What is particular to `first_order`: where it is exact, how its error grows, how few passes it takes."""

import collections

import pytest
import torch
from bilevel_problems import PROBLEMS, domain_single, fused_attention, logistic, mlp_plain, unused_rows
from estimator_table import ROWS, every_problem
from oracles import relative_error, unrolled_gradient

from dreamprm.hypergrad import AdamW, BilevelProblem, build_estimator
from dreamprm.hypergrad import offload as offloading
from dreamprm.hypergrad.offload import OFFLOADS

FIRST_ORDER = {label: row for label, row in ROWS.items() if row.name == "first_order"}
modes = pytest.mark.parametrize("row", FIRST_ORDER.values(), ids=list(FIRST_ORDER))


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("clipped", [False, True])
@every_problem
def test_where_it_keeps_what_changes_no_bit(make, clipped, donate):
    optimizer = AdamW(lr=1e-2, max_grad_norm=0.4) if clipped else AdamW(lr=1e-2)

    def run(offload):
        return make(optimizer=optimizer).run(build_estimator("first_order", offload=offload), donate=donate)

    want = run("none")
    for offload in OFFLOADS[1:]:
        got = run(offload)
        for mine, theirs in (
            (got.alpha_grad, want.alpha_grad),
            (got.params, want.params),
            (got.state.exp_avg, want.state.exp_avg),
            (got.state.exp_avg_sq, want.state.exp_avg_sq),
        ):
            assert all(torch.equal(mine[name], theirs[name]) for name in theirs), offload
        for mine, theirs in zip(got.stats.get("influences", []), want.stats.get("influences", [])):
            assert torch.equal(mine, theirs), offload


@modes
@every_problem
def test_exact_for_one_step(row, make):
    case = make()
    got = case.run(row.build(), steps=1).alpha_grad
    assert relative_error(got, unrolled_gradient(case, steps=1)) < row.tolerance


@pytest.mark.parametrize("structured", [False, True])
@modes
def test_exact_for_losses_linear_in_params(row, structured):
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
    assert relative_error(case.run(row.build()).alpha_grad, unrolled_gradient(case)) < row.tolerance


def test_the_error_is_linear_in_the_learning_rate():
    errors = []
    for lr in (1e-3, 1e-4, 1e-5):
        case = mlp_plain()
        case.optimizer = AdamW(lr=lr)
        got = case.run(build_estimator("first_order", derivative="double_backward")).alpha_grad
        errors.append(float((got["raw"] - unrolled_gradient(case)["raw"]).norm()) / lr)
    # |error| = lr * (lr T |H| ...): divided by lr it must fall tenfold with lr, to first order
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.1)
    assert errors[2] > 0


@pytest.mark.parametrize(
    "factory, derivative, evaluations",
    [
        (
            "domain_single",
            "central_difference",
            5,
        ),  # one loss a batch: its gradient is at hand, no further pass
        ("domain_single_with_rest", "central_difference", 5),
        ("domains_mixed", "central_difference", 15),
        ("domains_mixed_with_rest", "central_difference", 15),
        ("domains_mixed", "forward_mode", 10),
        ("domains_mixed", "forward_difference", 10),
        ("domains_varying", "central_difference", 9),  # two of the five batches hold two domains
    ],
)
def test_passes(factory, derivative, evaluations):
    case, count = PROBLEMS[factory](), []
    inner_losses = case.problem._inner_losses
    case.problem._inner_losses = lambda params, batch: (count.append(1), inner_losses(params, batch))[1]
    window = case.run(build_estimator("first_order", derivative=derivative))
    assert len(count) == evaluations
    # a forward-mode pass carries values and tangents, and is counted as two
    assert window.stats["forward"] == evaluations + 1 + (5 if derivative == "forward_mode" else 0)
    assert window.stats["backward"] == 6


def test_unused_rows_do_not_shrink_the_perturbation_of_the_used_ones():
    case = unused_rows(dtype=torch.float32)
    warm = case.run(build_estimator("none"))
    case.params, case.state = warm.params, warm.state
    got = case.run(build_estimator("first_order", derivative="central_difference"))
    want = case.run(build_estimator("first_order", derivative="double_backward"))
    # float32: rounding 1e-7 / radius 1e-2 is 1e-5 of a loss, whose slope is some 1e-2 of it
    assert relative_error(got.alpha_grad, want.alpha_grad) < 1e-2


def test_a_lacking_second_derivative_is_named_with_the_setting_that_works():
    with pytest.raises(NotImplementedError, match="double_backward takes .*derivative=central_difference"):
        fused_attention().run(build_estimator("first_order", derivative="double_backward"))


@pytest.mark.parametrize("offset", [0.0, 30.0, 1e3])
def test_the_first_difference_of_a_window_guides_the_others(offset):
    """The unweighted loss says nothing of how far to move for the weighted ones, and its offset misleads."""
    case = PROBLEMS["domains_mixed_with_rest"]()
    problem = case.problem
    case.problem = BilevelProblem(
        outer_loss=problem.outer_loss,
        inner_losses=problem.inner_losses,
        weights=problem.weights,
        unweighted_loss=lambda params, batch: problem.unweighted_loss(params, batch) + offset,
    )
    exact = case.run(build_estimator("first_order", derivative="double_backward"))
    window = case.run(build_estimator("first_order", derivative="forward_difference"))
    error = relative_error(window.alpha_grad, exact.alpha_grad)
    assert error < max(window.stats["error"], 1e-6) < 3e-2
    # five steps and the outer loss; a central difference, another where it was too coarse, four one-sided
    assert window.stats["forward"] <= 6 + 4 + 4 and window.stats["backward"] == 6


def test_each_single_gradient_is_brought_back_once(monkeypatch):
    """At the size of a large model every further load would move all of its gradients once more."""
    loads = collections.Counter()
    load = offloading._OnDisk.load

    def counted(kept):
        loads[id(kept)] += 1
        return load(kept)

    monkeypatch.setattr(offloading._OnDisk, "load", counted)
    domain_single().run(build_estimator("first_order", offload="disk"), steps=3)
    assert loads and set(loads.values()) == {1}
