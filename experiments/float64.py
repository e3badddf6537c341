"""True float64 through a model that internally rounds to float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Float64Inside(TorchFunctionMode):
    """A context in which code that asks torch for float32 gets float64.

    transformers' norms, rotary embeddings and softmax work in float32 whatever the model's dtype. In this
    context a float64 model really computes in float64; nothing is patched, and outside it nothing changes.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        if func is torch.Tensor.float:
            return args[0].double()
        widened = {name: _widened(value) for name, value in (kwargs or {}).items()}
        return func(*map(_widened, args), **widened)


def _widened(argument: Any) -> Any:
    return torch.float64 if argument is torch.float32 else argument
