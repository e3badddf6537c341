"""The first step from zero moments in float32: its pullback, its estimated error, and `eps_root`."""

import pytest
import torch
from bilevel_problems import PROBLEMS, Case
from oracles import relative_error, unrolled_gradient

from dreamprm.hypergrad import Adam, AdamW, BilevelProblem, Status, build_estimator


def _cold(scale: float, dtype: torch.dtype, *, exact_gradients: bool = False, eps_root: float = 0.0) -> Case:
    """A network of 2,050 weights whose inner loss has this scale; the same float32 numbers in every dtype."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    x, y, w1, w2 = draw(64, 40), draw(64), 0.2 * draw(40, 50), 0.2 * draw(50)
    model = torch.float64 if exact_gradients else dtype

    def losses(params: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        p = {name: one.to(model) for name, one in params.items()}
        errors = torch.tanh(x[rows].to(model) @ p["w1"]) @ p["w2"] - y[rows].to(model)
        return errors.square().mean(1) * scale

    optimizer = AdamW(lr=1e-3, eps_root=eps_root)
    params = {"w1": w1.to(dtype), "w2": w2.to(dtype)}
    return Case(
        BilevelProblem(
            outer_loss=lambda params, alpha, rows: losses(params, rows).mean() / scale,
            inner_losses=losses,
            weights=lambda alpha, rows, losses: alpha["raw"].to(model).softmax(0) * 2,
        ),
        params=params,
        alpha={"raw": torch.tensor([0.3, -0.2]).to(dtype)},
        batches=[torch.arange(16 * t, 16 * t + 16).reshape(2, 8) % 48 for t in range(20)],
        outer_batch=torch.arange(48, 64).reshape(2, 8),
        optimizer=optimizer,
        state=optimizer.init(params),
    )


def _error(case: Case, exact: Case, name: str, steps: int, **settings: str) -> tuple[float, float]:
    window = case.run(build_estimator(name, **settings), steps=steps)
    got = {key: grad.double() for key, grad in window.alpha_grad.items()}
    return relative_error(got, unrolled_gradient(exact, steps=steps)), window.stats["cold_start_error"]


@pytest.mark.parametrize(
    "name, settings",
    [
        ("adjoint", {}),
        ("first_order", {"derivative": "double_backward"}),
        ("forward_gradient", {"derivative": "double_backward"}),
    ],
)
def test_the_pullback_itself_loses_nothing_in_float32(name, settings):
    # in float32 its two terms cancel up to eps / |g| = 1e-5, and 1e-3 of the result was rounding
    case, exact = _cold(1.0, torch.float32, exact_gradients=True), _cold(1.0, torch.float64)
    assert _error(case, exact, name, 1, **settings)[0] < 1e-6


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize(
    "name, settings",
    [
        ("adjoint", {}),
        ("first_order", {"derivative": "double_backward"}),
        ("forward_gradient", {"derivative": "double_backward"}),
    ],
)
def test_the_error_of_rounded_gradients_is_estimated(name, settings, scale):
    case, exact = _cold(scale, torch.float32), _cold(scale, torch.float64)
    error, estimate = _error(case, exact, name, 1, **settings)
    assert estimate / 4 < error < 4 * estimate


def test_eps_root_makes_a_cold_start_well_conditioned():
    for scale in (1.0, 1e-3):
        root = (1e-2 * scale) ** 2
        case, exact = (_cold(scale, dtype, eps_root=root) for dtype in (torch.float32, torch.float64))
        error, estimate = _error(case, exact, "adjoint", 1)
        assert error < 1e-5 and estimate < 1e-5


def test_a_large_error_is_said():
    # one gradient is near eps, and below the rounding of the other
    optimizer = AdamW(lr=1e-3)
    params = {"w": torch.tensor([1.0, 1.0])}
    case = Case(
        BilevelProblem(
            lambda params, alpha, slopes: alpha["a"] * (params["w"] * slopes).sum(),
            lambda params, alpha, slopes: params["w"].sum(),
        ),
        params=params,
        alpha={"a": torch.tensor(1.0)},
        batches=[torch.tensor([1.0, 1e-8])],
        outer_batch=None,
        optimizer=optimizer,
        state=optimizer.init(params),
    )
    window = case.run(build_estimator("adjoint"), steps=1)
    assert window.stats["cold_start_error"] > 0.05
    assert window.status is Status.imprecise
    assert "eps_root" in window.message and "first step from zero moments" in window.message


def test_nothing_is_estimated_of_warm_windows_or_in_float64():
    for case in (PROBLEMS["domains_mixed"](), PROBLEMS["domains_mixed"](warm_steps=0)):
        for name in ("adjoint", "first_order"):
            assert "cold_start_error" not in case.run(build_estimator(name)).stats


@pytest.mark.parametrize("optimizer", [AdamW(lr=1e-2, eps_root=1e-3), Adam(lr=1e-2, eps_root=1e-3)])
@pytest.mark.parametrize("name", ["mlp_plain", "domain_single", "domains_mixed_with_rest"])
def test_every_estimator_differentiates_through_eps_root(name, optimizer):
    for warm_steps in (0, 3):
        case = PROBLEMS[name](optimizer=optimizer, warm_steps=warm_steps)
        plain = PROBLEMS[name](
            optimizer=type(optimizer)(lr=1e-2, weight_decay=optimizer.weight_decay), warm_steps=warm_steps
        )
        want = unrolled_gradient(case)
        assert relative_error(case.run(build_estimator("adjoint")).alpha_grad, want) < 1e-10
        assert relative_error(want, unrolled_gradient(plain)) > 1e-3


@pytest.mark.parametrize("kind", [AdamW, Adam])
def test_eps_root_out_of_range(kind):
    with pytest.raises(ValueError, match="eps_root must be a finite number >= 0, got -1.0; use 0"):
        kind(eps_root=-1.0)
