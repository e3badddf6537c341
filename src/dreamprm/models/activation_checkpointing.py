"""Activation checkpointing of a backbone's layers, right for losses that put params in by `functional_call`.

transformers' own checkpointing is wrong there, without a word: the backward pass computes a layer again after
`functional_call` has put the module's own parameters back, so that values of other weights enter the
gradient. Here the parameters that the forward pass used are put in once more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from dreamprm.config.errors import UserError


def checkpoint_activations(backbone: PreTrainedModel) -> None:
    """Make each layer of the language model and of the vision tower keep its input alone for the backward
    pass, which computes the layer again.

    Values and gradients are the same, to the bit where the layer's kernels give the same bits each time.
    Random numbers (dropout) and autocast are those of the forward pass. Passes without gradients, layers that
    neither train nor lie above one that does, and passes that extend a cache are left as they are. Gradients
    of gradients and forward-mode derivatives are right too; double backward keeps what it computes again.
    Names of parameters stay.
    """
    for layer in checkpointed_layers(backbone):
        if not isinstance(layer.forward, _Checkpointed):
            layer.forward = _Checkpointed(layer)


def checkpointed_layers(backbone: nn.Module) -> list[nn.Module]:
    """The layers that transformers too would checkpoint: the decoder's and the vision tower's blocks."""
    return [module for module in backbone.modules() if isinstance(module, GradientCheckpointingLayer)]


class _Plain(nn.Module):
    """A layer's forward pass as it was, under a name for `functional_call`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self._run = layer.forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)


class _Checkpointed:
    """The forward pass of a layer that keeps its input and its parameters, and nothing else."""

    def __init__(self, layer: nn.Module) -> None:
        self._plain = _Plain(layer)

    def __call__(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        named = dict(self._plain.named_parameters())
        reached = hidden.requires_grad or any(tensor.requires_grad for tensor in named.values())
        # a layer that runs again would append to the cache again
        if not (reached and torch.is_grad_enabled()) or kwargs.get("past_key_values") is not None:
            return self._plain(hidden, *args, **kwargs)

        def run(hidden: Tensor, *tensors: Tensor) -> Any:
            return functional_call(
                self._plain, dict(zip(named, tensors, strict=True)), (hidden, *args), kwargs
            )

        return checkpoint(run, hidden, *named.values(), use_reentrant=False)


class OwnCheckpointing:
    """Whether transformers' own activation checkpointing is on in a model.

    Args:
        model: whose layers do not change; the switch in them may.
    """

    def __init__(self, model: nn.Module) -> None:
        self._switches = [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]

    def refuse(self) -> None:
        """Refuse to take gradients.

        Raises:
            UserError: it is on.
        """
        if any(module.gradient_checkpointing for module in self._switches):
            raise UserError(
                "transformers' own gradient checkpointing is on in the backbone, and gives wrong gradients "
                "here, as it computes layers again with other weights than those that are trained. Set "
                "model.checkpoint_activations=true instead, and take gradient_checkpointing out of the "
                "model's config.json, or call gradient_checkpointing_disable() on the backbone "
                "(dreamprm.models.activation_checkpointing.checkpoint_activations does the same rightly)"
            )
