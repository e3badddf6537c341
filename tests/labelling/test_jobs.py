"""Jobs, driven by hand: what they want next, and what they make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from scripted import continuation, question

from dreamprm.data.records import Candidate
from dreamprm.labelling.jobs import (
    Chain,
    Instructions,
    Want,
    candidate_chain,
    label_job,
    sample_job,
    sampled_chain,
)
from dreamprm.labelling.journal import Key, Rollout
from dreamprm.labelling.rollouts import Ask, LabelMethod, Plan, StepLabel

FIVE = Instructions("five_stage", "headings")
TEXT = continuation("", right=True)


class TwoRounds(LabelMethod):
    """Two rollouts of every prefix, then a third one of those that were not alike."""

    def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
        first = yield [Ask(step, 2) for step in range(1, prefixes + 1)]
        open_steps = [step for step, tally in enumerate(first, start=1) if tally.right == 1]
        more = (yield [Ask(step, 1) for step in open_steps]) if open_steps else []
        third = dict(zip(open_steps, more, strict=True))
        return [
            StepLabel((tally.right + third[step].right) / 3, 3)
            if step in third
            else StepLabel(tally.right / tally.total if tally.total else None, tally.total)
            for step, tally in enumerate(first, start=1)
        ]


def _drive(job: Any, verdict: Callable[[Key], Any], texts: Callable[[Key], str] = lambda key: TEXT) -> Any:
    """Serve a job to its end; returns its result and the rounds of wants."""
    rounds: list[Sequence[Want]] = []
    wants = next(job)
    while True:
        rounds.append(wants)
        rollouts = [
            [Rollout(key, "", texts(key), 1, True, verdict(key), None, "") for key in want.keys]
            for want in wants
        ]
        try:
            wants = job.send(rollouts)
        except StopIteration as stop:
            return stop.value, rounds


def test_a_sample_job_wants_n_chains_at_once() -> None:
    result, rounds = _drive(sample_job(question(1), FIVE, n=3), lambda key: "right" if key.cot else "wrong")
    assert rounds == [[Want(tuple(Key("q1", cot, 0, 0) for cot in range(3)))]]
    assert [(chain.correct, verdict) for chain, verdict in result] == [
        (False, "wrong"),
        (True, "right"),
        (True, "right"),
    ]
    assert all(
        chain.steps
        == tuple(f"Step {k}: part {k}" for k in range(1, 5)) + ("Step 5: part 5\nFinal answer: 7",)
        for chain, _ in result
    )


def test_a_label_job_asks_in_rounds_and_counts() -> None:
    """Of two chains the second one's step 2 is contested, so that it alone gets a third rollout."""

    def verdict(key: Key) -> str:
        if key.step == 0:
            return "right" if key.cot == 1 else "wrong"
        if key.cot == 1 and key.step == 2:
            return "wrong" if key.rollout == 0 else "right"
        return "right" if key.cot == 1 else "wrong"

    result, rounds = _drive(label_job(question(1), FIVE, TwoRounds(), cots=2), verdict)
    assert [len(wants) for wants in rounds] == [1, 8, 1]
    assert rounds[2] == [Want((Key("q1", 1, 2, 2),), "Step 1: part 1\nStep 2: part 2")]
    first = rounds[1][4]
    assert first.keys == (Key("q1", 1, 1, 0), Key("q1", 1, 1, 1)) and first.prefix == "Step 1: part 1"
    assert [[label.p for label in one.labels] for one in result] == [[0.0] * 5, [1.0, 2 / 3, 1.0, 1.0, 1.0]]
    assert [[label.rollouts for label in one.labels] for one in result] == [[2, 2, 2, 2, 1], [2, 3, 2, 2, 1]]
    assert [one.verdict for one in result] == ["wrong", "right"]
    assert [(one.rollouts, one.tokens) for one in result] == [(8, 8), (9, 9)]


