"""How a configuration schema is declared and checked: fields with help, choices and ranges.

A schema is a plain dataclass whose fields come from `setting`, `section` and `open_settings`.
`leaves` lists its keys, `canonical` checks what a user gave against it, `check_ranges` checks the values
that came out. Nothing here reads a file: see `dreamprm.config.loading`.

A schema may list keys and sections that no longer exist, dotted and relative to itself, with what to do now:
`moved: ClassVar[Mapping[str, str]] = {"old_section.key": "write new_key"}`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from dreamprm.config.errors import UserError

REQUIRED = "???"  # OmegaConf's mark of a value that must be given


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    length: int | None = None,
    shorthand: bool = False,
    symbol: str | None = None,
) -> Any:
    """Declare one key of a schema.

    The limits hold for a number, or for each number of a list: `minimum` <= value <= `maximum`,
    `above` < value < `below`. `length` is the exact length of a list. `shorthand` marks the field that a
    plain string stands for, where a whole section is expected. `symbol` is the paper's name, for messages.
    A list or dict as default is copied for every instance. Use `REQUIRED` where there is no default.
    """
    metadata = {
        "help": help,
        "choices": tuple(choices) if choices is not None else None,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "below": below,
        "length": length,
        "shorthand": shorthand,
        "symbol": symbol,
    }
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(schema: type[Any]) -> Any:
    """Declare a nested section; its meaning in `--help` is the first line of the schema's docstring."""
    return dataclasses.field(default_factory=schema)


