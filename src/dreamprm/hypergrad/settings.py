"""How estimators and solvers declare their settings, and how these are checked when one is made.

A setting is a dataclass field whose metadata holds its meaning and what is allowed: all that a program that
reads configurations needs for help texts and checks of its own.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from types import NoneType
from typing import Any, NamedTuple, get_args

from torch import Tensor

from dreamprm.hypergrad.registration import Registry


def setting(
    default: Any,
    meaning: str,
    *,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    advice: str | None = None,
    when: Mapping[str, Sequence[Any]] | None = None,
    parts: Registry[Any] | None = None,
    formerly: Sequence[str] = (),
) -> Any:
    """Declare a field of an estimator or of a part of one (a solver, a derivative) as one of its settings.

    A number must be >= `minimum`, > `above` and < `below`, and finite; `advice` says what to do instead, at
    the end of the message about one that is not. `when` names the settings on which this one depends, with
    the values for which it is read; otherwise only its default is accepted.

    With `parts` the value is an object of one of the registry's classes. `build_estimator` and configurations
    take its name, with the part's own settings next to it (see parts.py); in `when`, too, it stands by its
    name. `formerly` says what the setting was called before: who gives that is told its name.
    """
    metadata = {
        "help": meaning,
        "choices": choices,
        "minimum": minimum,
        "above": above,
        "maximum": None,
        "below": below,
        "advice": advice,
        "when": when,
        "parts": parts,
        "formerly": formerly,
    }
    return dataclasses.field(default=default, metadata=metadata)


class Declared(NamedTuple):
    """One setting: its name, type, default, and the metadata that `setting` gave it."""

    key: str
    type: Any
    default: Any
    metadata: Mapping[str, Any]


def declared(kind: type[Any]) -> tuple[Declared, ...]:
    """The settings of a class, an estimator's or a part's, in order; a part by an object."""
    return tuple(
        Declared(
            field.name,
            _type_of(kind, field.name),
            field.default,
            # a plain field of another package's class says nothing about itself
            field.metadata or setting(field.default, f"setting of {kind.__name__}").metadata,
        )
        for field in dataclasses.fields(kind)
    )


def _type_of(owner: type[Any], name: str) -> Any:
    for kind in owner.__mro__:
        if name in kind.__dict__.get("__annotations__", {}):
            found = kind.__annotations__[name]
            return eval(found, vars(sys.modules[kind.__module__])) if isinstance(found, str) else found
    raise AttributeError(f"{owner.__name__} has no field {name}")


def check_numbers(made: Any) -> None:
    """Refuse settings of an optimizer that are tensors, whose gradient would be lost without a word.

    Raises:
        ValueError: naming the setting.
    """
    if not dataclasses.is_dataclass(made):
        return
    for field in dataclasses.fields(made):
        value = getattr(made, field.name)
        for part in value if isinstance(value, list | tuple) else (value,):
            refuse_tensor(part, given=field.name)


def refuse_tensor(value: Any, *, given: str) -> None:
    """Refuse a tensor in place of a number.

    Raises:
        ValueError: naming what was given.
    """
    if isinstance(value, Tensor):
        grad = ", which requires grad: its derivative would be lost" if value.requires_grad else ""
        raise ValueError(
            f"{given} must be a number, got a tensor of shape {tuple(value.shape)}{grad}; give "
            f"{given}.item(), or what varies as a callable that returns numbers; a quantity to be "
            "learned belongs into alpha and into a loss"
        )


def check_settings(made: Any) -> None:
    """Check every setting of an estimator or a part, for its `__post_init__`.

    Raises:
        ValueError: a type or a value that is not allowed, or a value other than the default for a setting
            that is not read; the message names the setting, the value, and what to do.
    """
    settings = declared(type(made))
    values = {one.key: getattr(made, one.key) for one in settings}
    for one in settings:
        check_value(one, values[one.key])
    for one in settings:
        if (registry := one.metadata["parts"]) is not None:
            values[one.key] = registry.name_of(values[one.key])
    for one in settings:
        value = values[one.key]
        if one.metadata["parts"] is None and value != one.default and (condition := unmet(one, values.get)):
            raise ValueError(f"{one.key}={value!r} is only read {condition}; leave it out")


def check_value(one: Declared, value: Any) -> None:
    """Check the type, the name or the range of one value, or that it is a part of the right kind.

    Raises:
        ValueError: with the setting's name, the value, what is allowed and the advice.
    """
    if (registry := one.metadata["parts"]) is not None:
        _check_part(one.key, value, registry, default=one.default)
        return
    kinds = get_args(one.type) or (one.type,)
    if value is None and NoneType in kinds:
        return
    kind, choices, limits = kinds[0], one.metadata["choices"], _limits(one.metadata)
    or_none = " or None" if NoneType in kinds else ""
    advice = f"; {one.metadata['advice']}" if one.metadata["advice"] else ""
    if choices is not None:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{one.key} must be one of {', '.join(choices)}{or_none}, got {value!r}")
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, float):
        if not number or (kind is int and not isinstance(value, int)):
            words = "a whole number" if kind is int else "a number"
            raise ValueError(f"{one.key} must be {words} {limits}{or_none}, got {value!r}{advice}")
        if not (math.isfinite(value) and _holds(value, one.metadata)):
            finite = "finite and " if math.isinf(value) else ""
            raise ValueError(f"{one.key} must be {finite}{limits}, got {value!r}{advice}")


def _check_part(key: str, value: Any, registry: Registry[Any], *, default: Any) -> None:
    if isinstance(value, registry.base):
        return
    name = registry.renamed.get(value, value) if isinstance(value, str) else ""
    now = "" if name == value else f"; {value!r} is called {name!r} now"
    meant = f"{now}; here write {key}={registry[name].__name__}()" if name in registry else ""
    raise ValueError(
        f"{key} must be a {registry.base.__name__} such as {default!r}, got {value!r}; build_estimator also "
        f"takes a name: {', '.join(registry)}{meant}"
    )


def refuse_old_names(kind: type[Any], given: Iterable[str]) -> None:
    """Refuse settings by the names that they had before.

    Raises:
        TypeError: as for any argument that a class does not have, with the new name.
    """
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    unknown = set(given).difference(field.name for field in fields)
    for field in fields:
        for old in unknown.intersection(field.metadata.get("formerly", ())):
            raise TypeError(f"{kind.__name__} has no setting {old!r}: it is called {field.name!r} now")


def unmet(one: Declared, value_of: Callable[[str], Any]) -> str | None:
    """The condition that keeps a setting from being read, given the other settings' values; or None."""
    for key, values in (one.metadata["when"] or {}).items():
        if value_of(key) not in values:
            return f"with {key}={' or '.join(map(str, values))}, and {key} is {value_of(key)}"
    return None


