"""Finds the final answer that a response states."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from dreamprm.responses.headings import MARKS, unmarked

# The line requested by our prompts.
_FINAL_ANSWER = re.compile(
    rf"^{MARKS}final[ \t]+answer(?:[ \t]+is\b)?[ \t]*[*_]*[ \t]*(?:[:\uFF1A]|$)(.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER = re.compile(
    rf"^{MARKS}(?:the[ \t]+)?(?:(?:correct|right|best)[ \t]+)?answer[ \t]*[*_]*[ \t]*[:\uFF1A](.*)$",
    re.IGNORECASE | re.MULTILINE,
)
# "Final Answer: The final answer is 5. I hope it is correct.": the form in Minerva's prompt for MATH
# (arXiv 2206.14858, appendix), which models have memorised.
_MINERVA_HEAD = re.compile(r"\A(?:the[ \t]+)?final[ \t]+answer[ \t]+is\b:?[ \t]*", re.IGNORECASE)
_MINERVA_TAIL = re.compile(r"\.?[ \t]*I[ \t]+hope[ \t]+it[ \t]+is[ \t]+correct\.?\s*\Z", re.IGNORECASE)

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{")
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|bf|rm)\s*\{")

# A sentence that ends its line: "Therefore, the correct answer is (B)."
_SENTENCE = re.compile(
    r"\b(?:the|my|our)[ \t]+(?:(?:final|correct|right|best|closest)[ \t]+)?(?:answer|option|choice)[ \t]+is\b"
    r":?[ \t]*((?![ \t.])(?:(?!\b(?:answer|option|choice)[ \t]+is\b).)+)$",
    re.IGNORECASE | re.MULTILINE,
)
_SUPPOSED = re.compile(r"\b(?:if|whether|that|unless|suppose|assume|assuming|say)[ \t]+\Z", re.IGNORECASE)

# What may follow "the answer is". Other words may be a reason, a refusal or a condition.
_LETTER_AND_TEXT = re.compile(r"\([A-Z]\)(?:[ \t,.:].*)?")
_NUMBER_AND_UNIT = re.compile(r"[-+]?\$?[\d.,]*\d[ \t]+[^\W\d_]+")
_ONE_WORD = re.compile(r"yes|no|true|false|\*\*[^*]+\*\*", re.IGNORECASE)
_FORMULA = re.compile(r"\$[^$]+\$|\\\(.+\\\)|\\\[.+\\\]")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")

# What lines under the heading "Final answer" may contain besides the answer: rules and delimiters around it.
_ONLY_DELIMITERS = re.compile(r"\s*(?:\\[\[\]()]|\$\$?|`{3,}\w*|-{3,}|={3,})?\s*")
_LINE = re.compile(r"[^\n]+")
_LINES_BELOW = 10  # a heading with no text soon after it has no answer; the bound keeps loops cheap
_ANNOUNCES = re.compile(r"(?:[:\uFF1A]|\b(?:is|are|by))\Z")


def final_answer(text: str) -> str | None:
    r"""The answer that a response states.

    The first of these forms that occurs in the text; if it occurs several times, the last one:

    1. a line `Final answer: X`, with or without Markdown marks. If the line ends after the heading
       (`### Final Answer`), the answer is the next line that has text and does not announce another ("The
       value is:"). A box on the line is unwrapped;
    2. a box, `\boxed{X}` or `\fbox{X}`, with any braces inside; `\text{...}` around all of X is removed;
    3. a line `Answer: X` of one sentence;
    4. a sentence that ends its line, "the (correct) answer is X", where X is a letter, a number, a formula,
       an option with its text, yes or no. "The answer is based on ..." states nothing.

    An answer without any such words (a response that is just "9") is not recognised here: for a longer text
    it is not clear whether its end is meant as the answer (see `dreamprm.answers`, which knows the question).

    Args:
        text: the response of a generator, or its last step.

    Returns:
        The answer without Markdown marks and surrounding white space; None if the text states none.
    """
    for find in (_final_answer_lines, _boxes, _answer_lines, _sentences):
        stated = list(find(text))
        if stated:
            return stated[-1]
    return None


def states_only_an_answer(passage: str) -> bool:
    """Whether a passage is only an answer (`Final answer: B`, `Answer: B`, a box), without any reasoning."""
    bare = passage.strip()
    if "\n" not in bare and (_FINAL_ANSWER.match(bare) or _ANSWER.match(bare)):
        return final_answer(bare) is not None
    heading = _FINAL_ANSWER.match(bare)
    if heading and not unmarked(heading.group(1)):
        bare = bare[heading.end() :]
    lines = [line for line in bare.splitlines() if not _ONLY_DELIMITERS.fullmatch(line)]
    if len(lines) != 1:
        return False
    return heading is not None or _is_a_box(lines[0])


def _final_answer_lines(text: str) -> Iterator[str]:
    for match in _FINAL_ANSWER.finditer(text):
        stated = unmarked(match.group(1))
        if _MINERVA_HEAD.match(stated):
            stated = _MINERVA_HEAD.sub("", _MINERVA_TAIL.sub("", stated)).removesuffix(".")
        if not stated:
            stated = _line_below(text, match.end())
        if stated:
            yield _unboxed(stated) or stated


def _answer_lines(text: str) -> Iterator[str]:
    for match in _ANSWER.finditer(text):
        stated = unmarked(match.group(1)) or _line_below(text, match.end())
        if stated and not re.search(r"[.!?]\s", stated):
            yield stated


def _line_below(text: str, position: int) -> str:
    for line in islice(_LINE.finditer(text, position), _LINES_BELOW):
        bare = unmarked(line.group())
        if bare and not _ONLY_DELIMITERS.fullmatch(bare) and not _ANNOUNCES.search(bare):
            return bare
    return ""


def _boxes(text: str) -> Iterator[str]:
    for _, content, _ in _box_parts(text):
        if _unwrapped(content):
            yield _unwrapped(content)


def _unboxed(line: str) -> str | None:
    """The content of the line's only box; None if it has none or several."""
    boxes = list(_boxes(line))
    return boxes[0] if len(boxes) == 1 else None


def _is_a_box(line: str) -> bool:
    """Whether a line is one box, apart from formula delimiters, emphasis and a full stop."""
    parts = list(_box_parts(line))
    if len(parts) != 1:
        return False
    before, _, after = parts[0]
    return not re.sub(r"\\[\[\]()]|[\s$.*_]", "", before + after)


def _box_parts(text: str) -> Iterator[tuple[str, str, str]]:
    """For every closed box: the text before it, its content, and the text after it."""
    boxes = list(_BOX.finditer(text))
    closings = _closing_braces(text) if boxes else {}
    for box in boxes:
        if box.end() - 1 in closings:
            end = closings[box.end() - 1]
            yield text[: box.start()], text[box.end() : end], text[end + 1 :]


def _closing_braces(text: str) -> dict[int, int]:
    """Maps the position of each opening brace to that of its closing brace; unclosed ones are left out."""
    closings: dict[int, int] = {}
    opened: list[int] = []
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):  # \{ and \} are not braces
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}" and opened:
            closings[opened.pop()] = match.start()
    return closings


def _unwrapped(content: str) -> str:
    content = unmarked(content)
    for _ in range(4):  # \text{\textbf{(A)}} is as deep as nesting gets
        match = _WRAPPER.match(content)
        if match is None or _closing_braces(content).get(match.end() - 1) != len(content) - 1:
            break
        content = unmarked(content[match.end() : -1])
    return content


def _sentences(text: str) -> Iterator[str]:
    for match in _SENTENCE.finditer(text):
        if _SUPPOSED.search(text, max(0, match.start() - 20), match.start()):
            continue
        stated = _MINERVA_TAIL.sub("", match.group(1)).strip().removesuffix(".").strip()
        if _is_plainly_an_answer(stated):
            yield _unwrapped(stated)


def _is_plainly_an_answer(stated: str) -> bool:
    if not stated or re.search(r"[.!?]\s", stated):
        return False
    kinds = (_LETTER_AND_TEXT, _NUMBER_AND_UNIT, _ONE_WORD, _FORMULA)
    return any(kind.fullmatch(stated) for kind in kinds) or not _WORD.search(stated)
