"""Estimators by name, and from a name with settings to the estimator."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from dreamprm.hypergrad.adjoint import Adjoint
from dreamprm.hypergrad.base import Estimator
from dreamprm.hypergrad.finite_difference import FiniteDifference
from dreamprm.hypergrad.first_order import FirstOrder
from dreamprm.hypergrad.forward_gradient import ForwardGradient
from dreamprm.hypergrad.implicit import SOLVERS, Implicit
from dreamprm.hypergrad.none import NoHypergradient
from dreamprm.hypergrad.parts import Composition
from dreamprm.hypergrad.penalty import Penalty
from dreamprm.hypergrad.registration import Registry
from dreamprm.hypergrad.settings import Declared
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
    "forward_gradient": ForwardGradient,
    "none": NoHypergradient,
}


_FIXED: Mapping[str, Mapping[str, str]] = {"neumann": {"solver": "neumann"}, "cg": {"solver": "cg"}}


class Estimators(Registry[Estimator]):
    """Estimators by name: a mapping that also lists their settings and builds them.

    The settings of an estimator's parts, its solver and its kind of derivative, are given next to its own:
    ("cg", damping=0.1, derivative="central_difference", radius=1e-2), or ("implicit", solver="cg", ...).
    """

    def meaning(self, name: str) -> str:
        """The estimator in one sentence, the first of its module; for a preset the solver's, for a class of
        another package the first of its own docstring."""
        if not self.is_builtin(name):
            return " ".join((self[name].__doc__ or "").partition("\n\n")[0].split())
        kind = SOLVERS[_FIXED[name]["solver"]] if name in _FIXED else self[name]
        text = sys.modules[kind.__module__].__doc__ or ""
        return " ".join(text.partition("\n\n")[0].split())

    def declared(self, name: str, settings: Mapping[str, Any]) -> tuple[Declared, ...]:
        """What `build(name, ...)` takes where these settings are given, names of parts among them. The
        settings of other parts, which are not read then, are listed too.

        Raises:
            ValueError: the name of a part is unknown.
        """
        return self._composed(name, settings).declared()

    def settings(self, name: str, **parts: Any) -> dict[str, Any]:
        """Every setting that `build(name, **parts)` reads, with its default; those of its parts included.

        Raises:
            ValueError: the name of a part is unknown.
        """
        return self._composed(name, parts).settings()

    def build(self, name: str, **settings: Any) -> Estimator:
        """The estimator of this name with its settings; defaults alone work.

        Raises:
            ValueError: an unknown name, setting or part (the message gives the nearest known one), a setting
                that is not read, or a value that is not allowed.
        """
        for key in _FIXED.get(self.require(name), {}):
            if key in settings:
                raise ValueError(
                    f"estimator {name!r} has no setting {key!r}, its name says it, got "
                    f"{key}={settings[key]!r}; use the estimator 'implicit' with that {key}"
                )
        made: Estimator = self._composed(name, settings).build(f"estimator {name!r}")
        return made

    def _composed(self, name: str, settings: Mapping[str, Any]) -> Composition:
        return Composition(self[name], settings, fixed=_FIXED.get(name, {}))


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
