"""Images as the vision tower takes them: resized once, kept as bytes, cut into patches in batches."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from PIL import Image
from transformers.image_transforms import convert_to_rgb
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from dreamprm.config.errors import UserError

Grid = tuple[int, int, int]


class ImagePatcher:
    """`Qwen2VLImageProcessorPil` in two halves: bytes per image, patches per batch; bit for bit its output.

    The processor takes about 0.2 ms for a 56x56 image, most of it in its own checks; this takes 0.05. An
    image is resized to its final size and stays uint8; a batch is normalised through a table of 256 values
    per channel, which the processor itself fills in (so that equality is by construction), and cut into
    patches at once.

    Args:
        processor: size limits, normalisation and patch sizes are read from it.
    """

    def __init__(self, processor: Qwen2VLImageProcessorPil) -> None:
        self._processor = processor
        self.patch, self.merge = processor.patch_size, processor.merge_size
        self.temporal = processor.temporal_patch_size
        self._values = self._table()  # (3, 256) float32

    def resized(self, image: Image.Image) -> np.ndarray:
        """The image as `(3, height, width)` uint8 at its final size, a multiple of patch x merge.

        Raises:
            UserError: an aspect ratio above 200, which the backbone's resizing rule refuses.
        """
        size = self._processor.size
        try:
            height, width = smart_resize(
                image.height,
                image.width,
                factor=self.patch * self.merge,
                min_pixels=size["shortest_edge"],
                max_pixels=size["longest_edge"],
            )
        except ValueError as error:
            raise UserError(
                f"an image of {image.width} x {image.height} pixels cannot be used: {error}"
            ) from error
        if image.mode != "RGB" or image.info.get("transparency") is not None:
            image = Image.fromarray(np.asarray(convert_to_rgb(image, return_numpy=True)))  # alpha onto white
        if image.size != (width, height):
            image = image.resize((width, height), resample=Image.Resampling(self._processor.resample))
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

    def grid(self, pixels: np.ndarray) -> Grid:
        """(time, height, width) of an image in patches, before merging."""
        return 1, pixels.shape[1] // self.patch, pixels.shape[2] // self.patch

    def tokens(self, grid: Grid) -> int:
        """Number of visual tokens, hence of image pads: time x height x width / merge^2."""
        return grid[0] * grid[1] * grid[2] // self.merge**2

    def patches(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """`(patches of all images, 3 x temporal x patch x patch)` float32, images in order."""
        runs = [list(run) for _, run in groupby(images, key=lambda pixels: pixels.shape)]
        parts = [self._patches_of_one_size(np.stack(run)) for run in runs]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _patches_of_one_size(self, pixels: np.ndarray) -> np.ndarray:
        n, channels, height, width = pixels.shape
        merge, patch = self.merge, self.patch
        rows, columns = height // (merge * patch), width // (merge * patch)
        cut = pixels.reshape(n, channels, rows, merge, patch, columns, merge, patch)
        # (n, rows, columns, merge, merge, channels, patch, patch): patches of one visual token are neighbours
        cut = np.ascontiguousarray(cut.transpose(0, 2, 5, 3, 6, 1, 4, 7)).reshape(-1, channels, patch * patch)
        out = np.empty((cut.shape[0], channels, self.temporal, patch * patch), dtype=np.float32)
        for channel in range(channels):
            # A still image fills all frames of the temporal patch.
            out[:, channel] = np.take(self._values[channel], cut[:, channel])[:, None]
        return out.reshape(cut.shape[0], -1)

    def _table(self) -> np.ndarray:
        """What the processor makes of the values 0..255 in each channel."""
        side = self.patch * self.merge
        tiles = -(-256 // (side * side))
        ramp = np.arange(tiles * side * side).astype(np.uint8).reshape(side, tiles * side)
        pixels = np.ascontiguousarray(np.broadcast_to(ramp[:, :, None], (*ramp.shape, 3)))
        patches = self._processor(images=[Image.fromarray(pixels)], do_resize=False, return_tensors="np")
        values = patches["pixel_values"].reshape(-1, 3, self.temporal, self.patch * self.patch)[:, :, 0]
        # The same cutting applied to the bytes tells which value each output came from.
        cut = pixels.reshape(1, self.merge, self.patch, tiles, self.merge, self.patch, 3)
        sources = cut.transpose(0, 3, 1, 4, 6, 2, 5).reshape(-1, 3, self.patch * self.patch)
        table = np.empty((3, 256), dtype=np.float32)
        for channel in range(3):
            table[channel, sources[:, channel].ravel()] = values[:, channel].ravel()
        return table
