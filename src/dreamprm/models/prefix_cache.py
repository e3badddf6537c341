"""Keys and values of prefixes that many rows continue: spread over the rows one layer at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer


class SpreadLayer(CacheLayerMixin):
    """One layer's prefixes in front of the rows' own keys and values; it keeps nothing of the rows.

    The library would copy the prefix for every row in all layers at once: for eight candidates behind a
    prefix of 336 tokens in Qwen2-VL-2B in bf16, 77 MB instead of 3.

    Args:
        prefixes: the layer after the pass over the prefixes, `(prefixes, heads, tokens, size)` each.
        rows: `(rows,)` long, the prefix that each row continues.
    """

    def __init__(self, prefixes: DynamicLayer, rows: Tensor) -> None:
        super().__init__()
        assert prefixes.keys is not None and prefixes.values is not None
        self.keys, self.values, self._rows = prefixes.keys, prefixes.values, rows
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the prefixes are there."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """The rows' keys and values behind those of their prefixes, `(rows, heads, tokens, size)`."""
        del args, kwargs
        assert self.keys is not None and self.values is not None
        keys, values = (
            torch.cat([held.index_select(0, self._rows), own], dim=-2)
            for held, own in ((self.keys, key_states), (self.values, value_states))
        )
        return keys, values

    def get_seq_length(self) -> int:
        """Tokens of the prefixes, padding included."""
        assert self.keys is not None
        return int(self.keys.shape[-2])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys in all and their offset."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


def spread_over(prefixes: DynamicCache, rows: Tensor) -> Cache:
    """A cache for one pass over rows that continue these prefixes.

    Args:
        prefixes: filled by the pass over the prefixes; it is not changed.
        rows: `(rows,)` long, the number of each row's prefix.
    """
    layers = []
    for layer in prefixes.layers:
        assert isinstance(layer, DynamicLayer), f"a {type(layer).__name__} does not hold a whole prefix"
        layers.append(SpreadLayer(layer, rows))
    return Cache(layers=list(layers))
