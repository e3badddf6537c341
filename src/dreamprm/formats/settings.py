"""`dreamprm convert`: from other projects' files to ours, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dreamprm.config.help import key_lines
from dreamprm.config.names import check_names
from dreamprm.config.schema import LARGEST_SEED, REQUIRED, declared, open_settings, setting


def format_listing() -> str:
    """Every foreign format with its meaning and its options in both directions, for `--help`.

    Options that several formats share are described once, above the formats.
    """
    from dreamprm.formats.registry import FORMATS

    sides = [side for form in FORMATS.values() for side in (form.reader, form.writer) if side is not None]
    shared: dict[type, str] = {}
    lines: list[str] = []
    for side in sides:
        for base in side.__mro__:
            if base not in shared and base.__dict__.get("shared"):
                shared[base] = f"[{base.__dict__['shared']}]"
                lines += [shared[base], *_options(side, base, indent=4)]
    for name, form in FORMATS.items():
        lines.append(f"{name} ({form.kind}): {form.help}")
        for direction, own in (("in", form.reader), ("out", form.writer)):
            if own is not None:
                also = " ".join(shared[base] for base in own.__mro__ if base in shared)
                lines += [f"    direction={direction}: {also}".rstrip(" :"), *_options(own, own, indent=8)]
    return "\n".join(lines)


def _options(side: type, declared_in: type, *, indent: int) -> Iterator[str]:
    """The options that one of a reader's or writer's classes declares."""
    own = declared_in.__dict__.get("__annotations__", {})
    for leaf in declared(side):
        if leaf.key in own:
            yield from key_lines(leaf, indent=indent)


@dataclass
class ConvertConfig:
    """A file of another project in, a file in our own form out; or the reverse."""

    format: str = setting(REQUIRED, "the other project's format; they are listed below")
    source: str = setting(REQUIRED, "file to read; for some formats a folder")
    destination: str = setting(REQUIRED, "file to write; it appears whole or not at all")
    direction: str = setting(
        "in",
        "in: read the format, write our JSONL; out: read our JSONL, write the format",
        choices=("in", "out"),
    )
    shares: dict[str, float] = setting(
        {},
        "split what is written by question, near-copies together: the share of each part, {train: 0.8, dev:"
        " 0.2}; the parts are DESTINATION_train.jsonl, ... next to the whole; {}: no parts",
    )
    seed: int = setting(0, "seed of the split", minimum=0, maximum=LARGEST_SEED)
    max_tokens: int | None = setting(
        None,
        "tokens that question and steps of a step or meta record may have together (images and chat template"
        " not counted); null: any number",
        minimum=1,
    )
    tokenizer: str | None = setting(None, "with max_tokens: a folder with the tokenizer")
    too_long: str = setting(
        "cut",
        "what to do with longer records: cut (step records, after the last step that fits), or skip (they are"
        " left out and counted)",
        choices=("cut", "skip"),
    )
    options: dict[str, Any] = open_settings(
        "the format's own options, written next to the keys above:", listing=format_listing
    )

    def check(self) -> None:
        """Refuse a domain that is no name."""
        if isinstance(domain := self.options.get("domain"), str):
            check_names([domain], "domain")
