"""The scheduler: what reaches the generator, when it stops, and what an interruption leaves."""

from __future__ import annotations

import io
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scripted import NumberChecker, ScriptedGenerator, question

import dreamprm.labelling.scheduler as scheduler
from dreamprm.answers.base import Checker, Judgement
from dreamprm.config.errors import UserError
from dreamprm.data.records import QuestionRecord
from dreamprm.generators.base import Completion, GenerationError, Generator, Sampling
from dreamprm.labelling.jobs import Chain, Instructions, label_job
from dreamprm.labelling.journal import Journal
from dreamprm.labelling.rollouts import Ask, LabelMethod, Plan, StepLabel
from dreamprm.labelling.scheduler import Scheduler, Task
from dreamprm.labelling.status import LabelStatus

FIVE = Instructions("five_stage", "headings")


class Three(LabelMethod):
    """Three rollouts of every prefix."""

    def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
        tallies = yield [Ask(step, 3) for step in range(1, prefixes + 1)]
        return [StepLabel(tally.right / tally.total, tally.total) for tally in tallies]


def _tasks(n: int, *, cots: int = 2) -> list[Task[Any]]:
    return [
        Task(q, f"prompt of {q.question}", partial(label_job, q, FIVE, Three(), cots=cots))
        for q in (question(number) for number in range(n))
    ]


def _run(
    generator: ScriptedGenerator,
    journal: Journal,
    tasks: list[Task[Any]],
    *,
    max_failed_fraction: float = 0.0,
    results: dict[int, Any] | None = None,
    checker: Checker | None = None,
    judge: Generator | None = None,
) -> tuple[Any, LabelStatus]:
    status = LabelStatus(journal, "none", stream=io.StringIO())
    runs = Scheduler(
        generator,
        Sampling(),
        checker or NumberChecker(),
        journal,
        status,
        seed=5,
        max_failed_fraction=max_failed_fraction,
        judge=judge,
    )
    results = {} if results is None else results
    for number, result in runs.run(tasks):
        assert number not in results
        results[number] = result
    return results, status


@pytest.mark.parametrize(("parallel", "together"), [(1, 1), (4, 1), (1, 3), (1, 100)])
def test_every_rollout_is_sampled_once(parallel: int, together: int, tmp_path: Path) -> None:
    generator = ScriptedGenerator(parallel=parallel, together=together)
    with Journal(tmp_path / "j.jsonl") as journal:
        results, status = _run(generator, journal, _tasks(7))
        assert len(journal) == 7 * 2 * (1 + 4 * 3)
    assert sorted(results) == list(range(7)) and all(len(one) == 2 for one in results.values())
    assert sum(generator.sampled().values()) == status.rollouts == 7 * 2 * 13
    assert status.tokens == sum(10 + k for r in generator.requests for k in range(r.n))
    if together == 100:  # all questions' first round in one call, then all their prefixes
        assert generator.calls == [7, 7 * 2 * 4]
    elif together == 1:
        assert set(generator.calls) == {1}
    # The labels are shares of what the journal says.
    for one in results[3]:
        rights = Counter(
            r.key.step for r in journal if r.key[:2] == ("q3", one.number) and r.verdict == "right"
        )
        assert [label.p for label in one.labels[:-1]] == [rights[step] / 3 for step in range(1, 5)]
        assert one.labels[-1].p == rights[0]


def test_results_do_not_depend_on_how_they_are_served(tmp_path: Path) -> None:
    found = []
    for name, generator in (
        ("a", ScriptedGenerator()),
        ("b", ScriptedGenerator(parallel=8)),
        ("c", ScriptedGenerator(together=4)),
    ):
        with Journal(tmp_path / name) as journal:
            found.append(_run(generator, journal, _tasks(6))[0])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("kept", range(0, 53, 4))
@pytest.mark.parametrize("together", [1, 3])
def test_a_run_that_was_cut_anywhere_goes_on_without_losing_or_repeating(
    kept: int, together: int, tmp_path: Path
) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        whole, _ = _run(ScriptedGenerator(), journal, _tasks(2))
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 52
    path.write_text("".join(lines[:kept]))
    generator = ScriptedGenerator(together=together)
    with Journal(path) as journal:
        results, status = _run(generator, journal, _tasks(2))
    assert sum(generator.sampled().values()) == 52 - kept == status.rollouts
    assert status.before == kept
    assert len(path.read_text().splitlines()) == 52
    assert results == whole  # also where a request's rollouts were journaled in part


@pytest.mark.parametrize("lost", [{1, 2}, {0, 3, 5}, {4, 5}])
def test_a_rollout_that_is_missing_is_drawn_again_wherever_it_is(lost: set[int], tmp_path: Path) -> None:
    """Also in the middle of a request: a damaged line that was removed can leave any of them out."""
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        whole, _ = _run(ScriptedGenerator(), journal, _tasks(2))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for number, line in enumerate(lines) if number % 6 not in lost))
    with Journal(path) as journal:
        results, _ = _run(ScriptedGenerator(parallel=3), journal, _tasks(2))
    assert results == whole and sorted(path.read_text().splitlines(keepends=True)) == sorted(lines)


def test_a_failing_question_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    generator = ScriptedGenerator(parallel=2)
    generator.failing["what is 3 ?"] = GenerationError("HTTP 500 after 4 attempts")
    with Journal(tmp_path / "j.jsonl") as journal:
        results, status = _run(generator, journal, _tasks(10), max_failed_fraction=0.1)
        assert sorted(results) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    summary = status.summary()
    assert summary["questions"] == {"total": 10, "done": 9, "failed": 1}
    assert summary["failures"] == {"HTTP 500 after 4 attempts": 1}
    assert summary["failed_questions"] == {"q3": "HTTP 500 after 4 attempts"}
    # Tried again, it is all that is asked for.
    generator.failing.clear()
    generator.requests.clear()
    with Journal(tmp_path / "j.jsonl") as journal:
        results, _ = _run(generator, journal, _tasks(10))
        assert sorted(results) == list(range(10))
    assert {request.prompt for request in generator.requests} == {"prompt of what is 3 ?"}


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    generator = ScriptedGenerator()
    generator.failing["what is"] = GenerationError("HTTP 500")
    with Journal(tmp_path / "j.jsonl") as journal:
        with pytest.raises(
            UserError,
            match=r"3 of 10 questions failed, more than max_failed_fraction=0.2 "
            r"allows; the last one, q\d: HTTP 500\. The rollouts are kept",
        ):
            _run(generator, journal, _tasks(10), max_failed_fraction=0.2)
    assert len(generator.calls) <= 5  # those under way, and no more


def test_a_first_request_that_is_refused_stops_at_once(tmp_path: Path) -> None:
    generator = ScriptedGenerator()
    generator.failing["what is"] = GenerationError("HTTP 400: no images", refused=True)
    with Journal(tmp_path / "j.jsonl") as journal:
        with pytest.raises(UserError, match="refused the first request: HTTP 400: no images"):
            _run(generator, journal, _tasks(10), max_failed_fraction=1.0)
    # Once something has worked, a refusal is that question's own.
    generator.failing = {"what is 9 ?": GenerationError("too long", refused=True)}
    with Journal(tmp_path / "j.jsonl") as journal:
        assert len(_run(generator, journal, _tasks(10), max_failed_fraction=0.1)[0]) == 9


def test_a_refusal_after_others_were_served_is_the_questions_own(tmp_path: Path) -> None:
    """Also where the others were served before the run was started again."""
    generator = ScriptedGenerator()
    generator.failing["what is 0 ?"] = GenerationError("too long", refused=True)
    with Journal(tmp_path / "j.jsonl") as journal:
        _run(ScriptedGenerator(), journal, _tasks(10)[1:])
    with Journal(tmp_path / "j.jsonl") as journal:
        results, status = _run(generator, journal, _tasks(10), max_failed_fraction=0.1)
        assert sorted(results) == list(range(1, 10)) and status.failures == 1


def _given(*texts: str, answer: str = "7", correct: bool | None = None) -> list[Task[Any]]:
    q = question(1, answer=answer)
    chains = [Chain(text, (text,), (len(text),), None, "given", correct=correct) for text in texts]
    return [Task(q, "prompt", partial(label_job, q, FIVE, Three(), cots=1, chains=chains))]


def test_given_chains_are_no_sign_that_the_generator_serves(tmp_path: Path) -> None:
    generator = ScriptedGenerator()
    generator.failing["prompt"] = GenerationError("no images", refused=True)
    tasks = _given("Final answer: 7") + _tasks(1)
    with Journal(tmp_path / "j.jsonl") as journal, pytest.raises(UserError, match="refused the first"):
        _run(generator, journal, tasks, max_failed_fraction=1.0)


@pytest.mark.parametrize(
    "changed",
    [
        _given("Final answer: 8"),
        _given("Final answer: 7", answer="8"),
        _given("Final answer: 7", correct=False),
    ],
)
def test_a_verdict_is_not_taken_for_another_chain_or_answer(changed: list[Task[Any]], tmp_path: Path) -> None:
    """A chain of one step asks for no rollouts, whose prefixes would tell that it is another one."""
    with Journal(tmp_path / "j.jsonl") as journal:
        results, status = _run(ScriptedGenerator(), journal, _given("Final answer: 7"))
        assert results[0][0].labels == (StepLabel(1.0, 1),)
        assert (status.rollouts, status.verdicts) == (0, Counter())
    with Journal(tmp_path / "j.jsonl") as journal:
        results, status = _run(ScriptedGenerator(), journal, changed)
        assert results[0][0].labels == (StepLabel(0.0, 1),) and status.rollouts == 0


