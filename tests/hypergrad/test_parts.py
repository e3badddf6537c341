"""Kinds of derivatives and solvers as parts: objects in Python, names with their settings elsewhere."""

from dataclasses import dataclass

import pytest

from dreamprm.hypergrad import (
    DERIVATIVES,
    SOLVERS,
    Adjoint,
    CentralDifference,
    ConjugateGradient,
    Derivative,
    DoubleBackward,
    Estimator,
    FirstOrder,
    ForwardDifference,
    ForwardMode,
    Implicit,
    LinearSolver,
    NeumannSeries,
    build_estimator,
    check_settings,
    estimator_settings,
    register_estimator,
    register_solver,
    setting,
)
from dreamprm.hypergrad.registry import ESTIMATORS

KINDS = {
    "double_backward": DoubleBackward(),
    "central_difference": CentralDifference(),
    "forward_difference": ForwardDifference(),
    "forward_mode": ForwardMode(),
}


@pytest.mark.parametrize("name, made", KINDS.items())
def test_all_estimators_take_all_kinds_by_one_name(name, made):
    assert list(DERIVATIVES) == list(KINDS) and DERIVATIVES.name_of(made) == name
    assert build_estimator("adjoint", derivative=name) == Adjoint(derivative=made)
    assert build_estimator("first_order", derivative=name) == FirstOrder(derivative=made)
    assert build_estimator("cg", derivative=name) == build_estimator("cg", derivative=made)
    assert build_estimator("cg", derivative=name) == Implicit(derivative=made)
    needs = Adjoint(derivative=made)
    assert (
        needs.needs_second_order == made.needs_second_order == (name in ("double_backward", "forward_mode"))
    )
    assert needs.needs_forward_mode == made.needs_forward_mode == (name == "forward_mode")


def test_settings_of_several_parts_stand_side_by_side():
    built = build_estimator("cg", damping=0.2, derivative="central_difference", radius=1e-2, batches="all")
    assert built == Implicit(
        solver=ConjugateGradient(damping=0.2), derivative=CentralDifference(radius=1e-2), batches="all"
    )
    both = {"solver": NeumannSeries(terms=3), "derivative": ForwardDifference(radius=0.1)}
    assert build_estimator("implicit", **both) == Implicit(**both)
    assert estimator_settings("first_order") == {
        "derivative": "central_difference",
        "radius": None,
        "offload": "none",
        "keep": "full",
    }
    assert "radius" not in estimator_settings("first_order", derivative="forward_mode")
    assert "keep_graphs" not in estimator_settings("adjoint", derivative="forward_mode")
    assert estimator_settings("adjoint", derivative="forward_difference")["radius"] is None


@pytest.mark.parametrize("name", ["adjoint", "first_order", "implicit", "cg", "neumann"])
@pytest.mark.parametrize("old", ["hvp", "mixed"])
def test_an_old_name_is_refused_with_the_new_one(name, old):
    message = f"{name}' has no setting '{old}': it is called 'derivative' now; write derivative='central_diff"
    with pytest.raises(ValueError, match=message):
        build_estimator(name, **{old: "finite_difference"})
    with pytest.raises(TypeError, match=f"has no setting '{old}': it is called 'derivative' now"):
        ESTIMATORS[name](**{old: "double_backward"})


@pytest.mark.parametrize(
    "old, new", [("finite_difference", CentralDifference), ("forward_over_reverse", ForwardMode)]
)
def test_an_old_kind_is_refused_with_the_new_one(old, new):
    name = DERIVATIVES.name_of(new())
    with pytest.raises(ValueError, match=f"the derivative '{old}' is called '{name}' now"):
        build_estimator("adjoint", derivative=old)
    for given in (old, name):
        with pytest.raises(
            ValueError, match=f"derivative must be a Derivative.*{given}'.*={new.__name__}\\(\\)"
        ):
            Adjoint(derivative=given)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"derivative": CentralDifference(), "radius": 0.1}, "no setting 'radius': give it to CentralDiffer"),
        (
            {"derivative": "forward_mode", "radius": 0.1},
            "with derivative=forward_mode has no setting 'radius'",
        ),
        ({"derivative": "forward_mode", "radius": -1.0}, "radius must be > 0, got -1"),
        ({"derivative": ["central_difference"]}, "unknown derivative \\['central_difference'\\]"),
        ({"derivative": ConjugateGradient()}, "unknown derivative ConjugateGradient"),
        ({"derivative": "central"}, "did you mean 'central_difference'"),
    ],
)
def test_what_does_not_fit_a_kind_is_refused(settings, message):
    for name in ("adjoint", "first_order", "cg"):
        with pytest.raises(ValueError, match=message):
            build_estimator(name, **settings)


@pytest.fixture
def _unregistered():
    yield
    ESTIMATORS._registered.pop("theirs", None)
    SOLVERS._registered.pop("theirs", None)


@dataclass(frozen=True)
class Theirs(Estimator):
    """An estimator of another package, composed as ours are, with a default that has settings of its own."""

    derivative: Derivative = setting(CentralDifference(radius=0.5), "how", parts=DERIVATIVES)
    factor: float = setting(1.0, "a number", above=0)

    def __post_init__(self):
        check_settings(self)

    def _run(self, task):
        raise NotImplementedError


@pytest.mark.usefixtures("_unregistered")
def test_an_estimator_of_another_package_is_composed_likewise():
    register_estimator("theirs")(Theirs)
    assert estimator_settings("theirs") == {"derivative": "central_difference", "radius": 0.5, "factor": 1.0}
    assert build_estimator("theirs") == Theirs() == build_estimator("theirs", derivative="central_difference")
    assert build_estimator("theirs", radius=0.1, factor=2.0) == Theirs(CentralDifference(0.1), 2.0)
    assert build_estimator("theirs", derivative="forward_difference") == Theirs(ForwardDifference())
    with pytest.raises(ValueError, match="'theirs' with derivative=forward_mode has no setting 'radius'"):
        build_estimator("theirs", derivative="forward_mode", radius=0.1)
    with pytest.raises(ValueError, match="'theirs' has no setting 'hvp'; its settings: derivative, radius"):
        build_estimator("theirs", hvp="forward_mode")


@dataclass(frozen=True)
class Solver(LinearSolver):
    """A solver with a setting that derivatives have too."""

    radius: float = setting(3.0, "of a ball", above=0)

    def solve(self, product, rhs, *, preconditioner):
        raise NotImplementedError


@pytest.mark.usefixtures("_unregistered")
def test_a_name_that_two_parts_share_goes_to_the_one_that_was_chosen():
    register_solver("theirs")(Solver)
    assert build_estimator("implicit", solver="theirs", radius=5.0) == Implicit(Solver(5.0))
    built = build_estimator("cg", derivative="forward_difference", radius=5.0)
    assert built == Implicit(derivative=ForwardDifference(5.0))
    with pytest.raises(
        ValueError, match="solver and derivative both have a setting 'radius'; give one as an"
    ):
        build_estimator("implicit", solver="theirs", derivative="central_difference", radius=5.0)
    built = build_estimator("implicit", solver="theirs", derivative=CentralDifference(0.1), radius=5.0)
    assert built == Implicit(Solver(5.0), derivative=CentralDifference(0.1))
