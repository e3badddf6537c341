"""Images: decoded once, resized once for the vision tower, stored as bytes, cut into patches by batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.image_transforms import convert_to_rgb
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from dreamprm.config.errors import DataError, UserError

Grid = tuple[int, int, int]


def decode_image(path: str | Path) -> Image.Image:
    """The one way to read an image: as RGB, with transparency on white, as Qwen2-VL's own processing does.

    Raises:
        OSError, Image.DecompressionBombError: no such file, or not an image that can be decoded.
    """
    with Image.open(path) as file:
        if not file.has_transparency_data:
            return file.convert("RGB")
        opaque = file.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")


class ImagePatcher:
    """`Qwen2VLImageProcessorPil` in two halves, bytes per image and patches per batch; bit-identical output.

    The processor takes about 0.2 ms for a 56x56 image, mostly in its own checks; this takes 0.05 ms. An
    image is resized to its final size and stays uint8; a batch is normalised through a table of 256 values
    per channel, which is filled in by the processor itself (so the outputs are equal by construction), and
    cut into patches in one go.

    Args:
        processor: gives the size limits, normalisation and patch sizes.
    """

    def __init__(self, processor: Qwen2VLImageProcessorPil) -> None:
        self._processor = processor
        self.patch, self.merge = processor.patch_size, processor.merge_size
        self.temporal = processor.temporal_patch_size
        self._values = self._table()  # (3, 256) float32

    def resized(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """The image as `(3, height, width)` uint8 at its final size, a multiple of patch x merge.

        An array is taken to be an already resized image and is returned unchanged.

        Raises:
            UserError: an aspect ratio above 200, which the backbone's resizing rule rejects.
        """
        if isinstance(image, np.ndarray):
            return image
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
        """(time, height, width) of an image, in patches before merging."""
        return 1, pixels.shape[1] // self.patch, pixels.shape[2] // self.patch

    def tokens(self, grid: Grid) -> int:
        """Number of visual tokens, and so of image pads: time x height x width / merge^2."""
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
            # A still image is repeated in all frames of the temporal patch.
            out[:, channel] = np.take(self._values[channel], cut[:, channel])[:, None]
        return out.reshape(cut.shape[0], -1)

    def _table(self) -> np.ndarray:
        """What the processor maps the values 0..255 to, by channel."""
        side = self.patch * self.merge
        tiles = -(-256 // (side * side))
        ramp = np.arange(tiles * side * side).astype(np.uint8).reshape(side, tiles * side)
        pixels = np.ascontiguousarray(np.broadcast_to(ramp[:, :, None], (*ramp.shape, 3)))
        patches = self._processor(images=[Image.fromarray(pixels)], do_resize=False, return_tensors="np")
        values = patches["pixel_values"].reshape(-1, 3, self.temporal, self.patch * self.patch)[:, :, 0]
        # Cutting the bytes in the same way shows which value each output came from.
        cut = pixels.reshape(1, self.merge, self.patch, tiles, self.merge, self.patch, 3)
        sources = cut.transpose(0, 3, 1, 4, 6, 2, 5).reshape(-1, 3, self.patch * self.patch)
        table = np.empty((3, 256), dtype=np.float32)
        for channel in range(3):
            table[channel, sources[:, channel].ravel()] = values[:, channel].ravel()
        return table


Opened = Image.Image | np.ndarray


class ImageStore:
    """Opens images; the most recently used ones stay in memory, up to `limit_bytes` of pixels.

    Args:
        prepare: applied to an image before it is stored, such as `ImagePatcher.resized`; None stores it as
            decoded. Training shows each image in every epoch, and this work is done only once.
        limit_bytes: limit on the bytes of pixels held in memory; 0 stores nothing.
        missing: "error", or "text_only" to leave a missing or broken image out.
    """

    def __init__(
        self,
        prepare: Callable[[Image.Image], np.ndarray] | None = None,
        *,
        limit_bytes: int = 256 << 20,
        missing: str = "error",
    ) -> None:
        self._prepare, self._limit, self._missing = prepare, limit_bytes, missing
        self._held: OrderedDict[str, Opened] = OrderedDict()
        self._bytes = 0

    def open_all(self, paths: Sequence[str]) -> list[Opened]:
        """The RGB images at these paths, in order, or what `prepare` returned for them.

        Raises:
            DataError: a file is missing or not an image, unless such images are left out.
            UserError: raised by `prepare`.
        """
        images = []
        for path in paths:
            image = self._open(path)
            if image is not None:
                images.append(image)
        return images

    def _open(self, path: str) -> Opened | None:
        if path in self._held:
            self._held.move_to_end(path)
            return self._held[path]
        try:
            image = decode_image(path)
        except (OSError, Image.DecompressionBombError) as error:
            if self._missing == "text_only":
                return None
            raise DataError(
                f"image {path} is missing or broken ({error}); fix it, leave its records out "
                "(data.on_error=skip), or set data.missing_image=text_only"
            ) from error
        opened = image if self._prepare is None else self._prepare(image)
        size = _size(opened)
        if size <= self._limit:
            self._held[path] = opened
            self._bytes += size
            while self._bytes > self._limit:
                _, oldest = self._held.popitem(last=False)
                self._bytes -= _size(oldest)
        return opened


def _size(opened: Opened) -> int:
    return opened.nbytes if isinstance(opened, np.ndarray) else 3 * opened.width * opened.height
