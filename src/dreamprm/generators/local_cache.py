"""Keys and values with room to grow: a new token is written beside the old ones, and those stay put."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens that are made room for at once


class RoomyLayer(DynamicLayer):
    """A layer's keys and values at the beginning of buffers that are longer; for decoding, which only adds.

    The library's `DynamicLayer` copies all of them for every new token, which for many rows of long prefixes
    costs more than the model. The values are the same.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._length = keys.shape[-2]
        self._buffers = [_longer(keys, self._length), _longer(values, self._length)]
        self.keys, self.values = self._views()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add new tokens' keys and values, `(rows, heads, tokens, size)`; returns all of them."""
        del args, kwargs
        begin = self._length
        self._length += key_states.shape[-2]
        if self._length > self._buffers[0].shape[-2]:
            self._buffers = [_longer(buffer, begin, self._length) for buffer in self._buffers]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., begin : self._length, :] = states
        keys, values = self._views()
        self.keys, self.values = keys, values
        return keys, values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep these rows, in this order; a row may be named several times."""
        self._buffers = [buffer.index_select(0, beam_idx) for buffer in self._buffers]
        self.keys, self.values = self._views()

    def _views(self) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[..., : self._length, :] for buffer in self._buffers)
        return keys, values


def spread_rows(cache: Any, rows: Tensor) -> None:
    """Make the cache's rows the named ones, and give its plain layers room for what follows.

    Args:
        cache: a `transformers` cache. Layers that are not plain (sliding windows, say) stay as they are.
        rows: `(rows,)` their numbers; each may be named several times.
    """
    cache.reorder_cache(rows)
    if type(cache) is DynamicCache:
        for index, layer in enumerate(cache.layers):
            if type(layer) is DynamicLayer and layer.keys is not None and layer.values is not None:
                cache.layers[index] = RoomyLayer(layer.keys, layer.values)


def _longer(states: Tensor, length: int, needed: int = 0) -> Tensor:
    """A buffer that begins with the first `length` tokens of the states and has room for more."""
    rows, heads, _, size = states.shape
    buffer = states.new_empty(rows, heads, max(length, needed) + _ROOM, size)
    buffer[..., :length, :] = states[..., :length, :]
    return buffer
