"""Every inner optimizer against torch.optim's own class, its derivative against autograd, and an own one."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checked_rows import each
from torch import Tensor

from dreamprm.hypergrad import (
    SGD,
    Adam,
    AdamW,
    Cotangents,
    InnerOptimizer,
    Lion,
    Muon,
    TensorStep,
)

SHAPES = {"matrix": (3, 4), "tall": (6, 2), "vector": (5,), "scalar": ()}


def tensors(seed: int, *, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for name, shape in SHAPES.items()
    }


def _schedule(step: int) -> float:
    return 1e-2 * 0.7**step


def _decay(name: str) -> float:
    return 0.2 if name == "matrix" else 0.0


OPTIMIZERS: dict[str, InnerOptimizer] = {
    "adamw": AdamW(lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1),
    "adam": Adam(lr=1e-2),
    "adam-decay": Adam(lr=_schedule, betas=(0.8, 0.95), eps=1e-6, weight_decay=_decay),
    "adam-amsgrad": Adam(lr=1e-2, betas=(0.8, 0.9), amsgrad=True),
    "adam-amsgrad-decay-clipping": Adam(
        lr=1e-2, betas=(0.8, 0.9), weight_decay=0.3, amsgrad=True, max_grad_norm=5.0
    ),
    "sgd": SGD(lr=1e-1),
    "sgd-decay": SGD(lr=_schedule, weight_decay=_decay),
    "sgd-momentum": SGD(lr=1e-1, momentum=0.9),
    "sgd-dampening": SGD(lr=1e-1, momentum=0.9, dampening=0.4, weight_decay=0.1),
    "sgd-nesterov-clipping": SGD(lr=1e-1, momentum=0.8, nesterov=True, weight_decay=0.1, max_grad_norm=5.0),
    "lion": Lion(lr=1e-2),
    "lion-decay-clipping": Lion(lr=_schedule, betas=(0.8, 0.95), weight_decay=_decay, max_grad_norm=5.0),
    "muon": Muon(lr=1e-2),
    "muon-match": Muon(
        lr=_schedule, weight_decay=_decay, nesterov=False, adjust_lr_fn="match_rms_adamw", max_grad_norm=5.0
    ),
    "muon-some": Muon(lr=1e-2, matrices=lambda name: name == "tall", adamw_lr_factor=0.3, ns_steps=3),
}
every_optimizer = each("optimizer", OPTIMIZERS)


class PlainLion(torch.optim.Optimizer):
    """Algorithm 2 of arXiv 2302.06675, as torch.optim has no Lion."""

    def __init__(self, groups: Any, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self.betas = betas

    @torch.no_grad()
    def step(self, closure=None):
        b1, b2 = self.betas
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                c = b1 * m + (1 - b1) * p.grad
                p -= group["lr"] * (c.sign() + group["weight_decay"] * p)
                m.copy_(b2 * m + (1 - b2) * p.grad)


def torch_optimizers(optimizer: InnerOptimizer, params: dict[str, Any]) -> list[torch.optim.Optimizer]:
    """torch's own, with one group a tensor; two of them for Muon."""
    groups = {name: {"params": [p], "weight_decay": optimizer.decay(name)} for name, p in params.items()}
    if isinstance(optimizer, SGD):
        return [
            torch.optim.SGD(
                groups.values(),
                lr=1.0,
                momentum=optimizer.momentum,
                dampening=optimizer.dampening,
                nesterov=optimizer.nesterov,
            )
        ]
    if isinstance(optimizer, Lion):
        return [PlainLion(groups.values(), optimizer.betas)]
    if isinstance(optimizer, Adam):
        return [
            torch.optim.Adam(
                groups.values(),
                lr=1.0,
                betas=optimizer.betas,
                eps=optimizer.eps,
                amsgrad=optimizer.amsgrad,
            )
        ]
    if isinstance(optimizer, AdamW):
        return [torch.optim.AdamW(groups.values(), lr=1.0, betas=optimizer.betas, eps=optimizer.eps)]
    assert isinstance(optimizer, Muon)
    muon = {name for name, p in params.items() if "momentum_buffer" in optimizer.kinds_of(name, p)}
    return [
        torch.optim.Muon(
            [group for name, group in groups.items() if name in muon],
            lr=1.0,
            momentum=optimizer.momentum,
            nesterov=optimizer.nesterov,
            eps=optimizer.eps,
            ns_steps=optimizer.ns_steps,
            adjust_lr_fn=optimizer.adjust_lr_fn,
        ),
        torch.optim.AdamW([group for name, group in groups.items() if name not in muon], lr=1.0),
    ]


