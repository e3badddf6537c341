"""Images: decoded once, resized once for the vision tower, stored as bytes, cut into patches by batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.image_decoder import WHITE, ImageError, decode_image, open_image, rgb
from dreamprm.files.json_values import shown
from dreamprm.models.chat import TextOnlyModel

__all__ = ["Grid", "ImagePatcher", "ImageStore", "decode_image"]

Grid = tuple[int, int, int]

_LARGEST_PATCH = 256  # pixels; those of all backbones are at most 16


class ImagePatcher:
    """`Qwen2VLImageProcessorPil` in two halves, bytes per image and patches per batch; bit-identical output.

    The processor takes about 0.2 ms for a 56x56 image, mostly in its own checks; this takes 0.05 ms. An
    image is resized to its final size and stays uint8; a batch is normalised through a table of 256 values
    per channel, which is filled in by the processor itself (so the outputs are equal by construction), and
    cut into patches in one go.

    Departures from the processor: images are read by `dreamprm.data.image_decoder` (orientation, grey of more
    than 8 bits, the ground), and very thin ones stay within `max_pixels` (`final_size`).

    Args:
        processor: gives the size limits, normalisation and patch sizes.
        ground: the colour under transparent areas; the processor's own is white.

    Raises:
        UserError: size limits that no image can keep, a ground that is not a colour, or settings of the
            processor that cannot be used.
    """

    def __init__(self, processor: Qwen2VLImageProcessorPil, *, ground: str = WHITE) -> None:
        self._processor, self._ground = processor, ground
        try:
            self._prepare()
        except UserError:
            raise
        # What a preprocessor_config.json that was damaged, or written by hand, leads to.
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise UserError(
                "the image processor's settings (preprocessor_config.json) cannot be used: "
                f"{error or repr(error)}"
            ) from error

    def _prepare(self) -> None:
        processor = self._processor
        names = ("patch_size", "merge_size", "temporal_patch_size")
        for name in names:
            value = getattr(processor, name)
            if type(value) is not int or not 1 <= value <= _LARGEST_PATCH:
                raise ValueError(
                    f"{name} must be a whole number in [1, {_LARGEST_PATCH}], got {shown(value)}"
                )
        self.patch, self.merge, self.temporal = (getattr(processor, name) for name in names)
        side, longest = self.patch * self.merge, processor.size["longest_edge"]
        if longest < side * side:
            raise UserError(
                f"max_pixels must be >= {side * side}, the pixels of one visual token ({side} x {side}), "
                f"got {longest}"
            )
        with np.errstate(all="ignore"):  # checked below
            self._values = self._table()  # (3, 256) float32
        if not np.isfinite(self._values).all():
            raise ValueError("image_mean, image_std and rescale_factor give values that are not finite")

    def resized(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """The image as `(3, height, width)` uint8 at its final size, a multiple of patch x merge.

        An array is taken to be an already resized image and is returned unchanged.

        Raises:
            ImageError: the image cannot be read.
            UserError: an aspect ratio above 200, which the backbone's resizing rule rejects; or an array that
                is not an already resized image.
        """
        if isinstance(image, np.ndarray):
            side = self.patch * self.merge
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3 or not image.size:
                given = f"{image.dtype} {image.shape}"
            elif image.shape[1] % side or image.shape[2] % side:
                given = f"{image.shape}, whose height and width are not multiples of {side}"
            else:
                return image
            raise UserError(
                f"an image given as an array must be one that was resized already, (3, height, width) uint8, "
                f"got {given}; give a PIL image (Image.fromarray) or a path instead"
            )
        image = rgb(image, ground=self._ground)
        height, width = self.final_size(image.height, image.width)
        if image.size != (width, height):
            image = image.resize((width, height), resample=Image.Resampling(self._processor.resample))
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

    def final_size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width to which an image is resized: those of `smart_resize`, within `max_pixels`.

        That rule gives each side at least one visual token (28 pixels), and rounds up to reach `min_pixels`.
        A thin image can then get several times `max_pixels`: with 3136, one of 2983 x 15 gets 784 x 28, seven
        times as many. This happens only above an aspect ratio of `max_pixels` / 784 (so never with our
        default of 262144), or if `min_pixels` is close to `max_pixels`. Such an image is shortened on its
        longer side, token by token, until `max_pixels` allows it; all others keep the rule's size.

        Raises:
            UserError: an aspect ratio above 200.
        """
        side = self.patch * self.merge
        least, most = self._processor.size["shortest_edge"], self._processor.size["longest_edge"]
        try:
            height, width = smart_resize(height, width, factor=side, min_pixels=least, max_pixels=most)
        except ValueError as error:
            raise UserError(f"an image of {width} x {height} pixels cannot be used: {error}") from error
        while height * width > most:
            if height > width:
                height -= side
            else:
                width -= side
        return height, width

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


