"""Check values against what is declared: types, limits, and whether a setting is read at all.

`check_config` checks a configuration whose keys `dreamprm.config.keys.canonical` has accepted;
`check_settings` is for strategies made in Python.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dreamprm.config.errors import UserError, nearest, shortened
from dreamprm.config.keys import is_a
from dreamprm.config.schema import (
    LARGEST_INTEGER,
    REQUIRED,
    Leaf,
    declared,
    default_of,
    limits_text,
    load,
    open_field,
    type_name,
    unmet,
    without_none,
)


@dataclasses.dataclass(frozen=True)
class Given:
    """What a user gave for a schema or one of its sections; it tells a default that is written out from one
    that is not.

    Attributes:
        content: in the schema's own form (see `canonical`).
        anew: the full names of the keys that were given in addition to a file.
        saved: whether the file is a configuration saved by a command, which may list every key.
    """

    content: Any
    anew: Collection[str] = ()
    saved: bool = False

    def at(self, slot: Any) -> Given:
        """What was given for one key or member."""
        return dataclasses.replace(self, content=self.content[slot] if self.holds(slot) else None)

    def holds(self, slot: Any) -> bool:
        """Whether anything was given for one key or member."""
        content = self.content
        return isinstance(content, list) or (isinstance(content, dict) and content.get(slot, {}) != {})

    def is_anew(self, key: str) -> bool:
        """Whether a key, or a section that holds it, was given in addition to a file."""
        return any(f"{key}.".startswith(f"{one}.") for one in self.anew)

    def may_be_unread(self, key: str, *, is_default: bool, because_of: Iterable[str]) -> bool:
        """Whether a key may be given although nothing reads it: in a file, if a key it depends on has been
        overridden, or if a saved configuration lists its default."""
        if self.is_anew(key):
            return False
        section = key.rpartition(".")[0]
        deciding = {f"{section}.{name}" if section else name for name in because_of}
        return (self.saved and is_default) or not deciding.isdisjoint(self.anew)


def check_config(value: Any, given: Given, key: str = "") -> None:
    """Check every choice, range and length of a schema instance, that every given key is read, and each
    strategy's settings; then call the sections' own `check` methods.

    Raises:
        UserError: naming the key, the value and what is allowed.
    """
    hints = get_type_hints(type(value))
    for field in dataclasses.fields(value):
        full = f"{key}.{field.name}" if key else field.name
        part = getattr(value, field.name)
        for where, item, slot in _members(part, full):
            if dataclasses.is_dataclass(item):
                below = given.at(field.name)
                check_config(item, below if slot is None else below.at(slot), where)
            elif item is not None:
                _check_limits(item, where, field.metadata, optional=without_none(hints[field.name])[1])
        _check_length(part, full, field.metadata)
        condition = unmet(field.metadata.get("when"), lambda name: getattr(value, name))
        if condition is not None and given.holds(field.name):
            is_default = part == default_of(field)
            if not given.may_be_unread(full, is_default=is_default, because_of=field.metadata["when"]):
                raise UserError(f"{full} is only read {condition}; leave it out")
    try:
        if (name := open_field(type(value))) is not None:
            _check_open(value, name, given, key)
        check = getattr(value, "check", None)
        if check is not None:
            check()
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}" if key else str(error)) from error


def _check_open(value: Any, name: str, given: Given, key: str) -> None:
    """Check the settings of the strategy that a section names; unread ones that are allowed are dropped."""
    fields = {field.name: field for field in dataclasses.fields(value)}
    named_by, place = fields[name].metadata["named_by"], fields[name].metadata["registry"]
    if place is None:
        return
    settings, chosen, registry = getattr(value, name), getattr(value, named_by), load(place)
    if chosen is None:
        for setting in settings:
            raise UserError(f"{setting} is only read where {named_by} is set; leave it out")
        return
    if chosen in registry:
        if given.saved:
            _rename(registry.declared(chosen, {}), settings, given, key)
        for setting in _unread(registry, chosen, settings):
            others = _leaves_named(registry, setting).values()
            deciding = [named_by, *(name for leaf in others for name in leaf.metadata.get("when") or ())]
            is_default = settings[setting] in [leaf.default for leaf in others]
            full = f"{key}.{setting}" if key else setting
            if others and given.may_be_unread(full, is_default=is_default, because_of=deciding):
                del settings[setting]
    check_chosen(registry, chosen, settings, beside=[key for key in fields if key != name])
    for setting, condition in _unread(registry, chosen, settings).items():
        raise UserError(f"{registry.what} {chosen!r}: {setting} is only read {condition}; leave it out")
    if fields[name].metadata["build"]:
        registry.build(chosen, **settings)


def _rename(leaves: Iterable[Leaf], settings: dict[str, Any], given: Given, section: str) -> None:
    """Bring settings that a saved configuration has by names of an earlier version to those of today."""
    for leaf in leaves:
        for old in leaf.metadata.get("formerly", ()):
            if old in settings and not given.is_anew(f"{section}.{old}"):
                value = settings.pop(old)
                settings.setdefault(leaf.key, value)
        if leaf.key in settings and not given.is_anew(f"{section}.{leaf.key}"):
            settings[leaf.key] = _renamed(leaf, settings[leaf.key])


def _renamed(leaf: Leaf, value: Any) -> Any:
    """The value, or what the part of this name is called now."""
    parts = leaf.metadata.get("parts")
    return parts.renamed.get(value, value) if parts is not None and isinstance(value, str) else value


def require_name(what: str, name: str, known: Collection[str]) -> None:
    """Refuse an unknown name.

    Raises:
        UserError: naming the nearest known name and all of them.
    """
    if name not in known:
        raise UserError(f"unknown {what} {shortened(name)}{nearest(name, known)}; known: {', '.join(known)}")


def require_settings(
    what: str,
    settings: Iterable[str],
    known: Collection[str],
    *,
    hint: Callable[[str], str] | None = None,
) -> None:
    """Refuse settings that a strategy does not have.

    Args:
        what: the strategy, for messages.
        settings: names that were given.
        known: names of the settings that it has.
        hint: what to say about an unknown name; None: the nearest known one.

    Raises:
        UserError: with the hint and all known settings.
    """
    for key in settings:
        if key not in known:
            raise UserError(
                f"{what} has no setting {key!r}{hint(key) if hint is not None else nearest(key, known)}; "
                f"its settings: {', '.join(known) or 'none'}"
            )


def check_chosen(
    registry: Any, name: str, settings: Mapping[str, Any], *, beside: Collection[str] = ()
) -> None:
    """Check the name of a strategy and the settings given for it.

    Args:
        registry: a `Registry`, or another mapping of names that has `what` and `declared(name, settings)`.
        name: the strategy's name.
        settings: values by name.
        beside: keys of the section in which the settings are written, to guess what was meant.

    Raises:
        UserError: an unknown name or setting (with the nearest known one, and what reads it), a setting that
            is missing, or a value that is not allowed.
    """
    what = registry.what
    require_name(what, name, registry)
    known = {leaf.key: leaf for leaf in registry.declared(name, settings)}

    def read_by(key: str) -> str:
        readers = _leaves_named(registry, key)
        if not readers:
            return nearest(key, [*known, *beside])
        leaf = readers.get(name) or next(iter(readers.values()))
        if name in readers:
            now = _renamed(leaf, settings[key])
            return f": it is called {leaf.key!r} now; write {leaf.key}={now}"
        now_called = "" if leaf.key == key else f", now called {leaf.key!r}"
        return f"{now_called}, which {', '.join(readers)} read{'' if len(readers) > 1 else 's'}"

    require_settings(f"{what} {name!r}", settings, known, hint=read_by)
    missing = [key for key, leaf in known.items() if leaf.default == REQUIRED and key not in settings]
    if missing:
        raise UserError(f"{what} {name!r} needs {', '.join(missing)}")
    try:
        check_values(known.values(), settings)
    except UserError as error:
        raise UserError(f"{what} {name!r}: {error}") from error


def settings_read(registry: Any, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a strategy reads when given these settings: setting and value, defaults included."""
    known = {leaf.key: leaf for leaf in registry.declared(name, settings)}
    values = {key: leaf.default for key, leaf in known.items()} | dict(settings)
    return {
        key: value
        for key, value in values.items()
        if key not in known or unmet(known[key].metadata.get("when"), values.__getitem__) is None
    }


