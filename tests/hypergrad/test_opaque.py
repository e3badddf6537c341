"""Functions whose backward pass has no derivative that autograd can follow: refused, not silently wrong."""

from typing import Any

import numpy
import pytest
import torch
from bilevel_problems import Case
from checked_rows import each
from torch.autograd.function import once_differentiable

from dreamprm.hypergrad import Audit, BilevelProblem, build_estimator

REFUSED = [
    ("unrolled", {}),
    ("adjoint", {}),
    ("adjoint", {"derivative": "forward_mode"}),
    ("first_order", {"derivative": "double_backward"}),
    ("cg", {}),
    ("neumann", {}),
    ("forward_gradient", {"derivative": "double_backward"}),
]
ALLOWED = [
    ("adjoint", {"derivative": "central_difference"}),
    ("adjoint", {"derivative": "forward_difference"}),
    ("first_order", {}),
    ("first_order", {"derivative": "forward_difference"}),
    ("finite_difference", {}),
    ("finite_difference", {"preconditioner": "adamw"}),
    ("none", {}),
    ("cg", {"derivative": "central_difference", "damping": 20.0}),
    ("forward_gradient", {}),
]


def function(forward, backward):
    """An autograd.Function of its own class."""
    made: Any = type("Custom", (torch.autograd.Function,), {
        "forward": staticmethod(forward), "backward": staticmethod(backward),
        "jvp": staticmethod(lambda ctx, t: t * ctx.slope),
    })  # fmt: skip
    return made.apply


def _derivative_saved(ctx, x):
    ctx.slope = 1 - torch.tanh(x) ** 2
    ctx.save_for_backward(ctx.slope)
    return torch.tanh(x)


def _input_saved(ctx, x):
    ctx.slope = 1 - torch.tanh(x) ** 2
    ctx.save_for_backward(x)
    return torch.tanh(x)


def _by_numpy(ctx, g):
    (x,) = ctx.saved_tensors
    return torch.from_numpy(g.detach().numpy() * (1 - numpy.tanh(x.detach().numpy()) ** 2))


def _half_constant(ctx, g):
    (x,) = ctx.saved_tensors
    return g * (1 - torch.tanh(x) * torch.tanh(x).detach())


OPAQUE = {
    "derivative saved": function(_derivative_saved, lambda ctx, g: g * ctx.saved_tensors[0]),
    "derivative on ctx": function(_derivative_saved, lambda ctx, g: g * ctx.slope),
    "numpy backward": function(_input_saved, _by_numpy),
    "detached backward": function(
        _input_saved, lambda ctx, g: g * (1 - torch.tanh(ctx.saved_tensors[0].detach()) ** 2)
    ),
    "once differentiable": function(
        _input_saved, once_differentiable(lambda ctx, g: g * (1 - torch.tanh(ctx.saved_tensors[0]) ** 2))
    ),
    "half of it constant": function(_input_saved, _half_constant),
}


def _mask(ctx, x):
    ctx.slope = (x > 0).to(x)
    ctx.save_for_backward(ctx.slope)
    return x.clamp_min(0)


def _straight_through(ctx, x):
    ctx.slope = torch.ones_like(x)
    return torch.round(4 * x) / 4


def _scaled(ctx, x):
    ctx.slope = torch.full_like(x, 3.0)
    return 3 * x


def _output_saved(ctx, x):
    y = torch.tanh(x)
    ctx.slope = 1 - y**2
    ctx.save_for_backward(y)
    return y


FOLLOWED = {
    "input saved": function(_input_saved, lambda ctx, g: g * (1 - torch.tanh(ctx.saved_tensors[0]) ** 2)),
    "output saved": function(
        _output_saved,
        lambda ctx, g: g * (1 - ctx.saved_tensors[0] ** 2),
    ),
    "a mask": function(_mask, lambda ctx, g: g * ctx.saved_tensors[0]),
    "a multiple": function(_scaled, lambda ctx, g: 3 * g),
}


