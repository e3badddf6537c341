"""Estimators by name, and from a name with settings to the estimator."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from dreamprm.hypergrad.adjoint import Adjoint
from dreamprm.hypergrad.base import Estimator
from dreamprm.hypergrad.finite_difference import FiniteDifference
from dreamprm.hypergrad.first_order import FirstOrder
from dreamprm.hypergrad.implicit import SOLVERS, Implicit
from dreamprm.hypergrad.linear_solver import LinearSolver
from dreamprm.hypergrad.none import NoHypergradient
from dreamprm.hypergrad.unrolled import Unrolled

ESTIMATORS: Mapping[str, type[Estimator]] = MappingProxyType(
    {
        "unrolled": Unrolled,
        "adjoint": Adjoint,
        "first_order": FirstOrder,
        "implicit": Implicit,
        "neumann": Implicit,
        "cg": Implicit,
        "finite_difference": FiniteDifference,
        "none": NoHypergradient,
    }
)
"""Estimators by name. `neumann` and `cg` are `implicit` with that solver."""


def build_estimator(name: str, **settings: Any) -> Estimator:
    """The estimator of this name (a key of `ESTIMATORS`) with its settings; defaults alone work.

    The settings of an implicit estimator's solver are given next to its own: ("cg", damping=0.1), or
    ("implicit", solver="cg", damping=0.1).

    Raises:
        ValueError: an unknown name, setting or solver (the message gives the nearest known one), a setting
            that the chosen solver does not have, or a value that the estimator refuses.
    """
    if name not in ESTIMATORS:
        raise ValueError(
            f"unknown estimator {name!r}{_nearest(name, list(ESTIMATORS))}; known: {', '.join(ESTIMATORS)}"
        )
    known = estimator_settings(name, solver=settings.get("solver"))
    solver = settings.get("solver")
    for setting in settings:
        if setting == "solver" and name in SOLVERS:
            raise ValueError(
                f"estimator {name!r} has no setting 'solver', its name says it, got "
                f"solver={solver!r}; use the estimator 'implicit' with that solver"
            )
        if setting not in known:
            given = f"{name!r} with solver={solver}" if solver and "solver" in known else repr(name)
            raise ValueError(
                f"estimator {given} has no setting {setting!r}{_nearest(setting, list(known))}; "
                f"its settings: {', '.join(known) or 'none'}"
            )
    estimator = ESTIMATORS[name]
    if estimator is not Implicit or (name not in SOLVERS and isinstance(solver, LinearSolver)):
        return estimator(**settings)
    kind = SOLVERS[_solver_name(name, solver)]
    own = {setting: settings.pop(setting) for setting in _defaults(kind) if setting in settings}
    return Implicit(**{**settings, "solver": kind(**own)})


def estimator_settings(name: str, *, solver: Any = None) -> dict[str, Any]:
    """Every setting that `build_estimator(name, ...)` takes, with its default; its solver's own included.

    Raises:
        ValueError: an unknown solver.
    """
    own = _defaults(ESTIMATORS[name])
    if ESTIMATORS[name] is not Implicit or (name not in SOLVERS and isinstance(solver, LinearSolver)):
        return own
    chosen = _solver_name(name, solver)
    own["solver"] = chosen
    if name in SOLVERS:
        del own["solver"]  # the name says it
    return {**own, **_defaults(SOLVERS[chosen])}


def _solver_name(name: str, solver: Any) -> str:
    """The solver that an implicit estimator's name says, or its setting, or the default."""
    if name in SOLVERS:
        return name
    chosen = "cg" if solver is None else solver
    if not isinstance(chosen, str) or chosen not in SOLVERS:
        raise ValueError(
            f"unknown solver {chosen!r}{_nearest(str(chosen), list(SOLVERS))}; known: {', '.join(SOLVERS)}"
        )
    return chosen


def _defaults(kind: type[Estimator] | type[LinearSolver]) -> dict[str, Any]:
    return {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]


def _nearest(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
    return f", did you mean {close[0]!r}?" if close else ""
