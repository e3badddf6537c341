"""Estimators composed of parts (a solver, a kind of derivative): each part by its name, its own settings next
to those of the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from dreamprm.hypergrad.registration import Registry, nearest
from dreamprm.hypergrad.settings import Declared, check_value, declared, unmet


class Composition:
    """A class, the settings given for it, and which parts these name.

    Args:
        kind: the class, whose parts are the fields declared by `setting(..., parts=registry)`.
        given: settings by name. A part may also be an object, whose own settings are then closed.
        fixed: names of parts that cannot be chosen here.

    Raises:
        ValueError: the name of a part is unknown.
    """

    def __init__(self, kind: type[Any], given: Mapping[str, Any], *, fixed: Mapping[str, str]) -> None:
        self._kind, self._given, self._fixed = kind, given, fixed
        self._own = {one.key: one for one in declared(kind)}
        self._registries: dict[str, Registry[Any]] = {
            key: one.metadata["parts"] for key, one in self._own.items() if one.metadata["parts"] is not None
        }
        self._chosen: dict[str, str] = {}
        for key, registry in self._registries.items():
            value = fixed.get(key, given.get(key))
            if not isinstance(value, registry.base):
                self._chosen[key] = self._default(key) if value is None else registry.require(value)

    def declared(self) -> tuple[Declared, ...]:
        """Every setting that `build` takes: the class's own, and after each part (here a name) those that a
        part in its place can have, read with such a part only; last those of fixed parts.

        Where parts have settings of one name, it stands for that of a part which was chosen.
        """
        owner = {one.key: part for part in reversed(self._chosen) for one in self._of(part)}
        found: dict[str, Declared] = {}
        for key, one in self._own.items():
            if key in self._fixed:
                continue
            if key not in self._chosen:
                found[key] = one
                continue
            registry = self._registries[key]
            found[key] = Declared(key, str, self._default(key), {**one.metadata, "choices": tuple(registry)})
            all_of_them = list(_settings_of_all(registry))
            for setting in (*self._of(key), *(setting for _, setting in all_of_them)):
                if setting.key not in self._own and owner.get(setting.key, key) == key:
                    names = tuple(name for name, other in all_of_them if other.key == setting.key)
                    when = {key: names, **(setting.metadata["when"] or {})}
                    found.setdefault(
                        setting.key, setting._replace(metadata={**setting.metadata, "when": when})
                    )
        for part in self._fixed:
            found.update((one.key, one) for one in self._of(part))
        return tuple(found.values())

    def settings(self) -> dict[str, Any]:
        """Every setting that is read with these parts, with the parts' names and the defaults."""
        known = {one.key: one for one in self.declared()}
        values = {key: self._chosen.get(key, one.default) for key, one in known.items()}
        return {key: values[key] for key, one in known.items() if unmet(one, values.get) is None}

    def build(self, what: str) -> Any:
        """The object with these settings; `what` it is, for messages.

        Raises:
            ValueError: a setting that is unknown, has another name now, or is not read with these parts; or
                a value that is not allowed.
        """
        own: dict[str, Any] = {}
        of_parts: dict[str, dict[str, Any]] = {part: {} for part in self._chosen}
        for key, value in self._given.items():
            readers = [part for part in self._chosen if any(one.key == key for one in self._of(part))]
            if key in self._own and key not in self._fixed:
                own[key] = value
            elif len(readers) == 1:
                of_parts[readers[0]][key] = value
            else:
                raise ValueError(self._refusal(what, key, readers))
        for part, settings in of_parts.items():
            default, kind = self._own[part].default, self._class_of(part)
            own[part] = (
                dataclasses.replace(default, **settings) if type(default) is kind else kind(**settings)
            )
        return self._kind(**own)

    def _default(self, part: str) -> str:
        return self._registries[part].name_of(self._own[part].default)

    def _class_of(self, part: str) -> type[Any]:
        name = self._chosen[part]
        return type(self._own[part].default) if name == self._default(part) else self._registries[part][name]

    def _of(self, part: str) -> tuple[Declared, ...]:
        """The settings of a part that was chosen; of the default one with the values that it has."""
        default, kind = self._own[part].default, self._class_of(part)
        if type(default) is not kind:
            return declared(kind)
        return tuple(one._replace(default=getattr(default, one.key)) for one in declared(kind))

    def _refusal(self, what: str, key: str, readers: list[str]) -> str:
        value, known = self._given[key], {one.key: one for one in self.declared()}
        named = [f"{part}={self._given[part]}" for part in self._registries if self._given.get(part)]
        given = f"{what} with {' and '.join(named)}" if named else what
        if readers:
            return f"{given}: {' and '.join(readers)} both have a setting {key!r}; give one as an object"
        for one in known.values():
            if key in one.metadata["formerly"]:
                parts = one.metadata["parts"]
                now = parts.renamed.get(value, value) if parts and isinstance(value, str) else value
                return (
                    f"{given} has no setting {key!r}: it is called {one.key!r} now; write {one.key}={now!r}"
                )
        if key in known:
            check_value(known[key], value)
            values = {**{name: one.default for name, one in known.items()}, **self._given, **self._chosen}
            return (
                f"{given} has no setting {key!r}: {key}={value!r} is only read "
                f"{unmet(known[key], values.get)}; leave it out"
            )
        for part in self._registries.keys() - self._chosen.keys():
            made = self._given[part]
            if any(one.key == key for one in declared(type(made))):
                return f"{given} has no setting {key!r}: give it to {type(made).__name__}"
        return (
            f"{given} has no setting {key!r}{nearest(key, known)}; its settings: {', '.join(known) or 'none'}"
        )


def _settings_of_all(registry: Registry[Any]) -> Iterator[tuple[str, Declared]]:
    """(name, setting) of every class that is registered, except those whose package cannot be imported."""
    for name in registry:
        try:
            kind = registry[name]
        except ImportError:
            continue
        for one in declared(kind):
            yield name, one
