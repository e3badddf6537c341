"""Thinking and template marks are neither split into steps nor read."""

import time

import pytest

from dreamprm.config.choices import SPLITS
from dreamprm.responses import parse_response, split_question, split_steps
from dreamprm.responses.visible import visible

STEPS = "Step 1: a\n\nStep 2: b"


@pytest.mark.parametrize(
    "before, after",
    [
        ("<think>Step 1: no\nStep 2: no</think>\n", ""),
        ("<thinking>\nStep 1: no\n\nno\n</thinking>\n\n", ""),
        ("\u25c1think\u25b7Step 1: no\u25c1/think\u25b7", "<|im_end|>"),
        ("<|begin_of_thought|>Step 1: no<|end_of_thought|>\n<|begin_of_solution|>", "<|end_of_solution|>"),
        ("[THINK]Step 1: no[/THINK]", "</s>"),
        (
            "<|channel|>analysis<|message|>Step 1: no<|start|>assistant<|channel|>final<|message|>",
            "<|return|>",
        ),
        ("Step 1: the template opened this block\n</think>\n\n", ""),
        ("<think>I write <think> and go on. Step 1: no</think>", "</s></s>"),
        ("<think>one</think> <think>Step 1: two</think>\n", " <|eot_id|>\n"),
        ("", "<|im_end|>\n<|im_start|>user\nStep 3: what now?<|im_end|>"),
        ("<s>", "</s>"),
        ("<|im_start|>assistant\n", "<|endoftext|>"),
        ("[INST] Step 1: the prompt [/INST] ", "\n[/INST] Step 3: and so on"),
        ("<\uff5cAssistant\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
        ("", "<eos>"),
        ("", "<end_of_turn>\n<pad><pad>"),
    ],
)
def test_hidden_text_is_in_no_step(before: str, after: str) -> None:
    text = before + STEPS + after
    for split in ("headings", "paragraphs", "sentences"):
        response = parse_response(text, split=split)
        assert response.steps == ("Step 1: a", "Step 2: b")
        # Continuing a prefix continues the model's own text, thinking included.
        assert [response.prefix(k) for k in (1, 2)] == [before + "Step 1: a", before + STEPS]
    assert split_steps(text) == ("Step 1: a", "Step 2: b")


def test_a_question_ends_before_the_thinking() -> None:
    assert split_question(f"What?\n<think>Step 1: x</think>\n{STEPS}") == (
        "What?",
        ("Step 1: a", "Step 2: b"),
    )


@pytest.mark.parametrize("text", ["<think>Step 1: a\nStep 2: b", "<think>a</think>", "a</think>\n", "</s>"])
@pytest.mark.parametrize("split", SPLITS)
def test_a_response_that_is_all_hidden_is_one_step(text: str, split: str) -> None:
    response = parse_response(text, split=split)
    assert (response.steps, response.final_answer) == ((text.strip(),), None)
    assert response.malformed == ("only_thinking", "no_final_answer")


@pytest.mark.parametrize(
    "text",
    ["x < 3 and y > 2", "the tag `<think>` opens it", "it is <s>5</s> 6", "[1, 2]", "<answer>5</answer>"],
)
def test_other_brackets_are_visible(text: str) -> None:
    assert visible(text).text == text and visible(text).finished


def test_positions_stay_and_unfinished_thinking_is_told() -> None:
    shown = visible("ab<think>c</think>d<think>e")
    assert (shown.text, shown.hidden, shown.finished) == (
        "ab" + " " * 16 + "d" + " " * 8,
        ((2, 18), (19, 27)),
        False,
    )
    assert (shown.passage(0, 27), shown.passage(1, 19)) == ("abd", "bd")


@pytest.mark.parametrize(
    "loop", ["<think>", "</think>", "<think></think>", "</s>", "<", "[", "a<s></s>", "[INST]a"]
)
def test_a_loop_of_marks_takes_no_time(loop: str) -> None:
    started = time.process_time()
    parse_response(loop * (100_000 // len(loop)))
    assert time.process_time() - started < 2
