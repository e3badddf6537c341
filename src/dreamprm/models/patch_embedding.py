"""The vision tower's patch embedding as the matrix product that it is."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel


class PatchProjection(nn.Conv3d):
    """A 3-d convolution whose kernel covers its whole input: one matrix product, with the weights' own names.

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
