"""AdamW against torch.optim.AdamW and torchopt, and its closed-form derivative against autograd."""

import math

import pytest
import torch
import torchopt

from dreamprm.hypergrad import AdamW, Cotangents, TensorStep
from dreamprm.hypergrad import adamw as adamw_module
from dreamprm.hypergrad.unrolled import torchopt_step


def _tensors(seed, *, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for name, shape in {"matrix": (3, 4), "vector": (5,), "scalar": ()}.items()
    }


SETTINGS = [
    {"lr": 1e-2},
    {"lr": 3e-3, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    {"lr": lambda step: 1e-2 * 0.7**step, "weight_decay": 0.0},
    {"lr": 1e-2, "weight_decay": lambda name: 0.2 if name == "matrix" else 0.0},
    # norms of these gradients lie between 3 and 6: clipped at some steps and not at others
    {"lr": 1e-2, "max_grad_norm": 4.0},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_same_numbers_as_torch_optim(settings):
    optimizer = AdamW(**settings)
    params, state = _tensors(0), optimizer.init(_tensors(0))
    mirror = {name: torch.nn.Parameter(p.clone()) for name, p in params.items()}
    groups = [{"params": [p], "weight_decay": optimizer.decay(name)} for name, p in mirror.items()]
    reference = torch.optim.AdamW(groups, lr=1.0, betas=optimizer.betas, eps=optimizer.eps)
    for step in range(7):
        grads = _tensors(10 + step)
        for group in reference.param_groups:
            group["lr"] = optimizer.learning_rate(step)
        for name, grad in grads.items():
            mirror[name].grad = grad.clone()
        if optimizer.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(mirror.values(), optimizer.max_grad_norm)
        reference.step()
        params, state = optimizer.step(params, grads, state=state)
        for name in params:
            torch.testing.assert_close(params[name], mirror[name].detach(), rtol=1e-12, atol=1e-12)
    assert state.step == 7


def test_the_same_numbers_as_torchopt_with_its_own_schedule():
    def schedule(step):
        return 1e-2 / (1 + step)

    optimizer = AdamW(lr=schedule)
    transform = torchopt.adamw(lr=schedule)
    params, state = _tensors(0), optimizer.init(_tensors(0))
    mirror, mirror_state = _tensors(0), transform.init(_tensors(0))
    for step in range(5):
        grads = _tensors(10 + step)
        params, state = optimizer.step(params, grads, state=state)
        updates, mirror_state = transform.update(grads, mirror_state, params=mirror, inplace=False)
        mirror = torchopt.apply_updates(mirror, updates, inplace=False)
        for name in params:
            # torchopt takes 1 - 0.999^t in float32: off by 3e-8 of 1e-3 at first, its root by 1.5e-5, of
            # updates of 1e-2 and less
            torch.testing.assert_close(params[name], mirror[name], rtol=0, atol=3e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", SETTINGS)
def test_differentiable_and_inplace_steps_give_the_same_bits(settings, dtype):
    optimizer = AdamW(**settings)
    ours = theirs = inplace = {n: p for n, p in _tensors(0, dtype=dtype).items() if n != "scalar"}
    inplace = {name: p.clone() for name, p in ours.items()}
    state = torchopt_state = optimizer.init(ours)
    inplace_state = optimizer.init(ours)
    for step in range(5):
        grads = {name: g for name, g in _tensors(10 + step, dtype=dtype).items() if name in ours}
        grads["vector"][:2] = 0.0  # unused entries: v stays exactly 0
        ours, state = optimizer.step(ours, grads, state=state)
        theirs, torchopt_state = torchopt_step(optimizer, theirs, grads, state=torchopt_state)
        pointers = {name: p.data_ptr() for name, p in inplace.items()}
        inplace, inplace_state = optimizer.step(inplace, grads, state=inplace_state, inplace=True)
        assert {name: p.data_ptr() for name, p in inplace.items()} == pointers
        for name in ours:
            assert torch.equal(ours[name], inplace[name]) and torch.equal(ours[name], theirs[name])
            assert torch.equal(state.exp_avg[name], torchopt_state.exp_avg[name])
            assert torch.equal(state.exp_avg_sq[name], torchopt_state.exp_avg_sq[name])
            assert torch.equal(state.exp_avg_sq[name], inplace_state.exp_avg_sq[name])
    assert state.step == torchopt_state.step == inplace_state.step == 5


def test_chunks_do_not_change_the_step(monkeypatch):
    optimizer, grads = AdamW(), _tensors(1)
    whole, _ = optimizer.step(_tensors(0), grads, state=optimizer.init(grads))
    monkeypatch.setattr(adamw_module, "CHUNK_ELEMENTS", 6)
    parts, _ = optimizer.step(_tensors(0), grads, state=optimizer.init(grads))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_clipping_is_active_at_some_of_the_steps_only():
    optimizer = AdamW(max_grad_norm=4.0)
    norms = [
        math.sqrt(sum(float(g.square().sum()) for g in _tensors(10 + step).values())) for step in range(7)
    ]
    clips = [optimizer.clip(_tensors(10 + step))[1] for step in range(7)]
    assert [clip is not None for clip in clips] == [norm > 4.0 for norm in norms]
    assert 0 < sum(clip is not None for clip in clips) < 7
    grads = _tensors(10)
    same, clip = AdamW(max_grad_norm=1e3).clip(grads)
    assert clip is None and all(same[name] is grads[name] for name in grads)


def test_a_gradient_that_is_not_finite_is_left_as_it_is():
    grads = {**_tensors(0), "scalar": torch.tensor(math.inf, dtype=torch.float64)}
    same, clip = AdamW(max_grad_norm=1.0).clip(grads)
    assert clip is None and all(same[name] is grads[name] for name in grads)


def test_clip_vjp_equals_autograd():
    optimizer, gbar = AdamW(max_grad_norm=1.5), _tensors(1)
    grads = {name: g.requires_grad_() for name, g in _tensors(0).items()}
    clipped, clip = optimizer.clip(grads)
    assert torch.equal(optimizer.clip_of(grads).factor, clip.factor)
    want = torch.autograd.grad([clipped[name] for name in grads], list(grads.values()), list(gbar.values()))
    got = clip.vjp(gbar, {name: g.detach() for name, g in grads.items()})
    for name, wanted in zip(grads, want):
        torch.testing.assert_close(got[name], wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", SETTINGS)
def test_vjp_equals_autograd(settings):
    optimizer, step = AdamW(**settings), 4
    p, g, m, lam, lam_m, lam_v = (_tensors(seed)["vector"] for seed in range(6))
    v = _tensors(6)["vector"].square()
    inputs = [tensor.clone().requires_grad_() for tensor in (g, p, m, v)]
    lr, (b1, b2) = optimizer.learning_rate(step), optimizer.betas
    new_m = b1 * inputs[2] + (1 - b1) * inputs[0]
    new_v = b2 * inputs[3] + (1 - b2) * inputs[0] ** 2
    update = (new_m / (1 - b1 ** (step + 1))) / ((new_v / (1 - b2 ** (step + 1))).sqrt() + optimizer.eps)
    new_p = inputs[1] - lr * (update + optimizer.decay("vector") * inputs[1])
    want = torch.autograd.grad([new_p, new_m, new_v], inputs, [lam, lam_m, lam_v])
    gbar, start = optimizer.vjp(
        Cotangents(lam, {"exp_avg": lam_m, "exp_avg_sq": lam_v}),
        TensorStep("vector", step, g, end={"exp_avg": new_m.detach(), "exp_avg_sq": new_v.detach()}),
    )
    for got, wanted in zip((gbar, start.param, *start.moments.values()), want):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)


def test_vjp_where_the_second_moment_is_zero():
    optimizer, zeros = AdamW(lr=1e-3), torch.zeros(2, dtype=torch.float64)
    lam = torch.tensor([1.0, -2.0], dtype=torch.float64)
    gbar, start = optimizer.vjp(
        Cotangents(lam), TensorStep("", 0, zeros, {"exp_avg": zeros, "exp_avg_sq": zeros})
    )
    # m'/c1 = g at the first step, so d phi'/d g = -lr / (0 + eps)
    torch.testing.assert_close(gbar, lam * -1e-3 / 1e-8, rtol=1e-12, atol=0)
    torch.testing.assert_close(start.param, lam * (1 - 1e-5), rtol=1e-12, atol=0)
    assert torch.equal(start.moments["exp_avg_sq"], zeros)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"lr": -1.0}, "lr must be a finite number >= 0, got -1.0"),
        ({"lr": math.nan}, "lr must be"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\)"),
        ({"betas": (0.9,)}, "betas must be"),
        ({"eps": 0.0}, "eps must be > 0"),
        ({"weight_decay": -0.1}, "weight_decay must be a finite number >= 0, got -0.1; use 0 to disable"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be > 0, got 0.0; use None to disable"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        AdamW(**settings)


def test_a_schedule_that_returns_nonsense_is_refused_at_its_step():
    optimizer = AdamW(lr=lambda step: 1.0 - step)
    assert optimizer.learning_rate(0) == 1.0
    with pytest.raises(ValueError, match=r"lr\(3\) must be a finite number >= 0, got -2.0"):
        optimizer.learning_rate(3)


def test_a_decay_that_is_nonsense_is_refused_at_its_name():
    optimizer = AdamW(weight_decay=lambda name: -1.0 if name == "bias" else 0.1)
    assert optimizer.decay("matrix") == 0.1
    with pytest.raises(ValueError, match=r"weight_decay\('bias'\) must be a finite number >= 0, got -1.0"):
        optimizer.decay("bias")
