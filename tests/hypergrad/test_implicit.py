"""The implicit gradient on inner problems that are solved, against closed forms and re-solving."""

import copy
import math

import pytest
import torch
from bilevel_problems import PROBLEMS, Case, domains_mixed, logistic, unused_rows
from oracles import central_differences, relative_error

from dreamprm.hypergrad import AdamW, BilevelProblem, Status, build_estimator
from dreamprm.hypergrad.implicit import adamw_preconditioner

# lr=0: the window's one step stays at the minimiser, its second moments are those of the minimiser's state
STAY = AdamW(lr=0.0)
CG = {"damping": 0.0, "tolerance": 1e-12}


def _draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Ridge:
    """Inner: a weighted mean of squared errors with a penalty, minimal at w*(alpha) in closed form."""

    def __init__(self, *, structured):
        self.x, self.y, self.z, self.u = _draw(0, 9, 4), _draw(1, 9), _draw(2, 7, 4), _draw(3, 7)
        self.structured = structured
        alpha = {"weights": _draw(4, 9), "penalty": torch.tensor(-1.0, dtype=torch.float64)}
        if structured:  # alpha reaches the inner loss through the weights alone
            problem = BilevelProblem(
                outer_loss=self.outer,
                inner_losses=self.losses,
                weights=lambda a, batch, _: self.weights(a),
                unweighted_loss=lambda p, batch: 0.3 * p["w"].square().sum(),
            )
        else:
            problem = BilevelProblem(
                lambda p, a, batch: (
                    (self.weights(a) * self.losses(p, batch)).mean()
                    + a["penalty"].exp() * p["w"].square().sum()
                ),
                self.outer,
            )
        # steps with lr=0 from a gradient that is not yet 0 fill the second moments
        self.case = Case(problem, {"w": _draw(5, 4)}, alpha, [None] * 5, None, optimizer=STAY)
        self.case.params = {"w": self.minimiser(alpha)}

    def losses(self, params, batch):
        return (self.x @ params["w"] - self.y).square()

    def weights(self, alpha):
        return torch.nn.functional.softplus(alpha["weights"])

    def outer(self, params, alpha, batch):
        return (self.z @ params["w"] - self.u).square().mean() + 0.1 * alpha["penalty"].square()

    def hessian(self, alpha):
        penalty = 0.3 if self.structured else alpha["penalty"].exp()
        return 2 * (self.x.T * self.weights(alpha) / 9) @ self.x + 2 * penalty * torch.eye(4).double()

    def minimiser(self, alpha):
        return torch.linalg.solve(self.hessian(alpha), 2 * self.x.T @ (self.weights(alpha) * self.y) / 9)

    def exact(self):
        """Autograd through the closed form of the minimiser."""
        alpha = {name: a.clone().requires_grad_() for name, a in self.case.alpha.items()}
        loss = self.outer({"w": self.minimiser(alpha)}, alpha, None)
        return dict(zip(alpha, torch.autograd.grad(loss, list(alpha.values()), materialize_grads=True)))

    def gradient(self, name, **settings):
        window = self.case.run(build_estimator(name, **settings), steps=1)
        assert window.status is Status.ok
        return window


forms = pytest.mark.parametrize("structured", [False, True], ids=["plain", "structured"])


@pytest.mark.parametrize(
    "derivative, tolerance",
    [
        ("double_backward", 1e-8),
        ("forward_mode", 1e-8),
        # the gradient is linear in w: a central difference has no truncation, only rounding 1e-16 / 1e-4
        ("central_difference", 1e-8),
        # one-sided and linear too: rounding 1e-16 / 1e-7
        ("forward_difference", 1e-6),
    ],
)
@pytest.mark.parametrize("batches", ["last", "all"])
@forms
def test_cg_is_the_exact_implicit_gradient(structured, batches, derivative, tolerance):
    ridge = Ridge(structured=structured)
    settings = {**CG, "tolerance": 1e-6 if derivative == "forward_difference" else 1e-10}
    window = ridge.gradient("cg", derivative=derivative, batches=batches, **settings)
    assert relative_error(window.alpha_grad, ridge.exact()) < tolerance
    assert window.stats["iterations"] <= 5 and window.stats["residual"] <= settings["tolerance"]


