"""JSON texts that end with a digest of themselves, by which an edit or a bit that has changed is noticed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_SEAL = re.compile(rb'"sha256": "([0-9a-f]{64})"\s*\}\s*\Z')
_BLANK = "0" * 64


def sealed(content: Mapping[str, Any], *, indent: int = 1) -> str:
    """The JSON text of an object with a last field `sha256`: the digest of the text with zeros for it."""
    text = json.dumps({**content, "sha256": _BLANK}, indent=indent)
    start = text.rindex(_BLANK)
    return text[:start] + hashlib.sha256(text.encode()).hexdigest() + text[start + len(_BLANK) :]


def broken_seal(text: bytes) -> str | None:
    """What is wrong with the digest at the end of a text, in words; None if it is right."""
    seal = _SEAL.search(text)
    if seal is None:
        return "it does not end with its digest"
    blank = text[: seal.start(1)] + _BLANK.encode() + text[seal.end(1) :].rstrip(b"\n")
    if hashlib.sha256(blank).hexdigest() != seal[1].decode():
        return "its digest is not that of its text"
    return None
