"""Weights that are not trained, stored in bfloat16: half the memory, and the same computation.

Only the matrices of linear layers and embeddings are stored so. Each is widened where it is used, to the
dtype of what it is multiplied with, and the widened copy is gone after the product: a pass keeps the narrow
weight. Under autocast, linear layers multiply in bfloat16 anyway, and embeddings give float32, as they do
where they are stored in it. What is computed is therefore what a float32 model with rounded weights computes,
to the bit; for a checkpoint that was published in bfloat16, rounding changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

Layer = TypeVar("Layer", bound=nn.Module)


class _InItsInputsDtype(torch.autograd.Function):
    """y = x W^T + b with W widened to the dtype of x; keeps the narrow W for the backward pass.

    It is linear in x, so its derivatives are functions of this class again: of any order, and forward.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return linear(x, weight.to(x.dtype), bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])
        ctx.shape = output.shape

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (weight,) = grads, ctx.saved_tensors
        wants_input, _, wants_bias = ctx.needs_input_grad
        return (
            _InItsInputsDtype.apply(grad, weight.t(), None) if wants_input else None,
            None,
            grad.flatten(0, -2).sum(0) if wants_bias else None,
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        (x, _, bias), (weight,) = tangents, ctx.saved_tensors
        moved = None if x is None else _InItsInputsDtype.apply(x, weight, None)
        if bias is None:
            assert moved is not None, "torch asks for a tangent only where an input has one"
            return moved
        return bias.expand(ctx.shape).clone() if moved is None else moved + bias


class StoredLinear(nn.Linear):
    """A linear layer whose frozen weight may be stored in a narrower dtype than it computes in."""

    def forward(self, x: Tensor) -> Tensor:
        """`(..., in)` -> `(..., out)`, in the dtype of the input, or in autocast's."""
        if self.weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type):
            return linear(x, self.weight, self.bias)
        return _InItsInputsDtype.apply(x, self.weight, self.bias)

    @classmethod
    def of(cls, layer: nn.Linear) -> Self:
        """The same layer, sharing its parameters and their names."""
        return _as(cls, layer)


class StoredEmbedding(nn.Embedding):
    """An embedding whose frozen table may be stored in a narrower dtype than float32, which it returns."""

    def forward(self, ids: Tensor) -> Tensor:
        """`(...)` long -> `(..., width)`, float32 or wider."""
        return super().forward(ids).to(torch.promote_types(self.weight.dtype, torch.float32))

    @classmethod
    def of(cls, layer: nn.Embedding) -> Self:
        """The same layer, sharing its parameters and their names."""
        return _as(cls, layer)


def _as(kind: type[Layer], layer: nn.Module) -> Layer:
    stored = kind.__new__(kind)
    stored.__dict__.update(layer.__dict__)
    return stored


_STORED: dict[type[nn.Module], Any] = {nn.Linear: StoredLinear, nn.Embedding: StoredEmbedding}


@torch.no_grad()
def store_frozen(model: nn.Module, trained: Collection[str]) -> int:
    """Store the matrices of linear layers and embeddings that are not trained in bfloat16.

    Norms, biases and the projection of image patches stay as they are: they are small, and the tower gives
    pixels the dtype of its projection.

    Args:
        model: its layers are replaced by ones that share their parameters, under the same names.
        trained: names of the parameters that are trained.

    Returns:
        The number of entries that are stored so.
    """
    frozen = {id(parameter) for name, parameter in model.named_parameters() if name not in trained}
    held: dict[int, int] = {}
    layer: Any
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            kind = _STORED.get(type(layer))
            if kind is None or id(layer.weight) not in frozen:
                continue
            setattr(parent, name, kind.of(layer))
            layer.weight.data = layer.weight.data.to(torch.bfloat16)
            layer.weight.requires_grad_(False)
            held[id(layer.weight)] = layer.weight.numel()
    return sum(held.values())


@torch.no_grad()
def round_frozen(model: nn.Module) -> None:
    """Round the matrices that `store_frozen` would store, and leave their dtype."""
    layer: Any
    for layer in model.modules():
        if type(layer) in _STORED:
            layer.weight.copy_(layer.weight.to(torch.bfloat16))


def stores_frozen(model: nn.Module) -> bool:
    """Whether `store_frozen` has stored anything of the model."""
    return any(isinstance(layer, StoredLinear | StoredEmbedding) for layer in model.modules())
