"""From a whole response to the answer that it states."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dreamprm.answers.plain import braced
from dreamprm.responses import final_answer

How = Literal["final answer", "boxed", "answer is", "whole response", "last line"]


@dataclass(frozen=True)
class Stated:
    """The answer that a response states, and by which mark it was found.

    Attributes:
        text: the answer as written, on one line, with its LaTeX.
        how: the mark. `final answer`, `boxed`, `answer is`: the response says that this is its answer.
            `whole response`: it is short and nothing else. `last line`: nothing marks an answer; this is the
            last line's last sentence, which may or may not hold one.
    """

    text: str
    how: How

    @property
    def marked(self) -> bool:
        """Whether the response itself says that this is its answer."""
        return self.how != "last line"


# 'the answer is', 'The correct option is:', 'Answer: 5', '**Answer:** B', 'answer = 5'. `an answer is` or
# 'the answers are' in running text state no answer; 'is not', 'is no' and 'is that' neither.
_ANSWER_IS = re.compile(
    r"\b(?:(?:the|my|our|your|so)\s+|(?=correct\s|final\s))"
    r"(?:(?:correct|right|final|best|required|closest|desired)\s+)*(?:answer|option|choice)"
    r"(?:\s+(?:choice|option|letter|to\s+th(?:e|is)\s+question|to\s+the\s+problem))?"
    r"(?:\s+(?:is|would\s+be|will\s+be|must\s+be|should\s+be)\b(?!\s+(?:not|no|that|based|because)\b)"
    r"(?:\s+(?:therefore|thus|simply|just|option|choice|answer)\b)*|(?=\s*[*_]*\s*[:=]))"
    r"\s*[*_]*\s*[:=]?[*_]*\s*",
    re.IGNORECASE,
)
_ANSWER_LINE = re.compile(
    r"^[ \t>#*_-]*(?:(?:correct|final)[ \t]+)?(?:answer|option|choice)[ \t]*[*_]*[ \t]*[:=][*_]*[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_FINAL_HEADING = re.compile(r"final[ \t]+answer", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?=[^\s{])")
_TAG = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_HASHES = re.compile(r"^[ \t]*####[ \t]*(?=\S)", re.MULTILINE)

# What may stand between two boxes that together are one answer: $x=\boxed{2}$ and $y=\boxed{3}$.
_BETWEEN_BOXES = re.compile(r"[\s$\\(),;]*(?:\b(?:and|or)\b)?[\s$\\(),;]*(?:[a-zA-Z]\s*=\s*)?")

# An end of a sentence: a stop that is followed by a space and a capital, a backslash or a mark.
_SENTENCE_END = re.compile(r"(?<=[^\s.])\.(?=\s+[A-Z\\$*<]|\s*$|\$\s)|[!?](?=\s|$)")

_LONGEST_BARE = 60
"""A response of one line and at most so many characters is its answer as a whole."""


def stated_answer(response: str) -> Stated | None:
    """The last answer that a response states.

    Marks of an answer are a `Final answer:` line, `\\boxed{...}`, sentences such as "the answer is X",
    "the correct option is X", lines such as "Answer: X", `<answer>X</answer>` and GSM8K's `#### X`. The one
    that begins last counts, whatever its kind; an answer that is itself a box is what the box holds. Boxes
    that stand side by side (`\\boxed{2}` and `\\boxed{3}`) are one answer, "2, 3". Without a mark, a response
    of one short line is the answer, and of a longer one its last sentence.

    Args:
        response: a generator's text.

    Returns:
        The answer and how it was found; None where the response is empty.
    """
    if not response.strip():
        return None
    found = [*_boxes(response), *_sentences(response), *_tags(response)]
    last_start, last = max(found, key=lambda item: item[0], default=(-1, None))
    headings = [match.start() for match in _FINAL_HEADING.finditer(response)]
    for heading in reversed(headings):
        # The heading itself may also read as a sentence ("the final answer is"): that one begins earlier.
        if heading < last_start:
            break
        line = response.rfind("\n", 0, heading) + 1
        text = final_answer(response[line:])
        if text:
            return Stated(_unboxed(text), "final answer")
    if last is not None:
        return last
    lines = [line.strip() for line in response.splitlines() if line.strip()]
    if len(lines) == 1 and len(lines[0]) <= _LONGEST_BARE:
        return Stated(lines[0], "whole response")
    return Stated(_last_sentence(lines[-1]), "last line")


def _boxes(response: str) -> list[tuple[int, Stated]]:
    """Each run of boxes with its position; a box that is never closed states nothing."""
    runs: list[tuple[int, int, list[str]]] = []
    for match in _BOX.finditer(response):
        if match.group().endswith(tuple(" \t\n")) and response[match.end()] != "{":
            # TeX also takes one token: `\boxed 7`.
            token = re.match(r"[^\s$]+", response[match.end() :])
            argument = (token.group(), match.end() + token.end()) if token else None
        else:
            argument = braced(response, match.end())
        # A box of nothing, of a stop or of a question mark states nothing.
        if argument is None or not re.search(r"\w", argument[0]):
            continue
        text, end = argument[0].strip(), argument[1]
        if runs and match.start() < runs[-1][1]:
            continue  # a box inside a box
        if runs and _BETWEEN_BOXES.fullmatch(response[runs[-1][1] : match.start()]) \
                and "\n" not in response[runs[-1][1] : match.start()]:
            if text != runs[-1][2][-1]:
                runs[-1][2].append(text)
            runs[-1] = (runs[-1][0], end, runs[-1][2])
        else:
            runs.append((match.start(), end, [text]))
    return [(start, Stated(", ".join(texts), "boxed")) for start, _, texts in runs]


def _sentences(response: str) -> list[tuple[int, Stated]]:
    """What follows "the answer is" and "Answer:", up to the sentence's end."""
    found = []
    for pattern in (_ANSWER_IS, _ANSWER_LINE):
        for match in pattern.finditer(response):
            rest = response[match.end() :].lstrip(" \t:*_")
            # 'The answer is:' at a line's end: the answer is on the next line with text.
            line = next((line for line in rest.splitlines() if line.strip(" \t$*_[]\\")), "")
            text = _first_sentence(line)
            if text:
                found.append((match.start(), Stated(_unboxed(text), "answer is")))
    return found


def _tags(response: str) -> list[tuple[int, Stated]]:
    found = [(match.start(), Stated(_unboxed(match.group(1).strip()), "answer is"))
             for match in _TAG.finditer(response) if match.group(1).strip()]
    for match in _HASHES.finditer(response):
        line = response[match.end() :].splitlines()[0].strip()
        # `#### Step 4` is a heading of Markdown; GSM8K's mark is followed by a number.
        if re.match(r"[-+$\u20ac\u00a3]?\s*\.?\d", line):
            found.append((match.start(), Stated(line, "answer is")))
    return found


def _first_sentence(line: str) -> str:
    """A line up to the end of its first sentence, without Markdown emphasis around it."""
    end = _SENTENCE_END.search(line)
    return (line[: end.start()] if end else line).strip().strip("*_").strip().rstrip(",;")


def _last_sentence(line: str) -> str:
    begins = [end.end() for end in _SENTENCE_END.finditer(line)]
    bounds = zip([0, *begins], [*begins, len(line)], strict=True)
    sentences = [line[begin:end].strip() for begin, end in bounds]
    return next((text for text in reversed(sentences) if re.search(r"\w", text)), line)


def _unboxed(text: str) -> str:
    """What the last box of an answer holds; the answer itself where it holds none."""
    boxes = _boxes(text)
    return boxes[-1][1].text if boxes else text
