"""Messages with images for a chat server, and the token counts of the choices it returns."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from dreamprm.generators.openai_client import Answer


def user_message(text: str, images: Sequence[str], *, detail: str | None = None) -> dict[str, Any]:
    """The user's turn: its images, then its text.

    Without images the content is a plain string, as servers of text-only models require.

    Args:
        images: paths; each file's bytes are sent as they are.
        detail: OpenAI's `detail` for each image; None sends none.

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
    """The user's turn with a different text and the same images."""
    if isinstance(message["content"], str):
        return message | {"content": text}
    return message | {"content": [*message["content"][:-1], {"type": "text", "text": text}]}


def data_url(path: str) -> str:
    """A file as a data URL (RFC 2397), with the media type taken from its content, not its name.

    Raises:
        OSError: the file cannot be read, or is not an image.
    """
    try:
        with Image.open(path) as image:  # reads the header only
            kind = Image.MIME.get(image.format or "")
    except UnidentifiedImageError as error:
        raise OSError(f"not an image: {path}") from error
    if kind is None:
        raise OSError(f"an image format without a media type: {path}")
    return f"data:{kind};base64,{base64.b64encode(Path(path).read_bytes()).decode('ascii')}"


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
