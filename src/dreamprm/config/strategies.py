"""Registries of named strategies: from a name and settings to the object, and the strategies' help texts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from dreamprm.config.checking import check_chosen
from dreamprm.config.errors import UserError
from dreamprm.config.schema import Leaf, declared, load

T = TypeVar("T")


class Registry(Mapping[str, str], Generic[T]):
    """Strategies by name, as `module:class`; a module is imported when its strategy is requested.

    Each class is a dataclass. Its settings are the fields declared with `dreamprm.config.schema.setting`;
    other fields are parts that only code passes in. To add a strategy, write its file and add one line to
    the registry.

    Args:
        what: the kind of strategy, for messages: "label method".
        places: `module:class` by name.
    """

    def __init__(self, what: str, places: Mapping[str, str]) -> None:
        self.what = what
        self._places = MappingProxyType(dict(places))

    def __getitem__(self, name: str) -> str:
        return self._places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def kind(self, name: str) -> type[T]:
        """The class of this name.

        Raises:
            UserError: an unknown name, with the nearest known one.
        """
        if name not in self:
            check_chosen(self, name, {})
        found: type[T] = load(self[name])
        return found

    def declared(self, name: str, settings: Mapping[str, Any]) -> tuple[Leaf, ...]:
        """The settings of a strategy as declared; they do not depend on those given."""
        del settings
        return declared(self.kind(name))

    def settings(self, name: str) -> dict[str, Any]:
        """The settings of a strategy with their defaults; `schema.REQUIRED` if one must be given.

        Raises:
            UserError: an unknown name.
        """
        return {leaf.key: leaf.default for leaf in self.declared(name, {})}

    def meaning(self, name: str) -> str:
        """The strategy in one sentence, the first of its module."""
        return first_sentence(self.kind(name))

    def build(self, name: str, **settings: Any) -> T:
        """The strategy of this name with these settings.

        Raises:
            UserError: an unknown name or setting (with the nearest known one), a setting that must be given,
                or a value that is not allowed.
        """
        return self.assemble(name, settings)

    def assemble(self, name: str, settings: Mapping[str, Any], **parts: Any) -> T:
        """Like `build`, with the fields that are parts rather than settings.

        Raises:
            UserError: as in `build`.
        """
        check_chosen(self, name, settings)
        try:
            return self.kind(name)(**settings, **parts)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{self.what} {name!r}: {error}") from error


def first_sentence(kind: type[Any]) -> str:
    """What a strategy is: the first paragraph of its module's docstring."""
    text = sys.modules[kind.__module__].__doc__ or ""
    return " ".join(text.partition("\n\n")[0].split())
