"""Requests at the same time: together through the model, each with its own answer, none lost or doubled."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from served import Loopback, ToldScorer, serving, told_score, wait_for

from dreamprm.client import ServerError
from dreamprm.scorers.base import CandidateScores, ScoringTask
from dreamprm.serving.batching import Batcher, ScoredCandidate, Work
from dreamprm.serving.settings import BatchSettings, QueueSettings

HEAD = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def work(question: str, *candidates: Sequence[str], tokens: int = 1) -> Work:
    task = ScoringTask(question, (), tuple(map(tuple, candidates)))
    return Work(task, (question,), tokens)


def values(one: Work) -> list[tuple[float, ...]]:
    found = one.future.result(10)
    assert all(isinstance(scores, ScoredCandidate) for scores in found)
    return [scores.log_odds for scores in found if isinstance(scores, ScoredCandidate)]


def expected(one: Work) -> list[tuple[float, ...]]:
    return [
        tuple(told_score(one.task.question, step, place) for place, step in enumerate(steps))
        for steps in one.task.candidates
    ]


def test_what_waits_goes_through_the_model_together_with_one_task_per_question() -> None:
    scorer = ToldScorer()
    scorer.gate.clear()
    batcher = Batcher(scorer, window=0.0, tokens=100)
    first = work("p", ["x"])
    batcher.submit([first])
    assert scorer.began.wait(10)  # the model is busy while the others arrive
    others = [work("q", ["a"]), work("r", ["b"]), work("q", ["a"], ["c", "d"])]
    for one in others:
        batcher.submit([one])
    scorer.gate.set()
    for one in (first, *others):
        assert values(one) == expected(one)
    asked = [(task.question, task.candidates) for task in scorer.batches[1]]
    assert asked == [("q", (("a",), ("c", "d"))), ("r", (("b",),))]
    batcher.close(10)
    assert not batcher.alive


def test_a_batch_is_full_by_tokens_and_takes_tasks_in_order() -> None:
    scorer = ToldScorer()
    scorer.gate.clear()
    batcher = Batcher(scorer, window=0.0, tokens=10)
    batcher.submit([work("first", ["x"])])
    assert scorer.began.wait(10)
    batcher.submit([work(str(n), ["x"], tokens=n) for n in (4, 6, 5, 30, 1)])
    scorer.gate.set()
    batcher.close(10)
    questions = [[task.question for task in batch] for batch in scorer.batches]
    assert questions == [["first"], ["4", "6"], ["5"], ["30"], ["1"]]


def test_a_batch_waits_for_its_window_only_while_others_are_arriving() -> None:
    arriving = True
    scorer = ToldScorer()
    batcher = Batcher(scorer, window=30.0, tokens=100, expected=lambda: arriving)
    one, other = work("q", ["a"]), work("q", ["b"])
    batcher.submit([one])
    assert not one.future.done()
    batcher.submit([other])
    arriving = False
    batcher.look()
    assert values(one) == expected(one) and values(other) == expected(other)
    assert len(scorer.batches) == 1 and len(scorer.batches[0][0].candidates) == 2
    batcher.close(10)


def test_cancelled_work_never_reaches_the_model() -> None:
    scorer = ToldScorer()
    scorer.gate.clear()
    batcher = Batcher(scorer, window=0.0, tokens=100)
    batcher.submit([work("first", ["x"])])
    assert scorer.began.wait(10)
    dropped, kept = work("dropped", ["x"]), work("kept", ["x"])
    batcher.submit([dropped, kept])
    assert dropped.future.cancel()
    scorer.gate.set()
    assert values(kept) == expected(kept)
    assert all(task.question != "dropped" for batch in scorer.batches for task in batch)
    batcher.close(10)


@pytest.mark.parametrize("wrong", ["fewer tasks", "fewer candidates", "fewer steps", "raises"])
def test_a_scorer_that_goes_wrong_answers_nobody_and_the_next_batch_is_scored(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(ToldScorer):
        def score(self, tasks: Sequence[ScoringTask]) -> Any:
            found = super().score(tasks)
            if any(task.question == "bad" for task in tasks):
                match wrong:
                    case "fewer tasks":
                        return found[:-1]
                    case "fewer candidates":
                        return [results[:-1] for results in found]
                    case "fewer steps":
                        return [[CandidateScores((1.0, 2.0), 1) for _ in results] for results in found]
                raise SystemExit("whatever it is")
            return found

    with serving(Wrong()) as server:
        with pytest.raises(ServerError, match="answers 500: the model failed") as raised:
            server.client().score("bad", [], [["a", "b", "c"], ["d"]])
        assert raised.value.status == 500
        assert server.client().score("q", [], [["a"]]) == [[told_score("q", "a", 0)]]
        assert server.count("dreamprm_model_failures_total") == 1
    assert "Traceback" in capsys.readouterr().err


def test_many_different_requests_at_the_same_time_each_get_their_own_answer() -> None:
    """Questions, steps and candidates drawn from small sets, so that most requests share some of them."""
    generator = np.random.default_rng(0)

    def request() -> tuple[str, list[list[str]]]:
        steps = [[str(s) for s in generator.integers(0, 5, generator.integers(1, 5))] for _ in range(3)]
        return f"question {generator.integers(0, 6)}", steps[: generator.integers(1, 4)]

    requests = [request() for _ in range(240)]
    scorer = ToldScorer()
    with serving(scorer, batch=BatchSettings(window_ms=3, tokens=40)) as server:
        client = server.client()
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda one: client.score(one[0], [], one[1]), requests))
    for (question, candidates), answer in zip(requests, answers, strict=True):
        assert answer == [
            [told_score(question, step, place) for place, step in enumerate(steps)] for steps in candidates
        ]
    assert len(scorer.batches) < len(requests)


def test_a_full_queue_is_answered_429_with_a_time_and_holds_again_after_it() -> None:
    scorer = ToldScorer()
    scorer.gate.clear()
    with serving(scorer, queue=QueueSettings(requests=2)) as server:
        with ThreadPoolExecutor(2) as pool:
            held = [pool.submit(server.client().score, "q", [], [[str(n)]]) for n in range(2)]
            wait_for(lambda: server.count("dreamprm_requests_in_flight") == 2)
            status, answer, headers = server.post("/v1/score", {"question": "q", "candidates": [["z"]]})
            assert status == 429 and "2 requests are waiting" in answer["error"]["message"]
            assert 1 <= int(headers["retry-after"]) <= 60
            scorer.gate.set()
            assert [one.result(10) for one in held] == [[[told_score("q", str(n), 0)]] for n in range(2)]
        assert server.post("/v1/score", {"question": "q", "candidates": [["z"]]})[0] == 200


def test_bodies_together_are_limited_too() -> None:
    scorer = ToldScorer()
    scorer.gate.clear()
    from dreamprm.serving.settings import LimitSettings

    limits, queue = LimitSettings(body=5_000, tokens=9_000), QueueSettings(bytes=5_000)
    with serving(scorer, queue=queue, limits=limits) as server:
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(server.client().score, "q" * 4_000, [], [["a"]])
            wait_for(lambda: server.count("dreamprm_requests_in_flight") == 1)
            assert server.post("/v1/score", {"question": "q" * 2_000, "candidates": [["a"]]})[0] == 429
            scorer.gate.set()
            held.result(10)


def test_a_request_whose_client_hangs_up_is_dropped_from_the_queue() -> None:
    scorer = ToldScorer()
    scorer.gate.clear()
    with serving(scorer) as server:
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(server.client().score, "first", [], [["a"]])
            assert scorer.began.wait(10)
            body = json.dumps({"question": "gone", "candidates": [["a"]]}).encode()
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(HEAD % len(body))
                client.sendall(body)
                wait_for(lambda: server.count("dreamprm_requests_in_flight") == 2)
            wait_for(lambda: server.count("dreamprm_requests_dropped_total") == 1)
            assert server.count("dreamprm_requests_in_flight") == 1
            # One that hangs up in the middle of its body is none at all.
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(HEAD % 99 + b"{")
            wait_for(lambda: server.count("dreamprm_requests_dropped_total") == 2)
            scorer.gate.set()
            held.result(10)
        assert server.client().score("q", [], [["a"]]) == [[told_score("q", "a", 0)]]
    assert "gone" not in [task.question for batch in scorer.batches for task in batch]


def test_the_loop_answers_while_the_model_and_the_readers_are_busy() -> None:
    scorer = ToldScorer()
    scorer.gate.clear()
    with serving(scorer) as server, ThreadPoolExecutor(4) as pool:
        held = [pool.submit(server.client().score, "q", [], [[str(n)]]) for n in range(4)]
        assert scorer.began.wait(10)
        assert json.loads(server.get("/health")) == {"status": "ok", "model": "told", "gives": "step"}
        scorer.gate.set()
        assert [one.result(10) for one in held] == [[[told_score("q", str(n), 0)]] for n in range(4)]


def test_stopping_answers_what_was_accepted_and_refuses_what_is_new() -> None:
    scorer = ToldScorer()
    scorer.gate.clear()
    with serving(scorer) as server, ThreadPoolExecutor(8) as pool:
        held = [pool.submit(server.client().score, "q", [], [[str(n)]]) for n in range(8)]
        wait_for(lambda: server.count("dreamprm_requests_in_flight") == 8)
        server.server.tell()
        wait_for(lambda: refused(server))
        scorer.gate.set()
        assert [one.result(10) for one in held] == [[[told_score("q", str(n), 0)]] for n in range(8)]


def test_what_cannot_be_answered_in_time_is_told_so() -> None:
    scorer = ToldScorer()
    scorer.gate.clear()
    with serving(scorer, stop_seconds=1) as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.client().score, "q", [], [["a"]])
        assert scorer.began.wait(10)
        server.server.tell()
        with pytest.raises(ServerError, match="answers 503: the server has stopped"):
            held.result(10)
        scorer.gate.set()


def refused(server: Loopback) -> bool:
    """Whether a new request is refused, with 503 or as there is nobody to connect to."""
    try:
        return server.post("/v1/score", {"question": "q", "candidates": [["a"]]})[0] == 503
    except ConnectionError:
        return True


def test_the_model_s_thread_is_one() -> None:
    names = set()
    scorer = ToldScorer(fails=lambda tasks: names.add(threading.current_thread().name))
    with serving(scorer) as server, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: server.client().score("q", [], [[str(n)]]), range(30)))
    assert names == {"model"}