def case(apply, *, form="structured", dtype=torch.float64) -> Case:
    make = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=make, dtype=torch.float64).to(dtype)

    def losses(params, batch):
        x, y = batch
        return (apply(apply(x @ params["w"]) @ params["v"]) @ params["u"] - y).square()

    def weights(alpha, batch, given):
        return (1 + alpha["a"]).exp()

    def outer(params, alpha, batch):
        return losses(params, batch).mean() + params["w"].square().mean()

    problem = (
        BilevelProblem(lambda p, a, b: (weights(a, b, None) * losses(p, b)).mean(), outer)
        if form == "plain"
        else BilevelProblem(outer_loss=outer, inner_losses=losses, weights=weights)
    )
    return Case(
        problem,
        {"w": drawn(4, 30), "v": drawn(30, 5) / 5, "u": drawn(5)},
        {"a": 0.3 * drawn(8)},
        [(drawn(8, 4), drawn(8)) for _ in range(5)],
        (drawn(8, 4), drawn(8)),
    )


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(
    ("form", "dtype"), [("structured", torch.float64), ("plain", torch.float32)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("kind", OPAQUE)
@each("chosen", REFUSED)
def test_what_autograd_cannot_follow_is_refused(chosen, kind, form, dtype):
    name, settings = chosen
    with pytest.raises(NotImplementedError, match="backward pass of Custom.*differences"):
        case(OPAQUE[kind], form=form, dtype=dtype).run(build_estimator(name, **settings))


@pytest.mark.parametrize("form", ["structured", "plain"])
@pytest.mark.parametrize("kind", OPAQUE)
@each("chosen", ALLOWED)
def test_estimators_without_gradients_of_gradients_are_right(chosen, kind, form):
    name, settings = chosen
    estimator = build_estimator(name, **settings)
    wanted = case(torch.tanh, form=form).run(estimator)
    seen = case(OPAQUE[kind], form=form).run(estimator)
    assert seen.status == wanted.status
    torch.testing.assert_close(seen.alpha_grad, wanted.alpha_grad, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("form", "dtype"), [("structured", torch.float64), ("plain", torch.float32)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("kind", FOLLOWED)
@each("chosen", REFUSED)
def test_what_autograd_follows_is_not_refused(chosen, kind, form, dtype):
    name, settings = chosen
    plain = {"a mask": torch.relu, "a multiple": lambda x: 3 * x}.get(kind, torch.tanh)
    estimator = build_estimator(name, **({"damping": 1e4} if name == "cg" else {}), **settings)
    wanted, seen = (case(one, form=form, dtype=dtype).run(estimator) for one in (plain, FOLLOWED[kind]))
    torch.testing.assert_close(
        seen.alpha_grad["a"], wanted.alpha_grad["a"], rtol=1e-8 if dtype is torch.float64 else 2e-2,
        atol=1e-9 if dtype is torch.float64 else 1e-5, equal_nan=True,
    )  # fmt: skip


def test_a_straight_through_rounding_is_not_refused():
    apply = function(_straight_through, lambda ctx, g: g)
    window = case(apply).run(build_estimator("adjoint"))
    assert torch.isfinite(window.alpha_grad["a"]).all()


@pytest.mark.parametrize("name", ["first_order", "adjoint"])
def test_the_audit_compares_with_differences_instead(name):
    settings = {"derivative": "central_difference"} if name == "adjoint" else {}
    one = case(OPAQUE["derivative saved"])
    result = Audit(every=1).compare(
        build_estimator(name, **settings), one.problem, one.optimizer, one.params, one.state, one.alpha,
        inner_batches=one.batches, outer_batch=one.outer_batch,
    )  # fmt: skip
    assert "compared with differences" in result.message and "Custom" in result.message
    assert result.cosine > (0.999999 if name == "adjoint" else 0.9)
    if name == "adjoint":
        assert result.norm_ratio == pytest.approx(1.0, rel=1e-6)


def test_a_function_met_in_a_later_batch_only_is_refused_there():
    def losses(params, batch):
        x, y, custom = batch
        hidden = x @ params["w"]
        return ((OPAQUE["derivative saved"](hidden) if custom else torch.tanh(hidden)).sum(1) - y).square()

    one = case(torch.tanh)
    problem = BilevelProblem(
        outer_loss=lambda p, a, b: losses(p, b).mean(),
        inner_losses=losses,
        weights=lambda a, b, given: a["a"].exp(),
    )
    batches = [(*batch, at == 2) for at, batch in enumerate(one.batches)]
    with pytest.raises(NotImplementedError, match="Custom"):
        build_estimator("unrolled").run_window(
            problem, one.optimizer, one.params, one.state, one.alpha,
            inner_batches=batches, outer_batch=batches[0],
        )  # fmt: skip


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_it_is_refused_whatever_ran_on_the_problem_before(before):
    one = case(OPAQUE["derivative saved"])
    for _ in range(before):
        one.run(build_estimator("first_order"))
    for _ in range(4):
        with pytest.raises(NotImplementedError, match="Custom"):
            one.run(build_estimator("adjoint"))