def test_damping_is_added_to_the_hessian():
    ridge = Ridge(structured=False)
    got = ridge.gradient("cg", damping=0.5, tolerance=1e-12, max_residual=None).alpha_grad["penalty"]
    w = ridge.case.params["w"]
    v = 2 * ridge.z.T @ (ridge.z @ w - ridge.u) / 7
    solution = torch.linalg.solve(ridge.hessian(ridge.case.alpha) + 0.5 * torch.eye(4).double(), v)
    want = 0.2 * ridge.case.alpha["penalty"] - 2 * ridge.case.alpha["penalty"].exp() * w @ solution
    torch.testing.assert_close(got, want, rtol=1e-10, atol=0)


@pytest.mark.parametrize("terms", [1, 5, 15])
@pytest.mark.parametrize("preconditioner", [None, "adamw"])
@forms
def test_the_neumann_error_is_what_theory_says(structured, preconditioner, terms):
    """x - H^-1 b = -(I - step P H)^terms H^-1 b, and alpha_grad is linear in x."""
    ridge = Ridge(structured=structured)
    alpha, w = ridge.case.alpha, ridge.case.params["w"]
    hessian, p = ridge.hessian(alpha), torch.eye(4).double()
    if preconditioner:
        state = ridge.case.run(build_estimator("none"), steps=1).state
        # c2 after three warm steps and the window's one
        p = torch.diag(1 / ((state.moments["exp_avg_sq"]["w"] / (1 - 0.999**4)).sqrt() + 1e-8))
        torch.testing.assert_close(adamw_preconditioner(STAY, state)["w"], p.diag())
    step = 1.5 / float(torch.linalg.eigvals(p @ hessian).real.max())
    rest = torch.linalg.matrix_power(torch.eye(4).double() - step * p @ hessian, terms) @ torch.linalg.solve(
        hessian, 2 * ridge.z.T @ (ridge.z @ w - ridge.u) / 7
    )
    variables = {name: a.clone().requires_grad_() for name, a in alpha.items()}
    at = w.clone().requires_grad_()
    grad = torch.autograd.grad(
        ridge.case.problem.inner_loss({"w": at}, variables, None), at, create_graph=True
    )[0]
    theory = torch.autograd.grad(rest @ grad, list(variables.values()), materialize_grads=True)
    settings = {"terms": terms, "step": step, "max_residual": None}
    estimator = build_estimator("neumann", preconditioner=preconditioner, **settings)
    window = ridge.case.run(estimator, steps=1)
    # a preconditioned term need not shrink |r|
    assert window.status is (Status.ok if window.stats["residual"] < 1 else Status.not_converged)
    assert window.status is Status.ok or (preconditioner and terms == 1)
    exact = ridge.exact()
    want = {name: exact[name] + error for name, error in zip(variables, theory)}
    assert relative_error(window.alpha_grad, want) < 1e-12
    assert relative_error(exact, want) > 1e-5  # there is an error to get right
    assert window.stats["iterations"] == terms


def _converged(case, *, batches):
    """The case at the minimiser of the mean inner loss over these batches, found by Newton's method."""

    def mean_loss(w, alpha):
        return torch.stack([case.problem.inner_loss({"w": w}, alpha, batch) for batch in batches]).mean()

    def minimiser(alpha):
        w = case.params["w"]
        for _ in range(30):
            w = w.detach().requires_grad_()
            grad = torch.autograd.grad(mean_loss(w, alpha), w)[0]
            hessian = torch.autograd.functional.hessian(lambda v: mean_loss(v, alpha), w)
            w = w - torch.linalg.solve(hessian, grad)
        assert grad.norm() < 1e-14
        return w.detach()

    solved = copy.copy(case)
    solved.params = {"w": minimiser(case.alpha)}
    oracle = central_differences(
        lambda alpha: case.problem.outer_loss({"w": minimiser(alpha)}, alpha, case.outer_batch), case.alpha
    )
    return solved, oracle


@pytest.mark.parametrize("derivative", ["double_backward", "forward_mode", "central_difference"])
@pytest.mark.parametrize("batches, steps", [("last", 1), ("last", 5), ("all", 1), ("all", 5)])
def test_logistic_regression_against_solving_it_again(batches, steps, derivative):
    case = logistic(optimizer=STAY)
    system = case.batches[:steps] if batches == "all" else case.batches[steps - 1 : steps]
    solved, want = _converged(case, batches=system)
    # central differences of a gradient: r^2/6 |L'''| / |L''| = 1e-9, and rounding 1e-16 / 1e-4
    tolerance = 1e-7 if derivative == "central_difference" else 1e-10
    window = solved.run(
        build_estimator("cg", damping=0.0, tolerance=tolerance, batches=batches, derivative=derivative),
        steps=steps,
    )
    assert window.status is Status.ok
    assert relative_error(window.alpha_grad, want) < 1e-7  # of the differences: 1e-10 of a loss, / 1e-3


