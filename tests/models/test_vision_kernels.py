"""The vision tower's packed attention and matrix patch embedding against what transformers does."""

import pytest
import torch
from tiny_models import FAMILIES, tiny_config, tiny_image, tiny_processor
from torch import nn
from transformers import AutoModelForImageTextToText

from dreamprm.models.backbone import make_backbone
from dreamprm.models.vision_kernels import PACKED, PatchProjection


def _features(backbone, pixels, grid):
    return torch.cat(tuple(backbone.model.get_image_features(pixels, grid, return_dict=True).pooler_output))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_image_features_and_gradients_as_transformers(family, attention):
    settings = {"attn_implementation": attention, "dtype": torch.float64}
    torch.manual_seed(0)
    ours = make_backbone(tiny_config(family), **settings)
    theirs = AutoModelForImageTextToText.from_config(tiny_config(family), **settings)
    theirs.load_state_dict(ours.state_dict())
    assert ours.config.vision_config._attn_implementation == PACKED[attention]
    assert isinstance(ours.model.visual.patch_embed.proj, PatchProjection)
    assert type(theirs.model.visual.patch_embed.proj) is nn.Conv3d

    patch = ours.config.vision_config.patch_size
    processor = tiny_processor(patch_size=patch)
    # two of one size, another size, and the first size again
    side = 4 * patch
    sizes = [(side, side), (side, side), (side + 2 * patch, side), (side, side)]
    images = [tiny_image(i, size=size) for i, size in enumerate(sizes)]
    batch = processor.collate([processor.encode("what?", [image], ["a step"]) for image in images])
    pixels, grid = batch["pixel_values"].double(), batch["image_grid_thw"]
    results = []
    for backbone in (ours, theirs):
        features = _features(backbone, pixels, grid)
        factors = torch.linspace(-1, 1, features.numel(), dtype=torch.float64).view_as(features)
        loss = (features * factors).sum()
        weight = backbone.model.visual.patch_embed.proj.weight
        results.append((features, torch.autograd.grad(loss, weight)[0]))
    (features, gradient), (wanted, wanted_gradient) = results
    # float32 inside: RMSNorm, rotary embedding and the eager softmax
    torch.testing.assert_close(features, wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-5, atol=1e-5)
