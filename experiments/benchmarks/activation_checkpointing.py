"""Activation checkpointing of decoder layers that is correct under `torch.func.functional_call`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


class CheckpointedLayer(nn.Module):
    """Keeps a layer's input and its parameters, and runs the layer again in the backward pass.

    transformers' own checkpointing recomputes after functional_call has restored the module's parameters, so
    that its gradients belong to other weights. Here the parameters used in the forward pass are passed to the
    recomputation as arguments.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        names, tensors = zip(*self.layer.named_parameters())

        def run(hidden: Tensor, *tensors: Tensor) -> Any:
            return functional_call(self.layer, dict(zip(names, tensors)), (hidden, *args), kwargs)

        return checkpoint(run, hidden, *tensors, use_reentrant=False, preserve_rng_state=False)


def checkpoint_layers(backbone: nn.Module) -> None:
    """Wrap every layer of the language model and every block of the vision tower.

    Parameter names change (`layers.0.x` becomes `layers.0.layer.x`): call it before they are read.
    """
    for stack in (backbone.model.language_model.layers, backbone.model.visual.blocks):
        assert isinstance(stack, nn.ModuleList)
        for i, layer in enumerate(stack):
            stack[i] = CheckpointedLayer(layer)
