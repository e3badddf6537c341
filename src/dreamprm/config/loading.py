"""Read, compare and save configurations: YAML file + `key=value` overrides -> typed dataclasses.

OmegaConf merges, resolves interpolations and builds the dataclasses; `dreamprm.config.checking` checks keys,
types and ranges first, so that a message names the file (or the command line), the key and what is allowed.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dreamprm.config.checking import Given, check_config, settings_read
from dreamprm.config.errors import UserError, shortened
from dreamprm.config.keys import Origin, canonical, moved_to, unknown_key
from dreamprm.config.schema import REQUIRED, load, open_field, own_first, unmet, without_none
from dreamprm.config.yaml_values import parse_override, read_yaml, require_usable_characters

C = TypeVar("C")

COMMAND_LINE = "command line"
_REFERENCE = re.compile(r"(\\*)\$\{")  # OmegaConf halves the backslashes before it
VERSIONS = "versions"  # where a saved configuration records what it was made with; ignored when read


def load_config(schema: type[C], path: str | os.PathLike[str] | None, overrides: Sequence[str] = ()) -> C:
    """Read a configuration: the schema's defaults, then the YAML file (if any), then the overrides in order.

    Args:
        schema: a dataclass declared with `dreamprm.config.schema`.
        path: YAML file; None for only the defaults and the overrides.
        overrides: `dotted.key=value`, the value in YAML; list members as `data.train.0.path=...`.

    Returns:
        An instance of `schema`, its sections instances of theirs, every interpolation resolved.

    Raises:
        UserError: missing or malformed file, unknown key, wrong type, value out of range, or a required key
            that is not given; or a key that is given but not read. Such a key is accepted in a file if it is
            unread only because an override changed the key on which it depends, or if the file is a
            configuration saved by a command and the value is the default.
    """
    source = COMMAND_LINE if path is None else str(path)
    given: dict[str, Any] = {}
    saved = False
    if path is not None:
        content = read_yaml(Path(path))
        saved = content.pop(VERSIONS, None) is not None
        for name in getattr(schema, "outdated", ()) if saved else ():
            content.pop(name, None)
        given = canonical(schema, content, key="", origin=Origin(source, schema))
    for override in overrides:
        _apply_override(given, override, schema=schema)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), given)
        # Not OmegaConf.missing_keys, which also lists keys that interpolate a missing key.
        missing = [key for key, value in flat(OmegaConf.to_container(merged)) if value == REQUIRED]
        if missing:
            raise UserError(f"{source}: {', '.join(missing)} must be given")
        config = OmegaConf.to_object(merged)
    except UserError:
        raise
    except (OmegaConfBaseException, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:300]
        key = getattr(error, "full_key", None)
        raise UserError(f"{source}: {f'{key}: ' if key else ''}{reason}") from error
    assert isinstance(config, schema)
    anew = {override.partition("=")[0].strip() for override in overrides} if path is not None else ()
    check_config(config, Given(given, anew, saved))
    require_usable_characters(given, source)  # last, as what is a name has its own rules
    return config


def _apply_override(given: dict[str, Any], override: str, *, schema: type[Any]) -> None:
    """Write one `key=value` into the nested dict `given`, in the schema's own form."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"{COMMAND_LINE}: {override!r} is not an override; write key=value, such as seed=1")
    value = parse_override(text, key, COMMAND_LINE)
    origin = Origin(COMMAND_LINE, schema)
    node: Any = given
    kind: Any = schema
    slot: Any  # a name, or an index into a list
    parts = key.replace("[", ".").replace("]", "").split(".")
    for depth, part in enumerate(parts):
        kind, _ = without_none(kind)
        last = depth == len(parts) - 1
        if get_origin(kind) is list:
            kind, slot = get_args(kind)[0], _member(node, part, key=key, where=".".join(parts[:depth]))
        elif get_origin(kind) is dict:
            kind, slot = get_args(kind)[1], part
        elif dataclasses.is_dataclass(kind):
            node, kind, slot = _enter_section(node, kind, part, key=key, origin=origin)
        elif kind is Any:  # inside an open setting: nothing is known about the shape
            where = ".".join(parts[:depth])
            slot = _member(node, part, key=key, where=where) if isinstance(node, list) else part
        else:
            raise unknown_key(key, origin=origin)
        if last:
            node[slot] = canonical(kind, value, key=key, origin=origin)
            return
        held = node[slot] if isinstance(node, list) else node.get(slot)
        if not isinstance(node, list) and (held is None or isinstance(held, str)):
            held = node[slot] = {}
        if not isinstance(held, dict | list):
            where = ".".join(parts[: depth + 1])
            raise UserError(
                f"{COMMAND_LINE}: {key}: {where} is {shortened(held)} here, which has no parts; "
                f"give the whole value, {where}=..."
            )
        node = held


