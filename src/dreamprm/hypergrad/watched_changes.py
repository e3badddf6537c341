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
        self.read: set[int | None] = set()
        """The memory of every tensor that an operation was given."""
        self.recomputes = False
        """Whether the backward pass computes activations again (torch.utils.checkpoint)."""

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
        given = [*tensors_in(args), *tensors_in(kwargs.values())]
        for one in (*args, *kwargs.values()):
            if isinstance(one, torch.Generator):
                self.generators.setdefault(one, one.get_state())
        out = func(*args, **kwargs)
        there = {storage_of(tensor) for tensor in given}
        self.read |= there
        self.recomputes = self.recomputes or _checkpointing()
        self._made.update(
            storage
            for tensor in tensors_in([out])
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


class _Foreign(TorchDispatchMode):
    """While a backward pass runs: which parameters it reads that are not in this memory."""

    def __init__(self, read: set[int | None]) -> None:
        super().__init__()
        self._read = read
        self.found = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Look at one operation, then run it."""
        del types
        for tensor in tensors_in((*args, *(kwargs or {}).values())):
            if isinstance(tensor, torch.nn.Parameter) and storage_of(tensor) not in self._read:
                self.found = True
        return func(*args, **(kwargs or {}))


def check_recomputation(name: str, value: Tensor, inputs: Iterable[Any], read: set[int | None]) -> None:
    """Refuse a loss whose backward pass computes activations again from other parameters than its own.

    A checkpoint around a module that `functional_call` has given params is such a one: when the backward pass
    runs the module again, its own parameters are back. The gradient is then wrong without an error.

    Args:
        name: of the loss.
        value: with a graph that recomputes; it stays usable.
        inputs: what it was evaluated at; those that take gradients are enough.
        read: memory of all tensors that its forward pass was given.

    Raises:
        ValueError: it reads parameters that the forward pass did not.
    """
    variables = [one for one in inputs if isinstance(one, Tensor) and one.requires_grad]
    if not value.requires_grad or not variables:
        return
    with _Foreign(read) as seen:
        torch.autograd.grad(value, variables, torch.ones_like(value), retain_graph=True, allow_unused=True)
    if seen.found:
        raise ValueError(
            f"the backward pass of {name} computes activations with a module's own parameters, and not with "
            "the params that its forward pass was given: an activation checkpoint lies inside "
            "torch.func.functional_call. Its gradients would be wrong; call functional_call inside of "
            "torch.utils.checkpoint.checkpoint, with the params among its arguments, and switch off the "
            "checkpointing of transformers (gradient_checkpointing_disable())"
        )


def _checkpointing() -> bool:
    """Whether tensors that are saved now go through a checkpoint of torch; False where torch does not say."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    hooks = None if top is None else top(False)
    return hooks is not None and getattr(hooks[0], "__module__", "") == "torch.utils.checkpoint"


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
        return (tensors_in((args[mean], args[variance])) if args[training] else []), True
    found = [
        args[at] if at < len(args) else kwargs[name]
        for at, name in _writes(func)
        if at < len(args) or name in kwargs
    ]
    return tensors_in(found), "batch_norm" in name


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among an operation's arguments, and in lists and tuples of them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(tensors_in(value))
    return found


def storage_of(tensor: Tensor) -> int | None:
    """What tells whether two tensors share memory; None for kinds of tensors without a storage."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return None
