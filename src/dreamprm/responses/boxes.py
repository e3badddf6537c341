r"""Braces and boxes of LaTeX: which brace closes which, and what `\boxed{...}` holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dreamprm.responses.headings import unmarked

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?=\{)|\\boxed\s+(?=[^\s{])")
_TOKEN = re.compile(r"[^\s$]+")
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|bf|rm)\s*\{")

# What may stand between two boxes that together are one answer: $x=\boxed{2}$ and $y=\boxed{3}$.
_BETWEEN_BOXES = re.compile(
    r"[ \t$\\(),;]*+(?:\b(?:and|or)\b)?[ \t$\\(),;]*+(?:[a-zA-Z][ \t]*=[ \t]*)?[ \t]*"
)
# The unit or per cent sign that follows a box: `\boxed{5} cm`, `\boxed{5}\text{ m}^2`, `\boxed{25}\%`.
_UNIT_BEHIND = re.compile(
    r"[ \t]*+(?:\\[,;: !]|~|\\\)|\$)*+[ \t]*+"
    r"(?P<unit>\\?%|\^\{?\\circ\}?|\u00b0|(?:\\(?:text|mathrm|textrm)\s*\{\s*+~?\s*+)?"
    r"(?:square\s+|cubic\s+|sq\.?\s+)?(?:[mcdk]?m|in|ft|[mk]?g|m?s|min|h|m?[lL]|[km]?[VWJ]|m?A|[kM]?Hz"
    r"|(?:centi|milli|kilo|deci)?(?:met(?:er|re)|gram|lit(?:er|re))s?|inch(?:es)?|feet|hours?|minutes?|seconds?"
    r"|days?|degrees?|dollars?|cents?|percent|km/h|m/s|[km]m/(?:h|s)))(?![a-zA-Z/])\s*\}?(?:\s*\^\s*\{?[23]\}?)?"
)


def brace_pairs(text: str) -> dict[int, int]:
    """Maps each opening brace to its closing brace; one that is never closed (truncated text) is left out."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):  # \{ and \} are not braces
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}" and opened:
            pairs[opened.pop()] = match.start()
    return pairs


def is_broken(text: str) -> bool:
    r"""Whether LaTeX is cut off: a brace, `\left` or an environment that is opened and never closed."""
    braces = sum(1 for match in re.finditer(r"\\.|\{", text, re.DOTALL) if match.group() == "{")
    return (
        len(brace_pairs(text)) < braces
        or len(re.findall(r"\\left(?![a-zA-Z])", text)) > len(re.findall(r"\\right(?![a-zA-Z])", text))
        or text.count("\\begin{") > text.count("\\end{")
    )


@dataclass(frozen=True)
class Box:
    """A run of adjacent boxes, which together are one answer.

    Attributes:
        start, end: where it stands; `end` includes a unit that follows.
        text: what the boxes hold, joined by ", ", with a unit that follows.
        closed: False for a box whose brace is never closed; it states nothing.
    """

    start: int
    end: int
    text: str
    closed: bool = True


def last_box(text: str) -> Box | None:
    """The last run of adjacent boxes that hold something.

    A box with nothing, a full stop or a question mark states nothing; a box inside a box is part of it.
    """
    boxes = list(_BOX.finditer(text))
    pairs = brace_pairs(text) if boxes else {}
    run: tuple[int, int, list[str]] | None = None
    unclosed: Box | None = None
    for match in boxes:
        if text[match.end()] == "{":
            begin, end = match.end() + 1, pairs.get(match.end(), -1)
        else:
            # TeX also takes one token: `\boxed 7`.
            token = _TOKEN.match(text, match.end())
            begin, end = match.end(), token.end() if token else -1
        if end < 0:
            unclosed = unclosed or Box(match.start(), len(text), text[match.start() :], closed=False)
            continue
        content = text[begin:end].strip()
        if (inner := _BOX.match(content)) is not None and content.endswith("}"):
            content = content[inner.end() + 1 : -1].strip()
        if not re.search(r"\w", content) or (run is not None and match.start() < run[1]):
            continue
        if run is not None and _BETWEEN_BOXES.fullmatch(text, run[1], match.start()):
            texts = run[2] if content == run[2][-1] else [*run[2], content]
            run = (run[0], end + 1, texts)
        else:
            run = (match.start(), end + 1, [content])
    if unclosed is not None and (run is None or unclosed.start > run[0]):
        return unclosed
    if run is None:
        return None
    start, end, texts = run
    unit = _UNIT_BEHIND.match(text, end) if len(texts) == 1 and texts[0][-1].isdigit() else None
    if unit is not None:
        return Box(start, unit.end(), f"{texts[0]} {unit['unit']}{_power_of(unit)}")
    return Box(start, end, ", ".join(unwrapped(one) for one in texts))


def _power_of(unit: re.Match[str]) -> str:
    r"""What follows the name of a unit: the brace that closes `\text{`, and its power."""
    return unit.group()[unit.end("unit") - unit.start() :].rstrip()


def is_a_box(line: str) -> bool:
    """Whether a line is one box, apart from formula delimiters, emphasis and a full stop."""
    boxes = list(_BOX.finditer(line))
    if len(boxes) != 1 or not line.startswith("{", boxes[0].end()):
        return False
    end = brace_pairs(line).get(boxes[0].end())
    around = line[: boxes[0].start()] + line[(end or 0) + 1 :]
    return end is not None and not re.sub(r"\\[\[\]()]|[\s$.*_]", "", around)


def without_emphasis(text: str) -> str:
    """A text without the Markdown marks around all of it, and without a mark that has no counterpart."""
    bare = text.strip()
    both = bare[:1] in "*_" and bare[-1:] in "*_"
    return unmarked(bare) if both or bare.count("**") % 2 or bare.count("*") % 2 else bare


def unwrapped(content: str) -> str:
    r"""A text without the `\text{...}` or emphasis around all of it."""
    content = without_emphasis(content)
    for _ in range(4):  # \text{\textbf{(A)}} is as deep as nesting gets
        match = _WRAPPER.match(content)
        if match is None or brace_pairs(content).get(match.end() - 1) != len(content) - 1:
            break
        content = without_emphasis(content[match.end() : -1])
    return content


def without_surplus_brackets(text: str) -> str:
    """A text without the closing brackets at its end that nothing opens; `[0, 1)` keeps its own."""
    text = text.strip()
    while text and text[-1] in ")]}":
        opened = sum(map(text.count, "([{"))
        closed = sum(map(text.count, ")]}"))
        if closed <= opened:
            break
        text = text[:-1].rstrip().removesuffix("\\").rstrip()
    return text
