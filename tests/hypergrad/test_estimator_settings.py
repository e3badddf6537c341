"""Settings of a wrong type or out of range are refused by a message that names them; so are unread ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from dreamprm.hypergrad import ESTIMATORS, SOLVERS
from dreamprm.hypergrad.settings import check_settings, declared, setting


@dataclass(frozen=True)
class Made:
    damping: float = setting(0.1, "a number", above=0, advice="lower it")
    shift: float = setting(0.1, "a number", minimum=0)
    share: float = setting(0.1, "a number", above=0, below=1)
    terms: int = setting(2, "a count", minimum=1)
    kind: str | None = setting(None, "a name", choices=("a", "b"))
    radius: float | None = setting(None, "a number", above=0, when={"kind": ("a", None)})

    def __post_init__(self) -> None:
        check_settings(self)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"damping": "high"}, "^damping must be a number > 0, got 'high'; lower it$"),
        ({"damping": True}, "damping must be a number > 0, got True"),
        ({"shift": None}, "shift must be a number >= 0, got None"),
        ({"damping": 0.0}, "damping must be > 0, got 0.0; lower it"),
        ({"shift": -0.1}, "shift must be >= 0, got -0.1"),
        ({"damping": math.nan}, "damping must be > 0, got nan"),
        ({"shift": math.inf}, "shift must be finite and >= 0, got inf"),
        ({"share": 1}, "share must be > 0 and < 1, got 1"),
        ({"terms": 0}, "^terms must be >= 1, got 0$"),
        *(({"terms": v}, f"^terms must be a whole number >= 1, got {v!r}$") for v in (2.0, "3", True, None)),
        ({"radius": "x"}, "radius must be a number > 0 or None, got 'x'"),
        *(({"kind": value}, "^kind must be one of a, b or None, got ") for value in ("c", 1, ["a"], {})),
        (
            {"kind": "b", "radius": 0.1},
            "radius=0.1 is only read with kind=a or None, and kind is b; leave it",
        ),
    ],
)
def test_what_is_not_allowed_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Made(**settings)


def test_what_is_allowed_passes() -> None:
    Made(damping=1, shift=0, terms=1, kind="a", radius=0.5)
    Made(kind="b", radius=None)


def test_every_setting_of_every_estimator_and_solver_has_a_meaning() -> None:
    for kind in (*ESTIMATORS.values(), *SOLVERS.values()):
        for one in declared(kind):
            assert len(one.metadata["help"]) > 5, (kind, one.key)
    keys = [one.key for one in ESTIMATORS.declared("neumann", {})]
    assert keys[-4:] == ["terms", "step", "preconditioner", "max_residual"]
    assert ESTIMATORS.meaning("cg") != ESTIMATORS.meaning("implicit")
