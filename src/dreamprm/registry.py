"""What registries of named strategies share: an unknown name or setting is refused with the nearest known."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from typing import Any

from dreamprm.errors import UserError


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
            raise UserError(f"{what} has no setting {key!r}{nearest(key, known)}; "
                            f"its settings: {', '.join(known) or 'none'}")


def load(place: str) -> Any:
    """What `module:name` names."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def default_settings(strategy: Any) -> dict[str, Any]:
    """A dataclass's settings with their defaults; `dataclasses.MISSING` where one must be given."""
    return {field.name: field.default for field in dataclasses.fields(strategy) if field.init}


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
