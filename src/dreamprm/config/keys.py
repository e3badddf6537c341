"""The keys that a user gave: known, of the right type, and in the schema's own form; or where they have
moved."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from dreamprm.config.errors import UserError, nearest, shortened
from dreamprm.config.schema import REQUIRED, leaves, open_field, type_name, without_none


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where values come from and which schema they are for, as needed in error messages."""

    source: str
    schema: type[Any]


def canonical(kind: Any, value: Any, *, key: str, origin: Origin) -> Any:
    """What the user gave at `key`, checked against the type and brought into the schema's own form.

    A string for a section becomes the section's shorthand field; keys of an open section move into its
    open field. Interpolations (`${...}`) are let through: they are checked once resolved.

    Raises:
        UserError: unknown key (with the nearest known one) or wrong type, naming the source and the key.
    """
    kind, optional = without_none(kind)
    if kind is Any or (value is None and optional):
        return value
    if isinstance(value, str) and ("${" in value or value == REQUIRED) and not _has_shorthand(kind):
        return value
    if dataclasses.is_dataclass(kind):
        return _canonical_section(kind, value, key=key, origin=origin)
    if get_origin(kind) is list and isinstance(value, list | tuple):
        item = get_args(kind)[0]
        return [canonical(item, part, key=f"{key}[{i}]", origin=origin) for i, part in enumerate(value)]
    if get_origin(kind) is dict and isinstance(value, dict):
        item = get_args(kind)[1]
        return {str(n): canonical(item, part, key=f"{key}.{n}", origin=origin) for n, part in value.items()}
    if not is_a(kind, value):
        allowed = type_name(kind) + (" or null" if optional else "")
        one = get_origin(kind) is list and isinstance(value, str) and len(value) < 200
        hint = f"; write [{value}]" if one else ""
        hint = "; put quotes around it" if kind is str and isinstance(value, bool) else hint
        raise UserError(
            f"{origin.source}: {key} must be {allowed}, got {shortened(value)} ({type(value).__name__}){hint}"
        )
    return value


def _has_shorthand(kind: Any) -> bool:
    """Whether a string stands for a section of this type; an interpolation is then part of the string."""
    return dataclasses.is_dataclass(kind) and any(
        f.metadata.get("shorthand") for f in dataclasses.fields(kind)
    )


def _canonical_section(kind: Any, value: Any, *, key: str, origin: Origin) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    short = next((name for name, field in fields.items() if field.metadata.get("shorthand")), None)
    if short is not None and isinstance(value, str):
        value = {short: value}
    if not isinstance(value, dict):
        where = key or "the configuration"
        got = f"{shortened(value)} ({type(value).__name__})"
        raise UserError(
            f"{origin.source}: {where} must be a section with the keys {', '.join(fields)}, got {got}"
        )
    hints = get_type_hints(kind)
    catch_all = open_field(kind)
    result: dict[str, Any] = {}
    for name, part in value.items():
        full = f"{key}.{name}" if key else str(name)
        if name in fields and name != catch_all:
            result[name] = canonical(hints[name], part, key=full, origin=origin)
        elif catch_all is not None and moved_to(full, origin.schema) is None:
            result.setdefault(catch_all, {})[name] = part
        else:
            raise unknown_key(full, origin=origin)
    return result


def is_a(kind: Any, value: Any) -> bool:
    """Whether a value, as YAML gives it, is of a plain type: an int is a float, a number may name
    something."""
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float)
    if kind is str:  # a name such as 2024 is a number to YAML
        return isinstance(value, str | int | float)
    return isinstance(kind, type) and isinstance(value, kind)


def unknown_key(key: str, *, origin: Origin) -> UserError:
    """The error for a key that is not in the schema: what to do now if it has moved (see `moved_to`),
    otherwise the nearest keys in the schema."""
    moved = moved_to(key, origin.schema)
    if moved is not None:
        return UserError(f"{origin.source}: unknown key {key}: {moved}")
    known = [leaf.key for leaf in leaves(origin.schema)]
    plain = re.sub(r"\[\d+\]", "[]", key)
    last = plain.rpartition(".")[2]
    key = key if len(key) <= 200 else f"{key[:200]}... ({len(key):,} characters)"
    near = [name for name in known if name.rpartition(".")[2] == last]
    hint = f", did you mean {' or '.join(map(repr, near[:3]))}?" if near else nearest(plain, known)
    if hint:
        return UserError(f"{origin.source}: unknown key {key}{hint}")
    tops = ", ".join(dict.fromkeys(re.split(r"[.\[]", name)[0] for name in known))
    return UserError(f"{origin.source}: unknown key {key}; the top-level keys are {tops}")


def moved_to(key: str, schema: type[Any]) -> str | None:
    """What to do instead of giving this key, if a schema lists it, or a section that holds it, as moved."""
    parts = re.split(r"[.\[]", key.replace("]", ""))
    kind: Any = schema
    while parts and dataclasses.is_dataclass(kind):
        moved: Mapping[str, str] = getattr(kind, "moved", {})
        for length in range(len(parts), 0, -1):  # the text for the key itself comes first
            if (text := moved.get(".".join(parts[:length]))) is not None:
                return text
        kind, _ = without_none(get_type_hints(kind).get(parts.pop(0), None))
        if get_origin(kind) in (list, dict):  # past the number or the name of the member
            kind, parts = get_args(kind)[-1], parts[1:]
    return None
