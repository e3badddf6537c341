"""`forward_gradient`: its mean and spread over draws, its seed, what each kind of derivative needs, memory.

With all directions it stands in the table of test_exactness.py.
"""

import gc

import pytest
import torch
from bilevel_problems import PROBLEMS, Case, fused_attention
from oracles import central_differences, relative_error, unrolled_gradient

from dreamprm.hypergrad import (
    AdamW,
    BilevelProblem,
    CentralDifference,
    Derivative,
    DoubleBackward,
    ForwardDifference,
    ForwardGradient,
    ForwardMode,
    Muon,
    Status,
    build_estimator,
)
from dreamprm.hypergrad.forward_gradient import Frame

KINDS = [CentralDifference(), ForwardDifference(), DoubleBackward(), ForwardMode()]
TOLERANCE = {CentralDifference: 1e-6, ForwardDifference: 1e-5}


def _error(estimator: ForwardGradient, case: Case) -> float:
    return relative_error(case.run(estimator).alpha_grad, unrolled_gradient(case))


@pytest.mark.parametrize("count", [1, 11])
def test_draws_have_the_mean_and_the_spread_that_are_stated(count):
    entries, draws = 15, 400
    made = torch.Generator().manual_seed(0)
    alpha = {
        "a": torch.randn(3, 4, generator=made),
        "b": torch.randn(3, generator=made, dtype=torch.float64),
    }
    grads = {name: torch.randn(a.shape, generator=made, dtype=torch.float64) for name, a in alpha.items()}
    exact = torch.cat([grad.flatten() for grad in grads.values()])
    zeros = {name: torch.zeros_like(a, dtype=torch.float64) for name, a in alpha.items()}
    estimates, spreads = [], []
    for seed in range(draws):
        frame = Frame.drawn(alpha, count=count, seed=seed, step=0)
        slopes = [
            torch.stack([(part * grads[n]).sum() for n, part in one.items()]).sum()
            for one in frame.directions
        ]
        estimates.append(
            torch.cat([g.flatten().double() for g in frame.combined(slopes, direct=zeros).values()])
        )
        spreads.append(frame.standard_error(slopes))
    assert len(frame.directions) == count
    off = torch.stack(estimates) - exact
    square = (entries / count - 1) * float(exact.square().sum())
    # in standard errors of each entry
    assert float((off.mean(0).abs() / (off.std(0) / draws**0.5)).max()) < 4
    # a squared slope's standard deviation is at most 1.4 times its mean: 7 % of 400
    assert float(off.square().sum(1).mean()) == pytest.approx(square, rel=0.2)
    assert sum(spread**2 for spread in spreads) / draws == pytest.approx(square, rel=0.2)


@pytest.mark.parametrize("problem", ["mlp_plain", "sample_net", "domains_mixed_with_rest"])
def test_few_directions_give_the_exact_gradient_s_part_along_them(problem):
    case = PROBLEMS[problem]()
    exact, estimator = unrolled_gradient(case), ForwardGradient(directions=2, derivative=DoubleBackward())
    direct = case.run(build_estimator("none"))
    alpha = {name: a.clone().requires_grad_() for name, a in case.alpha.items()}
    outer = case.problem.outer_loss(direct.params, alpha, case.outer_batch)
    if outer.requires_grad:
        parts = torch.autograd.grad(outer, list(alpha.values()), materialize_grads=True)
    else:
        parts = tuple(torch.zeros_like(a) for a in alpha.values())
    frame = Frame.drawn(case.alpha, count=2, seed=0, step=case.state.step)
    through = {name: exact[name] - part for name, part in zip(alpha, parts)}
    slopes = [sum((one[n] * through[n]).sum() for n in through) for one in frame.directions]
    window = case.run(estimator)
    assert relative_error(window.alpha_grad, frame.combined(slopes, direct=dict(zip(alpha, parts)))) < 1e-10
    assert window.stats["directions"] == 2
    assert window.stats["standard_error"] == pytest.approx(frame.standard_error(slopes))


def test_the_mean_over_seeds_is_the_exact_gradient():
    case = PROBLEMS["logistic"]()
    exact = torch.cat([g.flatten() for g in unrolled_gradient(case, steps=2).values()])
    windows = [case.run(ForwardGradient(directions=1, seed=seed), steps=2) for seed in range(40)]
    drawn = torch.stack([torch.cat([g.flatten() for g in w.alpha_grad.values()]) for w in windows])
    assert float(((drawn.mean(0) - exact).abs() / (drawn.std(0) / 40**0.5)).max()) < 4


