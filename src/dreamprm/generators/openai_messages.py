"""Messages with images for a chat server, and the token counts of the choices it returns."""

from __future__ import annotations

import base64
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dreamprm.data.image_decoder import ImageError, ImageReading
from dreamprm.files.content import FileStamp
from dreamprm.generators.openai_client import Answer

_SENT_AS_THEY_ARE = {
    "GIF": "image/gif",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # JPEG with further images after it, which readers of JPEG ignore
    "PNG": "image/png",
    "WEBP": "image/webp",
}
"""Formats that every server reads, with their media types."""


def data_url(path: str, reading: ImageReading | None = None) -> str:
    """An image as a data URL (RFC 2397), with the media type taken from its content, not its name.

    The file's bytes are sent as they are if any reader must see in them what `open_image` sees: a whole GIF,
    JPEG, PNG or WebP of one frame, opaque, upright, with 8 bits. Anything else is sent as a PNG file of what
    `open_image` returns.

    Args:
        path: the file.
        reading: how it is opened; None: on white, and only if it is whole.

    Raises:
        ImageError: the file cannot be read as an image.
    """
    reading = ImageReading() if reading is None else reading
    if not os.path.isfile(path):
        reading.open(path)  # raises; opening a pipe would wait forever
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error})", type(error).__name__) from error
    try:
        decoded = reading.open(content)
    except ImageError as error:
        raise ImageError(path, error.reason, error.kind) from error
    kind = _SENT_AS_THEY_ARE.get(decoded.format or "") if decoded.as_stored else None
    if kind is None:
        file = io.BytesIO()
        decoded.image.save(file, "PNG")
        kind, content = "image/png", file.getvalue()
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


class DataUrls:
    """`data_url` with a memory: the rollouts of one question show the same images again and again.

    Args:
        reading: as for `data_url`.
        limit: the most characters of URLs that are kept; the least recently used ones go first.
    """

    def __init__(self, reading: ImageReading, *, limit: int = 64 << 20) -> None:
        self._reading, self._limit = reading, limit
        self._held: OrderedDict[tuple[str, FileStamp | None], str] = OrderedDict()
        self._characters = 0
        self._mutex = threading.Lock()

    def __call__(self, path: str) -> str:
        """The image's data URL; a file that was replaced or written to is read again."""
        try:
            stamp = FileStamp.of(path)
        except (OSError, ValueError):
            stamp = None  # reading it says what is wrong
        key = path, stamp
        with self._mutex:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        url = data_url(path, self._reading)
        with self._mutex:
            if key not in self._held and len(url) <= self._limit:
                self._held[key] = url
                self._characters += len(url)
                while self._characters > self._limit:
                    _, oldest = self._held.popitem(last=False)
                    self._characters -= len(oldest)
        return url


def user_message(
    text: str,
    images: Sequence[str],
    *,
    detail: str | None = None,
    url_of: Callable[[str], str] = data_url,
) -> dict[str, Any]:
    """The user's turn: its images, then its text.

    Without images the content is a plain string, as servers of text-only models require.

    Args:
        images: paths.
        detail: OpenAI's `detail` for each image; None sends none.
        url_of: the data URL of an image.

    Raises:
        ImageError: an image cannot be read.
    """
    if not images:
        return {"role": "user", "content": text}
    parts: list[dict[str, Any]] = []
    for path in images:
        image = {"url": url_of(path)} | ({"detail": detail} if detail else {})
        parts.append({"type": "image_url", "image_url": image})
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def with_text(message: dict[str, Any], text: str) -> dict[str, Any]:
    """The user's turn with a different text and the same images."""
    if isinstance(message["content"], str):
        return message | {"content": text}
    return message | {"content": [*message["content"][:-1], {"type": "text", "text": text}]}


BYTES_PER_TOKEN = 4
"""A rough figure for English text in current models' vocabularies; used if a server reports no tokens."""


def tokens_by_choice(answer: Answer) -> list[int]:
    """Each choice's tokens: the server's total, divided in proportion to the lengths of the texts in bytes.

    Exact for one choice; for several, only the total is exact. Without a total, each text counts one token
    per `BYTES_PER_TOKEN` bytes, rounded up.
    """
    sizes = [len(choice.text.encode()) for choice in answer.choices]
    if answer.completion_tokens is None:
        return [-(-size // BYTES_PER_TOKEN) for size in sizes]
    return shares(answer.completion_tokens, sizes)


def shares(total: int, sizes: Sequence[int]) -> list[int]:
    """Integers that add up to `total`, in proportion to `sizes` (largest remainder method).

    Args:
        total: >= 0.
        sizes: each >= 0, at least one of them; if all are 0, the shares are equal.
    """
    weights = list(sizes) if any(sizes) else [1] * len(sizes)
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts
