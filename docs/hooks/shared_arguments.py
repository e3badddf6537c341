"""A griffe extension that reads two habits of our docstrings, for which its parser has no word.

`a, b: meaning` in a list of arguments stands for both of them, and `Fields:` heads the attributes of a
dataclass.
"""

import re

import griffe

ENTRY = re.compile(r"^( +)(\*{0,2}\w+(?:, \*{0,2}\w+)+): (.*(?:\n\1 +\S.*)*)", re.MULTILINE)
SECTION = re.compile(r"^( *)(?:Args|Attributes|Fields):\n(?:\1 +.*\n?|\n)+", re.MULTILINE)


class SharedArguments(griffe.Extension):
    """Gives each of the names an entry of its own."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring is not None:
            obj.docstring.value = SECTION.sub(section, obj.docstring.value)


def section(found: re.Match) -> str:
    """The section under a title that the parser knows, with one entry per name."""
    return re.sub(r"^( *)Fields:", r"\1Attributes:", ENTRY.sub(each, found[0]))


def each(entry: re.Match) -> str:
    """The entry once for each of its names."""
    indent, names, meaning = entry.groups()
    return "\n".join(f"{indent}{name}: {meaning}" for name in names.split(", "))
