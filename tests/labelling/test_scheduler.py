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
from dreamprm.errors import UserError
from dreamprm.generators.base import GenerationError, Sampling
from dreamprm.labelling.jobs import Instructions, label_job
from dreamprm.labelling.journal import Journal
from dreamprm.labelling.scheduler import Scheduler, Task
from dreamprm.labelling.status import Status
from dreamprm.rollouts import Ask, LabelMethod, Plan, StepLabel

FIVE = Instructions("five_stage", "headings")


class Three(LabelMethod):
    """Three rollouts of every prefix."""

    def plan(self, prefixes: int, *, correct: bool | None) -> Plan:
        tallies = yield [Ask(step, 3) for step in range(1, prefixes + 1)]
        return [StepLabel(tally.right / tally.total, tally.total) for tally in tallies]


def _tasks(n: int, *, cots: int = 2) -> list[Task[Any]]:
    return [Task(q, f"prompt of {q.question}", partial(label_job, q, FIVE, Three(), cots=cots))
            for q in (question(number) for number in range(n))]


def _run(generator: ScriptedGenerator, journal: Journal, tasks: list[Task[Any]], *,
         max_failed_fraction: float = 0.0, results: dict[int, Any] | None = None) -> tuple[Any, Status]:
    status = Status(journal, "none", stream=io.StringIO())
    runs = Scheduler(generator, Sampling(), NumberChecker(), journal, status, seed=5,
                     max_failed_fraction=max_failed_fraction)
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
        rights = Counter(r.key.step for r in journal
                         if r.key[:2] == ("q3", one.number) and r.verdict == "right")
        assert [label.p for label in one.labels[:-1]] == [rights[step] / 3 for step in range(1, 5)]
        assert one.labels[-1].p == rights[0]


def test_results_do_not_depend_on_how_they_are_served(tmp_path: Path) -> None:
    found = []
    for name, generator in (("a", ScriptedGenerator()), ("b", ScriptedGenerator(parallel=8)),
                            ("c", ScriptedGenerator(together=4))):
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
    # Prefixes that were asked for as a whole, or are all there, have the same labels again.
    assert {number: [one.chain.text for one in result] for number, result in results.items()}.keys() == {0, 1}
    if kept in (0, 52):
        assert results == whole


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
        with pytest.raises(UserError, match=r"3 of 10 questions failed, more than max_failed_fraction=0.2 "
                                            r"allows; the last one, q\d: HTTP 500\. What was sampled"):
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


def test_a_call_that_hangs_does_not_keep_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while the generator is closed, which ends its calls."""
    monkeypatch.setattr(scheduler, "GRACE_SECONDS", 0.05)
    closed = threading.Event()

    class Hanging(ScriptedGenerator):
        def close(self) -> None:
            closed.set()

    generator = Hanging(parallel=3)
    first = threading.Lock()

    def before() -> None:
        if first.acquire(blocking=False):
            raise KeyboardInterrupt
        assert closed.wait(60)

    generator.before = before
    with Journal(tmp_path / "j.jsonl") as journal:
        with pytest.raises(KeyboardInterrupt):
            _run(generator, journal, _tasks(10))
    assert closed.is_set()


def test_an_error_of_the_program_is_not_a_failed_question(tmp_path: Path) -> None:
    generator = ScriptedGenerator()
    generator.before = lambda: 1 / 0  # type: ignore[assignment, return-value]
    with Journal(tmp_path / "j.jsonl") as journal, pytest.raises(ZeroDivisionError):
        _run(generator, journal, _tasks(2), max_failed_fraction=1.0)
