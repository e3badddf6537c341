"""Strategies by name: those that are built in, and those that other packages add."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

Base = TypeVar("Base")
Kind = TypeVar("Kind", bound=type)


class Registry(Mapping[str, type[Base]], Generic[Base]):
    """Classes by name. Names of other packages come from `register`, or from an entry point of `group`:

        [options.entry_points]
        dreamprm.estimators =
            mine = my_package.estimators:Mine

    which is imported when its name is asked for.

    Args:
        what: in messages, "estimator".
        base: what every class derives from.
        builtin: classes by name.
        group: of entry points.
        renamed: names that there were once, and what they are called now.
    """

    def __init__(
        self,
        what: str,
        base: Any,
        builtin: Mapping[str, type[Base]],
        *,
        group: str,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        self.what, self.base, self._builtin, self._group = what, base, builtin, group
        self.renamed: Mapping[str, str] = renamed or {}
        self._registered: dict[str, type[Base]] = {}
        self._found: dict[str, EntryPoint] | None = None

    def register(self, name: str) -> Callable[[Kind], Kind]:
        """A decorator that adds a class under this name.

        Raises:
            ValueError: the name is taken by another class, or no plain name; or the class is not a dataclass
                derived from the base.
        """
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"the name of the {self.what} must be an identifier, got {name!r}")

        def add(kind: Kind) -> Kind:
            self._check(name, kind)
            if name in self and self[name] is not kind:
                raise ValueError(
                    f"the {self.what} {name!r} exists already: {_path(self[name])}; register {_path(kind)} "
                    "under another name"
                )
            self._registered[name] = kind
            return kind

        return add

    def is_builtin(self, name: str) -> bool:
        """Whether the name is one of this package's."""
        return name in self._builtin

    def require(self, name: Any) -> str:
        """The name, if there is such a class.

        Raises:
            ValueError: there is none; with what it is called now, or the nearest name and all of them.
        """
        if isinstance(name, str) and name in self:
            return name
        if isinstance(name, str) and name in self.renamed:
            raise ValueError(f"the {self.what} {name!r} is called {self.renamed[name]!r} now")
        raise ValueError(f"unknown {self.what} {name!r}{nearest(str(name), self)}; known: {', '.join(self)}")

    def name_of(self, made: Base) -> str:
        """The name of an object's class; the class's own where it is not registered."""
        kind = type(made)
        for name, one in {**self._builtin, **self._registered}.items():
            if one is kind:
                return name
        place = f"{kind.__module__}:{kind.__qualname__}"
        return next((n for n, point in self._entry_points().items() if point.value == place), kind.__name__)

    def __getitem__(self, name: str) -> type[Base]:
        if name in self._builtin:
            return self._builtin[name]
        if name not in self._registered:
            point = self._entry_points()[name]
            kind = point.load()
            self._check(name, kind)
            self._registered[name] = kind
        return self._registered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._builtin, *self._registered, *self._entry_points())))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in self._registered or name in self._entry_points()

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._found is None:
            found: dict[str, EntryPoint] = {}
            for point in entry_points(group=self._group):
                taken = self._builtin.get(point.name) or self._registered.get(point.name)
                other = _path(taken) if taken is not None else None
                if point.name in found and found[point.name].value != point.value:
                    other = found[point.name].value
                if other is not None and other != point.value.replace(":", "."):
                    raise ValueError(
                        f"two {self.what}s are named {point.name!r}: {other}, and {point.value} by the entry "
                        f"point {self._group} of another package; rename or uninstall one"
                    )
                found[point.name] = point
            self._found = found
        return self._found

    def _check(self, name: str, kind: object) -> None:
        if not (isinstance(kind, type) and issubclass(kind, self.base) and dataclasses.is_dataclass(kind)):
            raise ValueError(
                f"the {self.what} {name!r} must be a dataclass derived from {self.base.__name__}, got "
                f"{kind!r}"
            )


def nearest(given: str, known: Iterable[str]) -> str:
    """What may have been meant, to follow an unknown name in a message; empty if nothing is near."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
