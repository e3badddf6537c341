"""Texts of users and of files in Markdown: shown as they are, never as markup, links or HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Emphasis, code, links, headings; an underscore within a word is none, and a backslash escapes only a mark.
_MARKS = re.compile(r"[`*\[\]#~!]|(?<![^\W_])_|_(?![^\W_])|\\(?=[!-/:-@[-`{-~]|\Z)")
# HTML, and what viewers make a link of.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ENTITY = re.compile("[&<>]")
_ADDRESS = re.compile(r"(?<=:)//|(?<=www)\.", re.IGNORECASE)


def as_text(text: str) -> str:
    """The Markdown that shows a text as it is, on one line.

    A vertical bar stays: it means something in tables alone, where `markdown_table` escapes it.
    """
    text = _MARKS.sub(r"\\\g<0>", " ".join(text.split()))
    text = _ENTITY.sub(lambda match: _ENTITIES[match[0]], text)
    return _ADDRESS.sub(lambda match: "".join(f"&#{ord(character)};" for character in match[0]), text)


def values_as_text(value: Any) -> Any:
    """A copy of JSON values in which every text, names included, is what `as_text` makes of it."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, Mapping):
        return {as_text(str(name)): values_as_text(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [values_as_text(part) for part in value]
    return value
