"""Label methods by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dreamprm.config.errors import UserError
from dreamprm.labelling.rollouts import METHODS, build_method, method_settings
from dreamprm.labelling.rollouts.full import Full


def test_methods_are_built_with_their_settings() -> None:
    assert build_method("full", rollouts=3) == Full(3)
    assert method_settings("first_error") == {"rollouts": 8, "fill": "null"}
    for name in METHODS:
        assert build_method(name) == METHODS.kind(name)(**method_settings(name))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_frozen(name: str) -> None:
    method: Any = build_method(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(method, next(iter(method_settings(name))), 1)


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("adaptiv", {}, "unknown label method 'adaptiv', did you mean 'adaptive'"),
        ("full", {"rollout": 4}, "has no setting 'rollout', did you mean 'rollouts'"),
        (
            "full",
            {"rollouts": 0},
            "label method 'full': rollouts must be >= 1, got 0; the paper's labels are shares",
        ),
    ],
)
def test_a_users_mistake_is_named(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_method(name, **settings)
