"""Graded candidates: accuracy is the mean credit; and answers that a judge decides, again and again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from scored_candidates import candidate, record, write

from dreamprm.answers import Judgement
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.evaluation import evaluate as command
from dreamprm.evaluation.evaluate import run_evaluate
from dreamprm.evaluation.scored_suite import open_scored_suite
from dreamprm.evaluation.settings import EvaluateConfig
from dreamprm.generators.base import Completion, GenerationError, Generator

# By question its candidates: answer, correct, credit, log-odds of the scorer.
GRADES = {
    "q1": [("a", True, 0.6, -1.0), ("b", False, 0.3, 2.0), ("b", False, 0.2, 1.0)],
    "q2": [("c", True, 1.0, 3.0), ("c", True, 0.9, 0.5), ("d", False, 0.0, -2.0)],
}


def graded(id: str) -> dict:
    return record(
        id,
        [
            candidate(answer, correct, prm=[z]) | {"credit": credit, "text": f"{id} {k}"}
            for k, (answer, correct, credit, z) in enumerate(GRADES[id])
        ],
    )


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch) -> None:
    monkeypatch.setattr(command, "_write_plots", lambda *args: None)


def evaluate(folder: Path, *settings: str) -> dict:
    run_evaluate(load_config(EvaluateConfig, None, [f"output={folder / 'out'}", "resamples=100", *settings]))
    return json.loads((folder / "out" / "evaluation.json").read_text())


def test_accuracy_is_the_mean_credit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [graded("q1"), graded("q2")])
    result = evaluate(tmp_path, f"suites.a={path}", "sizes=[1,2,3]")
    best = {name: row["a"] for name, row in result["best_of_n"].items()}
    # random: all; majority: b of q1 and c of q2, whose two are picked as often; then the score.
    assert best["random"] == pytest.approx(((0.6 + 0.3 + 0.2) / 3 + 1.9 / 3) / 2)
    assert best["majority"] == pytest.approx(((0.3 + 0.2) / 2 + (1.0 + 0.9) / 2) / 2)
    assert best["prm"] == pytest.approx((0.3 + 1.0) / 2)
    assert best["oracle"] == pytest.approx((0.6 + 1.0) / 2)
    # Of two drawn ones: q1 0.3 (with b), 0.2 or 0.3; q2 1, 1, 0.9.
    two = ((0.3 + 0.2 + 0.3) / 3 + (1.0 + 1.0 + 0.9) / 3) / 2
    assert result["accuracy_by_n"]["prm"]["a"]["2"] == pytest.approx(two)
    assert result["suites"]["a"]["graded"] == 6
    lines = [json.loads(line) for line in (tmp_path / "out/per_question.jsonl").read_text().splitlines()]
    assert lines[0]["correct"] == [0.6, 0.3, 0.2] and lines[1]["correct"] == [True, 0.9, False]


def change(row: dict, **fields: object) -> dict:
    """The record with its first candidate changed; None takes a field out."""
    first = {key: value for key, value in (row["candidates"][0] | fields).items() if value is not None}
    return row | {"candidates": [first, *row["candidates"][1:]]}


@pytest.mark.parametrize(
    "one, other, message",
    [
        ({}, {"credit": 0.7}, "'credit' is 0.6 in one and 0.7 in the other"),
        (
            {"credit": None},
            {"correct": None, "credit": 0.0},
            r"'correct' is True in one and 'credit' is 0.0 in the other, "
            r"but a right answer \(correct=true\) earns",
        ),
        (
            {"credit": None},
            {"correct": False, "credit": None},
            "'correct' is True in one and False in the other",
        ),
    ],
)
def test_joined_files_that_disagree_are_named(tmp_path: Path, one: dict, other: dict, message: str) -> None:
    paths = [
        write(tmp_path / "one.jsonl", [change(graded("q1"), **one)]),
        write(tmp_path / "other.jsonl", [change(graded("q1"), **other)]),
    ]
    wanted = rf"one.jsonl and .*other.jsonl: candidate 0 of record q1: {message}.*judge the candidates once"
    with pytest.raises(DataError, match=wanted):
        open_scored_suite(paths)


def test_a_credit_in_one_of_the_files_holds(tmp_path: Path) -> None:
    bare = change(graded("q1"), credit=None, correct=None)
    paths = [write(tmp_path / "one.jsonl", [bare]), write(tmp_path / "other.jsonl", [graded("q1")])]
    assert open_scored_suite(paths).correct == ((0.6, 0.3, 0.2),)


def test_a_graded_candidate_is_not_judged(tmp_path: Path) -> None:
    rows = [change(graded("q1"), correct=None), change(graded("q2"), correct=None, credit=None)]
    asked = []

    def check(pairs):
        asked.extend(response for response, _ in pairs)
        return [judgement] * len(pairs)

    judgement = Judgement("right", None, "")
    suite = open_scored_suite([write(tmp_path / "a.jsonl", rows)], check=check)
    # The file's own `final_answer` is the last one stated.
    assert asked == ["q2 0\n\nFinal answer: c"]
    assert suite.correct == ((0.6, 0.3, 0.2), (1.0, 0.9, 0.0))
    assert [record.candidates[0].correct for record in suite.records] == [None, True]
    assert (suite.graded, suite.judged) == (5, {"right": 1})


@dataclass
class Judge(Generator):
    """Finds odd candidates right; the request with the number `fails` comes to nothing."""

    fails: int | None
    parallel: int = 3
    asked: list[str] = field(default_factory=list)

    def complete_all(self, requests, sampling):
        results = []
        for request in requests:
            self.asked.append(request.prompt)
            odd = int(request.prompt.partition("<student>\nanswer ")[2].partition("\n")[0]) % 2
            results.append(
                GenerationError("gone")
                if len(self.asked) - 1 == self.fails
                else [Completion(f"Verdict: {'right' if odd else 'wrong'}", 5)]
            )
        return results


@pytest.fixture
def judged_by(monkeypatch) -> Callable[[Judge], Judge]:
    def use(judge: Judge) -> Judge:
        place = "dreamprm.generators.cached_generator.build_generator"
        monkeypatch.setattr(place, lambda name, **settings: judge)
        return judge

    return use


def test_answers_of_a_judge_are_kept_and_the_rest_is_asked_for(tmp_path: Path, judged_by) -> None:
    def rows(name: str, count: int) -> list[dict]:
        # Twice the same answer to one question is one request.
        return [
            record(f"{name}{q}", [candidate(f"answer {10 * q + k // 2}", None, prm=[k]) for k in range(4)])
            for q in range(count)
        ]

    suites = [
        "suites.a=" + write(tmp_path / "a.jsonl", rows("a", 6)),
        "development.d=" + write(tmp_path / "d.jsonl", rows("d", 4)),
    ]
    given = [*suites, "answers.kind=judge", "answers.judge.name=openai", "answers.judge.model=m"]
    failing = judged_by(Judge(fails=2))
    with pytest.raises(UserError, match="no reply for [12] of 24 answers; the first: judge: no reply .gone"):
        evaluate(tmp_path, *given)
    assert not (tmp_path / "out/evaluation.json").exists()
    kept = (tmp_path / "out/judge.jsonl").read_text().count("\n")
    assert 11 <= kept <= 12
    again = judged_by(Judge(fails=None))
    result = evaluate(tmp_path, *given)
    assert len(again.asked) == 12 + 8 - kept
    assert not {prompt for k, prompt in enumerate(failing.asked) if k != 2} & set(again.asked)
    assert result["suites"]["a"]["judged"] == {"wrong": 12, "right": 12}
    assert result["best_of_n"]["prm"]["a"] == 1.0 and result["best_of_n"]["random"]["a"] == 0.5
    third = judged_by(Judge(fails=None))
    assert evaluate(tmp_path, *given)["best_of_n"] == result["best_of_n"]
    assert third.asked == []
    evaluate(tmp_path, *given, "answers.max_tokens=64")
    assert len(third.asked) == 20
