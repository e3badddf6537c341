"""Texts of users and of files in Markdown: shown as they are, never as markup, links or HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Emphasis, code, links, headings; an underscore within a word stays, and a backslash escapes only a mark.
_MARKS = re.compile(r"[`*\[\]#~!]|(?<![^\W_])_|_(?![^\W_])|\\(?=[!-/:-@[-`{-~]|\Z)")
# HTML, and what viewers make a link of.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ENTITY = re.compile("[&<>]")
_ADDRESS = re.compile(r"(?<=:)//|(?<=www)\.|(?<=[\w.+-])@(?=\w)", re.IGNORECASE)
# A list, where the text begins a line.
_BULLET = re.compile(r"\A(\d{0,9})([-+.)])(?=\s|\Z)")
# What moves a terminal's cursor, or turns the direction of the text after it.
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")


def as_text(text: str) -> str:
    """The Markdown that shows a text as it is, on one line.

    A vertical bar stays: it means something in tables alone, where `markdown_table` escapes it.
    """
    text = _MARKS.sub(r"\\\g<0>", on_one_line(text))
    text = _BULLET.sub(r"\1\\\2", text)
    text = _ENTITY.sub(lambda match: _ENTITIES[match[0]], text)
    return _ADDRESS.sub(lambda match: "".join(f"&#{ord(character)};" for character in match[0]), text)


def as_code(text: str) -> str:
    """A code span, in which no character means anything but the one that ends it; that one becomes `'`."""
    return f"`{on_one_line(text).replace('`', chr(39))}`"


def on_one_line(text: str) -> str:
    """The text without line breaks; control characters, and those that turn the direction of all text after
    them, become U+FFFD."""
    return " ".join(_UNSEEN.sub("\ufffd", text).split())


def values_as_text(value: Any) -> Any:
    """A copy of JSON values in which every text, names included, is what `as_text` makes of it."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, Mapping):
        return {as_text(str(name)): values_as_text(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [values_as_text(part) for part in value]
    return value
