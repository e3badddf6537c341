"""M3CoT's test split: the authors' conversations as predictions, and the rule of their script."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_layouts import m3cot_rows, save

from dreamprm.config.errors import DataError
from dreamprm.formats.benchmarks import build_benchmark, read_questions, to_candidates
from dreamprm.formats.benchmarks.m3cot import last_option
from dreamprm.formats.benchmarks.scores import scores

M3COT = build_benchmark("m3cot")


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("It is (a), no, (B).", "B"),
        ("(F) it is", "F"),
        ("To scare people, or to rest", "C"),
        ("The answer is B because A is wrong", "B"),
        ("so c, I think", "C"),
        ("[Rationale] (A) [Answer] (B) [Rationale] (C)", "B"),
        ("Nothing fits", None),
    ],
)
def test_the_own_rule(response: str, letter: str | None) -> None:
    assert last_option(response, ["To scare people", "To honor a legend", "To rest"]) == letter


def test_conversations_are_predictions(tmp_path: Path) -> None:
    questions = read_questions(M3COT, save(tmp_path / "test.jsonl", m3cot_rows()), images="ignore")
    assert questions[0].record.question == "A troll sits below a bridge.\nWhat is it for?"
    rows = [
        {"id": "physical-1", "messages": ["[Question]...", "Legends have trolls.", "Select:", "(B)"]},
        {"id": "algebra-2", "messages": ["[Question]...", "Three and one are four.\n\nSo it is (B)."]},
    ]
    path = save(tmp_path / "cot.jsonl", rows)
    found = to_candidates(M3COT, questions, {"llava-7b": path})
    first, second = (record.candidates[0] for record in found.records)
    assert (first.text, first.correct, first.generator) == ("Legends have trolls.", True, "llava-7b")
    assert (second.correct, len(second.steps)) == (False, 2)
    values = scores(M3COT, questions, found.outcomes()["llava-7b"])
    assert values["accuracy"] == 0.5 and values["topic/algebra"] == 0
    unread = to_candidates(M3COT, questions, path, use_extracted=False)
    assert unread.records[0].candidates[0].correct is False
    for messages, message in (([], "a prompt, then"), (["q"], "a prompt, then"), ("q", "a list of texts")):
        bad = save(tmp_path / "bad.jsonl", [{"id": "algebra-2", "messages": messages}])
        with pytest.raises(DataError, match=f"'messages'.*{message}"):
            to_candidates(M3COT, questions, bad, incomplete="keep")