def steps_of_torch(optimizer: InnerOptimizer, params: dict[str, Tensor], *, steps: int) -> dict[str, Tensor]:
    mirror = {name: torch.nn.Parameter(p.clone()) for name, p in params.items()}
    references = torch_optimizers(optimizer, mirror)
    for step in range(steps):
        for name, grad in tensors(10 + step, dtype=params["vector"].dtype).items():
            mirror[name].grad = grad
        if optimizer.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(mirror.values(), optimizer.max_grad_norm)
        for reference in references:
            for group in reference.param_groups:
                factor = getattr(optimizer, "adamw_lr_factor", 1.0) if reference is not references[0] else 1.0
                group["lr"] = factor * optimizer.learning_rate(step)
            reference.step()
    return {name: p.detach() for name, p in mirror.items()}


@every_optimizer
def test_the_same_numbers_as_torch_optim(optimizer, monkeypatch):
    params, state = tensors(0), optimizer.init(tensors(0))
    with monkeypatch.context() as patch:
        if isinstance(optimizer, Muon):
            # torch iterates in bfloat16, and leaves the dtype to nobody
            patch.setattr(Tensor, "bfloat16", lambda tensor: tensor.clone())
        want = steps_of_torch(optimizer, params, steps=7)
    for step in range(7):
        params, state = optimizer.step(params, tensors(10 + step), state=state)
    for name in params:
        torch.testing.assert_close(params[name], want[name], rtol=1e-11, atol=1e-12)
    assert state.step == 7


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_in_bfloat16_gives_the_bits_of_torch(nesterov):
    optimizer = Muon(lr=1e-2, nesterov=nesterov, ns_dtype="bfloat16")
    params = {name: p for name, p in tensors(0, dtype=torch.float32).items() if p.ndim == 2}
    mirror = {name: torch.nn.Parameter(p.clone()) for name, p in params.items()}
    reference, state = torch.optim.Muon(mirror.values(), lr=1e-2, nesterov=nesterov), optimizer.init(params)
    for step in range(5):
        grads = tensors(10 + step, dtype=torch.float32)
        for name, p in mirror.items():
            p.grad = grads[name].clone()
        reference.step()
        params, state = optimizer.step(params, {name: grads[name] for name in params}, state=state)
        assert all(torch.equal(params[name], mirror[name].detach()) for name in params)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_optimizer
def test_differentiable_and_inplace_steps_give_the_same_bits(optimizer, dtype):
    ours = tensors(0, dtype=dtype)
    graph, inplace = ours, {name: p.clone() for name, p in ours.items()}
    state, graph_state, inplace_state = (optimizer.init(ours) for _ in range(3))
    for step in range(5):
        grads = tensors(10 + step, dtype=dtype)
        grads["vector"][:2] = 0.0  # unused entries: moments stay exactly 0
        kept = {name: g.clone() for name, g in grads.items()}
        ours, state = optimizer.step(ours, grads, state=state)
        graph, graph_state = optimizer.differentiable_step(graph, grads, state=graph_state)
        pointers = {name: p.data_ptr() for name, p in inplace.items()}
        inplace, inplace_state = optimizer.step(inplace, grads, state=inplace_state, inplace=True)
        assert {name: p.data_ptr() for name, p in inplace.items()} == pointers
        assert all(torch.equal(grads[name], kept[name]) for name in grads)
        for name in ours:
            assert torch.equal(ours[name], inplace[name]) and torch.equal(ours[name], graph[name])
        for kind, moments in state.moments.items():
            for name, moment in moments.items():
                assert torch.equal(moment, inplace_state.moments[kind][name])
                assert torch.equal(moment, graph_state.moments[kind][name])
    assert state.step == graph_state.step == inplace_state.step == 5


@every_optimizer
def test_a_step_shares_no_memory_with_its_arguments(optimizer):
    params, grads = tensors(0), tensors(1)
    state = optimizer.init(params)
    for _ in range(2):
        new, new_state = optimizer.step(params, grads, state=state)
        given = [*params.values(), *grads.values()]
        given += [m for moments in state.moments.values() for m in moments.values()]
        made = [*new.values()]
        made += [m for moments in new_state.moments.values() for m in moments.values()]
        assert not {t.data_ptr() for t in given} & {t.data_ptr() for t in made}
        params, state = new, new_state


