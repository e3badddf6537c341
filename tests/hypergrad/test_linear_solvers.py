"""The solvers on matrices that can be inverted: solutions, rates, and what they report when they fail."""

import math
import re

import pytest
import torch

from dreamprm.hypergrad import ConjugateGradient, NeumannSeries, Status


def _matrix(eigenvalues, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T


def _vector(size, *, seed=1):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _solve(solver, matrix, rhs, *, scale=None):
    """On two tensors, so that sums over tensors are tested; returns the joined solution too."""

    def split(joined):
        return {"a": joined[:2], "b": joined[2:].reshape(-1, 1)}

    def join(parts):
        return torch.cat([parts["a"], parts["b"].flatten()])

    def preconditioner():
        assert scale is not None, "made though not asked for"
        return split(scale)

    solution = solver.solve(lambda v: split(matrix @ join(v)), split(rhs), preconditioner=preconditioner)
    return solution, join(solution.value)


WELL = [0.5, 1.0, 2.0, 3.0, 5.0]


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_conjugate_gradients_invert_in_as_many_iterations_as_there_are_curvatures(damping):
    matrix, rhs = _matrix(WELL), _vector(5)
    solver = ConjugateGradient(damping=damping, tolerance=1e-12, max_residual=None)
    solution, x = _solve(solver, matrix, rhs)
    want = torch.linalg.solve(matrix + damping * torch.eye(5, dtype=torch.float64), rhs)
    torch.testing.assert_close(x, want, rtol=1e-10, atol=0)
    assert (solution.status, solution.message, solution.iterations) == (Status.ok, "", 5)
    assert solution.damped_residual < 1e-12
    assert solution.residual == pytest.approx(float((rhs - matrix @ x).norm() / rhs.norm()), abs=1e-12)


@pytest.mark.parametrize("damping", [0.1, 1.0, 100.0])
def test_conjugate_gradients_answer_the_undamped_system_or_say_that_they_do_not(damping):
    """Curvatures far below the damping: x is off by damping / (curvature + damping)."""
    matrix, rhs = 0.01 * _matrix(WELL), _vector(5)
    solution, x = _solve(ConjugateGradient(damping=damping), matrix, rhs)
    exact = torch.linalg.solve(matrix, rhs)
    assert float((x - exact).norm() / exact.norm()) > 0.8
    assert solution.status is Status.not_converged and solution.damped_residual < 1e-3
    assert solution.residual == pytest.approx(float((rhs - matrix @ x).norm() / rhs.norm()))
    assert re.search(
        rf"of the undamped system is {solution.residual:.3g} \(that of the damped one is [\d.e-]+\), above "
        rf"max_residual=0.1: lower damping \(now {damping:g}\), .* max_residual=null",
        solution.message,
    )
    accepted = _solve(ConjugateGradient(damping=damping, max_residual=None), matrix, rhs)
    assert accepted[0].status is Status.ok and torch.equal(accepted[1], x)


@pytest.mark.parametrize("damping", [1e-4, 1e-3])
def test_conjugate_gradients_with_little_damping_are_ok(damping):
    matrix, rhs = 0.01 * _matrix(WELL), _vector(5)
    solution, x = _solve(ConjugateGradient(damping=damping, max_residual=0.2), matrix, rhs)
    assert solution.status is Status.ok and solution.message == ""
    assert solution.residual == pytest.approx(float((rhs - matrix @ x).norm() / rhs.norm()))


def test_conjugate_gradients_cut_short_report_both_residuals():
    matrix, rhs = _matrix([1.0, 2.0, 4.0, 8.0, 16.0]), _vector(5)
    solution, x = _solve(ConjugateGradient(damping=0.5, tolerance=1e-8, max_iterations=3), matrix, rhs)
    damped = matrix + 0.5 * torch.eye(5, dtype=torch.float64)
    assert solution.status is Status.not_converged
    assert solution.damped_residual == pytest.approx(float((rhs - damped @ x).norm() / rhs.norm()))
    assert solution.residual == pytest.approx(float((rhs - matrix @ x).norm() / rhs.norm()))
    assert f"the residual of the undamped system is {solution.residual:.3g}" in solution.message


@pytest.mark.parametrize("terms, step", [(10, 0.1), (3, 0.3), (1, 0.01)])
def test_a_neumann_series_cut_short_is_not_ok_unless_that_is_accepted(terms, step):
    matrix, rhs = 0.05 * _matrix(WELL), _vector(5)
    solution, x = _solve(NeumannSeries(terms=terms, step=step), matrix, rhs)
    assert solution.status is Status.not_converged and 0.8 < solution.residual < 1
    assert f"above max_residual=0.1: raise terms (now {terms}) or step (now {step:g}" in solution.message
    for limit in (None, 0.9999):
        accepted, same = _solve(NeumannSeries(terms=terms, step=step, max_residual=limit), matrix, rhs)
        assert accepted.status is Status.ok and torch.equal(same, x)


def test_conjugate_gradients_stop_at_the_tolerance():
    matrix, rhs = _matrix([1.0, 1.1, 1.2, 1.3, 1.4, 50.0]), _vector(6)
    solution, x = _solve(ConjugateGradient(damping=0.0, tolerance=1e-2), matrix, rhs)
    assert solution.status is Status.ok and solution.iterations < 6
    assert solution.residual == pytest.approx(float((rhs - matrix @ x).norm() / rhs.norm()))
    assert 1e-12 < solution.residual < 1e-2


def test_conjugate_gradients_short_of_the_tolerance_return_the_best_iterate():
    matrix, rhs = _matrix([1.0, 2.0, 4.0, 8.0, 16.0]), _vector(5)
    solver = ConjugateGradient(damping=0.0, tolerance=1e-8, max_iterations=1)
    solution, x = _solve(solver, matrix, rhs)
    first = rhs @ rhs / (rhs @ matrix @ rhs) * rhs  # the first iterate, by hand
    relative = float((rhs - matrix @ first).norm() / rhs.norm())
    assert relative < 1
    assert solution.status is Status.not_converged
    torch.testing.assert_close(x, first, rtol=1e-12, atol=0)
    assert solution.residual == pytest.approx(relative)
    assert re.search(
        r"reached a relative residual of 0\.\d+ in max_iterations=1, not tolerance=1e-08; "
        r"raise max_iterations, damping \(now 0\)",
        solution.message,
    )


def test_an_iterate_worse_than_none_is_not_the_best():
    # r1 = b - (b.b / b.Ab) A b is 5 times b here: curvatures 0.01 and 1, b mostly along the first
    matrix = torch.diag(torch.tensor([0.01, 1.0, 1.0], dtype=torch.float64))
    rhs = torch.tensor([1.0, 0.1, 0.0], dtype=torch.float64)
    first = rhs - rhs @ rhs / (rhs @ matrix @ rhs) * matrix @ rhs
    assert first.norm() > rhs.norm()
    solution, x = _solve(ConjugateGradient(damping=0.0, tolerance=1e-8, max_iterations=1), matrix, rhs)
    assert solution.status is Status.not_converged and solution.residual == 1.0
    assert torch.equal(x, torch.zeros(3, dtype=torch.float64))


def test_conjugate_gradients_report_negative_curvature_and_the_damping_that_mends_it():
    matrix, rhs = _matrix([-0.7, 1.0, 2.0, 3.0, 5.0]), _vector(5)
    solution, _ = _solve(ConjugateGradient(damping=0.1, tolerance=1e-10), matrix, rhs)
    assert solution.status is Status.diverged
    found = re.search(
        r"has curvature (-[\d.]+) in iteration \d; raise damping \(now 0.1\) above "
        r"([\d.]+), or train",
        solution.message,
    )
    assert found and -0.7 <= float(found[1]) <= -0.1 and float(found[2]) == -float(found[1])
    damped = ConjugateGradient(
        damping=0.71, tolerance=1e-10, max_residual=None
    )  # above 0.7: positive definite
    assert _solve(damped, matrix, rhs)[0].status is Status.ok


def test_conjugate_gradients_report_products_that_are_not_finite():
    solution, _ = _solve(ConjugateGradient(), _matrix(WELL) * math.nan, _vector(5))
    assert solution.status is Status.diverged and "not finite in iteration 1" in solution.message


def _scale():
    return torch.tensor([2.0, 0.5, 1.0, 0.2, 0.7], dtype=torch.float64)


@pytest.mark.parametrize("scale", [None, _scale()], ids=["plain", "preconditioned"])
@pytest.mark.parametrize("terms", [1, 2, 7])
def test_the_neumann_series_is_the_sum_of_its_terms(terms, scale):
    matrix, rhs, step = _matrix(WELL), _vector(5), 0.2
    preconditioner = None if scale is None else "adamw"
    solver = NeumannSeries(terms=terms, step=step, preconditioner=preconditioner, max_residual=None)
    solution, x = _solve(solver, matrix, rhs, scale=scale)
    p = torch.eye(5, dtype=torch.float64) if scale is None else torch.diag(scale)
    shrink = torch.eye(5, dtype=torch.float64) - step * p @ matrix
    want = step * sum(torch.linalg.matrix_power(shrink, j) for j in range(terms)) @ p @ rhs
    torch.testing.assert_close(x, want, rtol=1e-12, atol=1e-14)
    assert solution.residual == pytest.approx(float((rhs - matrix @ x).norm() / rhs.norm()))
    # one preconditioned term shrinks <r, P r>, but not |r|
    want = Status.ok if solution.residual < 1 else Status.not_converged
    assert (solution.status, solution.iterations) == (want, terms)
    assert (want is Status.not_converged) == (scale is not None and terms == 1) == bool(solution.message)


@pytest.mark.parametrize("scale", [None, _scale()], ids=["plain", "preconditioned"])
def test_the_neumann_error_falls_by_the_spectral_radius(scale):
    matrix, rhs, step = _matrix(WELL), _vector(5), 0.3
    p = torch.eye(5, dtype=torch.float64) if scale is None else torch.diag(scale)
    radius = torch.linalg.eigvals(torch.eye(5, dtype=torch.float64) - step * p @ matrix).abs().max()
    exact = torch.linalg.solve(matrix, rhs)
    errors = []
    for terms in (40, 41, 80):
        solver = NeumannSeries(terms=terms, step=step, preconditioner=None if scale is None else "adamw")
        errors.append((_solve(solver, matrix, rhs, scale=scale)[1] - exact).norm())
    # after 40 terms the other eigenvectors' parts are below (second / first)^40 of the leading one's
    assert float(errors[1] / errors[0]) == pytest.approx(float(radius), rel=1e-3)
    assert float(errors[2] / errors[0]) == pytest.approx(float(radius) ** 40, rel=1e-2)


@pytest.mark.parametrize("scale", [None, _scale()], ids=["plain", "preconditioned"])
@pytest.mark.parametrize("step", [0.6, 3.0, 1e200])
def test_a_neumann_step_too_large_is_reported_with_a_bound(step, scale):
    matrix, rhs = _matrix(WELL), _vector(5)
    p = torch.eye(5, dtype=torch.float64) if scale is None else torch.diag(scale)
    largest = float(torch.linalg.eigvals(p @ matrix).real.max())
    assert step > 2 / largest
    solver = NeumannSeries(terms=200, step=step, preconditioner=None if scale is None else "adamw")
    solution, _ = _solve(solver, matrix, rhs, scale=scale)
    assert solution.status is Status.diverged and solution.iterations < 200
    if step == 1e200:
        assert "a product was not finite" in solution.message
        return
    found = re.search(
        r"after (\d+) terms its residual is ([\d.e+]+) of the start's; lower step \(now .*\) "
        r"below ([\d.]+)$",
        solution.message,
    )
    assert found and int(found[1]) == solution.iterations
    # the curvature seen is a mean, so the bound never asks too much; three digits are printed
    assert 2 / largest * 0.999 < float(found[3]) < step


def test_a_neumann_step_just_inside_the_bound_converges():
    matrix, rhs = _matrix(WELL), _vector(5)
    solution, _ = _solve(NeumannSeries(terms=200, step=0.399), matrix, rhs)
    assert solution.status is Status.ok
    # the largest curvature's part falls slowest, by |1 - 5 * 0.399| a term
    largest = torch.linalg.eigh(matrix)[1][:, -1]
    assert solution.residual == pytest.approx(0.995**200 * float((largest @ rhs).abs() / rhs.norm()))


def test_the_neumann_series_reports_negative_curvature():
    matrix, rhs = _matrix([-0.7, 1.0, 2.0, 3.0, 5.0]), _vector(5)
    solution, _ = _solve(NeumannSeries(terms=100, step=0.2), matrix, rhs)
    assert solution.status is Status.diverged
    assert "curves downwards here, where no step converges" in solution.message


@pytest.mark.parametrize("curvature", [-0.05, -0.5])
def test_the_neumann_series_reports_curvature_too_small_to_grow_the_residual(curvature):
    # x would be +1.02 for -0.05, the true one -20; the residual has grown by 1.05 alone
    matrix = curvature * torch.eye(3, dtype=torch.float64)
    solution, _ = _solve(NeumannSeries(), matrix, torch.ones(3, dtype=torch.float64))
    assert (solution.status, solution.iterations) == (Status.diverged, 1)
    assert f"met negative curvature, {curvature:.3g}: the inner loss curves downwards" in solution.message
    assert "use conjugate gradients with damping (solver=cg), or train" in solution.message


@pytest.mark.parametrize(
    "curvature, step",
    [
        (-1e-4, 0.1),  # what rounding could be
        (0.0, 0.1),
        (2.0002, 1.0),
    ],
)
def test_a_neumann_residual_that_has_not_fallen_is_not_ok(curvature, step):
    matrix = curvature * torch.eye(3, dtype=torch.float64)
    solution, _ = _solve(NeumannSeries(step=step), matrix, torch.ones(3, dtype=torch.float64))
    assert (solution.status, solution.iterations) == (Status.not_converged, 10)
    assert 1 <= solution.residual < 1.1
    assert f"change step (now {step:g}; below 2 / curvature), raise terms" in solution.message


def test_conjugate_gradients_report_the_residual_reached_not_that_of_their_recursion():
    # condition 1e3: the product rounds by 1e-7 * 1e3 of x, so float32 has no residual of 1e-7
    basis, _ = torch.linalg.qr(_vector(900).reshape(30, 30))
    matrix = (basis @ torch.diag(torch.logspace(-3, 0, 30, dtype=torch.float64)) @ basis.T).float()
    rhs = _vector(30).float()
    solver = ConjugateGradient(damping=0.0, tolerance=1e-7, max_iterations=500)
    solution, x = _solve(solver, matrix, rhs)
    true = float((rhs.double() - matrix.double() @ x.double()).norm() / rhs.double().norm())
    assert solution.status is Status.not_converged and solution.iterations < 500
    # rounding of the confirming product itself: 30 terms of 6e-8, times |x| / |b| up to 1e3
    assert solution.residual == pytest.approx(true, rel=0.5) and 1e-6 < true < 1e-3
    assert re.search(r"stay at a relative residual of .*, not tolerance=1e-07: .*raise tol", solution.message)
    assert (
        _solve(ConjugateGradient(damping=0.0, tolerance=1e-3, max_iterations=500), matrix, rhs)[0].status
        is Status.ok
    )


def test_conjugate_gradients_start_again_where_the_confirmed_residual_is_above_the_tolerance():
    matrix, rhs, count = _matrix(WELL), _vector(5), []

    def product(v):  # the first five are off, as one-sided differences may be
        count.append(1)
        return {"a": matrix @ v["a"] * (1.01 if len(count) <= 5 else 1.0)}

    solution = ConjugateGradient(damping=0.0, tolerance=1e-10).solve(product, {"a": rhs}, preconditioner=dict)
    assert solution.status is Status.ok and solution.residual < 1e-10
    torch.testing.assert_close(solution.value["a"], torch.linalg.solve(matrix, rhs), rtol=1e-8, atol=0)
    assert len(count) == solution.iterations + 2  # two confirming products


def test_conjugate_gradients_without_damping_report_a_direction_without_curvature():
    matrix = torch.zeros(3, 3, dtype=torch.float64)
    solution, _ = _solve(ConjugateGradient(damping=0.0), matrix, torch.ones(3, dtype=torch.float64))
    assert solution.status is Status.diverged
    assert "has curvature 0 in iteration 1; raise damping (now 0) above 0, or train" in solution.message


@pytest.mark.parametrize("size", [1e-24, 1e-22])  # squared in float32: 0, and a number short of digits
@pytest.mark.parametrize("solver", [NeumannSeries(), ConjugateGradient(damping=0.0)])
def test_a_right_side_whose_square_vanishes_divides_nothing_by_zero(solver, size):
    rhs = {"a": torch.tensor([size])}
    solution = solver.solve(lambda v: {"a": v["a"] * 1e-3}, rhs, preconditioner=lambda: rhs)
    if size == 1e-24:
        assert (solution.status, solution.iterations, solution.residual) == (Status.ok, 0, 0.0)
        assert torch.equal(solution.value["a"], torch.zeros(1))
    assert math.isfinite(solution.residual)


def test_entries_with_scale_zero_stay_out_of_the_neumann_series():
    matrix = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))  # the last one is not in use
    scale = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    rhs = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)
    solver = NeumannSeries(terms=100, step=0.5, preconditioner="adamw", max_residual=None)
    solution, x = _solve(solver, matrix, rhs, scale=scale)
    torch.testing.assert_close(x, torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64), rtol=1e-12, atol=0)
    assert solution.status is Status.ok
    assert solution.residual == pytest.approx(3 / math.sqrt(11))