def test_in_float32_by_differences():
    ridge = Ridge(structured=True)
    want = ridge.exact()["weights"]
    case = ridge.case
    single = Ridge(structured=True)
    for name in ("x", "y", "z", "u"):
        setattr(single, name, getattr(single, name).float())
    single.case.params = {"w": case.params["w"].float()}
    single.case.alpha = {name: a.float() for name, a in case.alpha.items()}
    single.case.state = single.case.optimizer.init(single.case.params)
    window = single.gradient("cg", damping=0.0, derivative="central_difference")
    # no truncation; rounding 1e-7 / radius 1e-2 = 1e-5 a product, condition some 10, the solver's 1e-3
    assert relative_error({"weights": window.alpha_grad["weights"].double()}, {"weights": want}) < 3e-3
    assert window.alpha_grad["weights"].dtype == torch.float32


def test_a_diverging_series_is_reported_and_gives_no_estimate():
    ridge = Ridge(structured=False)
    window = ridge.case.run(build_estimator("neumann", step=10.0, terms=20), steps=1)
    assert window.status is Status.diverged
    assert "lower step (now 10) below" in window.message
    assert all(torch.isnan(grad).all() for grad in window.alpha_grad.values())
    assert window.stats["residual"] > 1 and window.stats["iterations"] < 20
    plain = ridge.case.run(build_estimator("none"), steps=1)
    assert torch.equal(window.params["w"], plain.params["w"]) and torch.isfinite(window.outer_loss)
    with pytest.raises(ArithmeticError, match="the Neumann series diverges"):
        ridge.case.run(build_estimator("neumann", step=10.0, terms=20), steps=1, on_failure="raise")


def test_negative_curvature_is_reported_and_damping_mends_it():
    case = logistic()
    case.problem = BilevelProblem(
        lambda p, a, batch: (
            (torch.tensor([-0.5, 1.0, 2.0, 3.0]).double() * p["w"].square()).sum() / 2
            + a["penalty"] * p["w"].sum()
        ),
        lambda p, a, batch: p["w"].sum(),
    )
    window = case.run(build_estimator("cg", damping=0.0))
    assert window.status is Status.diverged and "raise damping (now 0) above" in window.message
    with pytest.raises(ArithmeticError, match="raise damping"):
        case.run(build_estimator("cg", damping=0.0), on_failure="raise")
    window = case.run(build_estimator("cg", damping=1.0, tolerance=1e-12))
    assert window.alpha_grad["penalty"].item() == pytest.approx(-(1 / 0.5 + 1 / 2 + 1 / 3 + 1 / 4))


def test_a_tolerance_not_reached_is_reported_with_the_best_estimate():
    ridge = Ridge(structured=False)
    cut = {"damping": 0.0, "tolerance": 1e-12, "max_iterations": 2}
    window = ridge.case.run(build_estimator("cg", **cut), steps=1)
    assert window.status is Status.not_converged and "not tolerance=1e-12" in window.message
    settings = {"damping": 0.0, "tolerance": window.stats["residual"] * 1.001}  # what two iterations reach
    reached = ridge.gradient("cg", **settings)
    assert reached.stats["iterations"] == 2
    assert torch.equal(window.alpha_grad["weights"], reached.alpha_grad["weights"])
    with pytest.raises(ArithmeticError, match="not tolerance=1e-12"):
        ridge.case.run(build_estimator("cg", **cut), steps=1, on_failure="raise")


@pytest.mark.parametrize("batches", ["last", "all"])
@pytest.mark.parametrize("name", ["neumann", "cg"])
def test_fused_attention_is_refused_with_advice(name, batches):
    case = logistic()

    def inner_loss(p, a, batch):
        q = p["w"].reshape(1, 1, 2, 2)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            out = torch.nn.functional.scaled_dot_product_attention(q, q, q)
        return (a["penalty"] * out).square().sum()

    case.problem = BilevelProblem(inner_loss, case.problem.outer_loss)
    with pytest.raises(NotImplementedError, match="^double_backward takes a derivative"):
        case.run(build_estimator(name, batches=batches))
    case.run(build_estimator(name, batches=batches, derivative="central_difference"))


