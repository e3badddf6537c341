"""Reduced copies of images, small enough to be kept with an evaluation and inside its page."""

from __future__ import annotations

import hashlib
import io
import os
import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dreamprm.config.errors import DataError
from dreamprm.files.atomic import TEMPORARY, write_atomically

if TYPE_CHECKING:
    from PIL import Image

THUMBNAIL = re.compile(r"[0-9a-f]{16}\.(png|jpg)")
"""The names that `ThumbnailFolder` gives."""

_QUALITY = 82  # of JPEG: text in a diagram of 512 pixels stays legible


class ThumbnailFolder:
    """A folder of reduced images, named by their content: questions that share an image share the file.

    Args:
        folder: created when the first image is written.
        side: the longest side in pixels; smaller images keep their size.
    """

    def __init__(self, folder: Path, *, side: int) -> None:
        self._folder, self._side = folder, side

    def add(self, path: str) -> str:
        """Write the reduced copy of an image; it appears whole or not at all.

        Returns: the file's name. Raises: DataError if the image is missing or cannot be opened.
        """
        content, kind = thumbnail(path, side=self._side)
        target = self._folder / f"{hashlib.sha256(content).hexdigest()[:16]}.{kind}"
        if not target.exists():
            self._folder.mkdir(exist_ok=True)
            write_atomically(target, content)
        return target.name

    def keep_only(self, names: Collection[str]) -> None:
        """Remove all other files with names of ours, and the folder if it is then empty."""
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            left_by_a_kill = TEMPORARY.fullmatch(path.name)
            name = left_by_a_kill["name"] if left_by_a_kill else path.name
            if THUMBNAIL.fullmatch(name) and path.name not in names:
                path.unlink()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()


def thumbnail(path: str, *, side: int) -> tuple[bytes, str]:
    """An image scaled down and re-encoded as PNG or JPEG, whichever is smaller.

    Drawings of few colours are smaller as PNG and photographs as JPEG. Transparent areas become white, as for
    the model. Metadata (place, camera, embedded text) is not kept.

    Args:
        path: an image of any kind and mode that Pillow reads; of an animated one, the first frame is used.
        side: the longest side in pixels, >= 1.

    Returns:
        The bytes, and "png" or "jpg".

    Raises:
        DataError: no such file, not an image, a damaged one, or more pixels than Pillow considers safe
            (`Image.MAX_IMAGE_PIXELS`, 89 million).
    """
    from PIL import Image, ImageOps  # only where images are opened

    if not os.path.isfile(path):  # opening a pipe would wait forever
        raise DataError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            # A decoder's warnings about odd metadata are of no use here; too large an image must not be
            # decoded.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.draft(None, (side, side))  # JPEG only: decoded at a fraction of its size
                image = _on_white(ImageOps.exif_transpose(file))
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        png, jpeg = io.BytesIO(), io.BytesIO()
        image.save(png, "PNG", optimize=True)
        image.save(jpeg, "JPEG", quality=_QUALITY, optimize=True)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except Exception as error:  # a decoder may raise anything on broken bytes
        raise DataError(f"{path}: cannot be opened as an image ({type(error).__name__})") from error
    smaller = min((png.getvalue(), "png"), (jpeg.getvalue(), "jpg"), key=lambda made: len(made[0]))
    return smaller


def _on_white(image: Image.Image) -> Image.Image:
    """The image as RGB, with nothing but its pixels."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    see_through = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if image.mode == "La":
        image = image.convert("LA")
    paper = Image.new("RGB", image.size, "white")
    if see_through:
        layer = image.convert("RGBA")
        paper.paste(layer, mask=layer.getchannel("A"))
    else:
        paper.paste(image.convert("RGB"))
    return paper


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 or 32 bits per pixel converted to 8; Pillow would clip it at 255."""
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode == "F":  # no fixed range: scaled from black to white
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255.0 / (high - low) if high > low else 0.0)
    elif image.mode != "I" or values.max() > 255:  # older Pillow opens PNG of 16 bits as "I"
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