def unreadable(path: str, reason: str) -> DataError:
    """The error for a record whose image cannot be read."""
    return DataError(
        f"image {path} is missing or broken ({reason}); fix it, leave its records out (data.on_error=skip), "
        "or set data.missing_image=text_only"
    )


class NoImages:
    """In place of an `ImagePatcher`, of a model that reads text only: every image is refused."""

    patch = merge = temporal = 1

    def resized(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """Raise `TextOnlyModel`."""
        raise TextOnlyModel(1)

    def final_size(self, height: int, width: int) -> tuple[int, int]:
        """Raise `TextOnlyModel`."""
        raise TextOnlyModel(1)

    def grid(self, pixels: np.ndarray) -> Grid:
        """Raise `TextOnlyModel`."""
        raise TextOnlyModel(1)

    def tokens(self, grid: Grid) -> int:
        """Raise `TextOnlyModel`."""
        raise TextOnlyModel(1)

    def patches(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Raise `TextOnlyModel`."""
        raise TextOnlyModel(len(images))


class ImageStore:
    """Opens the images of records; the most recently used ones stay in memory, up to `limit_bytes` of pixels.

    Args:
        prepare: applied to an image before it is stored, such as `ImagePatcher.resized`; None stores it as
            decoded. Training shows each image in every epoch, and this work is done only once.
        limit_bytes: limit on the bytes of pixels held in memory; 0 stores nothing.
        missing: "error", or "text_only" to use a record without any of its images if one is missing or
            broken: without the first one, the second would be taken for it.
        truncated: "error", or "read" for files that are cut off (see `open_image`).
        ground: the colour under transparent areas.
    """

    def __init__(
        self,
        prepare: Callable[[Image.Image], np.ndarray] | None = None,
        *,
        limit_bytes: int = 256 << 20,
        missing: str = "error",
        truncated: str = "error",
        ground: str = WHITE,
    ) -> None:
        self._prepare, self._limit, self._missing = prepare, limit_bytes, missing
        self._truncated, self._ground = truncated == "read", ground
        self._held: OrderedDict[str, Opened] = OrderedDict()
        self._bytes = 0
        self._broken: dict[str, str] = {}
        self._cut_off: dict[str, str] = {}

    def open_all(self, paths: Sequence[str]) -> list[Opened]:
        """The RGB images of a record, in order, or what `prepare` returned for them.

        Empty if one of them is missing or broken, and such records are used without images; `lost` then says
        why.

        Raises:
            DataError: a file is missing or not an image.
            UserError: raised by `prepare`.
        """
        images = []
        for path in paths:
            image = self._open(path)
            if image is None:
                return []
            images.append(image)
        return images

    def lost(self, paths: Sequence[str]) -> str | None:
        """Why `open_all` left these images out: the missing or broken one; None if it did not."""
        return next((f"{path}: {self._broken[path]}" for path in paths if path in self._broken), None)

    def know(self, lost: Mapping[str, str], cut_off: Mapping[str, str]) -> None:
        """What is known of images that were not opened here, by path: `lost` and `cut_off` then say so."""
        self._broken.update(lost)
        self._cut_off.update(cut_off)

    def cut_off(self, paths: Sequence[str]) -> str | None:
        """Which of these images `open_all` has read although it is cut off, and where; None if none."""
        return next((f"{path}: {self._cut_off[path]}" for path in paths if path in self._cut_off), None)

    def _open(self, path: str) -> Opened | None:
        if path in self._held:
            self._held.move_to_end(path)
            return self._held[path]
        if path in self._broken:
            return None
        try:
            decoded = open_image(path, ground=self._ground, truncated=self._truncated)
        except ImageError as error:
            if self._missing == "text_only":
                self._broken[path] = error.reason
                return None
            raise unreadable(path, error.reason) from error
        if decoded.cut_off is not None:
            self._cut_off[path] = decoded.cut_off
        try:
            opened = decoded.image if self._prepare is None else self._prepare(decoded.image)
        except UserError as error:
            raise UserError(f"image {path}: {error}") from error
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
