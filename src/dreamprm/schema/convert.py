"""`dreamprm convert`: files of other projects in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.settings import REQUIRED, open_settings, setting


def format_listing() -> str:
    """Every foreign format with its meaning and options, for `--help`."""
    from dreamprm.data.convert import FORMATS

    return "\n".join(
        f"{name}: {form.help}; options: {', '.join(form.options) or 'none'}" for name, form in FORMATS.items()
    )


@dataclass
class ConvertConfig:
    """Another project's data file in, one of our own form out."""

    format: str = setting(REQUIRED, "form of the source file; the formats are listed below")
    source: str = setting(REQUIRED, "file to read")
    destination: str = setting(REQUIRED, "JSONL file to write; appears whole or not at all")
    options: dict[str, Any] = open_settings(
        "the format's own options, written beside the keys above:", listing=format_listing
    )
