"""The one way to read an image: as RGB, upright, opaque, with 8 bits; whatever is wrong is one error."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.image_depth import UnknownRange, eight_bits, is_deep
from dreamprm.runtime.settings import ground_colour

WHITE = "white"
ImageSource = str | os.PathLike[str] | bytes | Image.Image

_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_WITH_KEY = ("1", "L", "P", "RGB")
"""Modes in which Pillow takes a colour or palette entries for transparent (`info["transparency"]`)."""

_ALPHA = "alpha"

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of this EXIF orientation upright."""

# Pillow's switch for truncated files and Python's filters of warnings belong to the whole process.
_DECODING = threading.Lock()


class ImageError(DataError):
    """An image that cannot be read, whatever the exception of its format's plug-in.

    Attributes:
        name: the path, or how else the image was given.
        reason: why, without the name.
        kind: the name of the exception that stands for it, such as `OSError`.
    """

    def __init__(self, name: str, reason: str, kind: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason, self.kind = name, reason, kind

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, str]]:
        """From a loader's worker, an exception is sent as its class and these arguments."""
        return type(self), (self.name, self.reason, self.kind)


@dataclass(frozen=True)
class DecodedImage:
    """An image that was read.

    Attributes:
        image: mode RGB, without metadata.
        format: Pillow's name of the file's format; None if the image came from memory.
        as_stored: whether these are the very pixels of the file: its only frame, neither turned, nor made
            opaque, nor scaled to 8 bits. Any other reader then sees the same.
        cut_off: why the file could only be read with `truncated`; None if it is whole.
    """

    image: Image.Image
    format: str | None
    as_stored: bool
    cut_off: str | None = None


def decode_image(source: ImageSource, *, ground: str = WHITE, truncated: bool = False) -> Image.Image:
    """The image as RGB; see `open_image`."""
    return open_image(source, ground=ground, truncated=truncated).image


def open_image(
    source: ImageSource,
    *,
    ground: str = WHITE,
    truncated: bool = False,
    side: int | None = None,
    most_pixels: int | None = None,
) -> DecodedImage:
    """Read an image as a person would see it.

    Transparent areas show the ground; with the white one, the result is bit-identical to Qwen2-VL's own
    processing. The EXIF orientation is applied. Grey values of more than 8 bits are scaled to 8 (see
    `eight_bits`). Of several frames, the first is read. Colour profiles are ignored.

    Args:
        source: a path, the bytes of a file, or an image of Pillow.
        ground: the colour under transparent areas, as in `ground_colour`.
        truncated: also read files that are cut off, with Pillow's switch `LOAD_TRUNCATED_IMAGES`, on for this
            file only; what is missing is grey or black. False refuses them, however that switch is set.
        side: the image will be scaled down until both sides have at most this many pixels; JPEG files are
            then decoded at a fraction of their size.
        most_pixels: an image with more pixels is refused before they are decoded; None: the limit is
            Pillow's own.

    Raises:
        ImageError: no such file, not an image, a broken or truncated one, no pixels, more than `most_pixels`
            or `Image.MAX_IMAGE_PIXELS`, or grey values whose range cannot be known.
        UserError: the ground is not a colour.
    """
    colour, name = ground_colour(ground), _name(source)
    if not isinstance(source, bytes | Image.Image):
        path = os.fspath(source)
        if not os.path.isfile(path):  # opening a pipe would wait forever
            if os.path.isdir(path):
                raise ImageError(name, "is a folder, not an image", "IsADirectoryError")
            raise ImageError(name, "no such file", "FileNotFoundError")
    try:
        return _decoded(source, name, colour, tolerant=False, side=side, most=most_pixels)
    except _Broken as broken:
        if truncated:
            try:
                found = _decoded(source, name, colour, tolerant=True, side=side, most=most_pixels)
            except ImageError:
                raise broken from broken.__cause__  # what is wrong without the switch says more
            return DecodedImage(found.image, found.format, False, broken.reason)
        raise


@dataclass(frozen=True)
class ImageReading:
    """How images are opened: the settings of `open_image`, where they are passed on.

    Raises:
        UserError: the ground is not a colour.
    """

    ground: str = WHITE
    truncated: bool = False

    def __post_init__(self) -> None:
        ground_colour(self.ground)

    def open(self, source: ImageSource) -> DecodedImage:
        """`open_image` with these settings."""
        return open_image(source, ground=self.ground, truncated=self.truncated)


def rgb(image: Image.Image, *, ground: str = WHITE) -> Image.Image:
    """An image of Pillow as `open_image` reads it; itself if that changes nothing.

    Raises:
        ImageError, UserError: as `open_image`.
    """
    # Subclasses read their file only now; only plain images are certain to hold their pixels.
    if type(image) is Image.Image and image.mode == "RGB" and not image.info and not _bad_size(image):
        return image
    return open_image(image, ground=ground).image


class _Broken(ImageError):
    """An error of the plug-in, which may be due to a file that is cut off."""


