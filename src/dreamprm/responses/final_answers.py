"""The final answer that a response states."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dreamprm.responses.marks import MARKS, unmarked

# The line that our prompts ask for.
_FINAL_ANSWER = re.compile(
    rf"^{MARKS}final[ \t]+answer(?:[ \t]+is\b)?[ \t]*[*_]*[ \t]*(?:[:\uFF1A]|$)(.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER = re.compile(
    rf"^{MARKS}(?:the[ \t]+)?(?:(?:correct|right|best)[ \t]+)?answer[ \t]*[*_]*[ \t]*[:\uFF1A](.*)$",
    re.IGNORECASE | re.MULTILINE,
)
# "Final Answer: The final answer is 5. I hope it is correct.": the form of Minerva's prompt for MATH
# (arXiv 2206.14858, appendix), which models learned by heart.
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

# What "the answer is ..." may go on with. Words beyond these may be a reason, a refusal or a condition.
_LETTER_AND_TEXT = re.compile(r"\([A-Z]\)(?:[ \t,.:].*)?")
_NUMBER_AND_UNIT = re.compile(r"[-+]?\$?[\d.,]*\d[ \t]+[^\W\d_]+")
_ONE_WORD = re.compile(r"yes|no|true|false|\*\*[^*]+\*\*", re.IGNORECASE)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")

# What a line under the heading "Final answer" may hold beside the answer: the rules and delimiters around it.
_ONLY_DELIMITERS = re.compile(r"\s*(?:\\[\[\]()]|\$\$?|`{3,}\w*|-{3,}|={3,})?\s*")
_ANNOUNCES = re.compile(r"(?:[:\uFF1A]|\b(?:is|are|by))\Z")


def final_answer(text: str) -> str | None:
    r"""The answer that a response states.

    The first of these that the text has, and of several of one kind the last:

    1. a line `Final answer: X`, with or without Markdown marks. Where the line ends after the heading
       (`### Final Answer`), the next line is the answer that has text and does not announce another ("The
       value is:"). A box on the line is opened;
    2. a box, `\boxed{X}` or `\fbox{X}`, with whatever braces are in it; `\text{...}` around all of X goes;
    3. a line `Answer: X` of one sentence;
    4. a sentence that ends its line, "the (correct) answer is X", where X is a letter, a number, a formula,
       an option with its text, yes or no. "The answer is based on ..." states nothing.

    An answer without any such word (a response that is just "9") is not taken here: of a longer text it
    cannot be told whether its end is meant as the answer (see `dreamprm.answers`, which knows the question).

    Args:
        text: the response of a generator, or its last step.

    Returns:
        The answer without Markdown marks and surrounding white space; None where the text states none.
    """
    for find in (_final_answer_lines, _boxes, _answer_lines, _sentences):
        stated = list(find(text))
        if stated:
            return stated[-1]
    return None


def states_only_an_answer(passage: str) -> bool:
    """Whether a passage is but an answer (`Final answer: B`, `Answer: B`, a box): it reasons nothing."""
    bare = passage.strip()
    if "\n" not in bare and (_FINAL_ANSWER.match(bare) or _ANSWER.match(bare)):
        return final_answer(bare) is not None
    heading = _FINAL_ANSWER.match(bare)
    if heading and not unmarked(heading.group(1)):
        bare = bare[heading.end() :]
    lines = [line for line in bare.splitlines() if not _ONLY_DELIMITERS.fullmatch(line)]
    if len(lines) != 1:
        return False
    return heading is not None or _unboxed(lines[0], alone=True) is not None


def _final_answer_lines(text: str) -> Iterator[str]:
    for match in _FINAL_ANSWER.finditer(text):
        stated = unmarked(match.group(1))
        if _MINERVA_HEAD.match(stated):
            stated = _MINERVA_HEAD.sub("", _MINERVA_TAIL.sub("", stated)).removesuffix(".")
        if not stated:
            stated = _first_line_with_text(text[match.end() :])
        if stated:
            yield _unboxed(stated) or stated


def _answer_lines(text: str) -> Iterator[str]:
    for match in _ANSWER.finditer(text):
        stated = unmarked(match.group(1)) or _first_line_with_text(text[match.end() :])
        if stated and not re.search(r"[.!?]\s", stated):
            yield stated


def _first_line_with_text(text: str) -> str:
    for line in text.splitlines():
        bare = unmarked(line)
        if bare and not _ONLY_DELIMITERS.fullmatch(line) and not _ANNOUNCES.search(bare):
            return bare
    return ""


def _boxes(text: str) -> Iterator[str]:
    for match in _BOX.finditer(text):
        content = _braced(text, match.end())
        if content is not None and _unwrapped(content):
            yield _unwrapped(content)


def _unboxed(line: str, *, alone: bool = False) -> str | None:
    """What the line's only box holds; None where it has none, or several, or (`alone`) more than the box."""
    boxes = list(_boxes(line))
    if len(boxes) != 1:
        return None
    if alone:
        box = next(_BOX.finditer(line))
        content = _braced(line, box.end()) or ""
        around = line[: box.start()] + line[box.end() + len(content) + 1 :]
        if re.sub(r"\\[\[\]()]|[\s$.*_]", "", around):  # formula delimiters, full stop, emphasis
            return None
    return boxes[0]


def _braced(text: str, begin: int) -> str | None:
    """What stands from `begin`, just after an opening brace, to its closing one; None where it has none."""
    depth = 1
    for match in re.finditer(r"\\.|[{}]", text[begin:], re.DOTALL):  # \{ and \} are no braces
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text[begin : begin + match.start()]
    return None


def _unwrapped(content: str) -> str:
    content = unmarked(content)
    while match := _WRAPPER.match(content):
        inside = _braced(content, match.end())
        if inside is None or match.end() + len(inside) + 1 != len(content):
            break
        content = unmarked(inside)
    return content


def _sentences(text: str) -> Iterator[str]:
    for match in _SENTENCE.finditer(text):
        if _SUPPOSED.search(text, 0, match.start()):
            continue
        stated = _MINERVA_TAIL.sub("", match.group(1)).strip().removesuffix(".").strip()
        if _is_plainly_an_answer(stated):
            yield _unwrapped(stated)


def _is_plainly_an_answer(stated: str) -> bool:
    if not stated or re.search(r"[.!?]\s", stated):
        return False
    kinds = (_LETTER_AND_TEXT, _NUMBER_AND_UNIT, _ONE_WORD)
    return any(kind.fullmatch(stated) for kind in kinds) or not _WORD.search(stated)
