"""Reduced copies of images, small enough to be kept with an evaluation and inside its page."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection
from pathlib import Path

from dreamprm.files.atomic import TEMPORARY, write_atomically

THUMBNAIL = re.compile(r"[0-9a-f]{16}\.(png|jpg)")
"""The names that `ThumbnailFolder` gives."""

_QUALITY = 82  # of JPEG: text in a diagram of 512 pixels stays legible


class ThumbnailFolder:
    """A folder of reduced images, named by their content: questions that share an image share the file.

    Args:
        folder: created when the first image is written.
        side: the longest side in pixels; smaller images keep their size.
        ground: the colour under transparent areas.
    """

    def __init__(self, folder: Path, *, side: int, ground: str = "white") -> None:
        self._folder, self._side, self._ground = folder, side, ground

    def add(self, path: str) -> str:
        """Write the reduced copy of an image; it appears whole or not at all.

        Returns: the file's name. Raises: DataError if the image is missing or cannot be opened.
        """
        content, kind = thumbnail(path, side=self._side, ground=self._ground)
        target = self._folder / f"{digest(content)}.{kind}"
        if not target.exists() or target.read_bytes() != content:
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


def digest(content: bytes) -> str:
    """What the copy of an image is named by."""
    return hashlib.sha256(content).hexdigest()[:16]


def thumbnail(path: str, *, side: int, ground: str = "white") -> tuple[bytes, str]:
    """An image scaled down and re-encoded as PNG or JPEG, whichever is smaller.

    Drawings of few colours are smaller as PNG and photographs as JPEG. The image is read as for the model
    (`open_image`). Metadata (place, camera, embedded text) is not kept.

    Args:
        path: an image of any kind and mode that Pillow reads; of an animated one, the first frame is used.
        side: the longest side in pixels, >= 1.
        ground: the colour under transparent areas.

    Returns:
        The bytes, and "png" or "jpg".

    Raises:
        ImageError: as `open_image`.
    """
    from PIL import Image  # only where images are opened

    from dreamprm.data.image_decoder import open_image

    image = open_image(path, ground=ground, side=side).image
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True)
    image.save(jpeg, "JPEG", quality=_QUALITY, optimize=True)
    smaller = min((png.getvalue(), "png"), (jpeg.getvalue(), "jpg"), key=lambda made: len(made[0]))
    return smaller