def _name(source: ImageSource) -> str:
    if isinstance(source, Image.Image):
        return f"the image given as a PIL image ({type(source).__name__}, {source.mode})"
    if isinstance(source, bytes):
        return f"the image given as {len(source):,} bytes"
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        return name if len(name) <= 300 else f"{name[:300]}..."
    raise UserError(
        f"an image must be given as a path, as the bytes of its file, or as a PIL image, "
        f"got {type(source).__name__}"
    )


def _decoded(
    source: ImageSource,
    name: str,
    ground: tuple[int, int, int],
    *,
    tolerant: bool,
    side: int | None,
    most: int | None,
) -> DecodedImage:
    try:
        with _pillow(tolerant):
            if isinstance(source, Image.Image):
                return _read(source, name, ground, side, most)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
                return _read(file, name, ground, side, most)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(name, _too_large(), type(error).__name__) from error
    except UnknownRange as error:
        raise ImageError(name, str(error), "ValueError") from error
    except Exception as error:  # a plug-in may raise anything on broken bytes
        kind = type(error).__name__
        # Pillow's own words on a file that it does not know are the file's name, or an address in memory.
        words = "" if kind == "UnidentifiedImageError" or not str(error) else f": {error}"
        raise _Broken(name, f"cannot be opened as an image ({kind}){words}", kind) from error


@contextmanager
def _pillow(tolerant: bool) -> Iterator[None]:
    """Pillow with its switch for truncated files on or off, and without its warnings of odd metadata."""
    with _DECODING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def _read(
    file: Image.Image, name: str, ground: tuple[int, int, int], side: int | None, most: int | None
) -> DecodedImage:
    _require_size(file, name, most)
    stored_as = _raw_mode(file)
    if side is not None:
        file.draft(None, (side, side))
    file.load()
    _require_size(file, name, most)  # that of an icon is known only now
    turn = _TURNS.get(_orientation(file))
    clear = _transparency(file, stored_as)
    image = _opaque(file, clear, ground)
    if turn is not None:
        image = image.transpose(turn)
    image.info = {}
    frames = getattr(file, "is_animated", False) and file.format != "MPO"  # a JPEG file with others after it
    plain = file.mode in ("1", "L", "P", "RGB") and not stored_as.startswith("RGB;16")
    as_stored = plain and turn is None and clear is None and not frames and side is None
    return DecodedImage(image, file.format, as_stored)


def _opaque(file: Image.Image, clear: Any, ground: tuple[int, int, int]) -> Image.Image:
    """The image as RGB, with the ground where it is transparent."""
    if is_deep(file):
        image = eight_bits(file).convert("RGB")
        if clear is not None:
            image.paste(ground, mask=Image.fromarray(np.asarray(file) == clear))
        return image
    if clear is None:
        return file.convert("RGB")
    if clear != _ALPHA:
        # Also for the next time that a given image is read: its file's depth is not known then.
        file.info["transparency"] = clear
    if file.mode == "La":
        file = file.convert("LA")
    layer = file.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", file.size, ground), layer).convert("RGB")


def _transparency(file: Image.Image, stored_as: str) -> Any:
    """What is transparent: None for nothing, `_ALPHA` if the pixels say so, otherwise Pillow's
    `transparency`, with a colour as the image's own pixels have it."""
    if file.mode in _WITH_ALPHA:
        return _ALPHA
    key = file.info.get("transparency")
    if key is None and file.mode == "P" and file.palette is not None and file.palette.mode.endswith("A"):
        return _ALPHA
    if key is None or not (file.mode in _WITH_KEY or is_deep(file)):
        return None
    # PNG states the colour in the file's own depth, which Pillow does not convert.
    if isinstance(key, int) and stored_as in ("L;2", "L;4"):
        return key * (85 if stored_as == "L;2" else 17)
    if isinstance(key, tuple) and stored_as.startswith("RGB;16"):
        return tuple(value >> 8 for value in key)
    return key


def _raw_mode(file: Image.Image) -> str:
    """How the file stores its pixels, for example `L;2`: grey of two bits; "" if that is not known."""
    tiles = getattr(file, "tile", None)
    args = tiles[0][3] if tiles else ""
    if isinstance(args, tuple) and args:
        args = args[0]
    return args if isinstance(args, str) else ""


def _orientation(file: Image.Image) -> Any:
    try:
        return file.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken metadata names no orientation; viewers show such files as they are
        return None


def _require_size(image: Image.Image, name: str, most: int | None) -> None:
    problem = _bad_size(image)
    if problem is None and most is not None and image.width * image.height > most:
        problem = f"has {image.width:,} x {image.height:,} pixels; at most {most:,} are allowed"
    if problem is not None:
        raise ImageError(name, problem, "ValueError")


def _bad_size(image: Image.Image) -> str | None:
    if image.width < 1 or image.height < 1:
        return f"has no pixels ({image.width} x {image.height})"
    limit = Image.MAX_IMAGE_PIXELS
    return _too_large() if limit is not None and image.width * image.height > limit else None


def _too_large() -> str:
    return (
        f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels, the most that Pillow considers safe; scale it "
        "down, or raise PIL.Image.MAX_IMAGE_PIXELS"
    )