def _taken(optimizer: InnerOptimizer, name: str, *, step: int) -> TensorStep:
    """A step of one tensor from moments that are not zero."""
    param, grad, *drawn = (tensors(seed)[name] for seed in range(5))
    kinds = optimizer.kinds_of(name, param)
    moments = {
        kind: moment.square() if kind.endswith("_sq") else moment for kind, moment in zip(kinds, drawn)
    }
    return TensorStep(name, step, grad, moments, param)


@pytest.mark.parametrize("step", [0, 4])
@pytest.mark.parametrize("with_moments", [True, False])
@pytest.mark.parametrize("name", list(SHAPES))
@every_optimizer
def test_vjp_equals_autograd_through_the_update(optimizer, name, with_moments, step):
    taken = _taken(optimizer, name, step=step)
    end = optimizer.advance_moments(taken)
    cotangents = Cotangents(
        tensors(6)[name],
        {kind: tensors(7 + i)[name] for i, kind in enumerate(end)} if with_moments else {},
    )
    want_gbar, want = InnerOptimizer.vjp(optimizer, cotangents, taken)
    for given in (taken, taken._replace(end=end)):
        gbar, start = optimizer.vjp(cotangents, given)
        torch.testing.assert_close(gbar, want_gbar, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(start.param, want.param, rtol=1e-11, atol=1e-13)
        for kind, wanted in want.moments.items():
            got = start.moments.get(kind, torch.zeros_like(wanted))
            torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-13)


@every_optimizer
def test_vjp_reads_no_more_than_it_says(optimizer):
    for name in SHAPES:
        taken = _taken(optimizer, name, step=3)
        taken = taken._replace(end=optimizer.advance_moments(taken))
        kept = {
            part: getattr(taken, part) for part in ("param", "start", "end") if part in optimizer.vjp_reads
        }
        cotangents = Cotangents(tensors(6)[name])
        want, want_start = optimizer.vjp(cotangents, taken)
        got, start = optimizer.vjp(cotangents, TensorStep(name, 3, taken.grad, **kept))
        assert torch.equal(got, want) and torch.equal(start.param, want_start.param)


@pytest.mark.parametrize("name", ["adam", "adam-decay", "adam-amsgrad", "muon"])
def test_vjp_where_the_moments_are_zero(name):
    optimizer, zeros = OPTIMIZERS[name], torch.zeros(5, dtype=torch.float64)
    start = dict.fromkeys(optimizer.kinds_of("vector", zeros), zeros)
    taken = TensorStep("vector", 0, zeros, start, zeros)
    lam = tensors(3)["vector"]
    for vjp in (type(optimizer).vjp, InnerOptimizer.vjp):
        gbar, back = vjp(optimizer, Cotangents(lam), taken)
        # m'/c1 = g at the first step, so d phi'/d g = -lr / (0 + eps)
        eps = optimizer.eps if isinstance(optimizer, Adam) else 1e-8
        torch.testing.assert_close(gbar, lam * -optimizer.learning_rate(0) / eps, rtol=1e-9, atol=0)
        assert all(bool(torch.isfinite(t).all()) for t in (back.param, *back.moments.values()))


def test_muon_in_bfloat16_has_the_derivative_of_the_exact_iterations():
    exact, rounded = Muon(lr=1e-2), Muon(lr=1e-2, ns_dtype="bfloat16")
    taken, cotangents = _taken(exact, "matrix", step=2), Cotangents(tensors(6)["matrix"])
    want, _ = exact.vjp(cotangents, taken)
    for vjp in (Muon.vjp, InnerOptimizer.vjp):
        torch.testing.assert_close(vjp(rounded, cotangents, taken)[0], want, rtol=1e-11, atol=1e-13)
    step = rounded.update(taken.param, taken.grad, taken.start, rounded.context("matrix", 2))[0]
    straight = exact.update(taken.param, taken.grad, taken.start, exact.context("matrix", 2))[0]
    assert 1e-6 < float((step - straight).norm() / (straight - taken.param).norm()) < 2e-2


def _documented() -> Any:
    """The own optimizer that the documentation shows."""
    page = (Path(__file__).parents[2] / "docs" / "hypergradients.md").read_text(encoding="utf-8")
    (code,) = (
        part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class HeavyBall" in part
    )
    names: dict[str, Any] = {"__name__": "documented"}
    exec(code, names)
    return names["HeavyBall"]


