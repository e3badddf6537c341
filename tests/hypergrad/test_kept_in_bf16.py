"""`keep=bf16`: the window's own numbers stay, alpha's gradient loses what its error says, the bytes halve."""

from typing import Any

import pytest
import torch
from bilevel_problems import PROBLEMS, Case, Tensors, domain_single
from checked_rows import each
from estimator_table import every_problem
from oracles import relative_error

from dreamprm.hypergrad import AdamW, BilevelProblem, LongWindow, Status, WindowResult, build_estimator
from dreamprm.hypergrad import adjoint as adjoint_windows
from dreamprm.hypergrad import first_order as first_order_windows
from dreamprm.hypergrad.offload import DiskStore, RoundedStore, Store

ROWS: dict[str, dict[str, Any]] = {
    "first_order": {"name": "first_order"},
    "first_order, one-sided": {"name": "first_order", "derivative": "forward_difference"},
    "first_order, exact": {"name": "first_order", "derivative": "double_backward"},
    "first_order, disk": {"name": "first_order", "derivative": "double_backward", "offload": "disk"},
    "adjoint": {"name": "adjoint"},
    "adjoint, no graph kept": {"name": "adjoint", "keep_graphs": 0},
    "adjoint, all states": {"name": "adjoint", "checkpoint": "keep"},
    "adjoint, disk": {"name": "adjoint", "offload": "disk"},
    "adjoint, forward mode": {"name": "adjoint", "derivative": "forward_mode"},
    "adjoint, differences": {"name": "adjoint", "derivative": "central_difference"},
}


def both(case: Case, *, steps: int = 5, **settings: Any) -> tuple[WindowResult, WindowResult]:
    """The window that keeps everything, and the one that keeps gradients in bf16."""
    full, rounded = (
        case.run(build_estimator(**settings, keep=keep), steps=steps) for keep in ("full", "bf16")
    )
    return full, rounded


@each("settings", ROWS)
@every_problem
@pytest.mark.parametrize("clipped", [False, True])
def test_the_training_is_the_same_and_the_error_is_told(make: Any, clipped: bool, settings: Any) -> None:
    case = make(optimizer=AdamW(lr=1e-2, max_grad_norm=0.4 if clipped else None))
    full, rounded = both(case, **settings)
    for mine, theirs in (
        (rounded.params, full.params),
        *((rounded.state.moments[kind], full.state.moments[kind]) for kind in full.state.moments),
    ):
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert torch.equal(rounded.inner_losses, full.inner_losses)
    # relative to the gradient that the window gives, as its own estimate is
    error, told = relative_error(full.alpha_grad, rounded.alpha_grad), rounded.stats["error"]
    assert error <= 4 * told, (error, told)
    if rounded.status is Status.ok:
        assert 0 < error < 0.03
    else:
        assert rounded.status is Status.imprecise and told > 0.03


def test_a_slope_that_cancels_is_imprecise() -> None:
    # a clipped gradient does not depend on the size of the weight of its only loss, but for eps
    case = domain_single(optimizer=AdamW(lr=1e-2, max_grad_norm=1e-3))
    for name in ("first_order", "adjoint"):
        rounded = case.run(build_estimator(name, keep="bf16"), steps=1)
        assert rounded.status is Status.imprecise and "take keep=full" in rounded.message
        assert case.run(build_estimator(name), steps=1).status is Status.ok


def linear(per_batch: int) -> Case:
    """Losses of a linear model in float32, with `per_batch` of them in a batch."""
    generator = torch.Generator().manual_seed(0)
    optimizer = AdamW(lr=1e-2)
    params = {"w": torch.randn(64, generator=generator), "b": torch.randn(8, generator=generator)}
    inputs = [torch.randn(per_batch, 64, generator=generator) for _ in range(6)]

    def losses(params: Tensors, x: torch.Tensor) -> torch.Tensor:
        return (torch.tanh(x @ params["w"]) + params["b"].square().mean() - 0.3).square()

    return Case(
        BilevelProblem(
            outer_loss=lambda params, alpha, x: losses(params, x).mean(),
            inner_losses=losses,
            weights=lambda alpha, x, each: alpha["raw"].exp()[: len(each)],
        ),
        params=params,
        alpha={"raw": torch.zeros(2)},
        batches=inputs,
        outer_batch=torch.randn(4, 64, generator=generator),
        optimizer=optimizer,
    )


