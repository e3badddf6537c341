"""What registries of named strategies share: an unknown name or setting is refused with the nearest known."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from typing import Any

from dreamprm.config.errors import UserError


def nearest(given: str, known: Collection[str]) -> str:
    """`, did you mean 'x'?`, where something known is near; else nothing."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.4)
    return f", did you mean {close[0]!r}?" if close else ""


def require_name(what: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that the registry does not have.

    Raises:
        UserError: naming the nearest one and all of them.
    """
    if name not in known:
        raise UserError(f"unknown {what} {name!r}{nearest(name, known)}; known: {', '.join(known)}")


def require_settings(what: str, settings: Iterable[str], known: Collection[str]) -> None:
    """Refuse settings that the strategy does not have.

    Raises:
        UserError: naming the nearest one and all of them.
    """
    for key in settings:
        if key not in known:
            raise UserError(
                f"{what} has no setting {key!r}{nearest(key, known)}; "
                f"its settings: {', '.join(known) or 'none'}"
            )


def build(what: str, name: str, registry: Mapping[str, str | type], settings: Mapping[str, Any]) -> Any:
    """The strategy of this name with these settings.

    Args:
        what: the kind of strategy, for messages.
        name: a key of the registry.
        registry: classes, or `module:class`, by name; dataclasses whose init fields are their settings.
        settings: by name.

    Raises:
        UserError: an unknown name or setting (with the nearest known one), a setting that must be given, or a
            value that the class refuses.
    """
    known = strategy_settings(what, name, registry)
    require_settings(f"{what} {name!r}", settings, known)
    missing = [
        key for key, default in known.items() if default is dataclasses.MISSING and key not in settings
    ]
    if missing:
        raise UserError(f"{what} {name!r} needs {', '.join(missing)}")
    try:
        return load(registry[name])(**settings)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{what} {name!r}: {error}") from error


def strategy_settings(what: str, name: str, registry: Mapping[str, str | type]) -> dict[str, Any]:
    """A strategy's settings with their defaults; `dataclasses.MISSING` where one must be given.

    Raises:
        UserError: an unknown name.
    """
    require_name(what, name, registry)
    return {field.name: field.default for field in dataclasses.fields(load(registry[name])) if field.init}


def load(place: str | type) -> Any:
    """What `module:name` names; a class as it is."""
    if isinstance(place, type):
        return place
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def listing(names: Iterable[str], settings_of: Callable[[str], Mapping[str, Any]]) -> str:
    """Every strategy with its settings and defaults, a line each, for `--help`."""
    lines = []
    for name in names:
        given = (
            f"{key} (required)" if default is dataclasses.MISSING else f"{key}={default!r}"
            for key, default in settings_of(name).items()
        )
        lines.append(f"{name}: {', '.join(given) or 'no settings'}")
    return "\n".join(lines)