def _unread(registry: Any, name: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The given settings that the strategy does not read, each with the condition for being read."""
    known = {leaf.key: leaf for leaf in registry.declared(name, settings)}
    conditions = {
        key: unmet(known[key].metadata.get("when"), lambda other: settings.get(other, known[other].default))
        if key in known
        else "by another"
        for key in settings
    }
    return {key: condition for key, condition in conditions.items() if condition is not None}


def _leaves_named(registry: Any, key: str) -> dict[str, Leaf]:
    """The setting of this name in every strategy that has one, or had one under this name."""
    found: dict[str, Leaf] = {}
    for name in registry:
        try:
            leaves_of = registry.declared(name, {})
        except ImportError:  # the strategy's library is not installed
            continue
        found.update(
            (name, leaf) for leaf in leaves_of if key in (leaf.key, *leaf.metadata.get("formerly", ()))
        )
    return found


def check_settings(strategy: Any) -> None:
    """Check every setting of a strategy against its declaration: type, choices, range, length, and that
    those which are not read have their default. For use in `__post_init__`.

    Raises:
        UserError: naming the setting, the value and what is allowed.
    """
    values = {leaf.key: getattr(strategy, leaf.key) for leaf in declared(type(strategy))}
    check_values(declared(type(strategy)), values)
    for leaf in declared(type(strategy)):
        condition = unmet(leaf.metadata.get("when"), values.__getitem__)
        if condition is not None and values[leaf.key] != leaf.default:
            raise UserError(f"{leaf.key}={values[leaf.key]!r} is only read {condition}; leave it out")


def check_values(settings: Iterable[Leaf], values: Mapping[str, Any]) -> None:
    """Check the values that are given: type, choices, range and length.

    Raises:
        UserError: naming the setting, the value and what is allowed.
    """
    for leaf in settings:
        if leaf.key not in values:
            continue
        value = values[leaf.key]
        if not _fits(leaf.type, value):
            limits = limits_text(leaf.metadata)
            choices = leaf.metadata.get("choices")
            kind, optional = without_none(leaf.type)
            allowed = f"{_in_words(kind)} {limits}".rstrip() + (" or null" if optional else "")
            allowed = f"one of {_listed(choices, optional)}" if choices else allowed
            raise UserError(f"{leaf.key} must be {allowed}, got {shortened(value)}{_advice(leaf.metadata)}")
        for where, item, _ in _members(value, leaf.key):
            if item is not None:
                _check_limits(item, where, leaf.metadata, optional=without_none(leaf.type)[1])
        _check_length(value, leaf.key, leaf.metadata)


def _members(value: Any, key: str) -> list[tuple[str, Any, Any]]:
    """The value, or each member of a list or mapping with its slot: full name, value, slot."""
    if isinstance(value, list | tuple):
        return [(f"{key}[{i}]", item, i) for i, item in enumerate(value)]
    if isinstance(value, dict):
        return [(f"{key}.{name}", item, name) for name, item in value.items()]
    return [(key, value, None)]


def _check_limits(value: Any, key: str, metadata: Mapping[str, Any], *, optional: bool) -> None:
    choices = metadata.get("choices")
    if choices is not None and value not in choices:
        hint = nearest(str(value), choices)
        raise UserError(f"{key} must be one of {_listed(choices, optional)}, got {shortened(value)}{hint}")
    limits = limits_text(metadata)
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise UserError(f"{key} must be a number of at most 64 bits, got one of {value.bit_length()}")
    if not limits or not isinstance(value, int | float):
        return
    # Written so that NaN, for which every comparison is false, is refused.
    holds = math.isfinite(value) and (
        (metadata["minimum"] is None or value >= metadata["minimum"])
        and (metadata["above"] is None or value > metadata["above"])
        and (metadata["maximum"] is None or value <= metadata["maximum"])
        and (metadata["below"] is None or value < metadata["below"])
    )
    if not holds:
        symbol = f" ({metadata['symbol']})" if metadata.get("symbol") else ""
        finite = "finite and " if math.isinf(value) else ""
        raise UserError(f"{key}{symbol} must be {finite}{limits}, got {value}{_advice(metadata)}")


def _check_length(value: Any, key: str, metadata: Mapping[str, Any]) -> None:
    length = metadata.get("length")
    if length is not None and value is not None and len(value) != length:
        raise UserError(f"{key} must hold {length} values, got {len(value)}: {value}")


def _listed(choices: Iterable[str], optional: bool) -> str:
    return ", ".join(choices) + (" or null" if optional else "")


def _advice(metadata: Mapping[str, Any]) -> str:
    return f"; {metadata['advice']}" if metadata.get("advice") else ""


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value given in Python, where nothing converts it, is of the declared type."""
    kind, optional = without_none(kind)
    if kind is Any or value is None:
        return kind is Any or optional
    origin = get_origin(kind)
    if origin is Literal:
        return isinstance(value, str)
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(_fits(get_args(kind)[0], part) for part in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(get_args(kind)[1], part) for part in value.values())
    if kind is Path:
        return isinstance(value, str | os.PathLike)
    return isinstance(value, str) if kind is str else is_a(kind, value)


def _in_words(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return words.get(kind) or f"a {type_name(kind)}"
