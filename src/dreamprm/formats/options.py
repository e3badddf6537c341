"""A format's options: declared by `setting`, checked where they are given, described for `--help`."""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from dreamprm.config.errors import UserError, nearest
from dreamprm.config.schema import limits_text

_LIMITS = {"minimum": operator.ge, "above": operator.gt, "maximum": operator.le, "below": operator.lt}
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text that is not empty",
    Path: "a path",
}
_NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}


def check_options(options: Any) -> None:
    """Check every option of a reader or writer, which come from YAML, the command line or Python.

    Args:
        options: an instance of a dataclass whose fields are declared by `setting`. An option of another type
            than those named here (a mapping, a list) is for its class to check.

    Raises:
        UserError: naming the option, what is allowed, and what was given; with the nearest known name.
    """
    for field in _declared(type(options)):
        value, kinds = getattr(options, field.name), _kinds(type(options), field.name)
        problem = _problem(value, kinds, field.metadata)
        if problem is not None:
            raise UserError(f"{field.name} must be {problem}")


def option_lines(owner: type, declared_in: type) -> Iterator[str]:
    """One line for each option that a class declares: name, type, default, meaning.

    Args:
        owner: a reader or writer.
        declared_in: the class among its bases whose options are listed.
    """
    own = declared_in.__dict__.get("__annotations__", {})
    for field in _declared(owner):
        if field.name in own:
            choices = field.metadata["choices"]
            kinds = [_NAMES[kind] for kind in _kinds(owner, field.name) if kind in _NAMES]
            named = ", ".join(choices) if choices else limited(" or ".join(kinds), field.metadata)
            of = f"{named}; " if named else ""
            yield f"{field.name}: {of}default {yaml_text(field.default)}; {field.metadata['help']}"


def yaml_text(value: Any) -> str:
    """A value as it is written in a configuration."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def limited(what: str, metadata: Mapping[str, Any]) -> str:
    """A kind of number with its limits: `a number >= 0 and < 1`."""
    return f"{what} {limits_text(metadata)}".strip()


def _declared(owner: type) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(owner) if "help" in field.metadata]


@cache
def _hints(owner: type) -> dict[str, Any]:
    return get_type_hints(owner)


def _kinds(owner: type, name: str) -> tuple[Any, ...]:
    hint = _hints(owner)[name]
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _problem(value: Any, kinds: tuple[Any, ...], metadata: Mapping[str, Any]) -> str | None:
    """What is allowed and what was given, where a value is not allowed."""
    optional, choices = NoneType in kinds, metadata["choices"]
    if value is None and optional:
        return None
    if choices is not None:
        if value in choices:
            return None
        null = " or null" if optional else ""
        return f"one of {', '.join(choices)}{null}; got {value!r}{nearest(str(value), choices)}"
    known = [kind for kind in kinds if kind in _KINDS]
    if not known or len(known) < len(kinds) - optional or any(_fits(value, k, metadata) for k in known):
        return None
    allowed = " or ".join(limited(_KINDS[kind], metadata) for kind in known)
    return f"{allowed}{', or null' if optional else ''}; got {value!r}"


def _fits(value: Any, kind: type, metadata: Mapping[str, Any]) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is str:
        return isinstance(value, str) and bool(value.strip())
    if kind is Path:
        return isinstance(value, str | os.PathLike)
    if not isinstance(value, int if kind is int else int | float):
        return False
    limits = ((holds, metadata[name]) for name, holds in _LIMITS.items())
    return all(holds(value, limit) for holds, limit in limits if limit is not None)
