"""What a loss changes in place while it is evaluated, and which generators it draws from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operators that move the statistics they are given although their schema does not say so: the positions of
# the two statistics and of the flag that says whether they move.
_STATISTICS = {"native_batch_norm": (3, 4, 5), "cudnn_batch_norm": (3, 4, 5), "miopen_batch_norm": (3, 4, 5)}


@dataclass(frozen=True)
class Changed:
    """A tensor that evaluations change in place and that lives on after them, as a module's buffer does."""

    tensor: Tensor
    statistics: bool
    """Changed by batch normalisation, whose backward pass does not read it: torch does not count that as a
    modification, so a copy into it must not be one either, or backward passes would be refused."""

    def write(self, value: Tensor) -> None:
        """Overwrite it."""
        with torch.no_grad():
            (self.tensor.data if self.statistics else self.tensor).copy_(value)


class Watch(TorchDispatchMode):
    """While a loss is evaluated: which tensors from outside are changed in place, and which generators are
    drawn from."""

    def __init__(self, name: str, fixed: Mapping[int, str], known: set[int | None]) -> None:
        super().__init__()
        self._name, self._fixed, self._known = name, fixed, known
        self._made: set[int] = set()
        self.changed: list[tuple[Changed, Tensor]] = []
        """With their values before."""
        self.generators: dict[torch.Generator, Tensor] = {}
        """With their states before."""

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """True: without this, torch.compile runs what it first meets here eagerly for good."""
        return True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Look at one operation, then run it."""
        del types
        kwargs = kwargs or {}
        written, statistics = _written(func, args, kwargs)
        for tensor in written:
            self._see(tensor, statistics)
        given = [*_tensors(args), *_tensors(kwargs.values())]
        for one in (*args, *kwargs.values()):
            if isinstance(one, torch.Generator):
                self.generators.setdefault(one, one.get_state())
        out = func(*args, **kwargs)
        there = {storage_of(tensor) for tensor in given}
        self._made.update(
            storage
            for tensor in _tensors([out])
            if (storage := storage_of(tensor)) is not None and storage not in there
        )
        return out

    def _see(self, tensor: Tensor, statistics: bool) -> None:
        storage = storage_of(tensor)
        if storage is None or storage in self._made or storage in self._known:
            return
        if storage in self._fixed:
            raise ValueError(
                f"{self._name} changes {self._fixed[storage]} in place; losses must leave params and alpha "
                "as they are: work on a copy (clone()), and project or clip params between windows"
            )
        self._known = self._known | {storage}
        self.changed.append((Changed(tensor.detach(), statistics), tensor.detach().clone()))


@cache
def _writes(func: Any) -> tuple[tuple[int, str], ...]:
    """The arguments that an operator writes into, by position and name."""
    return tuple(
        (at, one.name)
        for at, one in enumerate(func._schema.arguments)
        if one.alias_info is not None and one.alias_info.is_write
    )


def _written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Tensor], bool]:
    """The tensors that a call writes into; whether they are the statistics of a normalisation."""
    name = func._schema.name.partition("::")[2]
    if name in _STATISTICS:
        mean, variance, training = _STATISTICS[name]
        return (_tensors((args[mean], args[variance])) if args[training] else []), True
    found = [
        args[at] if at < len(args) else kwargs[name]
        for at, name in _writes(func)
        if at < len(args) or name in kwargs
    ]
    return _tensors(found), "batch_norm" in name


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(_tensors(value))
    return found


def storage_of(tensor: Tensor) -> int | None:
    """What tells whether two tensors share memory; None for kinds of tensors without a storage."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return None