def test_a_window_is_repeated_by_its_seed_and_no_other_has_its_directions():
    case = PROBLEMS["sample_net"]()
    one, same, other = (case.run(ForwardGradient(directions=1, seed=s)) for s in (3, 3, 4))
    assert all(torch.equal(one.alpha_grad[n], same.alpha_grad[n]) for n in case.alpha)
    assert not torch.equal(one.alpha_grad["in"], other.alpha_grad["in"])
    drawn = {
        "here": Frame.drawn(case.alpha, count=1, seed=0, step=3),
        "the next window": Frame.drawn(case.alpha, count=1, seed=0, step=8),
        # as where every window starts from a new state
        "alpha has moved": Frame.drawn(
            {**case.alpha, "in": case.alpha["in"] + 1e-6}, count=1, seed=0, step=3
        ),
    }
    seen = [tuple(frame.directions[0]["in"].tolist()) for frame in drawn.values()]
    assert len(set(seen)) == 3


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_every_kind_of_derivative_follows_a_backward_pass_that_is_no_gradient(kind):
    class Reversed(torch.autograd.Function):
        """Reverses gradients: the inner gradient's derivative is not symmetric."""

        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, grad):
            return -0.7 * grad

        @staticmethod
        def jvp(ctx, tangent):
            return tangent.view_as(tangent)

    x = torch.randn(48, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def inner(params, alpha, rows):
        hidden = torch.tanh(x[rows] @ params["w"])
        fit = (hidden * params["head"] - 0.3).square().mean()
        against = (Reversed.apply(hidden) * params["head"] - alpha["target"]).square().mean()
        return fit + alpha["strength"].exp() * against

    case = PROBLEMS["ridge"]()
    params = {"w": case.params["w"], "head": torch.tensor(0.8, dtype=torch.float64)}
    alpha = {name: torch.tensor(v, dtype=torch.float64) for name, v in (("target", 0.5), ("strength", 0.2))}
    case = Case(BilevelProblem(inner, case.problem.outer_loss), params, alpha, case.batches, case.outer_batch)
    if isinstance(kind, DoubleBackward):  # it takes that pass for the derivative, as `unrolled` does
        want = unrolled_gradient(case)
    else:
        want = central_differences(lambda a: case.run(build_estimator("none"), alpha=a).outer_loss, alpha)
    got = case.run(ForwardGradient(derivative=kind)).alpha_grad
    assert relative_error(got, want) < max(1e-7, TOLERANCE.get(type(kind), 0.0))


@pytest.mark.parametrize("kind", [ForwardDifference(), ForwardMode()], ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("problem", ["mlp_plain", "domains_mixed_with_rest", "domain_single"])
def test_the_other_kinds_of_derivatives_are_exact_too(problem, kind):
    case = PROBLEMS[problem](optimizer=AdamW(lr=1e-2, max_grad_norm=1.3), warm_steps=0)
    assert _error(ForwardGradient(derivative=kind), case) < TOLERANCE.get(type(kind), 1e-10)


def test_muon_s_rounded_iterations_have_the_derivative_of_the_exact_ones():
    case = PROBLEMS["mlp_plain"](optimizer=Muon(lr=3e-2, ns_dtype="bfloat16"))
    assert _error(ForwardGradient(derivative=DoubleBackward()), case) < 1e-10


def test_differences_work_with_fused_attention_and_exact_kinds_say_what_they_lack():
    case = fused_attention()
    window = case.run(ForwardGradient())
    want = case.run(build_estimator("adjoint", derivative="central_difference"))
    assert window.status is Status.ok and relative_error(window.alpha_grad, want.alpha_grad) < 1e-2
    for kind in (DoubleBackward(), ForwardMode()):
        assert ForwardGradient(derivative=kind).needs_second_order
        with pytest.raises(NotImplementedError, match="take a?.*differences"):
            case.run(ForwardGradient(derivative=kind))
    assert not ForwardGradient().needs_second_order
    assert ForwardGradient(derivative=ForwardMode()).needs_forward_mode


def test_a_radius_that_drowns_in_rounding_is_said():
    case = PROBLEMS["domains_mixed"]()
    window = case.run(ForwardGradient(derivative=CentralDifference(radius=1e-14)))
    assert window.status is Status.imprecise and window.stats["error"] > 0.03
    assert "double_backward" in window.message


def test_evaluations_are_counted():
    for name in ("mlp_plain", "domains_mixed_with_rest"):
        for kind in (CentralDifference(), DoubleBackward()):
            case, calls = PROBLEMS[name](), list[int]()
            inner = "_inner_losses" if case.problem.structured else "_inner_loss"
            for loss in (inner, "_outer_loss"):
                given = getattr(case.problem, loss)
                setattr(case.problem, loss, lambda *a, f=given, n=calls: (n.append(1), f(*a))[1])
            assert case.run(ForwardGradient(derivative=kind)).stats["forward"] == len(calls)


def test_memory_does_not_depend_on_the_number_of_steps():
    case, held, calls = PROBLEMS["domain_single"](), [], []
    losses = case.problem._inner_losses

    def counted(params, batch):
        calls.append(1)
        if len(calls) in (5 * 2 + 1, 5 * 16 + 1):  # with two directions: the first evaluations of steps 2, 16
            gc.collect()
            tensors = [one for one in gc.get_objects() if type(one) is torch.Tensor]
            held.append(sum(one.numel() for one in tensors))
        return losses(params, batch)

    case.problem._inner_losses = counted
    case.run(ForwardGradient(directions=2), steps=18)
    # what is kept of a step: its loss
    assert len(calls) == 18 * 5 and 0 <= held[1] - held[0] <= 14 * 2


def test_what_it_does_not_give_is_refused():
    case = PROBLEMS["logistic"]()
    with pytest.raises(ValueError, match="ForwardGradient gives no gradient in lr"):
        case.run(ForwardGradient(), wrt=("lr",))
    with pytest.raises(ValueError, match="directions must be >= 1, got 0"):
        ForwardGradient(directions=0)
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        ForwardGradient(seed=-1)
    with pytest.raises(ValueError, match="no derivative of the kind Derivative; take central_difference"):
        case.run(ForwardGradient(derivative=Derivative()))