class _Judge(NumberChecker):
    """Gives no reply to every third answer while it is down."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.asked = 0

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        self.asked += 1
        if self.error is not None and self.asked % 3 == 0:
            raise self.error
        return super().check(response, question)


def test_what_a_judge_that_is_down_did_not_judge_is_judged_later_and_not_sampled_again(
    tmp_path: Path,
) -> None:
    judge, generator = _Judge(GenerationError("judge: no reply")), ScriptedGenerator()
    with Journal(tmp_path / "j.jsonl") as journal:
        results, status = _run(generator, journal, _tasks(4), max_failed_fraction=1.0, checker=judge)
        assert status.failures > 0 and status.reasons.keys() == {"judge: no reply"}
        sampled = sum(generator.sampled().values())
        assert status.rollouts == sampled == len(journal) + status.verdicts["unjudged"]
    judge.error, judge.asked = None, 0
    with Journal(tmp_path / "j.jsonl") as journal:
        results, after = _run(generator, journal, _tasks(4), checker=judge)
        assert len(journal) == 4 * 26 == sum(generator.sampled().values())
        assert judge.asked == 4 * 26 - sampled + status.verdicts["unjudged"]
    assert after.rollouts == 4 * 26 - sampled
    with Journal(tmp_path / "calm.jsonl") as journal:
        calm, _ = _run(ScriptedGenerator(), journal, _tasks(4))
    assert {number: [one.labels[-1] for one in result] for number, result in results.items()} == {
        number: [one.labels[-1] for one in result] for number, result in calm.items()
    }


def test_what_was_sampled_is_kept_where_judging_stops_the_run(tmp_path: Path) -> None:
    """As where the judge's key is refused."""
    generator = ScriptedGenerator()
    with Journal(tmp_path / "j.jsonl") as journal:
        with pytest.raises(UserError, match="no such judge"):
            _run(generator, journal, _tasks(4), checker=_Judge(UserError("no such judge")))
    with Journal(tmp_path / "j.jsonl") as journal:
        _run(generator, journal, _tasks(4))
        assert len(journal) == 4 * 26 == sum(generator.sampled().values())


def test_an_empty_completion_is_a_rollout_too(tmp_path: Path) -> None:
    class Silent(ScriptedGenerator):
        def complete_all(self, requests: Any, sampling: Any) -> Any:
            return [[Completion("", 0)] * request.n for request in requests]

    with Journal(tmp_path / "j.jsonl") as journal:
        results, status = _run(Silent(), journal, _tasks(3))
    assert (status.rollouts, status.tokens) == (6, 0)
    assert [one.labels for one in results[0]] == [(), ()]


def test_an_interruption_keeps_what_was_sampled(tmp_path: Path) -> None:
    generator = ScriptedGenerator(parallel=2)
    many = threading.Event()

    def before() -> None:
        if len(generator.calls) == 20:
            many.set()
            raise KeyboardInterrupt

    generator.before = before
    results: dict[int, Any] = {}
    with Journal(tmp_path / "j.jsonl") as journal:
        with pytest.raises(KeyboardInterrupt):
            _run(generator, journal, _tasks(10), results=results)
        assert many.is_set()
        assert len(journal) == sum(generator.sampled().values())
    generator.before = lambda: None
    with Journal(tmp_path / "j.jsonl") as journal:
        again, _ = _run(generator, journal, _tasks(10))
        assert len(journal) == 260 == sum(generator.sampled().values())
    assert {number: again[number] for number in results} == results


@pytest.mark.parametrize("hangs", ["generator", "judge"])
def test_a_call_that_hangs_does_not_keep_an_interrupted_run(
    hangs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while the generator is closed, which ends its calls."""
    monkeypatch.setattr(scheduler, "GRACE_SECONDS", 0.05)
    closed = threading.Event()

    class Hanging(ScriptedGenerator):
        def close(self) -> None:
            closed.set()

    # Whichever of the two it is.
    generator = Hanging(parallel=3) if hangs == "generator" else ScriptedGenerator(parallel=3)
    judge = Hanging() if hangs == "judge" else None
    first = threading.Lock()

    def before() -> None:
        if first.acquire(blocking=False):
            raise KeyboardInterrupt
        assert closed.wait(60)

    generator.before = before
    with Journal(tmp_path / "j.jsonl") as journal:
        with pytest.raises(KeyboardInterrupt):
            _run(generator, journal, _tasks(10), judge=judge)
    assert closed.is_set()


def test_an_error_of_the_program_is_not_a_failed_question(tmp_path: Path) -> None:
    generator = ScriptedGenerator()
    generator.before = lambda: 1 / 0  # type: ignore[assignment, return-value]
    with Journal(tmp_path / "j.jsonl") as journal, pytest.raises(ZeroDivisionError):
        _run(generator, journal, _tasks(2), max_failed_fraction=1.0)
