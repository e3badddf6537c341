"""How a server continues a given prefix: as an open assistant turn, or by instruction."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from types import MappingProxyType
from typing import Any

from dreamprm.generators.openai_client import Answer, Failure
from dreamprm.responses import split_steps

CONTINUE_FLAGS = MappingProxyType({"add_generation_prompt": False, "continue_final_message": True})
"""Leaves the last message open, so that the model continues inside it. vLLM, SGLang and others that render
the chat with transformers' `apply_chat_template` accept these flags; they are not part of OpenAI's API."""


@dataclass(frozen=True)
class Continuation:
    """How prefixes are continued, and why; `how` is `continue` or `instruct`."""

    how: str
    why: str


def find_continuation(ask: Callable[[dict[str, Any]], Answer | Failure]) -> Continuation | Failure:
    """Find out whether a server continues an open turn, with two one-token requests.

    The same messages are sent with and without `CONTINUE_FLAGS`. A server that honours them renders a shorter
    prompt (no end of turn, no new turn) and therefore counts fewer prompt tokens; one that ignores them
    counts the same number; one that does not know them may refuse the request.

    Args:
        ask: sends messages, flags and `max_tokens`, with retries.

    Returns:
        The result; `instruct` in every case of doubt. A failure that says nothing about the flags is
        returned unchanged.
    """
    messages = [
        {"role": "user", "content": "Count to three."},
        {"role": "assistant", "content": "One, two,"},
    ]
    flagged = ask({"messages": messages, **CONTINUE_FLAGS})
    if isinstance(flagged, Failure):
        if flagged.kind == "refused":
            return Continuation("instruct", f"the server refuses an open last turn ({flagged.words})")
        return flagged
    plain = ask({"messages": messages})
    if isinstance(plain, Failure):
        if plain.kind == "refused":
            return Continuation("continue", "the server accepts a final assistant turn only if it is open")
        return plain
    if flagged.prompt_tokens is None or plain.prompt_tokens is None:
        return Continuation("instruct", "the server does not report prompt_tokens, which would show it")
    counts = f"{flagged.prompt_tokens} prompt tokens with an open last turn, {plain.prompt_tokens} without"
    if flagged.prompt_tokens < plain.prompt_tokens:
        return Continuation("continue", f"the server leaves the last turn open ({counts})")
    return Continuation("instruct", f"the server ignores the request for an open last turn ({counts})")


# The tags around the beginning in `continue_instruction`, which a reply may repeat with it.
_TAGS = re.compile(r"(?<![ \t])[ \t]*+</?begun>[ \t]*\n?")
# Markup and white space that may differ between a text and its repetition.
_INSIGNIFICANT = frozenset(" \t\r\n*_#>`")
_CLOSING_MARKS = "*_`"
_HEADING = re.compile(r"^[ \t#>*_\-]*step[ \t]*(\d+)\b", re.IGNORECASE | re.MULTILINE)

# A repetition shorter than this may be a coincidence, unless it begins with a heading.
_SHORTEST_REPETITION = 20
# The share of words that a reworded step has in common with the step it restates; a new step has
# fewer.
_SAME_STEP = 0.5
_COMPARED_WORDS = 300  # of a step; the comparison takes time that grows with their square


def fit_to_prefix(prefix: str, reply: str) -> str:
    """The part of a reply by instruction that continues the prefix: prefix + result is the whole response.

    The following are removed from the beginning of the reply, in this order: a verbatim repetition of the
    prefix or of its last steps (ignoring white space, Markdown marks and the instruction's tags); steps that
    have the numbers of the prefix's steps and restate them, if the reply continues to a later number.
    Everything else stays, including an introduction before the first heading, which cannot be distinguished
    from content. If neither side has white space where they meet, a line break joins them, because prefixes
    end at the end of a step.

    Args:
        prefix: the response so far, not empty.
        reply: the server's whole reply.
    """
    if reply.lstrip().startswith("<begun>"):
        reply = _TAGS.sub("", reply, count=2)
    rest = _without_repetition(prefix, reply)
    if rest is None:
        rest = _without_restated_steps(prefix, reply)
    if not rest or prefix[-1].isspace() or rest[0].isspace():
        return rest
    # Closing punctuation belongs to the prefix's last word; a line break would tear it off.
    return rest if rest[0] in ",.;:!?)]}" else f"\n{rest}"


def _without_repetition(prefix: str, reply: str) -> str | None:
    """The reply after a literal repetition of the prefix, or of its part from one of its headings on."""
    written, said = _significant(prefix), _significant(reply)
    places = [place for _, place in written]
    starts = sorted({0, *(bisect_left(places, match.start()) for match in _HEADING.finditer(prefix))})
    text = "".join(character for character, _ in said)
    whole = "".join(character for character, _ in written)
    for start in starts:
        repeated = whole[start:]
        headed = repeated.startswith("step")
        if not repeated or not (headed or len(repeated) >= _SHORTEST_REPETITION):
            continue
        if text.startswith(repeated):
            end = said[len(repeated) - 1][1] + 1
            while end < len(reply) and reply[end] in _CLOSING_MARKS:
                end += 1
            return reply[end:]
        if len(text) >= _SHORTEST_REPETITION and repeated.startswith(text):
            return ""  # stopped inside the repetition: nothing new was said
    return None


def _without_restated_steps(prefix: str, reply: str) -> str:
    """The reply from its first step that is not in the prefix, if the steps before it restate the prefix."""
    had = split_steps(prefix)
    heading = _HEADING.search(reply)
    if not had or heading is None or not 1 <= int(heading.group(1)) <= len(had):
        return reply
    first = int(heading.group(1))
    steps = split_steps(reply, first)
    again = len(had) - first + 1  # how many of the reply's steps have a number that is in the prefix
    if len(steps) <= again:
        return reply
    before, now = (step.casefold().split()[:_COMPARED_WORDS] for step in (had[first - 1], steps[0]))
    if SequenceMatcher(a=before, b=now, autojunk=False).ratio() < _SAME_STEP:
        return reply
    position = 0
    for step in steps[:again]:
        position = reply.index(step, position) + len(step)
    return reply[position:]


def _significant(text: str) -> list[tuple[str, int]]:
    """The characters that a repetition must match, in lower case, each with its position in the text."""
    return [
        (lower, index)
        for index, character in enumerate(text)
        if character not in _INSIGNIFICANT
        for lower in character.casefold()
    ]
