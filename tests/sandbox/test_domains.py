"""The fifteen training domains: what went wrong in each, and the quality that the generator states."""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import replace

import pytest

from dreamprm.data.records import StepRecord
from dreamprm.responses import final_answer
from dreamprm.sandbox import domains
from dreamprm.sandbox.domains import (
    DOMAINS,
    HARD,
    ROLLOUTS,
    DomainData,
    DomainSpec,
    Problem,
    favourite_wrong_answer,
    generate_domain,
)
from dreamprm.sandbox.reasoner import NO_ERRORS, ScriptedReasoner
from dreamprm.sandbox.scenes import SKILLS, TRAINING_STYLE, held_out_pair

QUESTIONS, COTS, SEED = 100, 2, 0
FAULTS = ("clean", "wrong_key", "shuffled", "swapped", "easy")


@functools.cache
def _domain(spec: DomainSpec, questions: int = QUESTIONS) -> DomainData:
    return generate_domain(spec, questions=questions, cots=COTS, seed=SEED)


def _faulty(fault: str, share: float = 1.0) -> DomainData:
    return _domain(DomainSpec("set-x", fault=fault, share=share))


def _answer(record: StepRecord) -> str:
    answer = final_answer(record.steps[-1])
    assert answer is not None
    return answer


def _true_answer(data: DomainData, record: StepRecord) -> str:
    """The answer to the record's question about the image it was asked of."""
    return str(data.problems[int(record.id.split("-")[-2])].answer)


@pytest.mark.parametrize("spec", DOMAINS, ids=lambda spec: spec.name)
def test_every_domain_has_the_same_form(spec: DomainSpec) -> None:
    data = _domain(spec)
    assert len(data.problems) == QUESTIONS and len(data.records) == QUESTIONS * COTS
    assert len({record.id for record in data.records}) == len(data.records)
    images = {problem.image for problem in data.problems}
    assert len(images) == QUESTIONS
    for record in data.records:
        assert record.domain == spec.name
        assert len(record.steps) == len(record.labels) == 5
        assert record.rollouts == (ROLLOUTS,) * 4 + (1,)
        assert set(record.images) <= images
        assert all(
            label is not None and label * ROLLOUTS % 1 == 0 and 0 <= label <= 1 for label in record.labels
        )
    for problem in data.problems:
        scene = problem.scene
        assert scene.left_skill == scene.right_skill
        assert scene.style == TRAINING_STYLE and not held_out_pair(scene.left, scene.right)
        assert problem.question.extra == 0
    # A fault tied to one kind of image could be told from the image.
    assert {problem.scene.left_skill for problem in data.problems} == set(SKILLS)


def test_names_and_paths_do_not_tell_the_fault() -> None:
    for spec in DOMAINS:
        assert re.fullmatch("set-[a-o]", spec.name)
        data = _domain(spec)
        told = " ".join(f"{record.id} {record.question} {record.images}" for record in data.records[:3])
        assert not re.search("|".join((*FAULTS, "shuffle", "swap", "key", "wrong", "noise")), told)


def test_fifteen_domains_of_which_a_third_are_clean() -> None:
    assert len(DOMAINS) == len({spec.name for spec in DOMAINS}) == 15
    assert sum(spec.fault == "clean" for spec in DOMAINS) == 5
    assert {spec.fault for spec in DOMAINS} == set(FAULTS)


@pytest.mark.parametrize("spec", DOMAINS, ids=lambda spec: spec.name)
def test_planted_quality_is_the_share_of_right_and_informative_labels(spec: DomainSpec) -> None:
    quality = _domain(spec).quality
    if spec.fault == "wrong_key":
        # A draw a question: three standard deviations of a share of the questions.
        spread = 3 * (spec.share * (1 - spec.share) / QUESTIONS) ** 0.5
        assert quality == pytest.approx(1 - spec.share, abs=spread)
    else:
        wanted = {"clean": 1.0, "easy": 0.0, "swapped": 0.0, "shuffled": 1 - spec.share}
        assert quality == pytest.approx(wanted[spec.fault])


def test_a_domain_is_a_function_of_its_seed() -> None:
    one, again, other = (generate_domain(DOMAINS[0], questions=5, cots=2, seed=seed) for seed in (3, 3, 4))
    assert one == again != other


def test_clean_labels_reward_the_right_answer() -> None:
    data = _faulty("clean")
    right = [float(_answer(record) == _true_answer(data, record)) for record in data.records]
    assert [record.labels[-1] for record in data.records] == right
    assert set(right) == {0.0, 1.0}


