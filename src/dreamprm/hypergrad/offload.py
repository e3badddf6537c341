"""Where a window keeps the tensors that it reads again on the way back: in place, in CPU memory, on disk."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from dreamprm.hypergrad.settings import setting

Tensors = Mapping[str, Tensor]
OFFLOADS = ("none", "cpu", "disk")
KEEPS = ("full", "bf16")


class Kept(ABC):
    """Named tensors that were put away."""

    @abstractmethod
    def load(self) -> dict[str, Tensor]:
        """The tensors, with the bits, strides and device they had. Read them only."""

    def drop(self) -> None:
        """Give their memory back; they are not loaded again."""


class Store(AbstractContextManager["Store"]):
    """Keeps the tensors themselves: `offload="none"`."""

    def copies(self, tensors: Tensors) -> bool:
        """Whether `keep` makes a copy, so that the tensors may be overwritten afterwards."""
        del tensors
        return False

    def keep(self, tensors: Tensors) -> Kept:
        """Put the tensors away."""
        return Held(tensors)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give everything back."""


class Held(Kept):
    """The tensors themselves, which nothing may overwrite until they are dropped."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = dict(tensors)

    def load(self) -> dict[str, Tensor]:
        """The very tensors."""
        return dict(self._tensors)

    def drop(self) -> None:
        """Let go of them."""
        self._tensors = {}


class CpuStore(Store):
    """Copies accelerators' tensors to page-locked CPU memory (`offload="cpu"`); CPU tensors stay where they
    are."""

    def copies(self, tensors: Tensors) -> bool:
        """Where none of them is in CPU memory."""
        return all(tensor.device.type != "cpu" for tensor in tensors.values())

    def keep(self, tensors: Tensors) -> Kept:
        """Start the copies; they are ordered with all later work on the tensors' device."""
        return _Moved(tensors)


class _Moved(Held):
    def __init__(self, tensors: Tensors) -> None:
        self._devices = {name: tensor.device for name, tensor in tensors.items()}
        super().__init__(
            {
                name: tensor
                if tensor.device.type == "cpu"
                else torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
                for name, tensor in tensors.items()
            }
        )

    def load(self) -> dict[str, Tensor]:
        """Copies on the device they came from; the very tensors where that is the CPU."""
        return {
            name: tensor.to(self._devices[name], non_blocking=True) for name, tensor in super().load().items()
        }


class DiskStore(Store):
    """Copies the tensors to a temporary file that is already unlinked: `offload="disk"`.

    For memory flat in T where the parameters live in CPU memory. The operating system buffers the file in
    memory that it takes back when programs need it; the folder is `tempfile`'s (set TMPDIR where /tmp itself
    is in memory). Space that was dropped is used again.
    """

    def __init__(self) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self.size = 0  # bytes of the file
        self._free: dict[int, list[int]] = {}

    def copies(self, tensors: Tensors) -> bool:
        """Always."""
        return True

    def keep(self, tensors: Tensors) -> Kept:
        """Write the tensors out."""
        return _OnDisk(self, tensors)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, which deletes it."""
        self._file.close()

    def write(self, data: memoryview) -> int:
        """Write the bytes where there is room; returns their offset."""
        free = self._free.get(len(data))
        offset = free.pop() if free else self.size
        self.size = max(self.size, offset + len(data))
        done = 0
        while done < len(data):
            done += os.pwrite(self._file.fileno(), data[done:], offset + done)
        return offset

    def read(self, data: memoryview, offset: int) -> None:
        """Fill `data` with the bytes at the offset."""
        done = 0
        while done < len(data):
            done += os.preadv(self._file.fileno(), [data[done:]], offset + done)

    def release(self, size: int, offset: int) -> None:
        """Let these bytes be written over."""
        self._free.setdefault(size, []).append(offset)


class _OnDisk(Kept):
    def __init__(self, store: DiskStore, tensors: Tensors) -> None:
        self._store = store
        # empty_like keeps the strides of every tensor that fills its memory, and packs the others
        self._layout = {
            name: (tensor.device, torch.empty_like(tensor, device="meta")) for name, tensor in tensors.items()
        }
        self._offsets: dict[str, int] = {}
        for name, tensor in tensors.items():
            _, layout = self._layout[name]
            dense = tensor.detach()
            if dense.device.type != "cpu" or dense.stride() != layout.stride():
                dense = torch.empty_like(layout, device="cpu").copy_(dense)
            self._offsets[name] = store.write(_bytes(dense))

    def load(self) -> dict[str, Tensor]:
        """Fresh copies."""
        tensors = {}
        for name, (device, layout) in self._layout.items():
            tensor = torch.empty_like(layout, device="cpu")
            self._store.read(_bytes(tensor), self._offsets[name])
            tensors[name] = tensor.to(device)
        return tensors

    def drop(self) -> None:
        """Free the bytes for others."""
        for name, (_, layout) in self._layout.items():
            self._store.release(layout.numel() * layout.element_size(), self._offsets[name])
        self._layout = {}


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a CPU tensor that fills it without gaps, in whatever order of dimensions."""
    flat = tensor.as_strided((tensor.numel(),), (1,))
    # numpy hands out its buffer by the attribute `data`; an empty array has none to cast
    return flat.view(torch.uint8).numpy().data if tensor.numel() else memoryview(b"")