class Counted(DiskStore):
    """Counts the bytes that are put away."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def keep(self, tensors: Any) -> Any:
        self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        return super().keep(tensors)


@pytest.mark.parametrize("module", [first_order_windows, adjoint_windows])
@pytest.mark.parametrize("offload", ["none", "disk"])
def test_gradients_take_half_the_bytes(module: Any, offload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, steps, entries = linear(per_batch=1), 5, 72
    name = module.__name__.rpartition(".")[2]
    kept = {}
    for keep in ("full", "bf16"):
        store = Counted()
        monkeypatch.setattr(module, "open_store", lambda given, store=store: store)
        case.run(build_estimator(name, keep=keep, offload=offload), steps=steps)
        kept[keep] = store.bytes
    # the states of the way back, of adjoint alone, stay as they are
    assert kept["full"] - kept["bf16"] == steps * entries * 2
    if name == "first_order":
        assert kept["full"] == steps * entries * 4


def test_several_losses_keep_gradients_and_what_takes_their_place_in_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case, steps, entries = linear(per_batch=2), 5, 72
    kept = {}
    for keep in ("full", "bf16"):
        store = Counted()
        monkeypatch.setattr(first_order_windows, "open_store", lambda given, store=store: store)
        case.run(build_estimator("first_order", keep=keep), steps=steps)
        kept[keep] = store.bytes
    # phi_t, g_t and gbar_t
    assert kept == {"full": steps * entries * (4 + 4 + 4), "bf16": steps * entries * (4 + 2 + 2)}


def test_bfloat16_params_lose_nothing() -> None:
    case = linear(per_batch=1)
    assert case.state is not None
    cast = {name: p.bfloat16() for name, p in case.params.items()}
    case.params, case.state = cast, case.optimizer.init(cast)
    case.batches = [x.bfloat16() for x in case.batches]
    case.outer_batch = case.outer_batch.bfloat16()
    full, rounded = both(case, name="first_order", derivative="double_backward")
    assert all(torch.equal(full.alpha_grad[name], rounded.alpha_grad[name]) for name in full.alpha_grad)


def test_a_store_of_rounded_tensors() -> None:
    tensors = {"float32": torch.tensor([1.0, 1e-30, -3.14159]), "float64": torch.tensor([2.0]).double()}
    store = RoundedStore(Store())
    assert store.copies(tensors) and not store.copies({"b": torch.ones(2).bfloat16()})
    kept = store.keep(tensors)
    loaded = kept.load()
    assert loaded["float32"].dtype == torch.float32 and loaded["float64"].dtype == torch.float64
    torch.testing.assert_close(loaded, tensors, rtol=2**-8, atol=0)
    kept.drop()
    assert kept.load() == {}


def test_a_long_window_keeps_its_gradients_in_bf16_too() -> None:
    case = PROBLEMS["domains_mixed"]()
    adjoint, rounded = build_estimator("adjoint"), build_estimator("adjoint", keep="bf16")
    options = {"steps": 8, "batch": lambda t: case.batches[t], "outer_batch": case.outer_batch}
    start = (case.problem, case.optimizer, case.params, case.state, case.alpha)
    full = LongWindow(adjoint, storage=1000.0).run_window(*start, **options)
    half = LongWindow(rounded, storage=1000.0).run_window(*start, **options)
    assert all(torch.equal(half.params[name], full.params[name]) for name in full.params)
    assert 0 < relative_error(half.alpha_grad, full.alpha_grad) < 5e-3
    # with fewer bytes for each gradient, longer segments fit
    taken = [
        LongWindow(kind, storage=200.0).schedule(case.optimizer, case.params, steps=100).gradients
        for kind in (adjoint, rounded)
    ]
    assert taken[1] < taken[0]


def test_a_forward_difference_needs_the_whole_gradient() -> None:
    with pytest.raises(ValueError, match="keep=bf16 rounds the gradient that a forward difference starts"):
        build_estimator("adjoint", keep="bf16", derivative="forward_difference")
    with pytest.raises(ValueError, match="keep must be one of full, bf16, got 'fp16'"):
        build_estimator("first_order", keep="fp16")
