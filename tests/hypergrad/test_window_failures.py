"""What a window refuses before it starts, and what it reports when numbers stop being finite."""

import math

import pytest
import torch
from bilevel_problems import mlp_plain

from dreamprm.hypergrad import ESTIMATORS, AdamWState, BilevelProblem, Status, build_estimator

estimators = pytest.mark.parametrize("name", list(ESTIMATORS))


def _small(inner, outer=lambda params, alpha, batch: params["w"].sum()):
    case = mlp_plain()
    case.params = {"w": torch.ones(2, dtype=torch.float64)}
    case.alpha = {"a": torch.ones((), dtype=torch.float64)}
    case.state = case.optimizer.init(case.params)
    case.problem = BilevelProblem(inner, outer)
    return case


@estimators
def test_a_nonfinite_inner_loss(name):
    case = _small(lambda params, alpha, batch: alpha["a"] * params["w"].square().sum() * batch)
    case.batches = [1.0, math.inf, 1.0]
    window = case.run(build_estimator(name), steps=3)
    assert window.status is Status.nonfinite == "nonfinite"
    assert "inner loss of the window's step 1 is inf; lower the learning rate" in window.message
    with pytest.raises(FloatingPointError, match="the window's step 1"):
        case.run(build_estimator(name), steps=3, on_failure="raise")


@estimators
def test_a_nonfinite_inner_gradient(name):
    case = _small(lambda params, alpha, batch: alpha["a"] * (params["w"] - 1).abs().sqrt().sum())
    window = case.run(build_estimator(name), steps=2)
    assert window.status is Status.nonfinite
    assert torch.isfinite(window.inner_losses[0])


@estimators
def test_a_nonfinite_gradient_is_reported_even_where_the_losses_are_finite(name):
    # the derivative of sqrt|w - 1| at 1 is infinite; one step, so no loss sees the parameters it spoils
    case = _small(
        lambda params, alpha, batch: alpha["a"] * (params["w"] - 1).abs().sqrt().sum(),
        lambda params, alpha, batch: 0.0 * params["w"].nan_to_num().sum() + alpha["a"],
    )
    window = case.run(build_estimator(name), steps=1)
    assert window.status is Status.nonfinite and "inner gradient is not finite" in window.message


@estimators
def test_a_nonfinite_outer_loss(name):
    case = _small(
        lambda params, alpha, batch: alpha["a"] * params["w"].sum(),
        lambda params, alpha, batch: params["w"].sum() * math.nan,
    )
    window = case.run(build_estimator(name))
    assert window.status is Status.nonfinite and "outer loss is nan" in window.message


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "none"])
def test_a_nonfinite_hypergradient(name):
    case = _small(
        lambda params, alpha, batch: params["w"].square().sum(),  # curved, as the series needs
        lambda params, alpha, batch: params["w"].sum() + (alpha["a"] - 1).abs().sqrt(),
    )
    window = case.run(build_estimator(name))
    assert window.status is Status.nonfinite and "gradient in alpha is not finite" in window.message


@estimators
def test_a_window_without_steps_is_refused(name):
    with pytest.raises(ValueError, match="inner_batches is empty: a window needs T >= 1"):
        mlp_plain().run(build_estimator(name), steps=0)


@estimators
def test_batches_may_come_from_a_generator(name):
    case = mlp_plain()
    window = build_estimator(name).run_window(
        case.problem,
        case.optimizer,
        case.params,
        case.state,
        case.alpha,
        inner_batches=(batch for batch in case.batches[:2]),
        outer_batch=case.outer_batch,
    )
    assert window.inner_losses.shape == (2,)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda case: case.params.clear(), "params is empty"),
        (
            lambda case: case.params.update(w1=torch.ones(2, dtype=torch.long)),
            r"params\['w1'\] must be a float",
        ),
        (
            lambda case: case.alpha.update(raw=1.0),
            r"alpha\['raw'\] must be a floating-point tensor, got float",
        ),
        (
            lambda case: case.state.exp_avg.pop("w1"),
            "state.exp_avg does not match params at 'w1' \\(1 in all\\)",
        ),
        (lambda case: case.state.exp_avg_sq.update(w1=torch.ones(7)), "state.exp_avg_sq does not match"),
        (
            lambda case: case.params.update(w1=case.params["w1"].to("meta")),
            "params must be on one device, got cpu, meta",
        ),
        (
            lambda case: case.state.exp_avg.update(w1=case.state.exp_avg["w1"].float()),
            r"state.exp_avg\['w1'\] must have the dtype and device of its parameter, torch.float64 on cpu",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    case = mlp_plain()
    change(case)
    with pytest.raises(ValueError, match=message):
        case.run(build_estimator("none"))


def test_on_failure_takes_two_values():
    with pytest.raises(ValueError, match='on_failure must be "return" or "raise", got \'ignore\''):
        mlp_plain().run(build_estimator("none"), on_failure="ignore")


@estimators
def test_a_loss_cut_off_from_the_params_is_refused(name):
    case = _small(lambda params, alpha, batch: params["w"].detach().sum())
    with pytest.raises(ValueError, match="inner_loss does not depend on params"):
        case.run(build_estimator(name))


@pytest.mark.parametrize(
    "name, settings",
    [*((name, {}) for name in ESTIMATORS), ("adjoint", {"derivative": "forward_difference"})],
)
def test_an_inner_loss_of_alpha_alone_is_refused(name, settings):
    case = _small(lambda params, alpha, batch: alpha["a"] * params["w"].detach().sum())
    with pytest.raises(ValueError, match="inner_loss does not depend on params"):
        case.run(build_estimator(name, **settings))


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "none"])
def test_an_outer_loss_cut_off_is_refused(name):
    case = _small(
        lambda params, alpha, batch: params["w"].sum(),
        lambda params, alpha, batch: params["w"].detach().sum(),
    )
    with pytest.raises(ValueError, match="outer_loss does not depend on params or alpha"):
        case.run(build_estimator(name))


def test_a_state_is_plain_tensors_and_a_count():
    state = mlp_plain().state
    assert isinstance(state, AdamWState) and type(state.step) is int
    assert all(type(t) is torch.Tensor for t in (*state.exp_avg.values(), *state.exp_avg_sq.values()))