def _limits(metadata: Mapping[str, Any]) -> str:
    signs = {"minimum": ">=", "above": ">", "below": "<"}
    given = {sign: metadata[name] for name, sign in signs.items()}
    return " and ".join(f"{sign} {limit:g}" for sign, limit in given.items() if limit is not None)


def _holds(value: float, metadata: Mapping[str, Any]) -> bool:
    # Written so that NaN, for which every comparison is false, is refused.
    return (
        (metadata["minimum"] is None or value >= metadata["minimum"])
        and (metadata["above"] is None or value > metadata["above"])
        and (metadata["below"] is None or value < metadata["below"])
    )


def as_number(value: Any, *, given: str) -> float:
    """A number that a callable setting returned.

    Raises:
        ValueError: it is a tensor, or no number.
    """
    refuse_tensor(value, given=given)
    if not is_number(value):
        raise ValueError(f"{given} must be a number, got {value!r}")
    return float(value)


def is_number(value: Any) -> bool:
    """Whether it is a real number, of Python or numpy, and no flag."""
    flag = isinstance(value, bool)
    return not flag and isinstance(value, Real)


def check_not_negative(value: Any, *, given: str, advice: str) -> None:
    """Refuse a setting that is negative or not finite.

    Raises:
        ValueError: naming it, with the advice.
    """
    refuse_tensor(value, given=given)
    number = is_number(value)
    if not (number and value >= 0.0 and math.isfinite(value)):
        shown = value if number else repr(value)
        raise ValueError(f"{given} must be a finite number >= 0, got {shown}; {advice}")
