"""The table by inner optimizers: every estimator under each of them, in alpha and all else it gives."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from bilevel_problems import PROBLEMS, Case, Tensors
from checked_rows import check_each, each
from estimator_table import POLICIES, ROWS, Expected, Row
from oracles import central_differences, relative_error, unrolled_gradient, with_losses_held
from torch import Tensor

from dreamprm.hypergrad import (
    SGD,
    Adam,
    AdamW,
    AdamWState,
    InnerOptimizer,
    Lion,
    Moments,
    Muon,
    Status,
    build_estimator,
)
from dreamprm.hypergrad.audit import Audit
from dreamprm.hypergrad.further_gradients import SettingTensors


def _schedule(step: int) -> float:
    return 3e-2 * 0.8**step


def _decay(name: str) -> float:
    return 0.5 if name.startswith("w") else 0.1


@dataclass(frozen=True)
class Damped(InnerOptimizer):
    """An own optimizer, whose moment depends on the params: all of its derivatives are those by default."""

    lr: Any = 0.05
    weight_decay: Any = 0.2
    max_grad_norm: float | None = None
    kinds = ("velocity", "scale")

    def update(self, param, grad, moments, at):
        scale = 0.9 * moments["scale"] + 0.1 * (grad + at.weight_decay * param).square()
        velocity = 0.8 * moments["velocity"] - at.lr * grad / (scale + 0.1).sqrt()
        return param + velocity - at.lr * at.weight_decay * param, {"velocity": velocity, "scale": scale}


OPTIMIZERS: dict[str, InnerOptimizer] = {
    "adamw": AdamW(lr=1e-2, weight_decay=0.1),
    "adamw-groups": AdamW(lr=_schedule, betas=(0.8, 0.95), weight_decay=_decay),
    "adam": Adam(lr=1e-2),
    "adam-groups": Adam(lr=_schedule, betas=(0.8, 0.95), weight_decay=_decay),
    "adam-amsgrad-clipping": Adam(
        lr=1e-2, betas=(0.8, 0.9), weight_decay=0.1, amsgrad=True, max_grad_norm=1.3
    ),
    "sgd": SGD(lr=0.1),
    "sgd-groups": SGD(lr=_schedule, momentum=0.9, weight_decay=_decay),
    "sgd-dampening": SGD(lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.1),
    "sgd-nesterov-clipping": SGD(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.1, max_grad_norm=1.3),
    "muon": Muon(lr=3e-2),
    "muon-groups": Muon(
        lr=_schedule, weight_decay=_decay, nesterov=False, adjust_lr_fn="match_rms_adamw", max_grad_norm=1.3
    ),
    "own": Damped(),
    "own-groups": Damped(lr=_schedule, weight_decay=_decay, max_grad_norm=1.3),
}
LION = Lion(lr=1e-2, weight_decay=0.1)
# plain; several losses and a term that alpha does not touch; one loss; a matrix under one name
SOME_PROBLEMS = ("mlp_plain", "domains_mixed_with_rest", "domain_single", "tied")
# Each optimizer with two of the problems, in turn: the estimators meet all kinds of either.
PAIRS = [
    pytest.param(optimizer, SOME_PROBLEMS[(i + shift) % 4], id=f"{label}-{SOME_PROBLEMS[(i + shift) % 4]}")
    for i, (label, optimizer) in enumerate(OPTIMIZERS.items())
    for shift in (0, 2)
]
WITH_STEPS = {label: row for label, row in ROWS.items() if row.name in ("unrolled", "adjoint", "first_order")}


def rows(*labels: str) -> Any:
    """A mark for these rows of the table, by name."""
    table = {**ROWS, **POLICIES}
    return each("row", {label: table[label] for label in labels})


def optimizers(*labels: str) -> Any:
    """A mark for these optimizers, by name; all of them where none is named."""
    chosen = labels or tuple(OPTIMIZERS)
    return pytest.mark.parametrize("optimizer", [OPTIMIZERS[label] for label in chosen], ids=chosen)


every_pair = pytest.mark.parametrize("optimizer, problem", PAIRS)
first_pairs = pytest.mark.parametrize("optimizer, problem", PAIRS[::2])


def _made(problem: str, optimizer: InnerOptimizer, **options: Any) -> Case:
    return PROBLEMS[problem](optimizer=optimizer, **options)


def _takes(row: Row, optimizer: InnerOptimizer) -> bool:
    return (
        row.settings.get("preconditioner") != "adamw" or row.name != "neumann" or isinstance(optimizer, AdamW)
    )


@every_pair
def test_unrolled_equals_central_differences(optimizer, problem):
    case = _made(problem, optimizer)
    held, unrolled = with_losses_held(case), build_estimator("unrolled")
    want = central_differences(lambda alpha: held.run(unrolled, alpha=alpha).outer_loss, case.alpha)
    assert relative_error(unrolled_gradient(case), want) < 1e-6


@first_pairs
def test_every_estimator_equals_its_oracle(optimizer, problem):
    case = _made(problem, optimizer)
    expected = Expected(case)

    def check(row):
        if not _takes(row, optimizer):
            with pytest.raises(ValueError, match="preconditioner=adamw takes AdamW's second moments"):
                case.run(row.build())
            return
        window, want = case.run(row.build()), expected(row)
        row.meets(window, want)

    check_each(ROWS, check)


@pytest.mark.parametrize("steps", [1, 2, 12])
@optimizers()
@rows("adjoint", "first_order-double_backward")
def test_every_estimator_equals_its_oracle_in_windows_of_any_length(row, optimizer, steps):
    case = _made("domains_mixed_with_rest", optimizer)
    want = row.oracle(case, steps=steps)
    assert relative_error(case.run(row.build(), steps=steps).alpha_grad, want) < row.tolerance


def _tensors(*groups: Mapping[str, Tensor]) -> list[Tensor]:
    return [tensor for group in groups for tensor in group.values()]


def _state(moments: Mapping[str, Mapping[str, Tensor]]) -> list[Tensor]:
    return _tensors(*moments.values())


@pytest.mark.parametrize("problem", ["mlp_plain", "domain_single"])
@optimizers("adam-amsgrad-clipping", "sgd", "sgd-groups", "muon", "own-groups")
@rows("unrolled", "adjoint", "first_order", "cg", "finite_difference-last_step", *POLICIES)
def test_windows_keep_to_their_contract(row, optimizer, problem):
    """One training whichever estimator runs it, arguments left whole, and donating changes nothing."""
    case = _made(problem, optimizer)
    want = case.run(build_estimator("none"))
    given = [*_tensors(case.params, case.alpha), *_state(case.state.moments)]
    before = copy.deepcopy(given)
    got = case.run(row.build())
    assert all(torch.equal(tensor, was) for tensor, was in zip(given, before))
    assert got.state.step == case.state.step + 5 and type(got.state) is type(case.state)
    for one, other in zip(
        [*_tensors(got.params), *_state(got.state.moments)],
        [*_tensors(want.params), *_state(want.state.moments)],
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    donated = case.run(row.build(), donate=True)
    for one, other in zip(
        [*_tensors(donated.params, donated.alpha_grad), *_state(donated.state.moments)],
        [*_tensors(got.params, got.alpha_grad), *_state(got.state.moments)],
    ):
        assert torch.equal(one, other)


# Gradients in more than alpha.


def _shifted(optimizer: InnerOptimizer, key: str, by: Callable[[Any], float]) -> InnerOptimizer:
    """The optimizer with `by(argument)` added to its lr or weight_decay, which becomes a callable of it."""
    old = getattr(optimizer, key)
    return replace(optimizer, **{key: lambda at: (old(at) if callable(old) else old) + by(at)})


def _outer(case: Case, *, steps: int = 5) -> Tensor:
    return case.run(build_estimator("none"), steps=steps).outer_loss


def _differences(case: Case, *, steps: int = 5) -> dict[str, Any]:
    """All that `wrt` can ask for, by central differences of plain training."""
    held = with_losses_held(case, steps=steps)

    def along(key: str, argument: Any) -> Tensor:
        def moved(by: float) -> Tensor:
            optimizer = _shifted(case.optimizer, key, lambda at: by * (at == argument))
            return _outer(replace(held, optimizer=optimizer), steps=steps)

        if key == "weight_decay" and case.optimizer.decay(argument) == 0.0:
            # it cannot be negative: one-sided, of the same order
            return (4 * moved(1e-5) - moved(2e-5) - 3 * moved(0.0)) / 2e-5
        return (moved(1e-5) - moved(-1e-5)) / 2e-5

    first = case.state.step
    lr = torch.stack([along("lr", first + t) for t in range(steps)])
    decay = {name: along("weight_decay", name) for name in case.params}
    return {
        "lr": lr if callable(case.optimizer.lr) else lr.sum(),
        "weight_decay": decay if callable(case.optimizer.weight_decay) else sum(decay.values()),
        "params0": central_differences(
            lambda params: _outer(replace(held, params=params), steps=steps), case.params
        ),
    }


def _without_hessian(case: Case, *, steps: int = 5) -> dict[str, Any]:
    """All that `wrt` can ask for, by autograd through steps whose gradients ignore where they are taken."""
    optimizer, first = case.optimizer, case.state.step
    start = {name: p.clone().requires_grad_() for name, p in case.params.items()}
    rates = [
        torch.tensor(optimizer.learning_rate(first + t), dtype=torch.float64, requires_grad=True)
        for t in range(steps)
    ]
    decays = {
        name: torch.tensor(optimizer.decay(name), dtype=torch.float64, requires_grad=True) for name in start
    }
    params, state = start, case.state
    for t, batch in enumerate(case.batches[:steps]):
        at = {name: p.detach().requires_grad_() for name, p in params.items()}
        loss = case.problem.inner_loss(at, case.alpha, batch)
        grads = torch.autograd.grad(loss, list(at.values()), materialize_grads=True)
        params, state = optimizer.differentiable_step(
            params, dict(zip(at, grads)), state=state, settings=SettingTensors(rates[t], decays)
        )
    outer = case.problem.outer_loss(params, case.alpha, case.outer_batch)
    inputs = [*rates, *decays.values(), *start.values()]
    found = torch.autograd.grad(outer, inputs, materialize_grads=True)
    lr, decay = torch.stack(found[:steps]), dict(zip(decays, found[steps:]))
    return {
        "lr": lr if callable(optimizer.lr) else lr.sum(),
        "weight_decay": decay if callable(optimizer.weight_decay) else sum(decay.values()),
        "params0": dict(zip(start, found[steps + len(decays) :])),
    }


def _by_name(gradient: Tensor | Tensors) -> Tensors:
    return gradient if isinstance(gradient, dict) else {"all": gradient}


def _assert_further(window: Any, want: dict[str, Any], *, tolerance: float) -> None:
    for key in ("lr", "weight_decay", "params0"):
        got, wanted = _by_name(getattr(window, f"{key}_grad")), _by_name(want[key])
        assert {name: t.shape for name, t in got.items()} == {name: t.shape for name, t in wanted.items()}
        assert relative_error(got, wanted) < tolerance, key


@first_pairs
@rows("unrolled", "adjoint", "adjoint-one_sided", "first_order")
def test_gradients_in_lr_weight_decay_and_the_first_params(row, optimizer, problem):
    case = _made(problem, optimizer)
    plain = case.run(row.build())
    assert plain.lr_grad is plain.weight_decay_grad is plain.params0_grad is None
    window = case.run(row.build(), wrt=("lr", "weight_decay", "params0"))
    if row.name == "first_order":
        # no mixed derivative enters them: exact whichever `derivative` is
        _assert_further(window, _without_hessian(case), tolerance=1e-10)
    else:
        _assert_further(window, _differences(case), tolerance=max(1e-6, row.tolerance))
    # params0 makes the first step's mixed derivative a by-product of a Hessian-vector product
    assert relative_error(window.alpha_grad, plain.alpha_grad) < row.tolerance
    assert relative_error(window.params, plain.params) < 1e-12


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("name", ["adamw-groups", "adam-amsgrad-clipping", "sgd-groups", "own"])
@pytest.mark.parametrize("label", ["unrolled", "adjoint", "first_order"])
def test_they_are_right_in_windows_of_any_length_and_one_at_a_time(label, name, steps):
    row, case = ROWS[label], _made("domains_mixed_with_rest", OPTIMIZERS[name])
    oracle = _without_hessian if label == "first_order" else _differences
    want = oracle(case, steps=steps)
    for key in want:
        window = case.run(row.build(), steps=steps, wrt=("alpha", key), donate=False)
        assert relative_error(_by_name(getattr(window, f"{key}_grad")), _by_name(want[key])) < 1e-6
        others = {"lr", "weight_decay", "params0"} - {key}
        assert all(getattr(window, f"{other}_grad") is None for other in others)
    donated = replace(case, params=copy.deepcopy(case.params), state=copy.deepcopy(case.state))
    _assert_further(donated.run(row.build(), steps=steps, wrt=tuple(want), donate=True), want, tolerance=1e-6)


@pytest.mark.parametrize("label", list(POLICIES))
def test_they_are_the_same_wherever_steps_are_kept(label):
    case = _made("mlp_plain", OPTIMIZERS["adam-groups"])
    everything = ("lr", "weight_decay", "params0")
    want = case.run(build_estimator(POLICIES[label].name), wrt=everything)
    got = case.run(POLICIES[label].build(), wrt=everything)
    _assert_further(got, {key: getattr(want, f"{key}_grad") for key in everything}, tolerance=1e-14)


@each("label", [label for label in ROWS if label not in WITH_STEPS])
@each("key", ["lr", "weight_decay", "params0"])
def test_estimators_that_cannot_give_one_refuse_it_by_name(label, key):
    with pytest.raises(ValueError, match=f"gives no gradient in {key}, .* use unrolled, adjoint or first"):
        _made("mlp_plain", AdamW()).run(ROWS[label].build(), wrt=("alpha", key))


def test_an_unknown_gradient_is_refused():
    with pytest.raises(ValueError, match="wrt must be some of alpha, lr, weight_decay, params0, got 'eps'"):
        _made("mlp_plain", AdamW()).run(build_estimator("adjoint"), wrt=("eps",))


# torch warns of float(at.lr) itself, the first time
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize("label", ["unrolled", "adjoint", "first_order"])
def test_an_optimizer_cut_off_from_a_setting_is_refused_not_given_zero(label):
    class NoDecay(Damped):
        def update(self, param, grad, moments, at):
            return param - float(at.lr) * grad, dict(moments)

    case = _made("mlp_plain", NoDecay())
    with pytest.raises(ValueError, match="NoDecay.update has no gradient in weight_decay"):
        case.run(ROWS[label].build(), wrt=("weight_decay",))
    with pytest.raises(ValueError, match="NoDecay.update has no gradient in lr"):
        case.run(ROWS[label].build(), wrt=("lr",))


# Lion, whose steps let no derivative pass.


@pytest.mark.parametrize("problem", ["mlp_plain", "domain_single"])
@rows(*ROWS)
def test_lion_says_where_nothing_passes_its_steps(row, problem):
    case = _made(problem, LION)
    if not _takes(row, LION):
        with pytest.raises(ValueError, match="preconditioner=adamw takes AdamW's second moments"):
            case.run(row.build())
        return
    window, want = case.run(row.build()), row.oracle(case)
    for name, grad in window.alpha_grad.items():
        torch.testing.assert_close(grad, want[name], rtol=1e-5, atol=1e-12)
    through_steps = (
        row in WITH_STEPS.values()
        or row.name == "forward_gradient"
        or (row.name == "finite_difference" and "preconditioner" in row.settings)
    )
    assert (window.status is Status.no_gradient) == through_steps
    if through_steps:
        assert "no derivative passes the steps of Lion" in window.message
        # and that is what it is: no small change of alpha changes the params
        moved = {name: a + 1e-9 for name, a in case.alpha.items()}
        again = case.run(build_estimator("none"), alpha=moved)
        assert all(torch.equal(again.params[name], window.params[name]) for name in case.params)


@rows(*WITH_STEPS)
def test_lion_has_gradients_in_its_settings_and_the_first_params(row):
    case = _made("mlp_plain", LION)
    window = case.run(row.build(), wrt=("lr", "weight_decay", "params0"))
    _assert_further(window, _differences(case), tolerance=1e-6)


# States, audits.


def test_a_state_of_another_optimizer_is_refused():
    case = _made("mlp_plain", SGD(momentum=0.9))
    case.state = AdamW().init(case.params)
    with pytest.raises(ValueError, match="state has the moments exp_avg, exp_avg_sq, but SGD keeps momentum"):
        case.run(build_estimator("adjoint"))
    case.state = Moments(0, {"momentum_buffer": {name: p.float() for name, p in case.params.items()}})
    with pytest.raises(ValueError, match=r"state.moments\['momentum_buffer'\]\['w1'\] must have the dtype"):
        case.run(build_estimator("adjoint"))
    del case.state.moments["momentum_buffer"]["w1"]
    with pytest.raises(ValueError, match=r"state.moments\['momentum_buffer'\] does not match params at 'w1'"):
        case.run(build_estimator("adjoint"))


def test_what_is_no_inner_optimizer_is_refused():
    case = _made("mlp_plain", AdamW())
    case.optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(TypeError, match="optimizer must be an InnerOptimizer such as AdamW.*, got SGD"):
        case.run(build_estimator("none"))


@pytest.mark.parametrize("name", ["adam-amsgrad-clipping", "sgd-dampening", "muon", "own"])
@pytest.mark.parametrize("params", [(), ("w*",)])
def test_audits_run_with_every_optimizer(name, params):
    case = _made("domains_mixed_with_rest", OPTIMIZERS[name])
    result = Audit(every=1, params=params).compare(
        build_estimator("unrolled"),
        case.problem,
        case.optimizer,
        case.params,
        case.state,
        case.alpha,
        inner_batches=case.batches[:3],
        outer_batch=case.outer_batch,
    )
    assert result.message == ""
    assert abs(result.cosine - 1) < 1e-12 and abs(result.norm_ratio - 1) < 1e-10


def test_the_state_of_adamw_keeps_its_own_class():
    case = _made("mlp_plain", AdamW())
    window = case.run(build_estimator("adjoint"))
    assert isinstance(window.state, AdamWState)
    assert window.state.moments == {"exp_avg": window.state.exp_avg, "exp_avg_sq": window.state.exp_avg_sq}
