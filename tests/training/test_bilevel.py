"""The bi-level loop against a loop written out by hand, and what it keeps from window to window."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dreamprm.hypergrad import ESTIMATORS, AdamW, BilevelProblem, Status, build_estimator
from dreamprm.hypergrad.audit import Audit, agreement
from dreamprm.training.bilevel import BilevelState, BilevelTrainer

STEPS = 3
WINDOWS = 4
BETAS, EPS, DECAY = (0.9, 0.99), 1e-8, 0.02
# Two orders of the same float64 operations, over twelve steps.
ROUNDING = {"rtol": 1e-12, "atol": 1e-14}


def _schedule(step: int) -> float:
    return 0.1 / (1 + step)


INNER = AdamW(lr=_schedule, betas=BETAS, eps=EPS, weight_decay=DECAY)
UPPER = AdamW(lr=0.05, weight_decay=1e-3)


def _points(count: int, seed: int) -> list[Tensor]:
    """Batches of a point x_k and a value y_k for each of three domains: (3, 4)."""
    return list(torch.randn(count, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


INNER_BATCHES = _points(STEPS * WINDOWS, 1)
OUTER_BATCHES = _points(WINDOWS, 2)


def _errors(w: Tensor, b: Tensor, batch: Tensor) -> Tensor:
    return (batch[:, :3] @ w + b - batch[:, 3]) ** 2


def _losses(params: dict[str, Tensor], batch: Tensor) -> Tensor:
    return _errors(params["w"], params["b"], batch)


def _outer(params: dict[str, Tensor], alpha: dict[str, Tensor], batch: Tensor) -> Tensor:
    return _errors(params["w"], params["b"], batch).sum()


def _problem() -> BilevelProblem:
    """Three domains that want different parameters; L_k = (<w, x_k> + b - y_k)^2."""
    return BilevelProblem(
        outer_loss=_outer,
        inner_losses=_losses,
        weights=lambda alpha, batch, losses: torch.nn.functional.softplus(alpha["raw"]),
    )


def _start(upper: AdamW = UPPER) -> BilevelState:
    params = {
        "w": torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64),
        "b": torch.tensor(0.7, dtype=torch.float64),
    }
    return BilevelState.start(
        params, {"raw": torch.tensor([0.1, -0.3, 0.6], dtype=torch.float64)}, inner=INNER, upper=upper
    )


def _trainer(estimator: str = "unrolled", /, **changes: Any) -> BilevelTrainer:
    return BilevelTrainer(
        **{
            "problem": _problem(),
            "estimator": build_estimator(estimator),
            "inner": INNER,
            "upper": UPPER,
            "inner_steps": STEPS,
        }
        | changes
    )


def _run(trainer: BilevelTrainer, state: BilevelState, *, windows: int, first: int = 0) -> Iterator[Any]:
    return trainer.run(
        state,
        inner_batches=iter(INNER_BATCHES[first * STEPS :]),
        outer_batches=iter(OUTER_BATCHES[first:]),
        windows=windows,
    )


def _by_hand() -> list[tuple[Tensor, Tensor, Tensor]]:
    """(w, b, alpha) after each window: torch.optim.AdamW at both levels, AdamW's formula for the gradient."""
    start = _start()
    w, b = (start.params[name].clone().requires_grad_() for name in ("w", "b"))
    alpha = start.alpha["raw"].clone().requires_grad_()
    inner = torch.optim.AdamW([w, b], betas=BETAS, eps=EPS, weight_decay=DECAY)
    upper = torch.optim.AdamW([alpha], lr=0.05, weight_decay=1e-3)
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in (w, b)]
    results, done = [], 0
    for window in range(WINDOWS):
        # The window once more as a differentiable function of alpha.
        phi, traced = [w.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()], moments
        for batch in INNER_BATCHES[window * STEPS : (window + 1) * STEPS]:
            inner.param_groups[0]["lr"] = lr = 0.1 / (1 + done)
            inner.zero_grad()
            weights = torch.nn.functional.softplus(alpha.detach())
            (weights * _errors(w, b, batch)).mean().backward()
            inner.step()

            loss = (torch.nn.functional.softplus(alpha) * _errors(*phi, batch)).mean()  # type: ignore[call-arg]
            done += 1
            after, new = [], []
            for p, g, (m, v) in zip(phi, torch.autograd.grad(loss, phi, create_graph=True), traced):
                m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
                root = torch.sqrt(v / (1 - 0.99**done)) + EPS
                after.append(p - lr * (m / (1 - 0.9**done) / root + DECAY * p))
                new.append((m, v))
            phi, traced = after, new
        moments = [(m.detach(), v.detach()) for m, v in traced]
        meta = _errors(*phi, OUTER_BATCHES[window]).sum()  # type: ignore[call-arg]
        (alpha.grad,) = torch.autograd.grad(meta, alpha)
        upper.step()
        results.append((w.detach().clone(), b.detach().clone(), alpha.detach().clone()))
    return results


def test_the_loop_is_inner_adamw_steps_then_one_upper_step() -> None:
    state = _start()
    windows = _run(_trainer(), state, windows=WINDOWS)
    for number, (w, b, alpha) in enumerate(_by_hand(), start=1):
        window = next(windows)
        torch.testing.assert_close(state.params["w"], w, **ROUNDING)
        torch.testing.assert_close(state.params["b"], b, **ROUNDING)
        torch.testing.assert_close(state.alpha["raw"], alpha, **ROUNDING)
        # Both optimizers count on: neither starts afresh with a window.
        assert (state.inner.step, state.upper.step) == (STEPS * number, number)
        assert window.inner_losses.shape == (STEPS,)
    assert next(windows, None) is None


