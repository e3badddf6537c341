"""Hypergradients worked out by hand."""

import pytest
import torch
from estimator_table import EXACT, ROWS

from dreamprm.hypergrad import AdamW, BilevelProblem

FIRST_ORDER = {label: row for label, row in ROWS.items() if row.name == "first_order"}
LAST_STEP = {"finite_difference-last_step": ROWS["finite_difference-last_step"]}


def rows(*tables):
    """Estimators that are exact on what a test works out."""
    chosen = {label: row for table in tables for label, row in table.items()}
    return pytest.mark.parametrize("row", chosen.values(), ids=list(chosen))


@rows(EXACT, FIRST_ORDER, LAST_STEP)
def test_ridge_regression_after_one_step(row):
    """L = |Xw - y|^2 / 2 + alpha |w|^2 / 2, outer |Zw' - u|^2 / 2 + alpha^2, cold state, T = 1.

    Cold and at the first step m'/c1 = g, v'/c2 = g^2, so w' = (1 - lr wd) w - lr g / (|g| + eps);
    dw'/dg = -lr eps / (|g| + eps)^2, dg/dalpha = w; d outer = Z^T (Zw' - u) . dw'/dg w + 2 alpha.
    """
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(8, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    y, u = (torch.randn(8, generator=generator, dtype=torch.float64) for _ in range(2))
    w = torch.randn(3, generator=generator, dtype=torch.float64)
    alpha = torch.tensor(0.7, dtype=torch.float64)
    lr, eps, decay = 0.1, 0.5, 0.2  # a large eps, so that the update feels the gradient's size
    optimizer = AdamW(lr=lr, eps=eps, weight_decay=decay)
    problem = BilevelProblem(
        lambda p, a, batch: (x @ p["w"] - y).square().sum() / 2 + a["l2"] * p["w"].square().sum() / 2,
        lambda p, a, batch: (z @ p["w"] - u).square().sum() / 2 + a["l2"].square(),
    )
    window = row.build().run_window(
        problem,
        optimizer,
        {"w": w},
        optimizer.init({"w": w}),
        {"l2": alpha},
        inner_batches=[None],
        outer_batch=None,
    )

    g = x.T @ (x @ w - y) + alpha * w
    new = (1 - lr * decay) * w - lr * g / (g.abs() + eps)
    want = (z.T @ (z @ new - u)) @ (-lr * eps / (g.abs() + eps) ** 2 * w) + 2 * alpha
    torch.testing.assert_close(window.params["w"], new, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(window.alpha_grad["l2"], want, rtol=row.tolerance, atol=0)
    torch.testing.assert_close(window.inner_losses[0], problem.inner_loss({"w": w}, {"l2": alpha}, None))


@rows(EXACT, FIRST_ORDER)
def test_two_steps_on_a_linear_loss(row):
    """L = alpha b_t w with b = (1, 3), no momentum (b1 = 0), cold state: phi_2 by hand, outer = w.

    g_t = alpha b_t; v'/c2 after two steps = (b2 + 9) alpha^2 / (1 + b2);
    w_2 = w_0 - lr alpha / (alpha + eps) - lr 3 alpha / (r alpha + eps) with r = sqrt((b2 + 9) / (1 + b2)).
    d/dalpha = -lr eps / (alpha + eps)^2 - lr 3 eps / (r alpha + eps)^2.
    """
    lr, eps, b2, alpha = 0.1, 0.5, 0.6, 0.7
    optimizer = AdamW(lr=lr, eps=eps, betas=(0.0, b2), weight_decay=0.0)
    w = torch.tensor([2.0], dtype=torch.float64)
    problem = BilevelProblem(
        lambda p, a, batch: a["a"] * batch * p["w"].sum(), lambda p, a, batch: p["w"].sum()
    )
    window = row.build().run_window(
        problem,
        optimizer,
        {"w": w},
        optimizer.init({"w": w}),
        {"a": torch.tensor(alpha, dtype=torch.float64)},
        inner_batches=[1.0, 3.0],
        outer_batch=None,
    )
    r = ((b2 + 9) / (1 + b2)) ** 0.5
    want = -lr * eps / (alpha + eps) ** 2 - lr * 3 * eps / (r * alpha + eps) ** 2
    assert window.alpha_grad["a"].item() == pytest.approx(want, rel=row.tolerance)
    assert window.params["w"].item() == pytest.approx(
        2.0 - lr * alpha / (alpha + eps) - lr * 3 * alpha / (r * alpha + eps), rel=1e-12
    )


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@rows(EXACT)
def test_ridge_regression_by_gradient_descent(row, steps):
    """With no momentum, eps = 1e12 and lr = eta 1e12, AdamW's step is w' = (1 - d) w - eta g to |g| / eps.

    L = |Xw - y|^2 / 2 + alpha |w|^2 / 2: w_T = M^T w_0 + eta sum_{k < T} M^k X^T y with
    M = (1 - d) I - eta (X^T X + alpha I). M commutes with dM/dalpha = -eta I, so
    dw_T/dalpha = -eta (T M^{T-1} w_0 + eta sum_{k < T} k M^{k-1} X^T y); outer loss |Zw - u|^2 / 2.
    """
    generator = torch.Generator().manual_seed(1)
    x, z = (torch.randn(8, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    y, u = (torch.randn(8, generator=generator, dtype=torch.float64) for _ in range(2))
    w = torch.randn(3, generator=generator, dtype=torch.float64)
    eta, eps, alpha, decay = 0.05, 1e12, 0.7, 0.01
    optimizer = AdamW(lr=eta * eps, eps=eps, betas=(0.0, 0.0), weight_decay=decay / (eta * eps))
    problem = BilevelProblem(
        lambda p, a, batch: (x @ p["w"] - y).square().sum() / 2 + a["l2"] * p["w"].square().sum() / 2,
        lambda p, a, batch: (z @ p["w"] - u).square().sum() / 2,
    )
    window = row.build().run_window(
        problem,
        optimizer,
        {"w": w},
        optimizer.init({"w": w}),
        {"l2": torch.tensor(alpha, dtype=torch.float64)},
        inner_batches=[None] * steps,
        outer_batch=None,
    )

    eye = torch.eye(3, dtype=torch.float64)
    m = (1 - decay) * eye - eta * (x.T @ x + alpha * eye)
    powers = [torch.linalg.matrix_power(m, k) for k in range(steps + 1)]
    new = powers[steps] @ w + eta * sum(powers[k] @ x.T @ y for k in range(steps))
    slope = -eta * (
        steps * powers[steps - 1] @ w + eta * sum(k * powers[k - 1] @ x.T @ y for k in range(1, steps))
    )
    # |g| / eps = 1e-11 for gradients of some 10
    torch.testing.assert_close(window.params["w"], new, rtol=1e-9, atol=0)
    assert window.alpha_grad["l2"].item() == pytest.approx(
        ((z @ new - u) @ z @ slope).item(), rel=max(row.tolerance, 1e-9)
    )
