"""The patcher equals the image processor bit for bit, on every size and mode, and costs less."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from dreamprm.config.errors import UserError
from dreamprm.models.images import ImagePatcher

SIZES = [(56, 56), (84, 28), (200, 100), (10, 15), (113, 57)]


@pytest.mark.parametrize(
    "settings", [{}, {"patch_size": 16}, {"min_pixels": 784, "max_pixels": 56 * 56}], ids=str
)
def test_patches_equal_the_image_processor(settings: dict[str, int]) -> None:
    processor = Qwen2VLImageProcessorPil(**settings)
    patcher = ImagePatcher(processor)
    images = [tiny_image(seed, size=size) for seed, size in enumerate([*SIZES, *SIZES[:2], SIZES[1]])]
    expected = processor(images=images, return_tensors="pt")
    resized = [patcher.resized(image) for image in images]
    assert torch.equal(torch.from_numpy(patcher.patches(resized)), expected["pixel_values"])
    assert [list(patcher.grid(pixels)) for pixels in resized] == expected["image_grid_thw"].tolist()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_other_modes_equal_the_image_processor(mode: str) -> None:
    image = tiny_image(1, size=(60, 60)).convert("RGB" if mode == "LA" else mode)
    if mode in ("LA", "RGBA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(np.arange(3600, dtype=np.uint8).reshape(60, 60)))
    if mode == "P":
        image.info["transparency"] = 3
    processor = Qwen2VLImageProcessorPil()
    patcher = ImagePatcher(processor)
    expected = processor(images=[image], return_tensors="np")["pixel_values"]
    assert np.array_equal(patcher.patches([patcher.resized(image)]), expected)


def test_tokens_are_patches_over_merge_squared() -> None:
    patcher = ImagePatcher(Qwen2VLImageProcessorPil())
    assert patcher.tokens((1, 4, 4)) == 4
    assert patcher.tokens((1, 2, 6)) == 3


LIMITS = [(784, 3136), (3136, 3136), (3136, 12544), (784, 784), (3136, 262144), (3136, 1003520)]


@pytest.mark.parametrize(("least", "most"), LIMITS)
def test_no_picture_exceeds_max_pixels_and_ordinary_ones_keep_the_rules_size(least: int, most: int) -> None:
    patcher = ImagePatcher(Qwen2VLImageProcessorPil(min_pixels=least, max_pixels=most))
    sides = [*range(1, 40, 3), *range(40, 3000, 97)]
    shortened = 0
    for height in sides:
        for width in sides:
            if max(height, width) > 200 * min(height, width):
                continue
            rule = smart_resize(height, width, factor=28, min_pixels=least, max_pixels=most)
            size = patcher.final_size(height, width)
            assert size[0] * size[1] <= most and min(size) >= 28 and size[0] % 28 == size[1] % 28 == 0
            if rule[0] * rule[1] <= most:
                assert size == rule
            else:
                shortened += 1
                # One token more on the longer side, or on either of two equal ones, would be too much.
                assert (max(size) + 28) * min(size) > most
                assert (size[0] <= rule[0]) and (size[1] <= rule[1])
    assert bool(shortened) is (most < 200 * 784)


@pytest.mark.parametrize("size", [(2983, 15), (15, 2983), (400, 2), (40, 30)])
def test_a_thin_picture_has_no_more_tokens_than_max_pixels_allow(size: tuple[int, int]) -> None:
    patcher = ImagePatcher(Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=3136))
    pixels = patcher.resized(tiny_image(0, size=size))
    assert pixels.shape[1] * pixels.shape[2] <= 3136
    assert patcher.tokens(patcher.grid(pixels)) <= 4


def test_a_limit_below_one_token_is_the_users_error() -> None:
    with pytest.raises(
        UserError, match=r"max_pixels must be >= 784, the pixels of one visual token \(28 x 28\)"
    ):
        ImagePatcher(Qwen2VLImageProcessorPil(min_pixels=1, max_pixels=783))


def test_an_extreme_aspect_ratio_is_the_users_error() -> None:
    with pytest.raises(UserError, match="300 x 1 pixels cannot be used: absolute aspect ratio"):
        ImagePatcher(Qwen2VLImageProcessorPil()).resized(tiny_image(0, size=(300, 1)))


def test_a_sandbox_image_costs_less_than_by_the_library() -> None:
    """A ratio within one run, so that the machine's speed and load do not matter."""
    processor = Qwen2VLImageProcessorPil()
    patcher = ImagePatcher(processor)
    images = [tiny_image(seed) for seed in range(120)]

    def seconds(run: Callable[[], object]) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

    ratios = [
        seconds(lambda: patcher.patches([patcher.resized(image) for image in images]))
        / seconds(lambda: processor(images))
        for _ in range(5)
    ]
    assert statistics.median(ratios) < 1.0  # 0.4 to 0.5 was measured


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((56, 56, 3), np.uint8),
        np.zeros((3, 56, 56), np.float32),
        np.zeros((3, 50, 56), np.uint8),
        np.zeros((3, 0, 56), np.uint8),
        np.zeros((56, 56), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_that_is_no_resized_image_is_refused(array: np.ndarray) -> None:
    patcher = ImagePatcher(Qwen2VLImageProcessorPil())
    with pytest.raises(UserError, match=r"must be one that was resized already, \(3, height, width\) uint8"):
        patcher.resized(array)
    again = patcher.resized(tiny_image(0))
    assert patcher.resized(again) is again
