"""A gradient in alpha that says nothing ends as `no_gradient`, with a message that names the cause."""

import pytest
import torch
from bilevel_problems import Case, logistic, mlp_plain
from checked_rows import each
from estimator_table import ROWS

from dreamprm.hypergrad import AdamW, BilevelProblem, Status

SOME = ["unrolled", "adjoint", "adjoint-difference", "first_order", "finite_difference", "cg", "neumann"]
some_rows = each("label", SOME)
X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _errors(params):
    return (X.to(params["w"]) @ params["w"] - Y.to(params["w"])).square()


def _case(weights, *, outer=None, structured=True, optimizer=None, dtype=torch.float64, alpha=None):
    """Eight rows, a weight for each from alpha["a"]."""

    def judged(params, alpha, batch):
        return _errors(params).sin().mean()

    outer = outer or judged
    if structured:
        problem = BilevelProblem(
            outer_loss=outer,
            inner_losses=lambda params, batch: _errors(params),
            weights=lambda alpha, batch, losses: weights(alpha["a"]),
        )
    else:
        problem = BilevelProblem(
            lambda params, alpha, batch: (weights(alpha["a"]) * _errors(params)).mean(), outer
        )
    a = torch.linspace(-1.0, 1.0, 8, dtype=dtype) if alpha is None else alpha
    return Case(
        problem,
        {"w": torch.ones(3, dtype=dtype)},
        {"a": a},
        [None] * 5,
        None,
        optimizer=optimizer or AdamW(lr=1e-2),
    )


def _ends_without_gradient(case, label, message):
    window = case.run(ROWS[label].build(), steps=2)
    assert window.status is Status.no_gradient == "no_gradient"
    assert message in window.message
    assert window.stats["without_gradient"] == list(case.alpha)
    assert all(bool((grad.abs() < 1e-37).all()) for grad in window.alpha_grad.values())
    with pytest.raises(ArithmeticError, match=message[:20]):
        case.run(ROWS[label].build(), steps=2, on_failure="raise")
    plain = case.run(ROWS["none"].build(), steps=2)
    assert plain.status is Status.ok and torch.allclose(plain.params["w"], window.params["w"])


def _without_grad(a):
    with torch.no_grad():
        return torch.softmax(a, 0)


CUT_OFF = {
    "detached": lambda a: torch.softmax(a.detach(), 0),
    "no_grad": _without_grad,
    "integers": lambda a: a.int().to(torch.float64) + 1.0,
    "compared": lambda a: (a > 0).to(torch.float64),
    "other tensor": lambda a: torch.ones(8, dtype=torch.float64),
    "numbers": lambda a: torch.tensor(a.exp().tolist(), dtype=torch.float64),
}
FLAT = {
    "temperature": lambda a: torch.softmax(a / 1e-6, 0),
    "rounded": lambda a: (3 * a).round() + 4.0,
    "floor": lambda a: a.floor() + 2.0,
    "sign": lambda a: a.sign() + 2.0,
    "clamped": lambda a: a.clamp(5.0, 6.0),
    "relu": lambda a: (a - 5.0).relu() + 1.0,
    "saturated": lambda a: torch.sigmoid(1e4 * (a + 0.05)) + 1.0,
}


@pytest.mark.parametrize("structured", [True, False], ids=["structured", "plain"])
@pytest.mark.parametrize("cut", CUT_OFF.values(), ids=list(CUT_OFF))
@some_rows
def test_alpha_cut_off_from_both_losses(label, cut, structured):
    _ends_without_gradient(_case(cut, structured=structured), label, "alpha reaches neither loss")


@pytest.mark.parametrize("structured", [True, False], ids=["structured", "plain"])
@pytest.mark.parametrize("flat", FLAT.values(), ids=list(FLAT))
@some_rows
def test_weights_that_have_collapsed(label, flat, structured):
    _ends_without_gradient(
        _case(flat, structured=structured), label, "the inner loss's gradient in alpha is 0"
    )


@some_rows
def test_a_gradient_that_underflows(label):
    # weights of 1e-42 beside 1: denormal in float32
    case = _case(lambda a: 1.0 + 1e-42 * a, dtype=torch.float32)
    window = case.run(ROWS[label].build(), steps=2)
    assert window.status is Status.no_gradient and window.stats["without_gradient"] == ["a"]


@some_rows
@pytest.mark.parametrize(
    "outer",
    [
        lambda params, alpha, batch: (_errors(params) < 1).double().mean() + 0 * params["w"].sum(),
        lambda params, alpha, batch: torch.sigmoid(1e6 + params["w"].sum()),
        lambda params, alpha, batch: params["w"].round().sum(),
    ],
    ids=["accuracy", "saturated", "rounded"],
)
def test_an_outer_loss_that_is_flat(label, outer):
    _ends_without_gradient(
        _case(lambda a: a.exp(), outer=outer), label, "the outer loss has gradient 0 in the"
    )


@some_rows
def test_an_outer_loss_of_alpha_alone_at_its_minimum(label):
    case = _case(
        lambda a: a.exp(),
        outer=lambda params, alpha, batch: alpha["a"].square().sum(),
        alpha=torch.zeros(8, dtype=torch.float64),
    )
    _ends_without_gradient(case, label, "outer_loss does not depend on params")


@pytest.mark.parametrize("label", ["unrolled", "adjoint", "first_order", "finite_difference"])
def test_a_learning_rate_of_zero(label):
    _ends_without_gradient(
        _case(lambda a: a.exp(), optimizer=AdamW(lr=0.0)), label, "learning rate is 0 in all"
    )


@some_rows
def test_a_tensor_of_several_that_enters_nowhere_is_named(label):
    window = mlp_plain().run(ROWS[label].build())
    assert window.status is not Status.no_gradient and window.stats["without_gradient"] == ["idle"]
    assert "without_gradient" not in logistic().run(ROWS[label].build()).stats


@some_rows
def test_small_gradients_that_are_right_are_ok(label):
    case = _case(lambda a: 1.0 + 1e-25 * a)
    window = case.run(ROWS[label].build(), steps=2)
    assert window.status is not Status.no_gradient
    assert 0 < float(window.alpha_grad["a"].abs().max()) < 1e-20


def test_looking_for_the_cause_leaves_random_numbers_and_buffers_alone():
    norm = torch.nn.BatchNorm1d(3).double()

    def inner(params, alpha, batch):
        return (torch.nn.functional.dropout(norm(X)) @ params["w"] - Y).square().mean()

    case = _case(lambda a: a, structured=False)
    case.problem = BilevelProblem(inner, lambda params, alpha, batch: params["w"].sin().sum())
    states = []
    for label in ("none", "adjoint", "first_order"):
        norm.reset_running_stats()
        torch.manual_seed(0)
        case.run(ROWS[label].build(), steps=3)
        states.append((torch.get_rng_state(), norm.running_mean.clone(), int(norm.num_batches_tracked)))
    for state in states[1:]:
        assert torch.equal(state[0], states[0][0]) and torch.equal(state[1], states[0][1])
        assert state[2] == states[0][2] == 3
