"""The prompts: their stages, options, images' marks, and how a begun response is continued by instruction."""

import pytest

from dreamprm.data.records import OPTION_LETTERS
from dreamprm.generators.prompting import (
    FIVE_STAGES,
    PROMPTS,
    continue_instruction,
    five_stage_prompt,
    plain_prompt,
    question_text,
)
from dreamprm.responses import parse_response
from dreamprm.sandbox.scene_questions import parse_question


def test_prompt_names_the_stages_in_order_and_ends_with_the_question() -> None:
    prompt = five_stage_prompt(" How many bars? ")
    places = [prompt.index(f"Step {k}: {stage}") for k, stage in enumerate(FIVE_STAGES, start=1)]
    assert len(FIVE_STAGES) == 5 and places == sorted(places)
    assert "Final answer: " in prompt and prompt.endswith("\n\nHow many bars?")


def test_prompt_refuses_an_empty_question() -> None:
    with pytest.raises(ValueError, match="question must not be empty"):
        five_stage_prompt(" ")


def test_the_plain_prompt_asks_for_the_same_answer_line_and_no_steps() -> None:
    prompt = plain_prompt("How many bars?")
    assert prompt.endswith("\n\nHow many bars?") and "step" not in prompt.lower()
    asked = (
        "write one line 'Final answer: ' with the answer alone"
        " (the option's letter, where options are given)."
    )
    assert asked in prompt and asked in five_stage_prompt("How many bars?")


def test_prompts_by_name() -> None:
    assert dict(PROMPTS) == {"five_stage": five_stage_prompt, "plain": plain_prompt}
    with pytest.raises(TypeError):
        PROMPTS["mine"] = plain_prompt  # type: ignore[index]


@pytest.mark.parametrize("prompt", PROMPTS.values())
def test_options_stand_below_the_question_and_their_letter_is_asked_for(prompt) -> None:
    text = prompt("How many bars?", ("three", " four "))
    assert text.endswith("\n\nHow many bars?\nOptions:\n(A) three\n(B) four")
    assert "'Final answer: ' with the letter of the right option alone." in text
    mixed = prompt("Which label?", ("B", "C", "A"))
    assert "with the letter of the right option alone in brackets, such as (A)." in mixed
    assert "in brackets" not in prompt("Which label?", ("A", "B", "C"))


@pytest.mark.parametrize("prompt", PROMPTS.values())
def test_a_prompt_still_holds_its_sandbox_question(prompt) -> None:
    question = "sum of left dots and right dots plus 2 ?"
    assert parse_question(prompt(question)) == parse_question(question)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("A", "B", "C"), "Options: A, B, C (shown in the image)"),
        (("(A)", "b."), "Options: A, B (shown in the image)"),
        (("B", "A"), "Options:\n(A) B\n(B) A"),
        (("A", "B", "D"), "Options:\n(A) A\n(B) B\n(C) D"),
        (("<image 1>", "<image 2>"), "Options:\n(A) [image 1]\n(B) [image 2]"),
    ],
)
def test_how_options_are_written(options: tuple[str, ...], shown: str) -> None:
    assert question_text("Which?", options) == f"Which?\n{shown}"


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("How many?\n<image1>", "How many?"),
        ("<image 1>\nHow many?", "How many?"),
        ("How long is the room? <image1>", "How long is the room?"),
        ("<image 1> of Louis Black was painted by whom?", "The image of Louis Black was painted by whom?"),
        ("See. <IMAGE_1> shows x.", "See. The image shows x."),
        ("The clock showed <image1>. Then it showed <image1>.",
         "The clock showed the image. Then it showed the image."),
        ("fit so\n<image1>that one can travel", "fit so\nthe image that one can travel"),
        ("Compare <image>and x<y>z.", "Compare the image and x<y>z."),
        ("One piece:\n<image1>\nThe other?\n<image2>", "One piece:\n[image 1]\nThe other?\n[image 2]"),
        ("<image> or <image>?", "[image 1] or [image 2]?"),
        ("<image1>", "The question is in the image."),
        ("no mark, a < b\n\nand > c", "no mark, a < b\n\nand > c"),
    ],
)  # fmt: skip
def test_marks_of_images_are_put_into_words(question: str, shown: str) -> None:
    assert question_text(question) == shown


def test_more_options_than_letters() -> None:
    assert question_text("Which?", ["x"] * 26).endswith("\n(Z) x")
    with pytest.raises(ValueError, match="there are letters for at most 26 options, got 27"):
        question_text("Which?", ["x"] * (len(OPTION_LETTERS) + 1))


def test_a_begun_response_is_continued_by_instruction() -> None:
    response = parse_response("Step 1: a\n\n### Step 2\nb\n\nStep 3: c\nFinal answer: 4")
    text = continue_instruction(response.prefix(2))
    assert "<begun>\nStep 1: a\n\n### Step 2\nb\n</begun>" in text
    assert text.endswith("The next heading is 'Step 3:'.")
    assert "heading" not in continue_instruction("First, count.")
    with pytest.raises(ValueError, match="prefix must not be empty"):
        continue_instruction(" \n")