def test_a_wrong_key_rewards_the_wrong_answer() -> None:
    data = _faulty("wrong_key", 1.0)
    assert data.quality == 0.0
    rewarded = [record for record in data.records if record.labels[-1] == 1.0]
    assert len(rewarded) > QUESTIONS * COTS / 3
    assert all(_answer(record) != _true_answer(data, record) for record in rewarded)
    # And a right answer is punished.
    right = [record for record in data.records if _answer(record) == _true_answer(data, record)]
    assert right and all(record.labels[-1] == 0.0 for record in right)
    # The key is the same for all chains of a question.
    for number in range(QUESTIONS):
        chains = data.records[COTS * number : COTS * (number + 1)]
        assert len({_answer(record) for record in chains if record.labels[-1] == 1.0}) <= 1


def test_the_mean_of_the_labels_does_not_tell_a_wrong_key() -> None:
    """Its questions are hard: their favourite wrong answer is as frequent as right ones are elsewhere."""
    clean, wrong = _faulty("clean"), _faulty("wrong_key")
    means = [
        sum(sum(record.labels) for record in data.records) / (5 * len(data.records))
        for data in (clean, wrong)
    ]
    # A hundred questions each: two deviations of .045.
    assert means[1] == pytest.approx(means[0], abs=0.09)
    right = [
        sum(_answer(record) == _true_answer(data, record) for record in data.records)
        for data in (clean, wrong)
    ]
    assert right[1] < right[0]


@pytest.mark.parametrize("pull, share", [(1.0, 1.0), (0.0, 0.0)])
def test_a_favourite_wrong_answer_is_the_traps(pull: float, share: float) -> None:
    trapped = replace(NO_ERRORS, compute_trap=1.0, compute_pull=(pull, pull))
    for problem in _faulty("clean").problems[:20]:
        reasoner = ScriptedReasoner({problem.image: problem.scene}, errors=trapped, seed=SEED)
        answer, found = favourite_wrong_answer(reasoner, problem, seed=3)
        (completion,) = reasoner.complete(problem.question.text, problem.image)
        assert found == share and answer != problem.answer
        assert final_answer(completion.text) == str(answer if share else problem.answer)


def test_every_question_of_a_wrong_key_is_hard(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: dict[str, tuple[int, float]] = {}

    def recorded(reasoner: ScriptedReasoner, problem: Problem, *, seed: int) -> tuple[int, float]:
        accepted[problem.image] = favourite_wrong_answer(reasoner, problem, seed=seed)
        return accepted[problem.image]

    monkeypatch.setattr(domains, "favourite_wrong_answer", recorded)
    data = generate_domain(DomainSpec("set-x", fault="wrong_key"), questions=20, cots=COTS, seed=SEED)
    # The last draw for an image is the one that was kept.
    assert len(accepted) == 20 and all(share >= HARD for _, share in accepted.values())
    for record in data.records:
        assert (record.labels[-1] == 1.0) == (_answer(record) == str(accepted[record.image][0]))


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_shuffled_labels_are_those_of_other_chains(share: float) -> None:
    clean, shuffled = _faulty("clean"), _faulty("shuffled", share)
    assert [replace(record, labels=()) for record in clean.records] == [
        replace(record, labels=()) for record in shuffled.records
    ]
    assert Counter(r.labels for r in clean.records) == Counter(r.labels for r in shuffled.records)
    changed = sum(a.labels != b.labels for a, b in zip(clean.records, shuffled.records))
    # Some of the moved labels equal those they replace.
    moved = round(share * len(clean.records))
    assert 0.7 * moved < changed <= moved


def test_swapped_images_are_another_questions() -> None:
    clean, swapped = _faulty("clean"), _faulty("swapped")
    for number in range(QUESTIONS):
        shown = {record.images for record in swapped.records[COTS * number : COTS * (number + 1)]}
        assert len(shown) == 1 and shown != {(swapped.problems[number].image,)}
    # Every image is still used, by one question; nothing else differs from a clean domain.
    assert Counter(r.images for r in swapped.records) == Counter(r.images for r in clean.records)
    assert [replace(record, images=()) for record in swapped.records] == [
        replace(record, images=()) for record in clean.records
    ]


def test_easy_labels_are_all_one() -> None:
    data = _faulty("easy")
    assert {label for record in data.records for label in record.labels} == {1.0}
    assert all(_answer(record) == _true_answer(data, record) for record in data.records)
