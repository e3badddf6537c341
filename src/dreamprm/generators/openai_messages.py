"""Chat messages of a request: images as data URLs, the prefix as an open turn or as an instruction."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError


def user_message(text: str, images: Sequence[str], *, detail: str | None = None) -> dict[str, Any]:
    """The user's turn: its images, then its text.

    Without images the content is a plain string, which servers of text-only models want.

    Args:
        images: paths; each file's bytes are sent as they are.
        detail: OpenAI's `detail` of each image; None sends none.

    Raises:
        OSError: an image cannot be read.
    """
    if not images:
        return {"role": "user", "content": text}
    parts: list[dict[str, Any]] = []
    for path in images:
        image = {"url": data_url(path)} | ({"detail": detail} if detail else {})
        parts.append({"type": "image_url", "image_url": image})
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def with_text(message: dict[str, Any], text: str) -> dict[str, Any]:
    """A user's turn with another text and the same images."""
    if isinstance(message["content"], str):
        return message | {"content": text}
    return message | {"content": [*message["content"][:-1], {"type": "text", "text": text}]}


def data_url(path: str) -> str:
    """A file as a data URL (RFC 2397) with the media type that its content shows, whatever its name says.

    Raises:
        OSError: the file cannot be read, or is no image.
    """
    try:
        with Image.open(path) as image:  # reads the header only
            kind = Image.MIME.get(image.format or "")
    except UnidentifiedImageError as error:
        raise OSError(f"not an image: {path}") from error
    if kind is None:
        raise OSError(f"an image of a kind without a media type: {path}")
    return f"data:{kind};base64,{base64.b64encode(Path(path).read_bytes()).decode('ascii')}"
