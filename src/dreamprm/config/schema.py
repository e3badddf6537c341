"""How settings are declared: fields with a meaning, choices and limits, and when they are read.

A schema is a plain dataclass whose fields come from `setting`, `section` and `open_settings`; `leaves` lists
its keys. A strategy (an estimator, a baseline, a checker ...) declares its own settings by `setting` too.
`dreamprm.config.checking` checks what a user gave, `dreamprm.config.help` describes it.

A schema may list keys and sections that no longer exist, dotted and relative to itself, with what to do now:
`moved: ClassVar[Mapping[str, str]] = {"old_section.key": "write new_key"}`. Sections among them that never
affected the result are listed in `outdated: ClassVar[tuple[str, ...]]`: they are ignored in configurations
saved by a command, so that folders of earlier versions can still be read.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

REQUIRED = "???"  # OmegaConf's marker for a value that must be given

LARGEST_INTEGER = 2**63 - 1
"""What tensors, tables and other programs hold."""

LARGEST_SEED = 2**32 - 1
"""What every library takes as a seed; NumPy's is the strictest."""

GIVEN = "given"
"""In a `when`: any value except null, 0, false and empty ones."""


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
    advice: str | None = None,
    when: Mapping[str, Any] | None = None,
) -> Any:
    """Declare one key of a schema, or one setting of a strategy.

    The limits hold for a number, or for each number of a list: `minimum` <= value <= `maximum`,
    `above` < value < `below`. `length` is the exact length of a list. `shorthand` marks the field that a
    plain string is assigned to when a whole section is expected. `symbol` is the paper's name, for messages;
    `advice` says what to do, at the end of the message about a value outside the limits. A list or dict as
    default is copied for every instance. A setting without a default has `REQUIRED` in a schema and
    `dataclasses.MISSING` in a strategy.

    `when` names the neighbouring settings on which this one depends, with the values (a tuple, or `GIVEN`)
    for which it is read: `when={"schedule": ("step",)}`. Given in any other case, it is refused.
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
        "advice": advice,
        "when": when,
    }
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(schema: type[Any], *, when: Mapping[str, Any] | None = None) -> Any:
    """Declare a nested section, read only under the conditions of `when` (see `setting`)."""
    return dataclasses.field(default_factory=schema, metadata={"when": when})


def open_settings(
    help: str,
    *,
    registry: str | None = None,
    named_by: str = "name",
    build: bool = False,
    listing: Callable[[], str] | None = None,
) -> Any:
    """Declare the field (`dict[str, Any]`) that takes those keys of the section that are not fields.

    Such keys are written directly in the section. They are the settings of the strategy that the section's
    key `named_by` names in `registry` (written `module:NAME`): they are described by `--help` and checked.
    With `build`, the strategy is also made once, so that it can refuse invalid combinations. If the keys
    depend on more than a name, give `listing`, their text for `--help`, instead of a registry; the section's
    own `check`, or the command, must then refuse unknown keys.
    """
    metadata = {
        "help": help,
        "open": True,
        "registry": registry,
        "named_by": named_by,
        "build": build,
        "listing": listing,
    }
    return dataclasses.field(default_factory=dict, metadata=metadata)


def open_field(schema: type[Any]) -> str | None:
    """The name of the field declared with `open_settings`, if the schema has one."""
    return next((field.name for field in dataclasses.fields(schema) if "open" in field.metadata), None)


def load(place: str | type) -> Any:
    """What `module:name` names; a class is returned as it is."""
    if isinstance(place, type):
        return place
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One key of a schema, or one setting of a strategy: (dotted) name, type, default and the metadata given
    to `setting`."""

    key: str
    type: Any
    default: Any
    metadata: Mapping[str, Any]


def own_first(schema: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a schema: first those that it declares itself, in its order, then those of the schema it
    extends."""
    own = list((schema if isinstance(schema, type) else type(schema)).__dict__.get("__annotations__", {}))
    places = {name: place for place, name in enumerate(own)}
    return sorted(dataclasses.fields(schema), key=lambda field: places.get(field.name, len(own)))


def leaves(schema: type[Any], prefix: str = "") -> Iterator[Leaf]:
    """Every key of the schema in order.

    Members of a list are named `list[].key`, those of a mapping `mapping.NAME.key`.
    """
    hints = get_type_hints(schema)
    for field in own_first(schema):
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


def declared(strategy: type[Any]) -> tuple[Leaf, ...]:
    """The settings of a strategy: the fields of the dataclass that are declared with `setting`."""
    return tuple(
        Leaf(field.name, _type_of(strategy, field.name), default_of(field), field.metadata)
        for field in dataclasses.fields(strategy)
        if "help" in field.metadata
    )


def _type_of(owner: type[Any], name: str) -> Any:
    # Only this field's: others may have types that are imported for type checkers only.
    for kind in owner.__mro__:
        if name in kind.__dict__.get("__annotations__", {}):
            found = kind.__annotations__[name]
            return eval(found, vars(sys.modules[kind.__module__])) if isinstance(found, str) else found
    raise AttributeError(f"{owner.__name__} has no field {name}")


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The field's default; `REQUIRED` if it has none."""
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
    elif get_origin(kind) is Literal:
        name = "str"
    elif kind is Path:
        name = "path"
    else:
        name = "any value" if kind is Any else kind.__name__
    return name + (" or null" if optional else "")


def limits_text(metadata: Mapping[str, Any]) -> str:
    """The range in words: `>= 0 and < 1`; empty without bounds."""
    signs = {"minimum": ">=", "above": ">", "maximum": "<=", "below": "<"}
    given = {sign: metadata.get(name) for name, sign in signs.items()}
    return " and ".join(f"{sign} {_number(limit)}" for sign, limit in given.items() if limit is not None)


def _number(limit: float) -> str:
    short = f"{limit:g}"
    return short if float(short) == limit else str(limit)


def unmet(when: Mapping[str, Any] | None, value_of: Callable[[str], Any]) -> str | None:
    """The first condition of a `when` that does not hold for these values, in words; None if all hold."""
    for key, values in (when or {}).items():
        value = value_of(key)
        if not (value if values == GIVEN else value in values):
            return f"{condition_text({key: values})}, and {key} is {yaml_text(value)}"
    return None


def condition_text(when: Mapping[str, Any]) -> str:
    """The conditions in words: `with schedule=step`, `where lm_weight is set`."""
    return " and ".join(
        f"where {key} is set"
        if values == GIVEN
        else f"with {key}={' or '.join(yaml_text(value) for value in values)}"
        for key, values in when.items()
    )


def yaml_text(value: Any) -> str:
    """A value as written in a YAML file, on one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "[" + ", ".join(yaml_text(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {yaml_text(part)}" for name, part in value.items()) + "}"
    return str(value) if value != "" else "''"
