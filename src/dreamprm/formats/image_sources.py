"""What an image field of a foreign row may hold besides a path: base64, data URLs, URLs."""

from __future__ import annotations

import base64
import binascii
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from dreamprm.data.image_paths import is_no_path


def is_embedded(value: Any) -> bool:
    """Whether an image is given other than by its path: bytes, `{"bytes", "path"}`, a data URL or a URL."""
    return isinstance(value, bytes | Mapping) or (isinstance(value, str) and is_no_path(value))


def is_data(text: str) -> bool:
    """Whether a text is a data URL: `data:image/png;base64,...`."""
    return text[:5].lower() == "data:"


def decoded(text: str) -> bytes:
    """The bytes of a data URL, or of plain base64.

    Raises:
        ValueError: it is neither; white space inside it is ignored.
    """
    if is_data(text):
        head, mark, text = text.partition(",")
        if not mark or not head.lower().endswith(";base64"):
            raise ValueError("a data URL without ';base64,'")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64 ({error})") from error


LARGEST_DOWNLOAD = 64 * 2**20
"""The most bytes that are downloaded for one image."""


def downloaded(url: str, *, timeout: float = 30.0) -> bytes:
    """The bytes at a URL.

    Args:
        url: http or https.
        timeout: seconds without an answer after which it fails.

    Raises:
        ValueError: another kind of URL, no answer, or more than `LARGEST_DOWNLOAD` bytes; the message says
            which.
    """
    if url.partition("://")[0].lower() not in ("http", "https"):
        raise ValueError("only http and https URLs are downloaded")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            content = bytes(answer.read(LARGEST_DOWNLOAD + 1))
    except urllib.error.HTTPError as error:
        error.close()
        raise ValueError(f"the download failed: {error}") from None
    except (OSError, ValueError) as error:  # URLError is an OSError
        raise ValueError(f"the download failed: {error}") from error
    if len(content) > LARGEST_DOWNLOAD:
        raise ValueError(f"more than {LARGEST_DOWNLOAD:,} bytes")
    return content