def test_losses_are_those_before_each_step_and_after_the_window() -> None:
    state = _start()
    first = _problem().inner_loss(state.params, state.alpha, INNER_BATCHES[0])
    (window,) = _run(_trainer(upper=None), state, windows=1)
    torch.testing.assert_close(window.inner_losses[0], first, **ROUNDING)
    torch.testing.assert_close(window.outer_loss, _outer(state.params, {}, OUTER_BATCHES[0]), **ROUNDING)


def test_without_an_upper_optimizer_alpha_stays() -> None:
    state = _start()
    before = state.alpha["raw"].clone()
    list(_run(_trainer(upper=None), state, windows=2))
    assert torch.equal(state.alpha["raw"], before)
    assert (state.inner.step, state.upper.step) == (2 * STEPS, 0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_loop_left_between_windows_goes_on_bit_for_bit(estimator: str) -> None:
    whole = _start()
    list(_run(_trainer(estimator), whole, windows=WINDOWS))

    parted = _start()
    windows = _run(_trainer(estimator), parted, windows=WINDOWS)
    next(windows), next(windows)
    windows.close()  # type: ignore[attr-defined]
    # What a checkpoint would hold: other tensors with the same numbers.
    parted = copy.deepcopy(parted)
    list(_run(_trainer(estimator), parted, windows=WINDOWS - 2, first=2))

    for name in ("w", "b"):
        assert torch.equal(parted.params[name], whole.params[name])
        assert torch.equal(parted.inner.moments["exp_avg"][name], whole.inner.moments["exp_avg"][name])
        assert torch.equal(parted.inner.moments["exp_avg_sq"][name], whole.inner.moments["exp_avg_sq"][name])
    assert torch.equal(parted.alpha["raw"], whole.alpha["raw"])
    assert torch.equal(parted.upper.exp_avg["raw"], whole.upper.exp_avg["raw"])
    assert (parted.inner.step, parted.upper.step) == (whole.inner.step, whole.upper.step)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_loop_works_with_every_estimator(estimator: str) -> None:
    reference, state = _start(), _start()
    list(_run(_trainer("unrolled"), reference, windows=1))
    start = state.alpha["raw"].clone()
    upper = AdamW(lr=0.05, weight_decay=0.0)
    (window,) = _run(_trainer(estimator, upper=upper), state, windows=1)
    # The window is the training itself: what the estimator does cannot change where it leads.
    torch.testing.assert_close(state.params, reference.params, **ROUNDING)
    moved = state.alpha["raw"] - start
    # AdamW's first step is lr in each coordinate, against the gradient's sign, but for eps.
    grad = window.alpha_grad["raw"]
    torch.testing.assert_close(moved, -0.05 * grad / (grad.abs() + upper.eps), rtol=1e-6, atol=1e-12)
    assert bool(window.alpha_grad["raw"].any()) == (estimator != "none")


def test_batches_are_moved_to_the_device_and_taken_one_window_at_a_time() -> None:
    moved: list[Tensor] = []

    def to_device(batch: Tensor) -> Tensor:
        moved.append(batch)
        return batch

    inner = iter(itertools.chain(INNER_BATCHES, INNER_BATCHES))
    windows = _trainer(to_device=to_device).run(
        _start(), inner_batches=inner, outer_batches=iter(OUTER_BATCHES), windows=2
    )
    next(windows)
    wanted = [*INNER_BATCHES[:STEPS], OUTER_BATCHES[0]]
    assert len(moved) == len(wanted) and all(a is b for a, b in zip(moved, wanted))
    # A checkpoint taken here must find the next window's batches still to come.
    assert next(inner) is INNER_BATCHES[STEPS]


@pytest.mark.parametrize("inner_steps", [0, -1])
def test_fewer_than_one_inner_step_is_refused(inner_steps: int) -> None:
    with pytest.raises(ValueError, match=rf"inner_steps \(T\) must be >= 1, got {inner_steps}"):
        _trainer(inner_steps=inner_steps)


@pytest.mark.parametrize("estimator", ["first_order", "unrolled"])
def test_an_audited_loop_is_the_loop(estimator: str) -> None:
    """Every second window is compared with the exact gradient of that very window; nothing else differs."""
    plain, audited = _start(), _start()
    windows = list(_run(_trainer(estimator), plain, windows=WINDOWS))
    exact = []
    audit = Audit(every=2, exact=build_estimator("unrolled"))
    for window in _run(_trainer(estimator, audit=audit), audited, windows=WINDOWS):
        exact.append(window.stats.pop("audit", None))
        assert torch.equal(window.alpha_grad["raw"], windows[len(exact) - 1].alpha_grad["raw"])
    for left, right in (
        (plain.params, audited.params),
        (plain.alpha, audited.alpha),
        (plain.inner.moments["exp_avg_sq"], audited.inner.moments["exp_avg_sq"]),
    ):
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert [result is not None for result in exact] == [False, True, False, True]
    state = _start()
    next(_run(_trainer(estimator), state, windows=1))
    (second,) = _run(_trainer("unrolled"), state, windows=1, first=1)
    assert exact[1] is not None
    assert (exact[1].cosine, exact[1].norm_ratio) == agreement(windows[1].alpha_grad, second.alpha_grad)


def test_a_window_without_a_gradient_leaves_alpha_as_it_was() -> None:
    state = _start()
    before = state.alpha["raw"].clone()
    trainer = _trainer(estimator=build_estimator("neumann", step=50.0))  # far above 2 / |H|
    (window,) = _run(trainer, state, windows=1)
    assert window.status is Status.diverged and bool(window.alpha_grad["raw"].isnan().all())
    assert torch.equal(state.alpha["raw"], before)
    assert state.upper.step == 0 and state.inner.step == STEPS
