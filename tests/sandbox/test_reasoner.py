"""The scripted reasoner: a generator whose errors repeat, and whose continuations follow their prefix."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

import pytest

from dreamprm.generators.base import Completion, Generator
from dreamprm.responses import final_answer, split_steps
from dreamprm.sandbox.monte_carlo import monte_carlo_labels
from dreamprm.sandbox.reasoner import (
    LARGEST_NUMBER,
    NO_ERRORS,
    OTHER_ERRORS,
    TRAINING_ERRORS,
    Errors,
    ScriptedReasoner,
    evidence,
    parse_evidence,
    parse_result,
)
from dreamprm.sandbox.scene_questions import OPERATIONS, Question, apply
from dreamprm.sandbox.scenes import Scene

SCENES = {f"{i}.png": Scene("bar", "bar", 1 + i % 6, 1 + i // 6 % 6, seed=i) for i in range(60)}
# Pulls every sample into the question's evidence trap and into no other error.
TRAPPED = Errors(
    evidence_trap=1.0, evidence_pull=(1.0, 1.0), evidence_slip=0.0, compute_trap=0.0, compute_slip=0.0
)
# The same for the computation.
MISCOUNTING = Errors(evidence_trap=0.0, evidence_slip=0.0, compute_trap=1.0, compute_pull=(1.0, 1.0))


def _question(image: str, operation: str = "sum", extra: int = 0) -> Question:
    return Question.about(SCENES[image], operation, extra)


def _reasoner(errors: Errors = TRAINING_ERRORS, seed: int = 0) -> ScriptedReasoner:
    return ScriptedReasoner(SCENES, errors=errors, seed=seed)


def _texts(
    reasoner: Generator,
    image: str,
    *,
    n: int = 1,
    seed: int = 0,
    operation: str = "sum",
    extra: int = 0,
    prefix: tuple[str, ...] = (),
) -> list[str]:
    prompt = _question(image, operation, extra).text
    return [c.text for c in reasoner.complete(prompt, image, prefix="\n".join(prefix), n=n, seed=seed)]


@pytest.mark.parametrize("extra", [-3, 0, 4])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("errors", [TRAINING_ERRORS, OTHER_ERRORS, NO_ERRORS], ids=["first", "other", "none"])
def test_a_chain_has_five_steps_and_a_final_answer(errors: Errors, operation: str, extra: int) -> None:
    for image in SCENES:
        for text in _texts(_reasoner(errors), image, n=3, operation=operation, extra=extra):
            steps = split_steps(text)
            assert [step[:7] for step in steps] == [f"Step {k}:" for k in range(1, 6)]
            answer = final_answer(text)
            assert answer is not None and 0 <= int(answer) <= LARGEST_NUMBER
            # Every step ends on what it claims, so that its last token is the one a score is read at.
            assert steps[0].endswith(operation) or steps[0].endswith("left and right")
            assert re.fullmatch(r"Step 2: left is [1-6] and right is [1-6]", steps[1])
            assert re.fullmatch(rf"Step 3: {operation} (means|says) [a-z ]*[a-z]", steps[2])
            assert re.fullmatch(r"Step 4: .*\bgives \d+", steps[3])
            assert re.fullmatch(rf"Step 5: [a-z ]+ {answer}\nFinal answer: {answer}", steps[4])
            assert steps[3].count(" then ") == bool(extra)
            numbers = [int(number) for number in re.findall(r"(?<!Step )\b\d+\b(?!:)", text)]
            assert max(numbers) <= LARGEST_NUMBER
            if errors is not OTHER_ERRORS:  # that one's conclusions may contradict its computation
                assert int(answer) == parse_result(steps[3])


@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_errors_every_answer_is_right(operation: str, extra: int) -> None:
    for image, scene in SCENES.items():
        wanted = str(_question(image, operation, extra).answer(scene.left, scene.right))
        texts = _texts(_reasoner(NO_ERRORS), image, n=4, operation=operation, extra=extra)
        assert [final_answer(text) for text in texts] == [wanted] * 4


def test_equal_seeds_give_equal_texts() -> None:
    one, other = _reasoner(), _reasoner()
    for image in SCENES:
        assert _texts(one, image, n=4, seed=3) == _texts(other, image, n=4, seed=3)
    assert [_texts(one, image, n=4, seed=3) for image in SCENES] != [
        _texts(one, image, n=4, seed=4) for image in SCENES
    ]


@pytest.mark.parametrize("kept", range(1, 5))
def test_a_prefix_is_continued_from_what_it_says(kept: int) -> None:
    reasoner = _reasoner()
    for number, image in enumerate(SCENES):
        prefix = split_steps(_texts(reasoner, image, seed=number)[0])[:kept]
        for text in _texts(reasoner, image, n=3, seed=7, prefix=prefix):
            rest = split_steps(text, first=kept + 1)
            steps = (*prefix, *rest)
            assert split_steps("\n".join(prefix) + text) == steps
            assert len(steps) == 5 and len(rest) == 5 - kept
            reading = parse_evidence(steps[1])
            # The computation speaks of the values that the evidence claims, not of those in the scene.
            assert f"Step 4: {reading[0]} plus {reading[1]} gives" in steps[3]
            assert final_answer(text) == str(parse_result(steps[3]))


def test_labels_judge_the_evidence() -> None:
    """Wrong evidence leads to the right answer only by a second error; right evidence usually."""

    def label(errors: Errors, image: str, left: int) -> float:
        scene = SCENES[image]
        answer = str(scene.left + scene.right)
        steps = ("Step 1: we need the sum", evidence(left, scene.right), "x")
        return monte_carlo_labels(
            _reasoner(errors),
            _question(image).text,
            image,
            steps=steps,
            is_correct=lambda text: final_answer(text) == answer,
            rollouts=8,
            seed=scene.seed,
        )[1]

    true, false = (
        {image: value(scene.left) for image, scene in SCENES.items()}
        for value in (lambda left: left, lambda left: left % 6 + 1)
    )
    assert {label(NO_ERRORS, *item) for item in true.items()} == {1.0}
    assert {label(NO_ERRORS, *item) for item in false.items()} == {0.0}
    right = [label(TRAINING_ERRORS, *item) for item in true.items()]
    wrong = [label(TRAINING_ERRORS, *item) for item in false.items()]
    # The computation errs in .5 (.375 + .625 * .15) + .5 * .15 = .31 of the samples; an error by one down,
    # about a third of those, mends this evidence.
    assert sum(right) / len(right) == pytest.approx(0.69, abs=0.07)
    assert sum(wrong) / len(wrong) == pytest.approx(0.11, abs=0.06)


def test_an_evidence_trap_repeats_on_its_question_and_belongs_to_the_individual() -> None:
    readings = {}
    for seed in (0, 1):
        for image, scene in SCENES.items():
            texts = _texts(_reasoner(TRAPPED, seed), image, n=8, seed=seed)
            found = {parse_evidence(split_steps(text)[1]) for text in texts}
            assert len(found) == 1 and found != {(scene.left, scene.right)}
            readings[seed, image] = found.pop()
    same = sum(readings[0, image] == readings[1, image] for image in SCENES)
    assert 0 < same < len(SCENES) / 2


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_computation_trap_gives_the_same_wrong_result(operation: str, far: bool) -> None:
    """Also where the range of the numbers leaves no room on one side, as at a difference of 0."""
    reasoner = _reasoner(replace(MISCOUNTING, far=far))
    for image, scene in SCENES.items():
        texts = _texts(reasoner, image, n=8, operation=operation)
        found = {parse_result(split_steps(text)[3]) for text in texts}
        assert len(found) == 1 and found != {apply(operation, scene.left, scene.right)}
        assert min(found) >= 0 and max(found) <= LARGEST_NUMBER


def test_wrong_answers_agree_with_each_other() -> None:
    """What makes a majority vote beatable: the favourite wrong answer is more frequent than chance."""
    shares = []
    for image, scene in SCENES.items():
        answers = Counter(final_answer(text) for text in _texts(_reasoner(), image, n=32))
        del answers[str(scene.left + scene.right)]
        if answers.total():
            shares.append(answers.most_common(1)[0][1] / answers.total())
    assert sum(shares) / len(shares) > 0.5


def test_the_other_reasoners_misreadings_are_further_off() -> None:
    for errors, near in ((TRAINING_ERRORS, 1), (OTHER_ERRORS, 2)):
        distances: Counter[int] = Counter()
        for image, scene in SCENES.items():
            for text in _texts(_reasoner(errors), image, n=8):
                left, right = parse_evidence(split_steps(text)[1])
                distances.update(d for d in (abs(left - scene.left), abs(right - scene.right)) if d)
        # 60 % of the misreadings are at that distance by design, and some of the others by chance.
        assert distances[near] / distances.total() > 0.6


def test_completions_have_the_generators_form() -> None:
    image = next(iter(SCENES))
    (completion,) = _reasoner().complete(_question(image).text, image)
    assert isinstance(completion, Completion)
    assert completion.tokens == len(re.split(" ", completion.text))
    assert len(_texts(_reasoner(), image, n=5)) == 5


@pytest.mark.parametrize("image", [None, "elsewhere.png"])
def test_an_unknown_scene_is_refused(image: str | None) -> None:
    with pytest.raises(ValueError, match="knows no scene for image"):
        _reasoner().complete("sum of left bar and right bar ?", image)


def test_an_unknown_question_is_refused() -> None:
    with pytest.raises(ValueError, match="no sandbox question"):
        _reasoner().complete("how many ?", "0.png")


@pytest.mark.parametrize("parse, kind", [(parse_evidence, "an evidence"), (parse_result, "a computation")])
def test_a_step_of_another_kind_is_refused(parse: object, kind: str) -> None:
    with pytest.raises(ValueError, match=f"not {kind} step of this world: 'Step 3: so'"):
        parse("Step 3: so")  # type: ignore[operator]


def test_the_samples_of_one_call_differ() -> None:
    rng = random.Random(0)
    assert any(len(set(_texts(_reasoner(), image, n=4, seed=rng.getrandbits(32)))) > 1 for image in SCENES)
