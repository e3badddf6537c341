"""Steps of a chain in one paragraph, and how the steps of a file are counted."""

from __future__ import annotations

import time

import pytest

from dreamprm.responses import StepCounts, last_step_number, parse_response, split_question, split_steps

SPLIT = [
    ("Step 1: Find a. It is 2. Step 2: Add 3. Step 3: So 5. Final answer: 5", 3),
    ("Step 1: 48 - 20 = 28 Step 2: 28 + 9 = 37 Step 3: 37", 3),
    ("Let me see. **Step 1:** Look at it. **Step 2:** Then halve $x$. **Step 3:** done", 3),
    ("Step 1. Find the area. Step 2. Multiply by 2. Step 3. Conclude.", 3),
    ("Step 1 (Restate): we look. Step 2 (Plan): we plan. Step 3 (Do): x.", 3),
    ("Step 1 - Look at it. Step 2 - Count. Step 3 - Say.", 3),
    ("STEP 1: x; STEP 2: y", 2),
    ("step 1: foo. step 2: bar", 2),
    ("The angle is 30\u00b0. Step 1: it is $x$ Step 2: \\(y\\) Step 3: z", 3),
    ("[Step 1] Look. [Step 2] Count.", 2),
    ("Is it so? Step 1: yes! Step 2: (see above) Then (all) of it. Step 3: no.", 3),
    ("Step 1: as in Step 2: we will see. Step 2: so it is.", 2),
    # The third follows a title without a full stop, and fills the only gap; Markdown's # needs nothing.
    ("Step 1: a. Step 2: the terminal: Synapse Step 3: b. Step 4: as in Step 2: c.", 4),
    ("### Step 1: a ### Step 2: B is true ### Step 3: c", 3),
    ("Step 1: a. Step 2: by Step 1: b. Step 3: from Step 1 and Step 2: c. Step 4: d.", 4),
]

WHOLE = [
    "As in Step 2: we saw 3. So from Step 1 and Step 2 we get 4.",
    "Step 1: a = 2. Then, as in Step 2: we saw b, and after Step 3: c.",
    "We use Step 1. Step 2. shows it.",
    "We begin at Step 2: a. Step 3: b.",
    "Only Step 1: a.",
    "Step 1: look at the shape Step 2: see what it is Step 3: say it",
    "Step 1: a. We recall Step 2: b and then Step 3: c.",
    "The stepping: step by step. Steps 1: 2: 3.",
    "By Step 1, step 2, and (Step 3: see above) it follows.",
]


@pytest.mark.parametrize(("text", "steps"), SPLIT)
def test_headings_within_a_paragraph(text: str, steps: int) -> None:
    for split in ("auto", "headings"):
        response = parse_response(text, split=split)
        assert (len(response.steps), response.split) == (steps, "headings")
        assert " ".join(response.steps).split() == text.split()
    assert len(split_steps(text)) == last_step_number(text) == steps


@pytest.mark.parametrize("text", WHOLE)
def test_mentions_of_steps_are_no_headings(text: str) -> None:
    assert parse_response(text, split="auto").steps == (text,)


def test_auto_takes_headings_where_there_are_several() -> None:
    headed = "Step 1: a\nmore\n\nof it\nStep 2: b. Step 3: c"
    assert parse_response(headed, split="auto").steps == (
        "Step 1: a\nmore\n\nof it",
        "Step 2: b.",
        "Step 3: c",
    )
    for text in ("One.\n\nTwo.", "Step 1: One.\n\nTwo."):
        response = parse_response(text, split="auto")
        assert (len(response.steps), response.split) == (2, "paragraphs")


def test_a_question_and_a_chain_in_one_paragraph() -> None:
    assert split_question("What is x? Step 1: a. Step 2: b.") == ("What is x?", ("Step 1: a.", "Step 2: b."))
    assert split_question("What is Step 2 in this picture?") == ("What is Step 2 in this picture?", ())


@pytest.mark.parametrize("loop", ["Step 1: a. ", "step 1 ", "**step 1", ". Step 2 (", "Step 7: " + " " * 50])
def test_a_loop_of_headings_takes_no_time(loop: str) -> None:
    start = time.perf_counter()
    parse_response(loop * 20_000, split="auto")
    assert time.perf_counter() - start < 10


def test_steps_are_counted() -> None:
    counts = StepCounts.of([1, 1, 4, 7, 0])
    assert (
        counts.line()
        == "steps per response: min 0, median 1, max 7; 2 of 5 responses are one step, 1 have none"
    )
    assert counts.to_json() == {"responses": 5, "min": 0, "median": 1, "max": 7, "one_step": 2}
    assert StepCounts().line() == "" and StepCounts().to_json() == {"responses": 0}