@pytest.mark.parametrize("solver", [NeumannSeries(), ConjugateGradient(damping=0.0)])
def test_a_zero_right_side_takes_no_product(solver):
    solution, x = _solve(solver, _matrix(WELL) * math.nan, torch.zeros(5, dtype=torch.float64))
    assert torch.equal(x, torch.zeros(5, dtype=torch.float64))
    assert (solution.status, solution.iterations, solution.residual) == (Status.ok, 0, 0.0)


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        (NeumannSeries, {"terms": 0}, "terms must be >= 1, got 0"),
        (NeumannSeries, {"terms": 2.5}, "terms must be a whole number >= 1, got 2.5"),
        (NeumannSeries, {"step": 0.0}, "step must be > 0, got 0.0"),
        (NeumannSeries, {"step": math.inf}, "step must be finite and > 0, got inf"),
        (
            NeumannSeries,
            {"preconditioner": "adam"},
            "preconditioner must be one of adamw or None, got 'adam'",
        ),
        (ConjugateGradient, {"damping": -0.1}, "damping must be >= 0, got -0.1; use 0 to disable it"),
        (ConjugateGradient, {"damping": math.inf}, "damping must be finite and >= 0, got inf"),
        (
            ConjugateGradient,
            {"tolerance": 0.0},
            r"tolerance must be > 0 and < 1, got 0.0; .* set one in \(0, 1\)",
        ),
        (
            ConjugateGradient,
            {"tolerance": 1.0},
            r"tolerance must be > 0 and < 1, got 1.0; it is relative to \|b\|",
        ),
        (ConjugateGradient, {"damping": "high"}, "damping must be a number >= 0, got 'high'"),
        (ConjugateGradient, {"tolerance": None}, "tolerance must be a number > 0 and < 1, got None"),
        (ConjugateGradient, {"max_iterations": True}, "max_iterations must be a whole number >= 1, got True"),
        (NeumannSeries, {"step": "0.1"}, "step must be a number > 0, got '0.1'"),
        (NeumannSeries, {"preconditioner": ["adamw"]}, "preconditioner must be .*, got \\['adamw'\\]"),
        (ConjugateGradient, {"max_iterations": 0}, "max_iterations must be >= 1, got 0"),
        (ConjugateGradient, {"max_residual": 0.0}, "max_residual must be > 0, got 0.0; use None to accept"),
        (NeumannSeries, {"max_residual": "any"}, "max_residual must be a number > 0 or None, got 'any'"),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)
