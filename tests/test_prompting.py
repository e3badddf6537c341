"""The prompt, and its reply taken apart."""

import pytest

from dreamprm.prompting import FIVE_STAGES, final_answer, five_stage_prompt, split_question, split_steps

COT = (
    "Step 1: Restate.\n - asks for x\n\nStep 2: Look.\nSee step 1: it helps."
    "\n\nStep 3: Conclude.\n\nFinal answer: B"
)


def test_split_keeps_headings_and_the_final_answer() -> None:
    assert split_steps(COT) == (
        "Step 1: Restate.\n - asks for x",
        "Step 2: Look.\nSee step 1: it helps.",
        "Step 3: Conclude.\n\nFinal answer: B",
    )


@pytest.mark.parametrize(
    "heading",
    ["Step {}: a", "### Step {}: a", "**Step {}:** a", "**Step {}**: a", "step {}. a", "STEP {}) a",
     "- Step {} - a", "> Step {}: a", "  Step {}: a", "Step {}\na", "## Step {}\na", "**Step {}**\na"],
)  # fmt: skip
def test_headings_in_their_many_forms(heading: str) -> None:
    text = "\n".join(heading.format(k) for k in (1, 2, 3))
    assert split_steps(text) == tuple(heading.format(k).strip() for k in (1, 2, 3))


@pytest.mark.parametrize(
    "text", ["", "no heading", "As in Step 1: no", "Step 1 shows that it works", "Step 2: begins late"]
)
def test_no_steps_without_a_first_heading(text: str) -> None:
    assert split_steps(text) == ()


def test_only_headings_that_continue_the_numbering_count() -> None:
    assert split_steps("Step 1: a\nStep 1: again\nStep 3: no\nStep 2: b") == (
        "Step 1: a\nStep 1: again\nStep 3: no",
        "Step 2: b",
    )


def test_text_before_the_first_heading_belongs_to_the_first_step() -> None:
    assert split_steps("Let me see.\nStep 1: a\nStep 2: b") == ("Let me see.\nStep 1: a", "Step 2: b")


def test_a_continuation_starts_at_its_own_number() -> None:
    assert split_steps("\nStep 3: c\nStep 4: d", 3) == ("Step 3: c", "Step 4: d")
    assert split_steps("\nStep 3: c\nStep 4: d") == ()


def test_split_is_lossless_up_to_white_space() -> None:
    assert "".join("".join(split_steps(COT)).split()) == "".join(COT.split())


def test_question_ends_at_the_first_heading() -> None:
    assert split_question("What is x?\n\n### Step 1: a\n\n### Step 2: b") == (
        "What is x?",
        ("### Step 1: a", "### Step 2: b"),
    )
    assert split_question(" What is x? \n") == ("What is x?", ())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (COT, "B"),
        ("Final answer: 3.5 m", "3.5 m"),
        ("**Final answer:** B", "B"),
        ("**Final Answer: B**", "B"),
        ("### Final Answer\n\nC\n", "C"),
        ("### Final Answer:\n**C**", "C"),
        ("Final answer is: D", "D"),
        ("Final answer: A\nFinal answer: B", "B"),
        ("Final answer: A\nFinal answer:", "A"),
        ("The final answer is based on x", None),
        ("(Note: The final answer: B)", None),
        ("Final answer:", None),
        ("", None),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_prompt_names_the_stages_in_order_and_ends_with_the_question() -> None:
    prompt = five_stage_prompt(" How many bars? ")
    places = [prompt.index(f"Step {k}: {stage}") for k, stage in enumerate(FIVE_STAGES, start=1)]
    assert len(FIVE_STAGES) == 5 and places == sorted(places)
    assert "Final answer: " in prompt and prompt.endswith("\n\nHow many bars?")


def test_prompt_refuses_an_empty_question() -> None:
    with pytest.raises(ValueError, match="question must not be empty"):
        five_stage_prompt(" ")
