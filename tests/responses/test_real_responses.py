"""What generators really wrote: published responses, taken apart. The numbers are what is there."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest
from shared_data import shared_file

from dreamprm.config.choices import SPLITS
from dreamprm.responses import final_answer, parse_response, split_question, split_steps
from dreamprm.responses.headings import find_headings

MODELS = {
    "gpt35": "ChatGPT3.5-CoT_Text_Image_Caption",
    "gpt4": "GPT4-CoT_Text_Only",
    "gemini": "Gemini-Pro-CoT",
    "internlm": "InternLM-XComposer2-VL-CoT",
    "qwen": "Qwen-VL-Max-CoT",
}


@cache
def mathvision(model: str) -> dict[str, str]:
    """The responses of one model to the 304 questions of MATH-V testmini, by id."""
    lines = shared_file(f"mathvision/outputs/{MODELS[model]}.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"]: row["response"] for row in map(json.loads, lines)}


@cache
def processbench() -> dict[str, str]:
    """The solutions of ProcessBench, by id; its files hold them in steps."""
    rows: list[dict[str, Any]] = []
    for name in ("gsm8k", "math", "olympiadbench", "omnimath"):
        rows += json.loads(shared_file(f"processbench/{name}.json").read_text(encoding="utf-8"))
    return {row["id"]: "\n\n".join(row["steps"]) for row in rows}


@cache
def dreamprm15() -> list[dict[str, Any]]:
    return json.loads(shared_file("dreamprm15/meta_MMMU_Pro.json").read_text(encoding="utf-8"))


def test_the_five_step_chains_of_the_public_meta_file() -> None:
    rows = json.loads(shared_file("dreamprm/meta.json").read_text(encoding="utf-8"))
    answers: Counter[str | None] = Counter()
    for row in rows:
        question, steps = split_question(row["input"])
        if not steps:
            continue
        response = parse_response(row["input"][len(question) :].lstrip(), expected_steps=5)
        assert response.steps == steps and len(steps) == 5
        assert (response.split, response.malformed) == ("headings", ())
        assert all(split_steps(response.prefix(k)) == steps[:k] for k in range(1, 6))
        answers[response.final_answer] += 1
    in_words = "None of the provided options (A, B, C, D) can be determined from the given information."
    assert answers == {"A": 38, "B": 39, "C": 30, "D": 16, "E": 2, "F": 2, in_words: 1}


def test_dreamprm15_responses() -> None:
    """896 are a letter alone; 757 of the 760 others end with an `Answer:` line, 3 of them to decline."""
    letters = [row for row in dreamprm15() if len(row["response"]) == 1]
    assert len(letters) == 896 and all(final_answer(row["response"]) == row["response"] for row in letters)
    others = [row for row in dreamprm15() if len(row["response"]) > 1]
    responses = [parse_response(row["response"]) for row in others]
    assert Counter(response.malformed for response in responses) == {
        (): 2,
        ("no_headings",): 751,
        ("no_headings", "no_final_answer"): 7,
    }
    assert sum(len(response.final_answer or "") == 1 for response in responses) == 741


def test_paragraphs_beside_the_published_turns_of_dreamprm15() -> None:
    """Numbered items are turns there and steps here; single line breaks part theirs more often."""
    compared: Counter[str] = Counter()
    for row in dreamprm15():
        if len(row["response"]) > 1:
            turns = sum(turn["from"] == "human" for turn in row["conversations"]) - 1
            theirs = turns - 1  # the answer has a turn of its own, and belongs to the last step here
            ours = len(parse_response(row["response"], split="paragraphs").steps)
            compared["fewer" if ours < theirs else "more" if ours > theirs else "equal"] += 1
    assert compared == {"equal": 562, "fewer": 177, "more": 21}


@pytest.mark.parametrize(
    ("model", "headings", "boxed", "no_answer", "paragraphs", "sentences"),
    [
        ("gpt35", 0, 302, 6, 303, 303),
        ("gpt4", 2, 149, 153, 139, 286),
        ("gemini", 0, 248, 6, 141, 275),
        ("internlm", 0, 200, 9, 6, 53),
        ("qwen", 1, 241, 8, 68, 212),
    ],
)
def test_mathvision_outputs(
    model: str, headings: int, boxed: int, no_answer: int, paragraphs: int, sentences: int
) -> None:
    """Of 304 responses those with headings, boxes, no stated answer, several paragraphs or sentences."""
    texts = list(mathvision(model).values())
    responses = [parse_response(text) for text in texts]
    assert len(texts) == 304
    names = Counter(name for response in responses for name in response.malformed)
    assert names == {"no_headings": 304 - headings, "no_final_answer": no_answer}
    assert sum("\\boxed" in text for text in texts) == boxed
    several = [
        sum(len(parse_response(text, split=split).steps) > 1 for text in texts)
        for split in ("paragraphs", "sentences")
    ]
    assert several == [paragraphs, sentences]


@pytest.mark.parametrize(
    ("model", "question", "answer"),
    [
        ("gpt35", "164", "All values can appear in the shaded cell."),  # words after an empty box
        ("gpt35", "1564", "S"),  # a box around a question mark in a table, then the answer
        ("gpt4", "180", "(A)"),  # two boxes: the amount, then the option
        ("gpt4", "1215", r"\text{(D) }4.2\text{ m}"),
        ("gpt4", "2288", r"\textbf{(C) } \sqrt{3}:7"),
        ("gemini", "706", "4,304,672"),
        ("gemini", "59", None),  # not a response but a Python object's name
        ("gemini", "270", r"$2160^{\circ} / 2 = 1080^{\circ}$"),  # "the answer is (D)" stands before it
        ("internlm", "93", "(A)"),
        ("internlm", "5", "9"),  # the whole response
        ("qwen", "79", "(E) C or D"),
    ],
)
def test_stated_answers_of_mathvision(model: str, question: str, answer: str | None) -> None:
    assert final_answer(mathvision(model)[question]) == answer


def test_processbench_solutions() -> None:
    """3,400 solutions of 12 models; those that miss a step open it within a line ("... ### Step 1:")."""
    responses = {name: parse_response(text) for name, text in processbench().items()}
    with_headings = {name: r for name, r in responses.items() if r.split == "headings"}
    assert (len(responses), len(with_headings)) == (3400, 87)
    assert Counter(response.malformed for response in with_headings.values()) == {
        (): 60,
        ("no_final_answer",): 5,
        ("missing_steps",): 16,
        ("missing_steps", "no_final_answer"): 3,
        ("repeated_steps",): 3,
    }
    assert sum(response.final_answer is not None for response in responses.values()) == 3107
    numbers = {name: [h.number for h in find_headings(r.text)] for name, r in with_headings.items()}
    assert numbers["math-164"] == [1, 2, 3] * 3 and len(responses["math-164"].steps) == 3
    assert numbers["omnimath-401"] == [1, 2, 3, 4, 5, 5] and len(responses["omnimath-401"].steps) == 5
    assert numbers["math-193"] == [2, 3, 4, 5] and len(responses["math-193"].steps) == 4


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_of_a_real_response_is_lost(split: str) -> None:
    texts = [text for model in MODELS for text in mathvision(model).values()][::2]
    texts += [row["response"] for row in dreamprm15() if len(row["response"]) > 1][::2]
    texts += list(processbench().values())[::4]
    assert len(texts) == 760 + 380 + 850
    for text in texts:
        response = parse_response(text, split=split)
        assert "".join("".join(response.steps).split()) == "".join(text.split())
        assert all(response.steps) and response.prefix(len(response.steps)) == text.rstrip()
