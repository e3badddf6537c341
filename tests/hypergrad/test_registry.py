"""Estimators by name: settings, refusals, and what they need of the model."""

import math

import pytest

from dreamprm.hypergrad import (
    ESTIMATORS,
    Adjoint,
    ConjugateGradient,
    FiniteDifference,
    FirstOrder,
    ForwardDifference,
    ForwardGradient,
    Implicit,
    NeumannSeries,
    NoHypergradient,
    Penalty,
    Unrolled,
    build_estimator,
)


def test_every_name_builds_with_defaults_alone():
    assert list(ESTIMATORS) == [
        "unrolled",
        "adjoint",
        "first_order",
        "implicit",
        "neumann",
        "cg",
        "finite_difference",
        "penalty",
        "forward_gradient",
        "none",
    ]
    assert [build_estimator(name) for name in ESTIMATORS] == [
        Unrolled(),
        Adjoint(),
        FirstOrder(),
        Implicit(),
        Implicit(solver=NeumannSeries()),
        Implicit(solver=ConjugateGradient()),
        FiniteDifference(),
        Penalty(),
        ForwardGradient(),
        NoHypergradient(),
    ]


def test_settings_arrive():
    built = build_estimator("first_order", derivative="forward_difference", radius=0.1)
    assert built == FirstOrder(derivative=ForwardDifference(radius=0.1))


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("unroled", {}, "'unroled', did you mean 'unrolled'\\?; known: unrolled, adjoint, first_order, "),
        ("xyz", {}, "unknown estimator 'xyz'; known"),
        (
            "first_order",
            {"radios": 1},
            "no setting 'radios', did you mean 'radius'\\?; its settings: derivative",
        ),
        ("adjoint", {"radios": 1}, "no setting 'radios', did you mean 'radius'"),
        ("none", {"radius": 1}, "'none' has no setting 'radius'; its settings: none"),
        (
            "first_order",
            {"derivative": "exact"},
            "unknown derivative 'exact'; known: double_backward, central_difference, forward_d",
        ),
        ("first_order", {"offload": "tape"}, "offload must be one of none, cpu, disk, got 'tape'"),
        ("first_order", {"radius": 0.0}, "radius must be > 0, got 0.0; use None"),
        (
            "first_order",
            {"derivative": "double_backward", "radius": 0.1},
            "radius=0.1 is only read with derivative=central_difference or forward_difference, and deri",
        ),
        (
            "adjoint",
            {"radius": 0.1},
            "radius=0.1 is only read with derivative=.*, and derivative is double_backward; leave",
        ),
        (
            "implicit",
            {"radius": 0.1},
            "radius=0.1 is only read with derivative=.*, and derivative is double_backward; leave",
        ),
        ("first_order", {"radius": math.inf}, "radius must be finite and > 0, got inf"),
    ],
)
def test_unknown_names_settings_and_values_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build_estimator(name, **settings)


@pytest.mark.parametrize(
    "name, settings, wanted",
    [
        ("unrolled", {}, True),
        ("none", {}, False),
        ("first_order", {}, False),
        ("adjoint", {}, True),
        ("adjoint", {"derivative": "forward_mode"}, True),
        ("adjoint", {"derivative": "central_difference"}, False),
        ("adjoint", {"derivative": "forward_difference"}, False),
        ("finite_difference", {}, False),
        ("first_order", {"derivative": "double_backward"}, True),
        ("first_order", {"derivative": "forward_mode"}, True),
    ],
)
def test_who_needs_gradients_of_gradients(name, settings, wanted):
    assert build_estimator(name, **settings).needs_second_order is wanted


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        ESTIMATORS["mine"] = Unrolled
