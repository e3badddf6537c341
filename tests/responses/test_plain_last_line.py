"""The last line that our prompts ask for is read without reading the rest; the result is the same."""

from __future__ import annotations

import re

import pytest

from dreamprm.responses import stated_answers
from dreamprm.responses.stated_answers import stated_answer

BEFORE = (
    "",
    "Step 1: 3 red and 4 blue.\n\nStep 2: 3 + 4 = 7.\n\n",
    "The answer is 5. Wait, no, it is 4.\n",
    "Final answer: 8\n",
    "\\boxed{9}\n\n",
    "\\boxed{9\n\n",
    "~~Answer: 3~~\n",
    "<think>It is 3.</think>\n",
    "<think>It is 3.\n",
    "\u25c1think\u25b7It is 3.\n",
    "[THINK]It is 3.\n",
    "It is not so that the\n",
)


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("value", ["7", "-12", "+3", "2.50", "B"])
def test_as_if_all_of_it_were_read(before: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{before}Final answer: {value}"
    shortcut = stated_answer(text)
    monkeypatch.setattr(stated_answers, "_PLAIN_LINE", re.compile(r"(?!)"))
    assert shortcut == stated_answer(text)


def test_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(text: str) -> None:
        raise AssertionError(text)

    monkeypatch.setattr(stated_answers, "_read", unexpected)
    assert stated_answer("3 + 4 = 7\n\nFinal answer: 7") == stated_answers.Stated("7", "final answer")
