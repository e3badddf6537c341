"""Params whose entries are divided among processes: what a sum over all entries is, from those held here.

Everything that an estimator does to params is entry by entry, except for sums over entries: dot products and
norms. Those go through this module. Within `sharded(...)` they are summed over the processes; otherwise
they are what they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor


class Together(Protocol):
    """Processes that compute a loss together; all of them call each method in the same order."""

    def summed(self, value: Tensor) -> Tensor:
        """The sum of the processes' values."""

    def alike(self, content: Any) -> bool:
        """Whether all processes give an equal value: text, numbers, tuples of them."""


class Sharding(Protocol):
    """How the processes that hold the shards of params put a number together.

    All of them call each method in the same order, with tensors of one shape and dtype.

    Attributes:
        first: whether this process is the first one, which alone counts what all of them have.
    """

    @property
    def first(self) -> bool: ...

    def summed(self, value: Tensor) -> Tensor:
        """The sum of the processes' values, with the same bits in all of them. Its derivative in a process's
        own value is 1."""

    def copied(self, value: Tensor) -> Tensor:
        """The value, which all processes have. Its derivative is the sum of those of their copies."""


_SHARDING: ContextVar[Sharding | None] = ContextVar("sharding", default=None)


@contextmanager
def sharded(sharding: Sharding | None) -> Iterator[None]:
    """Params, and all that is shaped like them, are shards until the block ends; None: they are whole."""
    token = _SHARDING.set(sharding)
    try:
        yield
    finally:
        _SHARDING.reset(token)


def total(value: Tensor) -> Tensor:
    """The sum over all entries of params, from that over the entries held here; of any shape."""
    sharding = _SHARDING.get()
    return value if sharding is None else sharding.summed(value)


def shared(value: Tensor) -> Tensor:
    """A number that depends on all entries, before it is used on those held here."""
    sharding = _SHARDING.get()
    return value if sharding is None else sharding.copied(value)


def once(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that all processes have, as they enter sums over the entries held here."""
    sharding = _SHARDING.get()
    if sharding is None or sharding.first:
        return dict(tensors)
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def total_norms(norms: Tensor) -> Tensor:
    """Norms over all entries, from those over the entries held here; of any shape."""
    if _SHARDING.get() is None:
        return norms
    # in float64: the square of a small norm is 0 in float32
    return total(norms.double().square()).sqrt().to(norms)


def totals(sums: Sequence[Tensor], norms: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Sums and norms over all entries, scalars of one dtype, from those over the entries held here."""
    if _SHARDING.get() is None:
        return list(sums), list(norms)
    values = [one.double() for one in sums] + [one.double().square() for one in norms]
    like = [*sums, *norms]
    found = list(total(torch.stack(values)).unbind()) if values else []
    count = len(sums)
    return (
        [value.to(one) for value, one in zip(found[:count], like[:count], strict=True)],
        [value.sqrt().to(one) for value, one in zip(found[count:], like[count:], strict=True)],
    )


def params_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Scalar norm of all the tensors together, which are shaped like params."""
    return total_norms(global_norm(tensors))


def global_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Scalar norm of all the tensors together, at one pass and no temporary."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))


def entry_counts(tensors: Iterable[Tensor]) -> list[int]:
    """The number of entries of each tensor, of all its shards."""
    tensors = list(tensors)
    counts = [tensor.numel() for tensor in tensors]
    if _SHARDING.get() is None:
        return counts
    device = tensors[0].device
    return [int(count) for count in total(torch.tensor(counts, dtype=torch.float64, device=device)).tolist()]
