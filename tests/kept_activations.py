"""What a forward pass keeps in memory for its backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


def kept_bytes(loss: Callable[..., Tensor], *arguments: Any, besides: Iterable[Tensor] = ()) -> int:
    """Bytes that the graph of loss(*arguments) keeps, except of the tensors `besides` (parameters)."""
    own = {tensor.data_ptr() for tensor in besides}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(*arguments)
    del value
    return sum(kept.values())
