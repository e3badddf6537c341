"""Parses a response: its steps, where they end, its final answer, and what is wrong with its form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from dreamprm.config.choices import SPLITS
from dreamprm.config.errors import UserError
from dreamprm.responses.headings import Heading, ascending, find_headings
from dreamprm.responses.passages import paragraph_ends, sentence_ends
from dreamprm.responses.stated_answers import final_answer
from dreamprm.responses.visible import visible

MALFORMED: Mapping[str, str] = MappingProxyType(
    {
        "empty": "there is no text; the only other problem reported for it is `truncated`",
        "only_thinking": "all of it is thinking (a block that never ends, or nothing after it) or marks of a "
        "chat template: one step that states no answer",
        "truncated": "it was cut off at the generator's length limit",
        "no_headings": "it should be split at its headings but has none: the whole text is one step",
        "missing_steps": "a number between 1 and the last (or the expected last) has no heading; for a text "
        "that is not split at headings: it has fewer steps than expected",
        "repeated_steps": "a number has more than one heading",
        "unordered_steps": "the headings' numbers, in order of first occurrence, do not increase",
        "surplus_steps": "it has more steps, or a heading with a higher number, than expected",
        "no_final_answer": "it states no final answer in any form known to `final_answer`",
    }
)
"""What can be wrong with a response's form. Such a response is kept, counted and marked."""


@dataclass(frozen=True)
class Response:
    """A response and its parts.

    Attributes:
        text: the whole response, as given.
        steps: the text of each step, without surrounding white space; joined, they are the whole visible text
            (`dreamprm.responses.visible`: no thinking, no template marks) except for white space. A blank
            text has no steps, and a text that is all thinking has one, the whole of it.
        ends: the positions in `text` where the steps end, excluding white space; increasing.
        final_answer: the answer that it states, see `final_answer`; None if it states none.
        split: how it was actually split, one of `SPLITS`: `whole` if there were no headings; with `auto`,
            `headings` or `paragraphs`.
        malformed: names from `MALFORMED`, in that order; empty for a well-formed response.
    """

    text: str
    steps: tuple[str, ...]
    ends: tuple[int, ...]
    final_answer: str | None
    split: str
    malformed: tuple[str, ...]

    def prefix(self, step: int) -> str:
        """The text up to the end of step `step`, without trailing white space; "" for 0.

        Raises:
            ValueError: there is no such step.
        """
        if not 0 <= step <= len(self.ends):
            raise ValueError(f"step must be in 0..{len(self.ends)}, the number of steps, got {step}")
        return self.text[: self.ends[step - 1]] if step else ""


def parse_response(
    text: str, *, split: str = "headings", expected_steps: int | None = None, finished: bool = True
) -> Response:
    """Split a response into its parts.

    `split="auto"` takes headings where there are several, and paragraphs elsewhere. With `split="headings"`
    it is cut at headings with increasing numbers
    (`dreamprm.responses.headings.ascending`): a response without its third step is cut at the fourth; a
    heading that repeats a number or goes back does not start a step, and its text stays in the step where it
    occurs. Text before the first heading belongs to the first step, and the final-answer line to the last. No
    text is lost, whatever is wrong with it.

    Args:
        text: the response of a generator.
        split: one of `SPLITS`.
        expected_steps: how many steps the prompt asked for; None: any number is right.
        finished: whether the generator ended it, as opposed to being cut off.

    Returns:
        The response with its parts. If a text should be split at headings but has none, it is one step and is
        marked `no_headings`.

    Raises:
        UserError: `split` is not one of `SPLITS`, or `expected_steps` is < 1.
    """
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if expected_steps is not None and expected_steps < 1:
        raise UserError(f"expected_steps must be >= 1 or None, got {expected_steps}")
    wrong = set() if finished else {"truncated"}
    if not text.strip():
        return Response(text, (), (), None, split, _in_order(wrong | {"empty"}))
    shown = visible(text)
    if not shown.text.strip():
        wrong |= {"only_thinking", "no_final_answer"}
        return Response(text, (text.strip(),), _whole(text), None, "whole", _in_order(wrong))
    headings = (
        find_headings(shown.text, within_lines=split == "auto") if split in ("auto", "headings") else ()
    )
    if split == "auto":
        split = "headings" if len(ascending(headings)) > 1 else "paragraphs"
    if split == "headings":
        ends = _heading_ends(shown.text, headings)
        if headings:
            wrong |= _wrong_headings(headings, len(ends), expected_steps)
        else:
            split = "whole"
            wrong.add("no_headings")
    else:
        ends = _ENDS[split](shown.text)
        if expected_steps is not None and len(ends) != expected_steps:
            wrong.add("missing_steps" if len(ends) < expected_steps else "surplus_steps")
    answer = final_answer(text)
    if answer is None:
        wrong.add("no_final_answer")
    steps = tuple(shown.passage(a, b) for a, b in zip((0, *ends), ends, strict=False))
    return Response(text, steps, ends, answer, split, _in_order(wrong))


def _whole(text: str) -> tuple[int, ...]:
    return (len(text.rstrip()),)


_ENDS: Mapping[str, Callable[[str], tuple[int, ...]]] = MappingProxyType(
    {"paragraphs": paragraph_ends, "sentences": sentence_ends, "whole": _whole}
)


def _heading_ends(text: str, headings: Sequence[Heading]) -> tuple[int, ...]:
    cuts = [heading.start for heading in ascending(headings)[1:]]
    return tuple(len(text[:cut].rstrip()) for cut in (*cuts, len(text)))


def _wrong_headings(headings: Sequence[Heading], steps: int, expected: int | None) -> set[str]:
    counts = Counter(heading.number for heading in headings)
    numbers = list(counts)  # in order of first occurrence
    wrong = set()
    if max(counts.values()) > 1:
        wrong.add("repeated_steps")
    if numbers != sorted(numbers):
        wrong.add("unordered_steps")
    if any(number not in counts for number in range(1, (expected or max(numbers)) + 1)):
        wrong.add("missing_steps")
    if expected is not None and (steps > expected or max(numbers) > expected):
        wrong.add("surplus_steps")
    return wrong


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in MALFORMED if name in names)
