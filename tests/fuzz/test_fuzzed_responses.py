"""Random responses: split without losing a character, read without a fault, judged as they vote."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from fuzzing import fuzz
from hypothesis import strategies as st
from mutations import by_seed, odd_text

from dreamprm.answers import Checker, build_checker, symbolic
from dreamprm.config.choices import SPLITS
from dreamprm.data.records import Candidate, QuestionRecord
from dreamprm.evaluation.votes import candidate_vote
from dreamprm.responses import (
    MALFORMED,
    answered_text,
    final_answer,
    parse_response,
    split_question,
    split_steps,
    stated_answer,
)
from dreamprm.responses.visible import visible

_HEADINGS = (
    *(
        "Step 1: ",
        "Step 2. ",
        "### Step 3\n",
        "**Step 1** ",
        "**Step 2:**",
        "- Step 10 (Add): ",
        "Step 2.1 ",
        "step1",
    ),
    *(
        "> Step 2) ",
        "[Step 1]",
        "Step 99999999999: ",
        "Step \u0661: ",
        "STEP 4 \u2014 ",
        "## Step 1 Add",
        "Step 1 and ",
    ),
)
_MARKS = (
    *(
        "Final answer: ",
        "The answer is ",
        "Answer:",
        "\\boxed{",
        "\\fbox{",
        "}",
        "#### ",
        "\u7b54\u6848\uff1a",
        "So ",
        "=",
    ),
    *(
        "Wait, no, ",
        "Actually ",
        "Correction: ",
        "not ",
        "either ",
        " or ",
        " and ",
        "(A)",
        "B. ",
        "option C",
        "both",
    ),
    *(
        "**",
        "__",
        "*",
        "`",
        "```\n",
        "~~",
        "$",
        "$$",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "\\begin{align}",
        "\\end{align}",
    ),
    *(
        "<think>",
        "</think>",
        "</s>",
        "<|im_end|>",
        "[INST]",
        "<answer>",
        "</answer>",
        '{"answer": "',
        '"}',
        "|",
        "{",
        "[",
    ),
)
_VALUES = (
    *(
        "4",
        "-3.50",
        "1,000",
        "1.000,5",
        "3/4",
        "\\frac{1}{2}",
        "\\frac12",
        "\\sqrt{2}",
        "2\\pi",
        "10^{400}",
        "50%",
        "five",
    ),
    *(
        "5 cm",
        "500 m",
        "2 m 50 cm",
        "1:30 pm",
        "$5",
        "\\$8,000",
        "[0,1)",
        "{1, 2}",
        "(1, 2)",
        "x = 1",
        "x=1 or x=2",
        "<3",
    ),
    *(
        "food",
        "The cat",
        "yes",
        "A",
        "c",
        "\u00bd",
        "\u0664",
        "1e5",
        "3 x 10^5",
        "0.333...",
        "\\infty",
        "NaN",
        "30^\\circ",
    ),
    *("1" * 400, "(" * 300, "^" * 50, "9^9^9^9", "-" * 60, "\\frac{" * 40, "0/0", "1/0", "5!", "2**3"),
)
_WHITE = (
    "\n",
    "\n\n",
    " ",
    "    ",
    "\t",
    "\r\n",
    "\n \n",
    "\u2028",
    "\u3000",
    ".",
    ". ",
    ":",
    ", ",
    "! ",
    "\u3002",
)

_PIECES = (_HEADINGS, _MARKS, _VALUES, _WHITE)


def _response(chance: Random) -> str:
    pieces = [
        odd_text(chance) if chance.random() < 0.2 else chance.choice(chance.choice(_PIECES))
        for _ in range(chance.randrange(15))
    ]
    return "".join(pieces)


responses = by_seed(_response)


def _bare(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("split", SPLITS)
def test_splitter(split: str) -> None:
    """The steps of a response, joined, are all of its visible text; each prefix ends with its step."""

    def check(text: str, expected: int | None, finished: bool) -> None:
        found = parse_response(text, split=split, expected_steps=expected, finished=finished)
        assert set(found.malformed) <= set(MALFORMED) and found.text == text
        assert len(found.steps) == len(found.ends) and list(found.ends) == sorted(set(found.ends))
        assert all(step == step.strip() != "" for step in found.steps)
        if "only_thinking" in found.malformed:
            assert found.steps == (text.strip(),)
            return
        shown = visible(text)
        assert len(shown.text) == len(text)
        assert _bare("".join(found.steps)) == _bare(shown.text)
        for number, step in enumerate(found.steps, start=1):
            assert _bare(visible(found.prefix(number)).text).endswith(_bare(step)[-1:])

    fuzz(check, few=20, text=responses, expected=st.none() | st.integers(1, 12), finished=st.booleans())


def test_steps_and_question() -> None:
    """Split at headings without a gap, nothing is lost; a question is what stands before the first one."""

    def check(text: str, first: int) -> None:
        steps = split_steps(text, first)
        assert all(step.strip() == step != "" for step in steps)
        assert not steps or _bare("".join(steps)) == _bare(visible(text).text)
        question, chain = split_question(text)
        assert chain == () or question == "" or not split_steps(question)
        stated = stated_answer(text)
        assert final_answer(text) is None or stated is not None
        for given in (None, "", text[:9], "B"):
            answered_text(text, given)

    fuzz(check, few=30, text=responses, first=st.integers(1, 4))


_COMMAS = ("1.000,5", "1.234,56", "2.000,50")
_TYPES = ("integer", "float", "symbolic", "text", None)
_OPTIONS = (
    ("water", "food", "air"),
    ("1.2", "1.5", "$\\frac{1}{2}$"),
    ("B", "A", "C"),
    ("5 cm", "50 mm", "5"),
)


def _question(chance: Random) -> QuestionRecord:
    options: tuple[str, ...] = chance.choice((*((),) * 4, *_OPTIONS))
    answer = chance.choice("ABC" if options else _VALUES)
    unit, precision = (
        chance.choice((None, None, "cm", "$", "apples", "%", "")),
        chance.choice((None, 0, 2, 1000)),
    )
    kind = "choice" if options else chance.choice(_TYPES)
    return QuestionRecord("Q?", (), answer, options, "d", kind, precision, unit, "q")


questions = by_seed(_question)


@pytest.fixture(scope="module")
def auto() -> Iterator[Checker]:
    if not symbolic.installed():
        pytest.skip("math-verify is not installed: pip install 'dreamprm[math]'")
    checker = build_checker("auto", timeout=2.0)
    yield checker
    checker.close()


@pytest.mark.parametrize("name", ["choice", "numeric", "text"])
def test_checker(name: str) -> None:
    """A checker decides, or says why not; a response that is just the right answer is never wrong."""
    checker = build_checker(name)

    def check(text: str, question: QuestionRecord) -> None:
        if name == "choice" and not question.options:
            return
        judgement = checker.check(text, question)
        assert judgement.verdict in ("right", "wrong", "undecided") and judgement.reason.strip()
        assert judgement.verdict == "undecided" or judgement.extracted is not None
        assert checker.check(text, question) == judgement
        for form in ("Final answer: {}", "\\boxed{{{}}}"):
            own = checker.check(form.format(question.answer), question)
            assert own.verdict != "wrong", (form, own)

    fuzz(check, few=30, text=responses, question=questions)


def test_checker_auto(auto: Checker) -> None:
    """The checker of all kinds: what is right can vote, and equal votes have equal verdicts."""

    def check(text: str, other: str, question: QuestionRecord) -> None:
        found: dict[Any, str] = {}
        for response in (text, other, f"Final answer: {question.answer}"):
            verdict = auto.check(response, question).verdict
            vote = candidate_vote(Candidate(response, (), None, None, None), question)
            assert vote is not None or verdict != "right"
            assert vote is None or found.setdefault(vote, verdict) == verdict, (vote, found, verdict)
        assert verdict != "wrong"

    numbers = [
        QuestionRecord("Q?", (), text, (), "d", kind, None, None, "q") for text in _COMMAS for kind in _TYPES
    ]
    known = [{"text": "", "other": "4", "question": number} for number in numbers]
    fuzz(check, few=12, text=responses, other=responses, question=questions, known=known)
