"""The implicit estimators by name: presets, a solver's settings beside the estimator's own, refusals."""

import pytest

from dreamprm.hypergrad import (
    ESTIMATORS,
    ConjugateGradient,
    Implicit,
    NeumannSeries,
    build_estimator,
    estimator_settings,
)


def test_names_presets_and_objects_build_the_same():
    assert build_estimator("implicit") == build_estimator("cg") == Implicit()
    assert (
        build_estimator("neumann", terms=3, derivative="central_difference")
        == build_estimator("implicit", solver="neumann", terms=3, derivative="central_difference")
        == build_estimator("implicit", solver=NeumannSeries(terms=3), derivative="central_difference")
    )
    estimator = build_estimator("implicit", solver="cg", damping=0.5)
    assert estimator.solver == ConjugateGradient(damping=0.5)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("cg", {"terms": 3}, "estimator 'cg' has no setting 'terms'.*its settings: .*damping"),
        ("implicit", {"solver": "cg", "terms": 3}, "'implicit' with solver=cg has no setting 'terms'"),
        ("implicit", {"solver": "neumann", "damping": 1}, "with solver=neumann has no setting 'damping'"),
        ("implicit", {"solver": NeumannSeries(), "terms": 3}, "has no setting 'terms'"),
        ("implicit", {"solver": "cgg"}, "unknown solver 'cgg', did you mean 'cg'\\?; known: neumann, cg"),
        ("neumann", {"solver": "cg"}, "estimator 'neumann' has no setting 'solver', its name says it, got"),
        ("cg", {"solver": NeumannSeries()}, "'cg' has no setting 'solver', .*=Neum.*; use .*'implicit'"),
        ("implicit", {"solver": ["cg"]}, "unknown solver \\['cg'\\].*; known: neumann, cg"),
        ("implicit", {"solver": ""}, "unknown solver ''; known: neumann, cg"),
        ("cg", {"batches": ["all"]}, "batches must be one of last, all, got \\['all'\\]"),
        ("cg", {"batches": "first"}, "batches must be one of last, all, got 'first'"),
        ("cg", {"derivative": "exact"}, "unknown derivative 'exact'; known: double_backward, "),
        ("cg", {"radius": 0.0}, "radius must be > 0, got 0.0"),
        ("cg", {"damping": -1}, "damping must be >= 0, got -1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build_estimator(name, **settings)


def test_a_name_is_no_solver():
    with pytest.raises(ValueError, match="solver must be a LinearSolver such as .*, got 'cg'; build"):
        Implicit(solver="cg")


def test_who_needs_gradients_of_gradients():
    wanted = {
        "double_backward": True,
        "forward_mode": True,
        "central_difference": False,
        "forward_difference": False,
    }
    assert {kind: build_estimator("cg", derivative=kind).needs_second_order for kind in wanted} == wanted


def test_the_settings_of_a_name_hold_those_of_its_solver():
    shared = {"batches": "last", "derivative": "double_backward"}
    conjugate = {"damping": 0.1, "tolerance": 1e-3, "max_iterations": 50, "max_residual": 0.1}
    series = {"terms": 10, "step": 0.1, "preconditioner": None, "max_residual": 0.1}
    assert estimator_settings("cg") == {**shared, **conjugate}
    assert estimator_settings("neumann") == {**shared, **series}
    assert estimator_settings("implicit") == {"solver": "cg", **shared, **conjugate}
    assert estimator_settings("implicit", solver="neumann") == {"solver": "neumann", **shared, **series}
    for name in ESTIMATORS:  # every default given by name builds what no setting builds
        assert build_estimator(name, **estimator_settings(name)) == build_estimator(name)
    assert estimator_settings("cg", solver=NeumannSeries()) == {**shared, **conjugate}
    with pytest.raises(ValueError, match="unknown solver 'x'"):
        estimator_settings("implicit", solver="x")