class RoundedStore(Store):
    """Rounds the tensors to bfloat16 before another store keeps them: half the bytes of float32."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def copies(self, tensors: Tensors) -> bool:
        """Always, but of tensors that are bfloat16 already."""
        rounded = all(tensor.dtype != torch.bfloat16 for tensor in tensors.values())
        return rounded or self._store.copies(tensors)

    def keep(self, tensors: Tensors) -> Kept:
        """Put the rounded tensors away."""
        return _Rounded(self._store, tensors)


class _Rounded(Kept):
    def __init__(self, store: Store, tensors: Tensors) -> None:
        self._dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        self._kept = store.keep({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()})

    def load(self) -> dict[str, Tensor]:
        """The rounded values, in the dtypes they had."""
        return {name: tensor.to(self._dtypes[name]) for name, tensor in self._kept.load().items()}

    def drop(self) -> None:
        """Give the memory back."""
        self._kept.drop()


def gradient_store(store: Store, keep: str) -> Store:
    """Where gradients go that a window keeps: the store itself, or rounded to bfloat16 first."""
    return RoundedStore(store) if keep == "bf16" else store


def open_store(offload: str) -> Store:
    """The store of this name, as a context that frees what it holds.

    Raises:
        ValueError: an unknown name.
    """
    if offload not in OFFLOADS:
        raise ValueError(f"offload must be one of {', '.join(OFFLOADS)}, got {offload!r}")
    made = _MADE_BY.get()
    if made is not None:
        return made(offload)
    return {"none": Store, "cpu": CpuStore, "disk": DiskStore}[offload]()


_MADE_BY: ContextVar[Callable[[str], Store] | None] = ContextVar("_MADE_BY", default=None)


@contextmanager
def stores_made_by(make: Callable[[str], Store]) -> Iterator[None]:
    """In the block, `open_store` returns what `make` makes of the name: to count what would be put away."""
    token = _MADE_BY.set(make)
    try:
        yield
    finally:
        _MADE_BY.reset(token)


def keep_setting() -> Any:
    """The declaration of the setting `keep` of all estimators that keep gradients."""
    return setting(
        "full",
        "gradients that are kept of the steps, for the way back alone, are as they were or rounded to bf16, "
        "half the bytes; the steps themselves are not touched",
        choices=KEEPS,
    )


def offload_setting() -> Any:
    """The declaration of the setting `offload` of all estimators that keep steps."""
    return setting(
        "none",
        "what is kept of the steps stays where it is, goes to page-locked memory, or to a temporary file",
        choices=OFFLOADS,
    )
