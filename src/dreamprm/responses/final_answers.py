"""The final answer that a response states."""

from __future__ import annotations

import re

from dreamprm.responses.marks import MARKS, unmarked

_FINAL_ANSWER = re.compile(
    rf"^{MARKS}final[ \t]+answer(?:[ \t]+is\b)?[ \t]*[*_]*[ \t]*(?:[:\uFF1A]|$)(.*)$",
    re.IGNORECASE | re.MULTILINE,
)


def final_answer(text: str) -> str | None:
    """The answer that a chain of thought states on its last `Final answer:` line.

    Where the line ends after the heading (`### Final Answer`), the next line with text is the answer.

    Args:
        text: the response of a generator, or its last step.

    Returns:
        The answer without Markdown marks and surrounding white space; None where the text states none.
    """
    matches = list(_FINAL_ANSWER.finditer(text))
    for match in reversed(matches):
        stated = unmarked(match.group(1))
        if not stated:
            stated = next(filter(None, map(unmarked, text[match.end() :].splitlines())), "")
        if stated:
            return stated
    return None
