"""Marks `<image k>` in a text, which refer to a row's numbered image fields."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dreamprm.data.fields import Fields

_MARK = re.compile(r"<image (\d{1,3})>")


def numbers_given(row: Fields, fields: Sequence[str]) -> tuple[int, ...]:
    """The numbers, from 1, of the image fields that hold an image."""
    return tuple(number for number, name in enumerate(fields, start=1) if name in row)


def renumbered(texts: Sequence[str], numbers: Sequence[int]) -> tuple[str, ...]:
    """The texts with marks that count the images that there are.

    A record's images have no gaps: where a row has `image_1` and `image_3`, its second image is meant by
    `<image 3>`, and the mark becomes `<image 2>`. A mark for an image that is not there stays.

    Args:
        texts: a question and its options.
        numbers: the numbers of the images that there are, ascending.
    """
    places = {number: place for place, number in enumerate(numbers, start=1)}
    if all(number == place for number, place in places.items()):
        return tuple(texts)

    def mark(match: re.Match[str]) -> str:
        number = int(match[1])
        return f"<image {places[number]}>" if number in places else match[0]

    return tuple(_MARK.sub(mark, text) for text in texts)
