"""A PRM of ours as a scorer: the scores of the PRM, in order, with errors in their place."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny_models import tiny_image, tiny_prm

from dreamprm.config.errors import UserError
from dreamprm.models import PRM
from dreamprm.scorers.base import CandidateScores, ScoringTask
from dreamprm.scorers.local import LocalScorer

STEPS = ("one plus two", "equals three", "final answer : 3")


@pytest.fixture(scope="module")
def prm() -> PRM:
    return tiny_prm(layers=1, vision_layers=1, attn_implementation="sdpa")


def scorer(prm: PRM, gives: str = "step") -> LocalScorer:
    return LocalScorer(prm, gives, {"model": {"prm.json": "0"}})


def test_the_scores_are_the_prm_s(prm: PRM) -> None:
    image = tiny_image()
    task = ScoringTask("how many bars ?", (image,), (STEPS, STEPS[:1], ("four",)))
    text = ScoringTask("what is the sum ?", (), (STEPS[1:],))
    first, second = scorer(prm).score([task, text])
    for steps, result in zip(task.candidates, first, strict=True):
        assert isinstance(result, CandidateScores)
        p = [1 / (1 + math.exp(-value)) for value in result.log_odds]
        assert p == pytest.approx(prm.score(task.question, image, steps), abs=1e-6)
    # The image, the question and the chat around them are counted once.
    encoded = [prm.processor.encode(task.question, prm.processor.opened([image]), c) for c in task.candidates]
    rows = [len(one.rows[0].input_ids) for one in encoded]
    counted = [result.tokens for result in first if isinstance(result, CandidateScores)]
    assert counted[0] == rows[0] and sum(counted) < sum(rows)
    assert isinstance(second[0], CandidateScores) and len(second[0].log_odds) == 2


def test_a_broken_image_is_an_error_in_each_candidate_s_place(prm: PRM, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = ScoringTask("how many bars ?", (str(tmp_path / "broken.png"),), (STEPS, ("four",)))
    good = ScoringTask("how many bars ?", (), (("four",), ("<|image_pad|>",)))
    first, second = scorer(prm).score([broken, good])
    assert [isinstance(one, UserError) and "broken.png" in str(one) for one in first] == [True, True]
    assert isinstance(second[0], CandidateScores)
    assert isinstance(second[1], UserError) and "<|image_pad|>" in str(second[1])


def test_an_outcome_reward_model_gives_one_score(prm: PRM) -> None:
    task = ScoringTask("how many bars ?", (), (STEPS,))
    ((by_step,),), ((whole,),) = scorer(prm).score([task]), scorer(prm, "response").score([task])
    assert isinstance(by_step, CandidateScores) and isinstance(whole, CandidateScores)
    assert whole.log_odds == by_step.log_odds[-1:]
    assert scorer(prm).identity()["scores"] == "step"
