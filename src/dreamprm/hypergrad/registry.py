"""Estimators by name, and from a name with settings to the estimator."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from dreamprm.hypergrad.adjoint import Adjoint
from dreamprm.hypergrad.base import Estimator
from dreamprm.hypergrad.finite_difference import FiniteDifference
from dreamprm.hypergrad.first_order import FirstOrder
from dreamprm.hypergrad.implicit import SOLVERS, Implicit
from dreamprm.hypergrad.linear_solver import LinearSolver
from dreamprm.hypergrad.none import NoHypergradient
from dreamprm.hypergrad.penalty import Penalty
from dreamprm.hypergrad.registration import Registry
from dreamprm.hypergrad.settings import Declared, declared
from dreamprm.hypergrad.unrolled import Unrolled

_BUILTIN: Mapping[str, type[Estimator]] = {
    "unrolled": Unrolled,
    "adjoint": Adjoint,
    "first_order": FirstOrder,
    "implicit": Implicit,
    "neumann": Implicit,
    "cg": Implicit,
    "finite_difference": FiniteDifference,
    "penalty": Penalty,
    "none": NoHypergradient,
}


class Estimators(Registry[Estimator]):
    """Estimators by name: a mapping that also lists their settings and builds them.

    The settings of an implicit estimator's solver are given next to its own: ("cg", damping=0.1), or
    ("implicit", solver="cg", damping=0.1).
    """

    def meaning(self, name: str) -> str:
        """The estimator in one sentence, the first of its module; for a preset the solver's, for a class of
        another package the first of its own docstring."""
        if not self.is_builtin(name):
            return " ".join((self[name].__doc__ or "").partition("\n\n")[0].split())
        text = sys.modules[SOLVERS.get(name, self[name]).__module__].__doc__ or ""
        return " ".join(text.partition("\n\n")[0].split())

    def declared(self, name: str, settings: Mapping[str, Any]) -> tuple[Declared, ...]:
        """What `build(name, ...)` takes where these settings are given, among them perhaps the solver.

        Raises:
            ValueError: an unknown solver.
        """
        kind, solver = self[name], settings.get("solver")
        own = declared(kind)
        if kind is not Implicit:
            return own
        if name in SOLVERS:  # the name says which solver
            return (*(one for one in own if one.key != "solver"), *declared(SOLVERS[name]))
        if isinstance(solver, LinearSolver):
            return own
        chosen = "cg" if solver is None else solver
        if not isinstance(chosen, str) or chosen not in SOLVERS:
            raise ValueError(
                f"unknown solver {chosen!r}{_nearest(str(chosen), SOLVERS)}; known: {', '.join(SOLVERS)}"
            )
        named = Declared("solver", str, chosen, {**own[0].metadata, "choices": tuple(SOLVERS)})
        return (named, *own[1:], *declared(SOLVERS[chosen]))

    def settings(self, name: str, *, solver: Any = None) -> dict[str, Any]:
        """Every setting that `build(name, ...)` takes, with its default; its solver's own included.

        Raises:
            ValueError: an unknown solver.
        """
        return {one.key: one.default for one in self.declared(name, {"solver": solver})}

    def build(self, name: str, **settings: Any) -> Estimator:
        """The estimator of this name with its settings; defaults alone work.

        Raises:
            ValueError: an unknown name, setting or solver (the message gives the nearest known one), a
                setting that is not read, or a value that is not allowed.
        """
        if name not in self:
            raise ValueError(f"unknown estimator {name!r}{_nearest(name, self)}; known: {', '.join(self)}")
        solver = settings.get("solver")
        if name in SOLVERS and "solver" in settings:
            raise ValueError(
                f"estimator {name!r} has no setting 'solver', its name says it, got solver={solver!r}; use "
                "the estimator 'implicit' with that solver"
            )
        known = [one.key for one in self.declared(name, settings)]
        for setting in settings:
            if setting not in known:
                given = f"{name!r} with solver={solver}" if solver and "solver" in known else repr(name)
                raise ValueError(
                    f"estimator {given} has no setting {setting!r}{_nearest(setting, known)}; "
                    f"its settings: {', '.join(known) or 'none'}"
                )
        if self[name] is not Implicit or isinstance(solver, LinearSolver):
            return self[name](**settings)
        kind = SOLVERS[name if name in SOLVERS else settings.get("solver") or "cg"]
        own = {one.key: settings.pop(one.key) for one in declared(kind) if one.key in settings}
        return Implicit(**{**settings, "solver": kind(**own)})


def _nearest(given: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


ESTIMATORS = Estimators("estimator", Estimator, _BUILTIN, group="dreamprm.estimators")
"""Estimators by name. `neumann` and `cg` are `implicit` with that solver."""

register_estimator = ESTIMATORS.register
"""`@register_estimator("name")` adds a frozen dataclass derived from `Estimator`, whose settings are declared
by `setting`; `build_estimator`, configurations and `--help` then know it."""

register_solver = SOLVERS.register
"""`@register_solver("name")` adds one derived from `LinearSolver`, for `implicit` with solver=name."""

build_estimator = ESTIMATORS.build
"""`build_estimator(name, **settings)`: the estimator of this name, see `Estimators.build`."""

estimator_settings = ESTIMATORS.settings
"""`estimator_settings(name)`: every setting that it takes with its default, see `Estimators.settings`."""