def test_an_own_optimizer_of_one_function():
    own, sgd = _documented()(lr=0.1, momentum=0.9), SGD(lr=0.1, momentum=0.9)
    params, state = tensors(0), own.init(tensors(0))
    mirror, mirror_state = tensors(0), sgd.init(tensors(0))
    for step in range(4):
        params, state = own.step(params, tensors(10 + step), state=state)
        mirror, mirror_state = sgd.step(mirror, tensors(10 + step), state=mirror_state)
        for name in params:
            torch.testing.assert_close(params[name], mirror[name], rtol=1e-12, atol=1e-13)


def _own(update: Callable[..., Any]) -> InnerOptimizer:
    return type("Own", (InnerOptimizer,), {"kinds": ("m",), "update": update})()


@pytest.mark.parametrize(
    "update, message",
    [
        (lambda self, p, g, m, at: (p.sub_(g), dict(m)), "Own.update modified its arguments in place"),
        (lambda self, p, g, m, at: (p - m["m"].add_(g), dict(m)), "modified its arguments in place"),
        (lambda self, p, g, m, at: (p - g, {}), "must return the moments m, got none"),
        (lambda self, p, g, m, at: (p - g, {"m": g, "n": g}), "must return the moments m, got m, n"),
        (lambda self, p, g, m, at: ((p - g).float(), dict(m)), "a param of shape .* got .* torch.float32"),
        (lambda self, p, g, m, at: (p - g, {"m": g.sum()}), r"a m of shape \(3, 4\) .* 'matrix', got \(\)"),
    ],
)
def test_an_update_that_cannot_be_right_is_refused(update, message):
    own, params = _own(update), tensors(0)
    with pytest.raises(ValueError, match=message):
        own.step(params, tensors(1), state=own.init(params))


def test_an_update_that_autograd_cannot_follow_is_refused():
    own = _own(lambda self, p, g, m, at: ((p - g).detach(), dict(m)))
    taken = _taken(own, "vector", step=0)
    with pytest.raises(ValueError, match=r"Own.update returns is cut off from its arguments"):
        own.vjp(Cotangents(tensors(6)["vector"]), taken)


def test_an_update_that_returns_its_arguments_gets_copies():
    own, params, grads = _own(lambda self, p, g, m, at: (p, {"m": g})), tensors(0), tensors(1)
    new, state = own.step(params, grads, state=own.init(params))
    for name in params:
        assert torch.equal(new[name], params[name]) and new[name].data_ptr() != params[name].data_ptr()
        moment = state.moments["m"][name]
        assert torch.equal(moment, grads[name]) and moment.data_ptr() != grads[name].data_ptr()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Adam(lr=-1.0), "lr must be a finite number >= 0, got -1.0"),
        (lambda: Adam(betas=(0.9, 1.0)), r"betas must be two numbers in \[0, 1\)"),
        (lambda: Adam(eps=0.0), "eps must be > 0"),
        (lambda: Adam(max_grad_norm=-1.0), "max_grad_norm must be > 0, got -1.0; use None to disable"),
        (lambda: SGD(momentum=-0.1), "momentum must be a finite number >= 0, got -0.1"),
        (lambda: SGD(momentum=math.nan), "momentum must be"),
        (lambda: SGD(momentum=0.9, dampening=1.5), r"dampening must be a number in \[0, 1\], got 1.5"),
        (lambda: SGD(nesterov=True), r"nesterov takes momentum > 0 and dampening=0, got momentum=0.0"),
        (lambda: SGD(momentum=0.9, dampening=0.1, nesterov=True), "nesterov takes"),
        (lambda: SGD(weight_decay=-1.0), "weight_decay must be a finite number >= 0, got -1.0"),
        (lambda: Lion(betas=(0.9,)), "betas must be"),
        (lambda: Lion(lr=math.inf), "lr must be"),
        (lambda: Muon(momentum=1.0), "momentum must be below 1, got 1.0"),
        (lambda: Muon(eps=0.0), "eps must be > 0, got 0.0"),
        (lambda: Muon(ns_steps=0), "ns_steps must be >= 1, got 0"),
        (lambda: Muon(ns_coefficients=(1.0, 2.0)), "ns_coefficients must be three numbers"),
        (lambda: Muon(adjust_lr_fn="adam"), "adjust_lr_fn must be None or one of original, match_rms_adamw"),
        (lambda: Muon(ns_dtype="float16"), "ns_dtype must be one of params, bfloat16, got 'float16'"),
        (lambda: Muon(adamw_eps=0.0), "eps must be > 0"),
        (lambda: Muon(adamw_lr_factor=-1.0), "adamw_lr_factor must be a finite number >= 0, got -1.0"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