def open_settings(help: str, *, listing: Callable[[], str]) -> Any:
    """Declare the field (`dict[str, Any]`) that takes the section's keys which are not fields.

    Such keys are written directly in the section. `listing` gives their text for `--help`; the section's
    own `check` method must refuse the unknown ones.
    """
    return dataclasses.field(default_factory=dict, metadata={"help": help, "listing": listing})


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One key of a schema: dotted name, type, default and the metadata given to `setting`."""

    key: str
    type: Any
    default: Any
    metadata: Mapping[str, Any]


def leaves(schema: type[Any], prefix: str = "") -> Iterator[Leaf]:
    """Every key of the schema in order.

    Members of a list are named `list[].key`, those of a mapping `mapping.NAME.key`.
    """
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind, _ = without_none(hints[field.name])
        key = prefix + field.name
        if dataclasses.is_dataclass(kind):
            yield from leaves(kind, key + ".")  # type: ignore[arg-type]
            continue
        yield Leaf(key, hints[field.name], default_of(field), field.metadata)
        item = get_args(kind)[-1] if get_origin(kind) in (list, dict) else None
        if dataclasses.is_dataclass(item):
            members = "[]." if get_origin(kind) is list else ".NAME."
            yield from leaves(item, key + members)  # type: ignore[arg-type]


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The field's default; `REQUIRED` where it has none."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED


def without_none(kind: Any) -> tuple[Any, bool]:
    """Split `X | None` into (X, True); any other type into (type, False)."""
    if get_origin(kind) in (Union, types.UnionType):
        rest = [part for part in get_args(kind) if part is not type(None)]
        assert len(rest) == 1, f"schemas use one type or None, got {kind}"
        return rest[0], True
    return kind, False


def type_name(kind: Any) -> str:
    """The type in a user's words: `int`, `float or null`, `list of str`."""
    kind, optional = without_none(kind)
    if get_origin(kind) is list:
        name = f"list of {type_name(get_args(kind)[0])}"
    elif get_origin(kind) is dict:
        value = get_args(kind)[1]
        name = "mapping" if value is Any else f"mapping of name to {type_name(value)}"
    elif dataclasses.is_dataclass(kind):
        name = "section"
    else:
        name = "any value" if kind is Any else kind.__name__
    return name + (" or null" if optional else "")


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where values come from and which schema they are for: what an error message needs."""

    source: str
    schema: type[Any]


def canonical(kind: Any, value: Any, *, key: str, origin: Origin) -> Any:
    """What the user gave at `key`, checked against the type and brought into the schema's own form.

    A string for a section becomes the section's shorthand field; keys of an open section move into its
    open field. Interpolations (`${...}`) pass: they are checked once resolved.

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
    if not _is_a(kind, value):
        allowed = type_name(kind) + (" or null" if optional else "")
        hint = f"; write [{value}]" if get_origin(kind) is list and isinstance(value, str) else ""
        hint = "; put quotes around it" if kind is str and isinstance(value, bool) else hint
        raise UserError(
            f"{origin.source}: {key} must be {allowed}, got {value!r} ({type(value).__name__}){hint}"
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
        got = f"{value!r} ({type(value).__name__})"
        raise UserError(
            f"{origin.source}: {where} must be a section with the keys {', '.join(fields)}, got {got}"
        )
    hints = get_type_hints(kind)
    catch_all = next((name for name, field in fields.items() if "listing" in field.metadata), None)
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


def _is_a(kind: Any, value: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float)
    if kind is str:  # a name such as 2024 is a number to YAML
        return isinstance(value, str | int | float)
    return isinstance(kind, type) and isinstance(value, kind)


def unknown_key(key: str, *, origin: Origin) -> UserError:
    """The error for a key that the schema does not have: what to do now if it has moved (see `moved_to`),
    otherwise the nearest keys that the schema has."""
    moved = moved_to(key, origin.schema)
    if moved is not None:
        return UserError(f"{origin.source}: unknown key {key}: {moved}")
    known = [leaf.key for leaf in leaves(origin.schema)]
    plain = re.sub(r"\[\d+\]", "[]", key)
    last = plain.rpartition(".")[2]
    near = [name for name in known if name.rpartition(".")[2] == last]
    near = near or difflib.get_close_matches(plain, known, n=1)
    if near:
        return UserError(f"{origin.source}: unknown key {key}; did you mean {' or '.join(near[:3])}?")
    tops = ", ".join(dict.fromkeys(re.split(r"[.\[]", name)[0] for name in known))
    return UserError(f"{origin.source}: unknown key {key}; the top-level keys are {tops}")


def moved_to(key: str, schema: type[Any]) -> str | None:
    """What to do instead of giving this key, where a schema lists it or a section that holds it as moved."""
    parts = re.split(r"[.\[]", key.replace("]", ""))
    kind: Any = schema
    while parts and dataclasses.is_dataclass(kind):
        moved: Mapping[str, str] = getattr(kind, "moved", {})
        for length in range(1, len(parts) + 1):
            if (text := moved.get(".".join(parts[:length]))) is not None:
                return text
        kind, _ = without_none(get_type_hints(kind).get(parts.pop(0), None))
        if get_origin(kind) in (list, dict):  # past the number or the name of the member
            kind, parts = get_args(kind)[-1], parts[1:]
    return None


def check_ranges(value: Any, key: str = "") -> None:
    """Check every choice, range and length of a schema instance, then the sections' own `check` methods.

    Raises:
        UserError: naming the key, the value and what is allowed.
    """
    for field in dataclasses.fields(value):
        full = f"{key}.{field.name}" if key else field.name
        part = getattr(value, field.name)
        for where, item in _members(part, full):
            if dataclasses.is_dataclass(item):
                check_ranges(item, where)
            elif item is not None:
                _check_value(item, where, field.metadata)
        length = field.metadata.get("length")
        if length is not None and part is not None and len(part) != length:
            raise UserError(f"{full} must hold {length} values, got {len(part)}: {part}")
    check = getattr(value, "check", None)
    if check is not None:
        try:
            check()
        except (ValueError, TypeError) as error:
            raise UserError(f"{key}: {error}" if key else str(error)) from error


def _members(value: Any, key: str) -> list[tuple[str, Any]]:
    if isinstance(value, list):
        return [(f"{key}[{i}]", item) for i, item in enumerate(value)]
    if isinstance(value, dict):
        return [(f"{key}.{name}", item) for name, item in value.items()]
    return [(key, value)]


def _check_value(value: Any, key: str, metadata: Mapping[str, Any]) -> None:
    choices = metadata.get("choices")
    if choices is not None and value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{key} must be one of {', '.join(choices)}, got {value!r}{hint}")
    limits = limits_text(metadata)
    if not limits or not isinstance(value, int | float):
        return
    # Written so that NaN, for which every comparison is false, is refused.
    holds = (
        (metadata["minimum"] is None or value >= metadata["minimum"])
        and (metadata["above"] is None or value > metadata["above"])
        and (metadata["maximum"] is None or value <= metadata["maximum"])
        and (metadata["below"] is None or value < metadata["below"])
    )
    if not holds:
        symbol = f" ({metadata['symbol']})" if metadata["symbol"] else ""
        raise UserError(f"{key}{symbol} must be {limits}, got {value}")


def limits_text(metadata: Mapping[str, Any]) -> str:
    """The range in words: `>= 0 and < 1`; empty where there is none."""
    signs = {"minimum": ">=", "above": ">", "maximum": "<=", "below": "<"}
    given = {sign: metadata.get(name) for name, sign in signs.items()}
    return " and ".join(f"{sign} {limit:g}" for sign, limit in given.items() if limit is not None)
