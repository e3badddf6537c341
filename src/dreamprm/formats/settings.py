"""`dreamprm convert`: files of other projects in, and ours out to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.config.schema import REQUIRED, open_settings, setting


def format_listing() -> str:
    """Every foreign format with its kind, meaning and options in both directions, for `--help`."""
    from dreamprm.formats.convert import FORMATS
    from dreamprm.formats.questions.layout import common_options

    common = common_options()
    lines = [f"every question format: {', '.join(common)}"]
    for name, form in FORMATS.items():
        own = [option for option in form.options("in") if form.kind != "question" or option not in common]
        read = f"options: {', '.join(own) or 'none'}"
        write = "" if form.write is None else f"; out: {', '.join(form.options('out')) or 'no options'}"
        lines.append(f"{name} ({form.kind}): {form.help}; {read}{write}")
    return "\n".join(lines)


@dataclass
class ConvertConfig:
    """A file of another project in, one of our own form out; or the reverse."""

    format: str = setting(REQUIRED, "the other project's form; the formats are listed below")
    source: str = setting(REQUIRED, "file to read; for some formats a folder")
    destination: str = setting(REQUIRED, "file to write; appears whole or not at all")
    direction: str = setting(
        "in",
        "in: read the format, write our JSONL; out: read our JSONL, write the format",
        choices=("in", "out"),
    )
    options: dict[str, Any] = open_settings(
        "the format's own options, written beside the keys above:", listing=format_listing
    )