def _member(node: Any, part: str, *, key: str, where: str) -> int:
    """The index of a list's member that an override names.

    Raises:
        UserError: there is no such member.
    """
    if not (part.isascii() and part.isdecimal()) or not isinstance(node, list) or int(part) >= len(node):
        held = len(node) if isinstance(node, list) else 0
        raise UserError(
            f"{COMMAND_LINE}: {key}: {where} holds {held} members here; {part!r} is not the number "
            f"of one (counted from 0); give the whole list, {where}=[...]"
        )
    return int(part)


def _enter_section(node: Any, kind: Any, part: str, *, key: str, origin: Origin) -> tuple[Any, Any, str]:
    """The dict that holds `part` of a section, the type of `part`, and its name there."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    catch_all = open_field(kind)
    if part in fields and part != catch_all:
        return node, get_type_hints(kind)[part], part
    if catch_all is not None and moved_to(key, origin.schema) is None:
        return node.setdefault(catch_all, {}), Any, part
    raise unknown_key(key, origin=origin)


def as_dict(config: Any) -> dict[str, Any]:
    """The configuration as nested plain containers, in the form of a YAML file.

    It is complete and minimal: it holds every key that is read, including those of the strategies, and no
    others.
    """
    result: dict[str, Any] = {}
    for field in own_first(config):
        value = getattr(config, field.name)
        if "open" in field.metadata:
            result.update(_settings_read(config, value, field.metadata))
        elif unmet(field.metadata.get("when"), lambda name: getattr(config, name)) is None:
            result[field.name] = _plain(value)
    return result


def _settings_read(config: Any, settings: dict[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the section's strategy reads, defaults included."""
    name = getattr(config, metadata["named_by"], None)
    if metadata["registry"] is None or name in (None, REQUIRED):
        return settings
    return settings_read(load(metadata["registry"]), name, settings)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return as_dict(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect a run's numbers; reads metadata, imports nothing."""
    found = {"python": platform.python_version()}
    for name in ("dreamprm", "torch", "transformers", "torchopt", "numpy", "accelerate"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def config_yaml(config: Any, *, extra: Mapping[str, str] | None = None) -> str:
    """The resolved configuration as YAML; `load_config` gives the same configuration back.

    A `versions` section records what the run was made with; `extra` adds to it. Both are ignored when read.
    """
    content = _escaped(as_dict(config)) | {VERSIONS: versions() | dict(extra or {})}
    return OmegaConf.to_yaml(OmegaConf.create(content))


def _escaped(value: Any) -> Any:
    """A resolved value in which `${` is written as a text, not as a reference to another key."""
    if isinstance(value, str):
        return _REFERENCE.sub(r"\1\1\\${", value)
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    if isinstance(value, dict):
        return {name: _escaped(part) for name, part in value.items()}
    return value


def saved_versions(path: str | os.PathLike[str]) -> dict[str, str]:
    """The `versions` section of a saved configuration; empty if the file has no such section."""
    content = read_yaml(Path(path)).get(VERSIONS)
    return {str(name): str(value) for name, value in content.items()} if isinstance(content, dict) else {}


def changed_keys(before: Any, after: Any, *, ignore: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ between two configurations, with both values; `ignore` lists keys and
    sections that do not count (`log`, `resume`)."""
    old, new = dict(flat(as_dict(before))), dict(flat(as_dict(after)))
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not is_below(key, ignore)
    }


def is_below(key: str, sections: Collection[str]) -> bool:
    """Whether a dotted key is one of the sections, or inside one."""
    return f"{key}.".startswith(tuple(f"{section}." for section in sections))


def flat(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested containers; an empty container is a value of its own."""
    if isinstance(content, dict) and content:
        for name, value in content.items():
            yield from flat(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list) and content:
        for index, value in enumerate(content):
            yield from flat(value, f"{key}[{index}]")
    else:
        yield key, content
