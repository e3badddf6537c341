"""Estimators and solvers of another package, by a decorator or an entry point: then known by name."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from bilevel_problems import logistic
from estimator_table import ROWS

from dreamprm.hypergrad import (
    ESTIMATORS,
    SOLVERS,
    ConjugateGradient,
    Estimator,
    build_estimator,
    register_estimator,
    register_solver,
)

PACKAGE = '''
"""Estimators of somebody else."""
from __future__ import annotations
from dataclasses import dataclass
from dreamprm.hypergrad import (
    Estimator, LinearSolver, Solution, Status, WindowResult, WindowTask, check_settings, gradients, leaves,
    plain_steps, setting,
)

@dataclass(frozen=True)
class DirectPart(Estimator):
    """The direct derivative of the outer loss, times a factor.

    More words.
    """

    factor: float = setting(1.0, "what the direct part is multiplied with", above=0)
    plain: int = 3

    def __post_init__(self) -> None:
        check_settings(self)

    def _run(self, task: WindowTask) -> WindowResult:
        steps, alpha = plain_steps(task), leaves(task.alpha)
        loss = task.problem.outer_loss(steps.params, alpha, task.outer_batch)
        grads = {name: self.factor * grad for name, grad in gradients(loss, alpha).items()}
        return WindowResult(
            steps.params, steps.state, grads, steps.losses, loss.detach(), stats={"forward": 0, "backward": 0}
        )

@dataclass(frozen=True)
class OneStep(LinearSolver):
    """x = step b."""

    size: float = setting(0.5, "factor of b", above=0)

    def solve(self, product, rhs, *, preconditioner):
        return Solution({n: self.size * b for n, b in rhs.items()}, Status.ok, "", iterations=0, residual=0.0)
'''
TRY = """
import sys
from dreamprm.hypergrad import ESTIMATORS, SOLVERS, build_estimator, estimator_settings
assert "their_package" not in sys.modules
assert list(ESTIMATORS)[-1] == "direct_part" and "one_step" in SOLVERS and "direct_part" in ESTIMATORS
assert build_estimator("direct_part", factor=2).factor == 2
assert estimator_settings("direct_part") == {"factor": 1.0, "plain": 3}
assert ESTIMATORS.meaning("direct_part") == "The direct derivative of the outer loss, times a factor."
assert build_estimator("implicit", solver="one_step", size=0.25).solver.size == 0.25
for wrong in ({"factor": 0.0}, {"factr": 1.0}):
    try:
        build_estimator("direct_part", **wrong)
    except ValueError as error:
        print(error)
    else:
        raise AssertionError(wrong)
"""


@pytest.fixture
def package(tmp_path):
    def install(entry_points, name="theirs"):
        (tmp_path / "their_package.py").write_text(PACKAGE)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        return tmp_path

    return install


def _python(folder, *arguments):
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", code + arguments[0], *arguments[1:]],
        capture_output=True,
        text=True,
        check=False,
    )


POINTS = (
    "[dreamprm.estimators]\ndirect_part = their_package:DirectPart\n"
    "[dreamprm.solvers]\none_step = their_package:OneStep\n"
)


def test_an_entry_point_is_known_by_name(package):
    done = _python(package(POINTS), TRY)
    assert done.returncode == 0, done.stderr
    assert "factor must be > 0, got 0.0" in done.stdout and "did you mean 'factor'" in done.stdout


def test_help_and_configurations_know_it(package):
    folder = package(POINTS)
    main = "from dreamprm.cli import main; sys.exit(main(sys.argv[1:]))"
    shown = _python(folder, main, "train", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "direct_part: The direct derivative of the outer loss, times a factor." in shown.stdout
    assert "what the direct part is multiplied with" in " ".join(shown.stdout.split())
    assert "setting of DirectPart" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("taken", ["adjoint = their_package:DirectPart", "cg = their_package:DirectPart"])
def test_an_entry_point_of_a_taken_name_is_refused(package, taken):
    folder = package(f"[dreamprm.estimators]\n{taken}\n")
    done = _python(folder, "from dreamprm.hypergrad import ESTIMATORS; list(ESTIMATORS)")
    assert done.returncode == 1 and "two estimators are named" in done.stderr


@dataclass(frozen=True)
class Mine(Estimator):
    """An estimator of these tests."""

    def _run(self, task):
        window = build_estimator("adjoint")._run(task)
        window.stats["mine"] = True
        return window


@pytest.fixture
def _unregistered():
    yield
    ESTIMATORS._registered.pop("mine", None)
    SOLVERS._registered.pop("mine", None)


@pytest.mark.usefixtures("_unregistered")
def test_a_decorator_registers_a_class():
    assert register_estimator("mine")(Mine) is Mine and register_estimator("mine")(Mine) is Mine
    window = logistic().run(build_estimator("mine"))
    want = logistic().run(ROWS["adjoint"].build())
    assert window.stats["mine"] and torch.equal(window.alpha_grad["offset"], want.alpha_grad["offset"])
    with pytest.raises(ValueError, match="the estimator 'mine' exists already: .*Mine; register .*Other"):

        @register_estimator("mine")
        @dataclass(frozen=True)
        class Other(Mine):
            pass


@pytest.mark.parametrize("name", ["adjoint", "cg", "none"])
def test_a_taken_name_is_refused(name):
    with pytest.raises(ValueError, match=f"the estimator '{name}' exists already"):
        register_estimator(name)(Mine)


def test_what_is_no_strategy_is_refused():
    with pytest.raises(ValueError, match="must be a dataclass derived from Estimator, got"):
        register_estimator("mine")(ConjugateGradient)
    with pytest.raises(ValueError, match="must be a dataclass derived from LinearSolver, got"):
        register_solver("mine")(Mine)
    with pytest.raises(ValueError, match="name of the estimator must be an identifier, got 'a-b'"):
        register_estimator("a-b")
    assert "mine" not in ESTIMATORS