@pytest.mark.parametrize("name", ["neumann", "cg"])
def test_an_outer_loss_without_params_leaves_the_direct_part(name):
    case = logistic()
    case.problem = BilevelProblem(case.problem.inner_loss, lambda p, a, batch: a["offset"].square().sum())
    window = case.run(build_estimator(name))
    assert window.status is Status.ok and window.stats["iterations"] == 0 and window.stats["residual"] == 0
    torch.testing.assert_close(window.alpha_grad["offset"], 2 * case.alpha["offset"], rtol=0, atol=0)
    assert window.alpha_grad["penalty"] == 0


@pytest.mark.parametrize("name", ["neumann", "cg"])
def test_a_window_that_failed_before_is_not_blamed_on_the_solver(name):
    case = logistic()
    inner = case.problem.inner_loss
    case.problem = BilevelProblem(
        lambda p, a, batch: inner(p, a, batch) * math.nan,
        lambda p, a, batch: p["w"].nan_to_num().square().sum() + 1 + p["w"].sum() * 0,
    )
    window = case.run(build_estimator(name))
    assert window.status is Status.nonfinite and "inner loss of the window's step 0 is nan" in window.message


@pytest.mark.parametrize("derivative", ["double_backward", "central_difference"])
def test_rows_that_no_inner_batch_uses_are_left_out_of_the_preconditioned_series(derivative):
    case = unused_rows()
    case.optimizer = AdamW(lr=1e-2, weight_decay=0.0)  # which would move those rows
    shared = {"preconditioner": "adamw", "step": 1e-3, "batches": "all", "max_residual": None}
    settings = {**shared, "derivative": derivative}
    window = case.run(build_estimator("neumann", **settings))
    rows = case.params["table"][:5]
    inner_losses = case.problem._inner_losses
    case.problem = BilevelProblem(  # the same without those rows
        outer_loss=lambda p, a, tokens: inner_losses(
            {**p, "table": torch.cat([p["table"], unused_rows().params["table"][5:]])}, tokens
        ).mean(),
        inner_losses=inner_losses,
        weights=case.problem._weights,
    )
    case.params = {**case.params, "table": rows}
    case.state = case.optimizer.init(case.params)
    want = case.run(build_estimator("neumann", **settings))
    assert window.status is want.status is Status.ok
    assert relative_error(window.alpha_grad, want.alpha_grad) < 1e-6
    assert window.stats["residual"] > want.stats["residual"]


@pytest.mark.parametrize(
    "settings",
    [
        {"derivative": "double_backward"},
        {"derivative": "double_backward", "batches": "all"},
        {"derivative": "forward_mode"},
        {"derivative": "central_difference", "batches": "all"},
        {"derivative": "forward_difference"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
@pytest.mark.parametrize("make", [logistic, domains_mixed], ids=["plain", "structured"])
def test_forward_passes_are_those_taken(make, settings):
    case, count = make(), []
    name = "_inner_losses" if case.problem.structured else "_inner_loss"
    function = getattr(case.problem, name)
    setattr(case.problem, name, lambda *args: (count.append(1), function(*args))[1])
    window = case.run(build_estimator("neumann", terms=3, step=1e-3, **settings))
    # a forward-mode pass carries values and tangents, and is counted as two: three products and the mixed one
    dual = 4 if settings["derivative"] == "forward_mode" else 0
    assert window.stats["forward"] == len(count) + 1 + dual  # and the outer loss
    if settings == {
        "derivative": "double_backward"
    }:  # 5 + 1 steps, the graph, twice through it for each product
        assert window.stats["backward"] == 6 + 1 + 2 * 4


@pytest.mark.parametrize("name", ["neumann", "cg"])
@pytest.mark.parametrize("make", PROBLEMS.values(), ids=list(PROBLEMS))
def test_the_window_is_that_of_plain_training(make, name):
    case = make()
    want, got = (
        case.run(build_estimator("none")),
        case.run(build_estimator(name, derivative="central_difference")),
    )
    donated = copy.deepcopy(case).run(build_estimator(name, derivative="central_difference"), donate=True)
    for key in case.params:
        assert torch.equal(got.params[key], want.params[key])
        assert torch.equal(got.state.exp_avg_sq[key], want.state.exp_avg_sq[key])
        assert torch.equal(donated.params[key], want.params[key])
    assert all(
        torch.equal(got.alpha_grad[key], donated.alpha_grad[key]) or got.status is Status.diverged
        for key in case.alpha
    )
    assert got.state.step == want.state.step and torch.equal(got.inner_losses, want.inner_losses)