@pytest.mark.parametrize(("leave_out", "labels"), [(False, [0.5, 0.0]), (True, [1.0, None])])
def test_undecided_rollouts_count_as_told(leave_out: bool, labels: list[float | None]) -> None:
    instructions = Instructions("plain", "paragraphs", leave_out_undecided=leave_out)

    class Two(LabelMethod):
        def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
            assert correct is (None if leave_out else False)
            tallies = yield [Ask(step, 2) for step in range(1, prefixes + 1)]
            return [StepLabel(tally.right / tally.total, tally.total) for tally in tallies]

    job = label_job(question(1), instructions, Two(), cots=1)
    (one,), _ = _drive(
        job,
        lambda key: "right" if key.rollout == 1 else "undecided",
        lambda key: "First: look.\n\nSecond: add.",
    )
    assert [label.p for label in one.labels] == labels
    assert [label.rollouts for label in one.labels] == ([1, 0] if leave_out else [2, 1])
    assert one.rollouts == 2  # spent all the same


def test_given_chains_are_judged_and_not_sampled() -> None:
    chain = sampled_chain(TEXT, split="headings", expected_steps=5, finished=True)
    known = Chain(chain.text, chain.steps, chain.ends, "8", "given", correct=False)
    result, rounds = _drive(
        label_job(question(1), FIVE, TwoRounds(), cots=9, chains=[chain, known]), lambda key: "right"
    )
    assert rounds[0] == [
        Want((Key("q1", 0, 0, 0),), given=TEXT),
        Want((Key("q1", 1, 0, 0),), given=TEXT, correct=False),
    ]
    assert [one.number for one in result] == [0, 1]


def test_a_question_without_chains_wants_nothing() -> None:
    with pytest.raises(StopIteration) as stop:
        next(label_job(question(1), FIVE, TwoRounds(), cots=1, chains=[]))
    assert stop.value.value == []


def test_an_empty_response_has_no_labels_and_the_others_keep_their_numbers() -> None:
    result, rounds = _drive(
        label_job(question(1), FIVE, TwoRounds(), cots=2),
        lambda key: "right",
        lambda key: "" if key.cot == 0 else TEXT,
    )
    assert [(one.number, one.chain.malformed, len(one.labels)) for one in result] == [
        (0, ("empty",), 0),
        (1, (), 5),
    ]
    assert [(one.rollouts, one.tokens) for one in result] == [(0, 0), (8, 8)]
    assert {key.cot for want in rounds[1] for key in want.keys} == {1}


def test_a_candidates_own_steps_are_kept() -> None:
    steps = ("Look closely.", "So it is 7.")
    inside = candidate_chain(
        Candidate("Look closely.  \n So it is 7. ", steps, None, True, "m"),
        split="headings",
        expected_steps=5,
    )
    assert [inside.prefix(k) for k in (1, 2)] == ["Look closely.", "Look closely.  \n So it is 7."]
    assert (inside.steps, inside.split, inside.correct) == (steps, "given", True)
    # A text that is not made of the steps is left for them.
    outside = candidate_chain(
        Candidate("another text", steps, "7", None, None), split="headings", expected_steps=5
    )
    assert (outside.text, outside.prefix(1)) == ("Look closely.\n\nSo it is 7.", "Look closely.")


@pytest.mark.parametrize("own", [False, True])
def test_steps_that_the_reader_cut_are_cut_as_told(own: bool) -> None:
    parts = (
        "Step 1: There are four red bars.",
        "There are three blue bars beside them.",
        "Step 2: Together they are seven.",
    )
    text = "\n\n".join(parts)
    at_headings = ("\n\n".join(parts[:2]), parts[2])
    candidate = Candidate(text, at_headings if own else (), "7", True, None)
    chain = candidate_chain(candidate, split="headings", expected_steps=5)
    assert (chain.steps, chain.split) == (at_headings, "headings")
    assert chain.malformed == ("missing_steps", "no_final_answer")
    chain = candidate_chain(candidate, split="paragraphs", expected_steps=None)
    assert (chain.steps, chain.split) == (parts, "paragraphs")
    chain = candidate_chain(candidate, split="whole", expected_steps=None)
    assert (chain.steps, chain.correct, chain.final_answer) == ((text,), True, "7")


def test_a_candidate_without_steps_is_split_as_told() -> None:
    chain = candidate_chain(
        Candidate("One.\n\nTwo: 7.", (), "7", False, None), split="paragraphs", expected_steps=None
    )
    assert (chain.steps, chain.split, chain.final_answer, chain.correct) == (
        ("One.", "Two: 7."),
        "paragraphs",
        "7",
        False,
    )
