"""Faster kernels with the same results for a Qwen-VL vision tower: packed attention and patch embedding.

Attention: transformers runs SDPA and eager attention in the tower image by image, in a Python loop; only
flash attention gets all images in one call, with their boundaries. The two functions here accept that call
and use ordinary kernels, once for all images of equal length. The results are those of the loop.

Patch embedding: a 3-d convolution whose kernel covers its whole input is computed as a matrix product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

# transformers passes whole packed sequences to implementations with "flash" in their name.
PACKED = {"sdpa": "packed_flash_call_sdpa", "eager": "packed_flash_call_eager"}


def pack_vision_attention(backbone: PreTrainedModel) -> None:
    """Make the vision tower attend to all images of one size in one call instead of looping over them.

    Flash attention is left as it is.
    """
    vision = backbone.config.vision_config
    packed = PACKED.get(vision._attn_implementation)
    if packed is not None:
        # Registering the same function again under the same name changes nothing.
        AttentionInterface.register(PACKED["sdpa"], packed_sdpa)
        AttentionInterface.register(PACKED["eager"], packed_eager)
        vision._attn_implementation = packed


def packed_sdpa(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Softmax attention within each packed sequence, by torch's fused kernels.

    Args:
        query, key, value: `(1, heads, L, head_dim)`, the sequences one after another.
        cu_seq_lens_q: `(n + 1,)`, their boundaries, from 0 to L.

    Returns:
        `(1, L, heads, head_dim)`, and None for the attention weights, as transformers expects.
    """
    del module, attention_mask, unused

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)

    return _by_length(attend, query, key, value, cu_seq_lens_q), None


def packed_eager(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Like `packed_sdpa`, written out in basic operations, so that it can be differentiated twice."""
    del attention_mask, unused

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shares = torch.softmax(
            q @ k.transpose(-1, -2) * scaling, dim=-1, dtype=torch.promote_types(q.dtype, torch.float32)
        )
        shares = torch.nn.functional.dropout(shares.to(q.dtype), p=dropout, training=module.training)
        return shares @ v

    return _by_length(attend, query, key, value, cu_seq_lens_q), None


def _by_length(attend: Any, query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor) -> Tensor:
    """Apply `attend` to each run of neighbouring sequences of equal length, as one batch."""
    lengths = boundaries.diff()
    values, counts = (part.tolist() for part in torch.unique_consecutive(lengths, return_counts=True))
    outputs, start = [], 0
    for length, count in zip(values, counts, strict=True):
        stop = start + length * count
        q, k, v = (
            # (1, heads, count * length, head_dim) -> (count, heads, length, head_dim)
            tensor[0, :, start:stop].unflatten(1, (count, length)).transpose(0, 1)
            for tensor in (query, key, value)
        )
        out = attend(q, k, v)  # (count, heads, length, head_dim)
        outputs.append(out.transpose(1, 2).flatten(0, 1))  # (count * length, heads, head_dim)
        start = stop
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).unsqueeze(0)


class PatchProjection(nn.Conv3d):
    """A 3-d convolution whose kernel covers its whole input, as one matrix product; parameter names stay.

    torch's convolution kernels have no fast path for this case.
    """

    def forward(self, patches: Tensor) -> Tensor:
        """`(P, channels, time, height, width)` of the kernel's size -> `(P, out_channels, 1, 1, 1)`."""
        out = linear(patches.flatten(1), self.weight.flatten(1), self.bias)  # (P, out_channels)
        return out[:, :, None, None, None]

    @classmethod
    def of(cls, conv: nn.Conv3d) -> PatchProjection:
        """The same projection, sharing the convolution's parameters."""
        projection = cls.__new__(cls)
        projection.__dict__.update(conv.__dict__)
        return projection


def project_patches_by_matrix(backbone: PreTrainedModel) -> None:
    """Replace the convolution of a Qwen-VL vision tower's patch embedding, if it has the known form."""
    embed = backbone.model.visual.patch_embed
    conv = getattr(embed, "proj", None)
    if type(conv) is nn.Conv3d and conv.stride == conv.kernel_size and not any(conv.padding):
        embed.proj = PatchProjection.of(conv)
