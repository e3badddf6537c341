"""Grey images of more than 8 bits per pixel, converted to 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_SIXTEEN_BITS = ("PNG", "PPM", "JPEG2000")
"""Formats whose grey values Pillow brings to the full range of 16 bits, in whatever mode."""

_UNUSED_BITS = 4
"""If this many of the highest bits are 0 in every pixel, the picture would be black on a screen."""


class UnknownRange(ValueError):
    """Which value is white cannot be known."""


def is_deep(image: Image.Image) -> bool:
    """Whether the image is grey with more than 8 bits: 16 or 32 bits, or floating-point numbers."""
    return image.mode == "F" or image.mode.startswith("I")


def eight_bits(image: Image.Image) -> Image.Image:
    """A deep grey image as mode L; Pillow's own conversion would clip it at 255, to white.

    The range is the one that the file states, not the one that the pixels happen to have:

        16 bits       v / 257;  TIFF with 12 bits: v 255 / 4095;  with signed 16 bits: v 255 / 32767
        32 bits       as many of 8, 16, 31 (signed) or 32 bits as the largest value needs
        float         [0, 1]: 255 v;  up to 255 and above 127: v;  up to 65535 and above 32767: v / 257

    all rounded to the nearest. TIFF's "white is zero" is inverted.

    Args:
        image: decoded, of a mode for which `is_deep` holds.

    Raises:
        UnknownRange: integers that leave the four highest bits unused (12-bit data in 16 bits, for example,
            which would come out black), 32-bit integers whose largest value fits no range, negative or
            non-finite values, and other floating-point ranges.
    """
    tags: Any = getattr(image, "tag_v2", {})
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        white = _white_of_floats(values)
    else:
        unsigned = tags.get(_SAMPLE_FORMAT, (1,))[0] == 1  # one entry per sample
        bits = tags[_BITS_PER_SAMPLE][0] if _BITS_PER_SAMPLE in tags else None
        if bits == 32 and unsigned:
            values = np.where(values < 0, values + 2.0**32, values)  # Pillow has no unsigned 32 bits
        if bits is None and (image.mode != "I" or image.format in _SIXTEEN_BITS):
            bits = 16
        elif bits is not None and not unsigned:
            bits -= 1  # the sign
        white = _white_of_integers(values, bits)
    grey = np.rint(values * (255.0 / white)).astype(np.uint8)
    return Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)


def _white_of_integers(values: np.ndarray, bits: int | None) -> float:
    """The value of white, given the bits that the file states; None: only that there are at most 32."""
    low, high = int(values.min()), int(values.max())
    if low < 0:
        raise UnknownRange(f"has negative grey values, down to {low}; {_ADVICE}")
    if high == 0:
        return 1.0
    if bits is not None and high.bit_length() > bits - _UNUSED_BITS:
        return 2.0**bits - 1
    if bits is None or bits > 16:
        for fitting in (8, 16, 31, 32):
            # Of 8 bits any value: so Pillow makes 32 bits of an ordinary grey image.
            if high.bit_length() == fitting or high.bit_length() < 8:
                return 2.0**fitting - 1
    stated = "32-bit" if bits is None or bits > 16 else f"{bits}-bit"
    raise UnknownRange(f"has {stated} grey values of at most {high}, and would be black; {_ADVICE}")


def _white_of_floats(values: np.ndarray) -> float:
    if not np.isfinite(values).all():
        raise UnknownRange(f"has grey values that are not finite; {_ADVICE}")
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        if high <= 1:
            return 1.0
        for white in (255.0, 65535.0):
            if white / 2 < high <= white:
                return white
    raise UnknownRange(f"has floating-point grey values from {low:g} to {high:g}; {_ADVICE}")


_ADVICE = "which value is white cannot be known: save it with 8 bits, or scaled to the full range of 16"
