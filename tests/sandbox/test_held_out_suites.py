"""Meta set, development set and suites: each shift is in its suite and nowhere else."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter

import pytest

from dreamprm.data.records import CandidateRecord
from dreamprm.responses import final_answer
from dreamprm.sandbox.domains import DOMAINS, Problem, generate_domain
from dreamprm.sandbox.reasoner import OTHER_ERRORS, TRAINING_ERRORS, parse_evidence
from dreamprm.sandbox.scenes import SHIFTED_STYLE, SKILLS, TRAINING_STYLE, held_out_pair
from dreamprm.sandbox.suites import (
    DEVELOPMENT,
    META,
    SHIFTED_SUITES,
    SUITES,
    SuiteSpec,
    as_meta_records,
    generate_suite,
)

QUESTIONS, CANDIDATES = 60, 8
ALL = (*SUITES, META, DEVELOPMENT)


@functools.cache
def _suite(spec: SuiteSpec) -> tuple[list[Problem], list[CandidateRecord]]:
    return generate_suite(spec, questions=QUESTIONS, candidates=CANDIDATES, seed=0)


def _misreading_by_two(spec: SuiteSpec) -> float:
    """Of the misread values, the share that is off by two."""
    problems, records = _suite(spec)
    off: Counter[int] = Counter()
    for problem, record in zip(problems, records):
        for candidate in record.candidates:
            left, right = parse_evidence(candidate.steps[1])
            off.update(d for d in (abs(left - problem.scene.left), abs(right - problem.scene.right)) if d)
    return off[2] / off.total()


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_a_suite_has_its_own_shift_and_no_other(spec: SuiteSpec) -> None:
    problems, _ = _suite(spec)
    shifts = {
        "combinations": {held_out_pair(p.scene.left, p.scene.right) for p in problems},
        "styles": {p.scene.style == SHIFTED_STYLE for p in problems},
        "reasoner": {_misreading_by_two(spec) > 0.5},
        "two_ops": {p.question.extra != 0 for p in problems},
        "mixed": {p.scene.left_skill != p.scene.right_skill for p in problems},
    }
    assert shifts == {name: {name == spec.name} for name in SHIFTED_SUITES}
    assert {p.scene.style for p in problems} == {SHIFTED_STYLE if spec.name == "styles" else TRAINING_STYLE}
    assert spec.errors == (OTHER_ERRORS if spec.name == "reasoner" else TRAINING_ERRORS)
    # All skills occur, as in training.
    assert {p.scene.left_skill for p in problems} == set(SKILLS)


def test_the_specs_differ_from_the_training_kind_in_one_field() -> None:
    plain = dataclasses.asdict(SuiteSpec(""))
    for spec in ALL:
        changed = [
            name
            for name, value in dataclasses.asdict(spec).items()
            if name not in ("name", "drawing") and value != plain[name]
        ]
        assert len(changed) == (spec.name in SHIFTED_SUITES)
    assert [spec.name for spec in SUITES] == ["heldout", *SHIFTED_SUITES]


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_records_state_what_is_true(spec: SuiteSpec) -> None:
    problems, records = _suite(spec)
    assert len(problems) == len(records) == QUESTIONS
    for problem, record in zip(problems, records):
        assert record.images == (problem.image,) and record.question == problem.question.text
        assert (record.benchmark, record.answer) == (spec.name, str(problem.answer))
        assert len(record.candidates) == CANDIDATES
        for candidate in record.candidates:
            assert len(candidate.steps) == 5
            assert candidate.final_answer == final_answer(candidate.text)
            assert candidate.correct == (candidate.final_answer == record.answer)
    correct = [candidate.correct for record in records for candidate in record.candidates]
    assert 0.3 < sum(correct) / len(correct) < 0.7  # as in training: right about every second time


def test_second_operations_are_written_in_step_four() -> None:
    problems, records = _suite(next(spec for spec in SUITES if spec.name == "two_ops"))
    extras = [problem.question.extra for problem in problems]
    assert {abs(extra) for extra in extras} == {1, 2, 3, 4} and min(extras) < 0 < max(extras)
    assert all(problem.answer >= 0 for problem in problems)
    for record in records:
        for candidate in record.candidates:
            body, _, tail = candidate.steps[3].partition(" then ")
            # The second operation goes on from the result of the first.
            assert tail.split()[0] == body.split()[-1]
            assert tail.split()[1:3] == record.question.split()[-3:-1]


def test_sets_share_no_question() -> None:
    seeds = [problem.scene.seed for spec in ALL for problem in _suite(spec)[0]]
    seeds += [p.scene.seed for p in generate_domain(DOMAINS[0], questions=20, cots=1, seed=0).problems]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("spec", [SUITES[0], SUITES[3]], ids=lambda spec: spec.name)
def test_a_suite_is_a_function_of_its_seed(spec: SuiteSpec) -> None:
    one, again, other = (generate_suite(spec, questions=4, candidates=2, seed=seed) for seed in (5, 5, 6))
    assert one == again and one[1] != other[1]


def test_meta_records_are_the_candidates_one_by_one() -> None:
    _, records = _suite(META)
    metas = as_meta_records(records)
    candidates = [(record, candidate) for record in records for candidate in record.candidates]
    assert len(metas) == len(candidates) == len({meta.id for meta in metas})
    for meta, (record, candidate) in zip(metas, candidates):
        assert (meta.question, meta.images, meta.steps, meta.correct) == (
            record.question,
            record.images,
            candidate.steps,
            candidate.correct,
        )
