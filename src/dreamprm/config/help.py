"""The text of `--help`: every key with its type, default, allowed values and meaning, and every strategy with
its own settings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from dreamprm.config.schema import (
    REQUIRED,
    Leaf,
    condition_text,
    leaves,
    limits_text,
    load,
    type_name,
    yaml_text,
)


def describe(schema: type[Any]) -> str:
    """Every key of the schema with its type, default, allowed values and meaning."""
    paragraphs: list[str] = []
    for leaf in leaves(schema):
        if "open" not in leaf.metadata:
            paragraphs.extend(key_lines(leaf, indent=2))
            continue
        parent = leaf.key.rpartition(".")[0]
        paragraphs.append(f"  {parent + '.' if parent else ''}*: {leaf.metadata['help']}")
        if leaf.metadata["registry"] is not None:
            paragraphs.append(listing(load(leaf.metadata["registry"]), indent=6))
        else:
            paragraphs.append(textwrap.indent(leaf.metadata["listing"](), " " * 6))
    return "\n".join(paragraphs)


def listing(registry: Any, *, indent: int = 0) -> str:
    """Every strategy of a registry with its meaning, followed by its settings, described like keys."""
    paragraphs = []
    for name in registry:
        paragraphs.append(_wrap(f"{name}: {registry.meaning(name)}", indent))
        for leaf in registry.declared(name, {}):
            paragraphs.extend(key_lines(leaf, indent=indent + 4))
    return "\n".join(paragraphs)


def key_lines(leaf: Leaf, *, indent: int) -> Iterator[str]:
    """The lines for one key: its type, default and allowed values, then its meaning."""
    default = "required" if leaf.default == REQUIRED else f"default {yaml_text(leaf.default)}"
    choices = leaf.metadata.get("choices")
    allowed = f"one of {', '.join(choices)}" if choices else limits_text(leaf.metadata)
    kind = type_name(leaf.type) + (f", {allowed}" if allowed else "")
    when = leaf.metadata.get("when")
    yield _wrap(f"{leaf.key}: {kind}; {default}" + (f"; {condition_text(when)}" if when else ""), indent)
    yield _wrap(leaf.metadata["help"], indent + 4, hanging=0)


def _wrap(text: str, indent: int, *, hanging: int = 4) -> str:
    return textwrap.fill(
        text,
        100,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )
