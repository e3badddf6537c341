"""The one reader of answers: what a response states as its answer, for verdicts, votes and labels alike."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from dreamprm.responses.boxes import (
    is_a_box,
    is_broken,
    last_box,
    unwrapped,
    without_emphasis,
    without_surplus_brackets,
)
from dreamprm.responses.corrections import correction
from dreamprm.responses.headings import unmarked
from dreamprm.responses.mark_patterns import ANSWER_COLON
from dreamprm.responses.marks import EMPTY_BOX, SENTENCE_END, Statement, is_heading_of_an_answer, statements
from dreamprm.responses.visible import visible

How = Literal["final answer", "boxed", "answer is", "whole response", "first line", "conclusion", "last line"]


@dataclass(frozen=True)
class Stated:
    """The answer that a response states, and the mark by which it was found.

    Attributes:
        text: the answer as written, on one line, with its LaTeX.
        how: the mark. `final answer`, `boxed`, `answer is`: the response says that this is its answer.
            `whole response`: the response is short and contains nothing else. `first line`: it begins with an
            option's letter, and a reason follows. `conclusion`: its last sentence begins with "so",
            "therefore" or the like. `last line`: nothing marks an answer; this is the last sentence of the
            last line, which may or may not contain one.
        doubt: why it is not certain what the response states (an answer that is taken back, LaTeX that is cut
            off, thinking that never ends); None if it is. A doubtful answer is neither right nor wrong, and
            has no vote.
        alone: False for a last sentence that shares its line with others: words there are no answer.
    """

    text: str
    how: How
    doubt: str | None = None
    alone: bool = field(default=True, compare=False)

    @property
    def marked(self) -> bool:
        """Whether the response itself says that this is its answer."""
        return self.how != "last line"


NO_RESPONSE = "(no response)"
"""The text of a candidate whose generator gave no response."""

_LONGEST_END = 20_000
"""How many of a response's last characters are read; the answer is at the end."""

LONGEST_BARE = 60
"""A response of one line with at most this many characters is taken as the answer."""

_STRUCK_OUT = re.compile(
    r"~~[^~\n]+~~|<(?P<tag>s|del|strike)>[^<\n]*</(?P=tag)>|\\(?:x?cancel|bcancel|sout|st)\{[^{}\n]*\}"
)
_CONCLUDES = re.compile(
    r"[\s*_>#-]*+(?:so|thus|therefore|hence|consequently|accordingly|in\s+conclusion|to\s+conclude|as\s+a\s+result"
    r"|it\s+follows\s+that|we\s+conclude|\u2234|\\therefore|\u56e0\u6b64|\u6240\u4ee5|\u6545)(?![a-z])",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"(?:[^:\uff1a\n]*+(?<!\bis)|.*final\s+answer\s+is)[\s*_]*[:\uff1a][\s*_$\\(\[]*", re.IGNORECASE
)
_ABOUT_AN_ANSWER = re.compile(r"\b(?:answer|option|choice)\b(?!\s*[(\[]?[A-Z]\b)", re.IGNORECASE)
_BEGINS_WITH_A_LETTER = re.compile(
    r"[\s>*_#$]*+(?:(?:option|choice)\s+)?(?P<letter>[*_$]*[(\[\uff08\u3010]?(?-i:[A-Z])[)\]\uff09\u3011]?[*_$]*)"
    r"(?:\s*$|[.):,\]\uff0e\uff1a\u3001][*_]*(?=\s|$)|\s+[-\u2013\u2014]\s|(?<=[)\]*])\s)",
    re.IGNORECASE | re.MULTILINE,
)
_NARRATES = re.compile(
    r"(?:(?:I|we)(?:'[a-z]+)?\s+[a-z]+|(?:it|there|this|that|they|he|she)\s+[a-z]+\s|let\b|first\b|step\b|if\b"
    r"|look\b|see\b)",
    re.IGNORECASE,
)
# Our own prompts ask for this last line. Nothing follows that could take it back, and without the characters
# of thinking and template marks all of the text shows: it need not be read as a whole (60 times faster).
_PLAIN_LINE = re.compile(r"Final answer: ([-+]?\d+(?:\.\d+)?|[A-Z])")
_MAY_HIDE = re.compile(r"[<\u25c1|\[]")
_ONLY_DELIMITERS = re.compile(r"\s*+(?:\\[\[\]()]|\$\$?|`{3,}\w*|-{3,}|={3,})?\s*+")


def stated_answer(response: str) -> Stated | None:
    r"""The last answer that a response states.

    An answer is marked by a `Final answer:` line, `\boxed{...}`, sentences such as "the answer is X", "I
    choose X" or "X is correct", labels such as "Answer: X" (in several languages, at the start of a
    line or within one), `<answer>X</answer>` and GSM8K's `#### X`. The mark that stands last counts, whatever
    its kind, except that a sentence that continues in lower case ("the answer is found by adding") counts
    only if nothing else is marked. If an answer is itself a box, the answer is the content of the box.
    Adjacent boxes (`\boxed{2}` and `\boxed{3}`) are one answer, "2, 3".

    Without a mark, the answer is the whole response if it is one short line; the first line if it begins with
    an option's letter ("B. food", "(C)", then a reason); and otherwise the last sentence: a conclusion if it
    begins like one, else merely the `last line`.

    An answer that is taken back later ("Wait, no, it is 4.") is replaced by what follows. Where that is not
    clear, it is kept with a `doubt`, and so is LaTeX that is cut off. Thinking and template marks are not
    read (`dreamprm.responses.visible`). Only the last 20,000 characters of a response are read.

    Args:
        response: a generator's text.

    Returns:
        The answer and how it was found; None if the response is empty.
    """
    plainly = _PLAIN_LINE.fullmatch(response, response.rfind("\n") + 1)
    if plainly is not None and _MAY_HIDE.search(response) is None:
        return Stated(plainly[1], "final answer")
    if response.strip() == NO_RESPONSE:
        return None
    shown = visible(response)
    if not shown.finished:
        return Stated("", "last line", "the response ends inside its thinking")
    text = _STRUCK_OUT.sub(lambda struck: " " * len(struck.group()), shown.text)
    text = text.strip()[-_LONGEST_END:]
    if not text:
        return None
    return _read(text)


def final_answer(text: str) -> str | None:
    """The answer that a response states, as text: what `stated_answer` reads.

    Args:
        text: the response of a generator, or its last step.

    Returns:
        The answer without Markdown marks and surrounding white space; None if nothing marks an answer (a
        conclusion is a whole sentence, from which a checker or a vote may read one), if it is in doubt, or if
        a short response is a sentence that tells what is done or seen ("I see a cat.").
    """
    stated = stated_answer(text)
    if stated is None or not stated.marked or stated.how == "conclusion" or stated.doubt is not None:
        return None
    return None if stated.how == "whole response" and _NARRATES.match(stated.text) else stated.text


def answered_text(text: str, given: str | None) -> str:
    """A response together with the answer that its file gives next to it, as one text to read.

    The given answer is the last one stated, so that it counts for verdict and vote alike; None: the text
    alone.
    """
    line = " ".join((given or "").split())
    if not line or final_answer(text) == line:
        return text
    return f"Final answer: {line}" if not visible(text).finished else f"{text}\n\nFinal answer: {line}"


def states_only_an_answer(passage: str) -> bool:
    """Whether a passage is only an answer (`Final answer: B`, `Answer: B`, a box), without any reasoning."""
    bare = passage.strip()
    if len(bare) > _LONGEST_END:
        return False
    heading = is_heading_of_an_answer(bare)
    if "\n" not in bare:
        first = min(statements(bare), key=lambda one: one.start, default=None)
        if first is not None and first.how in ("final answer", "answer is"):
            before = bare[: first.start].strip("*_#> -\u2020")
            label = bare[first.start : first.begin]
            if not before and _LABEL.fullmatch(label.rstrip()):
                return final_answer(bare) is not None
        declined = ANSWER_COLON.match(bare.lstrip("*_#> -"))
        if first is None and declined is not None:
            # "Answer: I cannot tell" is no reasoning either.
            rest = unmarked(bare.lstrip("*_#> -")[declined.end() :])
            return bool(rest) and not re.search(r"[.!?]\s", rest)
    if heading and not unmarked(bare[heading.end() :].partition("\n")[0]):
        bare = bare[heading.end() :]
    lines = [line for line in bare.splitlines() if not _ONLY_DELIMITERS.fullmatch(line)]
    return len(lines) == 1 and (heading is not None or is_a_box(lines[0]))


def _read(text: str) -> Stated:
    box = last_box(text)
    found = [] if box is None else [Statement(box.start, box.start, box.end, box.text, "boxed")]
    found += statements(text)
    clear = [one for one in found if not one.is_prose]
    # Kinds are listed by precedence: of two marks before one answer, the first names it.
    last = max(clear or found, key=lambda one: one.begin, default=None)
    if last is None:
        return _unmarked_answer(text)
    later = [one for one in found if one.begin > last.end]
    if box is not None and not box.closed and box.start >= last.start:
        return Stated(_sentence(text[box.start :]), "last line", "its last box is not closed")
    taken_back = correction(text, last.begin, last.end)
    if taken_back is not None and later:
        # "Wait, no. The answer is blue."
        prose = max(later, key=lambda one: one.begin)
        return _checked(prose.text, "answer is")
    if taken_back is not None:
        if taken_back.value is None:
            return Stated(last.text, _how(last), f"the answer is taken back ({taken_back.cue!r})")
        return _checked(unwrapped(taken_back.value[1]), "answer is")
    return _checked(last.text, _how(last))


def _how(statement: Statement) -> How:
    kinds: dict[str, How] = {"final answer": "final answer", "boxed": "boxed", "answer is": "answer is"}
    return kinds[statement.how]


def _checked(text: str, how: How) -> Stated:
    return Stated(text, how, "its LaTeX is cut off: a brace is not closed" if is_broken(text) else None)


def _unmarked_answer(text: str) -> Stated:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = _BEGINS_WITH_A_LETTER.match(lines[0])
    bare = len(lines) == 1 and len(lines[0]) <= LONGEST_BARE
    if first is not None and not bare and not _is_a_list(lines, first["letter"]):
        end = text.find("\n")
        opening = lines[0] if len(lines[0]) <= 2 * LONGEST_BARE else _sentence(lines[0], first=True)
        taken_back = correction(text, 0, len(opening) if end < 0 else end)
        if taken_back is None:
            return _checked(unwrapped(opening), "first line")
        if taken_back.value is not None:
            return _checked(unwrapped(taken_back.value[1]), "answer is")
        return Stated(opening, "first line", f"the answer is taken back ({taken_back.cue!r})")
    if bare:
        value = unwrapped(without_surplus_brackets(without_emphasis(lines[0])))
        value = EMPTY_BOX.sub("", value).strip()
        # "The answer is not (A)." says something about the answer, but not what it is.
        if not re.search(r"\w", value) or (_ABOUT_AN_ANSWER.search(value) and not first):
            return Stated(value, "last line")
        taken_back = correction(text, 0, 1)
        if taken_back is not None and taken_back.value is not None:
            return _checked(unwrapped(taken_back.value[1]), "answer is")
        if taken_back is not None:
            return Stated(value, "whole response", f"the answer is taken back ({taken_back.cue!r})")
        return _checked(value, "whole response")
    sentence = _sentence(lines[-1])
    how: How = "conclusion" if _CONCLUDES.match(sentence) else "last line"
    return replace(_checked(sentence, how), alone=sentence == lines[-1] and len(sentence) <= LONGEST_BARE)


def _is_a_list(lines: list[str], letter: str) -> bool:
    """Whether lines that begin with letters list the options: (A) ..., (B) ..."""
    name = letter.strip("*_$()[]\uff08\uff09\u3010\u3011 ").upper()
    others = (_BEGINS_WITH_A_LETTER.match(line) for line in lines[1:])
    names = {one["letter"].strip("*_$()[]\uff08\uff09\u3010\u3011 ").upper() for one in others if one}
    return bool(names - {name})


def _sentence(line: str, *, first: bool = False) -> str:
    """The last sentence of a line, or its first."""
    line = line[-2 * _LONGEST_END :].partition("\n")[0]
    begins = [end.end() for end in SENTENCE_END.finditer(line)]
    bounds = zip([0, *begins], [*begins, len(line)], strict=True)
    sentences = [line[begin:end].strip() for begin, end in bounds]
    ordered = sentences if first else reversed(sentences)
    return next((text for text in ordered if re.search(r"\w", text)), line)
