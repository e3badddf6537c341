"""A served PRM as a scorer: the same scores, errors in their places, no other model in the middle."""

from __future__ import annotations

import pytest
from served import ToldScorer, serving, told_score

from dreamprm.client import ServerError
from dreamprm.config.errors import UserError
from dreamprm.scorers.base import CandidateScores, ScoringTask
from dreamprm.scorers.server import ServerScorer
from dreamprm.serving.settings import LimitSettings


def task(question: str, *candidates: list[str]) -> ScoringTask:
    return ScoringTask(question, (), tuple(map(tuple, candidates)))


def test_tasks_are_scored_in_order_with_errors_in_their_places() -> None:
    with serving(ToldScorer(gives="step"), limits=LimitSettings(steps=2, candidates=3)) as server:
        scorer = ServerScorer(server.url)
        assert (scorer.gives, scorer.model) == ("step", "told")
        lost = ScoringTask("q", ("nowhere.png",), (("a",),))
        tasks = [task(str(n), ["a", "b"], ["c"]) for n in range(20)]
        found = scorer.score([*tasks, task("q", ["a"], ["a"] * 3), lost, task("q", *[["a"]] * 4)])
        for one, results in zip(tasks, found[:20], strict=True):
            assert [result.log_odds for result in results if isinstance(result, CandidateScores)] == [
                tuple(told_score(one.question, step, place) for place, step in enumerate(steps))
                for steps in one.candidates
            ]
        first, second = found[20]
        assert isinstance(first, CandidateScores) and first.log_odds == (told_score("q", "a", 0),)
        assert isinstance(second, UserError) and "has 3 steps" in str(second)
        assert [str(one) for one in found[21]] == [str(found[21][0])] and "nowhere.png" in str(found[21][0])
        assert len(found[22]) == 4 and all("at most 3 candidates" in str(one) for one in found[22])
        assert scorer.identity() == ServerScorer(server.url).identity()
        scorer.close()


def test_another_model_in_the_middle_is_refused() -> None:
    class Other(ToldScorer):
        def identity(self) -> dict[str, object]:
            return {"told": "otherwise"}

    with serving(ToldScorer()) as server:
        scorer, port = ServerScorer(server.url), server.port
        scorer.score([task("q", ["a"])])
    with serving(Other(), port=port):
        with pytest.raises(ServerError, match="serves another model now than at the beginning"):
            scorer.score([task("q", ["a"])])
    scorer.close()


def test_a_server_of_another_kind_is_refused() -> None:
    with serving(ToldScorer(), token="t") as server:
        with pytest.raises(ServerError, match="answers 401"):
            ServerScorer(server.url)
        with pytest.raises(ServerError, match="answers 404"):
            ServerScorer(server.url + "/elsewhere")
