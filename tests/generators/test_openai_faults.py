"""The openai generator in front of a server that misbehaves: nothing lost, nothing doubled, no key shown."""

import itertools
import logging
import random
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from loopback_servers import Fault, ScriptedServer, status

from dreamprm.config.errors import UserError
from dreamprm.generators import GenerationError, Request, Sampling
from dreamprm.generators.openai import OpenAIGenerator

pytest.importorskip("openai", reason="the openai extra is not installed")

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything that any library logs."""
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield caplog
    assert KEY not in caplog.text


def generator_for(server: ScriptedServer, **settings: Any) -> OpenAIGenerator:
    # The time-out leaves room for a busy machine: only the faults that hang may reach it.
    given = {"retries": 3, "backoff": 0.0, "timeout": 20.0, "api_key_env": "A_KEY"} | settings
    return OpenAIGenerator("m", base_url=server.url, **given)


PASSING = {
    "hang": Fault("hang", seconds=5.0),
    "drop": Fault("drop"),
    "cut": Fault("cut"),
    "408": status(408),
    "409": status(409),
    "429": status(429, retry_after="0"),
    "500": status(500),
    "503": status(503),
    "malformed": Fault("malformed"),
    "not_utf8": Fault("body", body=b'{"choices": "\xe4"}'),
    "empty_choices": Fault("body", body={"choices": []}),
    "null_choices": Fault("body", body={"choices": None}),
    "error_with_200": Fault("body", body={"error": {"message": "the engine died"}}),
    "no_message": Fault("body", body={"choices": [{"index": 0}]}),
    "wrong_content": Fault("body", body={"choices": [{"message": {"content": 3}}]}),
    "half_a_pair": Fault("body", body={"choices": [{"message": {"content": "\ud83d"}}]}),
    "a_list": Fault("body", body=[1]),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again_a_bounded_number_of_times(
    name: str, logs: pytest.LogCaptureFixture
) -> None:
    fault = PASSING[name]
    times, timeout = (1, 1.5) if name == "hang" else (3, 20.0)
    with ScriptedServer(faults=[fault] * times).serving() as server:
        generator = generator_for(server, timeout=timeout)
        completions = generator.complete("q", n=2)  # the next try is answered
        assert [completion.text for completion in completions] == list(server.exchanges[-1].texts)
        assert [exchange.fault for exchange in server.exchanges] == [fault] * times + [None]
        generator.close()
    with ScriptedServer(fault_of=lambda number, body: fault).serving() as server:
        generator = generator_for(server, timeout=timeout, retries=1)
        with pytest.raises(GenerationError, match=r"\(tried 2 times\)") as caught:
            generator.complete("q", n=2)
        assert not caught.value.refused
        assert len(server.exchanges) == 2
        generator.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hang", "no answer within 0.3 s"),
        ("500", "HTTP 500: scripted"),
        ("malformed", 'an answer that is not JSON: \'{"choices": [{"message": \''),
        ("empty_choices", 'an answer without choices: {"choices": []}'),
        ("error_with_200", "an answer without choices: the engine died"),
        ("no_message", "an answer in which not every choice has a text"),
    ],
)
def test_the_last_failure_is_told_in_its_words(name: str, words: str) -> None:
    with ScriptedServer(faults=[PASSING[name]]).serving() as server:
        generator = generator_for(server, retries=0, timeout=0.3 if name == "hang" else 20.0)
        with pytest.raises(GenerationError) as caught:
            generator.complete("q")
        assert str(caught.value) == f"{words} (tried 1 times)"
        generator.close()


def test_a_server_that_is_not_there_is_a_failure_of_each_request() -> None:
    with ScriptedServer().serving() as server:
        address = server.url
    generator = OpenAIGenerator("m", base_url=address, retries=2, backoff=0.0, api_key_env="A_KEY")
    results = generator.complete_all([Request("a"), Request("b")], Sampling())
    for result in results:
        assert isinstance(result, GenerationError) and not result.refused
        assert "(tried 3 times)" in str(result) and "Connect" in str(result)
    generator.close()


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form: str) -> None:
    def wait(number: int, body: dict[str, Any]) -> Fault | None:
        # An HTTP date holds whole seconds; two ahead are between one and two from now.
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return status(429, retry_after="0.4" if form == "seconds" else date) if number == 0 else None

    least = 0.4 if form == "seconds" else 0.9
    with ScriptedServer(fault_of=wait).serving() as server:
        generator = generator_for(server, timeout=10.0)
        generator.complete("q")
        first, second = server.exchanges
        assert least <= second.at - first.at < 30.0  # the first wait of its own is 0
        generator.close()


def test_a_wait_beyond_the_longest_ends_the_request() -> None:
    with ScriptedServer(faults=[status(429, "slow down", retry_after="3600")]).serving() as server:
        generator = generator_for(server, longest_wait=5.0)
        with pytest.raises(GenerationError) as caught:
            generator.complete("q")
        assert str(caught.value) == (
            "HTTP 429: slow down (tried 1 times; it asks to wait 3600 s; longest_wait is 5 s)"
        )
        generator.close()


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_refused_request_is_not_tried_again_and_leaves_the_others(code: int) -> None:
    def too_long(number: int, body: dict[str, Any]) -> Fault | None:
        return status(code, "the prompt is too long") if "long" in body["messages"][0]["content"] else None

    with ScriptedServer(fault_of=too_long).serving() as server:
        generator = generator_for(server)
        bad, good = generator.complete_all([Request("long", n=2), Request("short", n=2)], Sampling())
        assert isinstance(bad, GenerationError) and bad.refused
        assert str(bad) == (
            f"HTTP {code}: the prompt is too long; if the server returns only one completion "
            "per request, set samples_per_request to 1"
        )
        assert not isinstance(good, GenerationError) and len(good) == 2
        assert len(server.exchanges) == 2
        generator.close()


def test_a_filtered_completion_refuses_its_request() -> None:
    message = {"role": "assistant", "content": "I am"}
    choices = [{"index": 0, "message": message, "finish_reason": "content_filter"}]
    with ScriptedServer(faults=[Fault("body", body={"choices": choices})]).serving() as server:
        generator = generator_for(server)
        with pytest.raises(GenerationError, match="content filter") as caught:
            generator.complete("q")
        assert caught.value.refused
        assert len(server.exchanges) == 1
        generator.close()


@pytest.mark.parametrize(
    ("message", "text"),
    [({"content": None, "refusal": "I will not."}, "I will not."), ({"content": None}, ""), ({}, "")],
)
def test_a_message_without_content_is_a_short_text(message: dict[str, Any], text: str) -> None:
    """A model that reasons apart from its answer may reach the limit before the answer begins."""
    choices = [{"index": 0, "message": message, "finish_reason": "length"}]
    with ScriptedServer(faults=[Fault("body", body={"choices": choices})]).serving() as server:
        generator = generator_for(server)
        (completion,) = generator.complete("q")
        assert (completion.text, completion.finished) == (text, False)
        generator.close()


@pytest.mark.parametrize("code", [401, 402, 403, 404, 405])
@pytest.mark.parametrize("requests", [1, 4])
def test_what_no_request_can_pass_is_the_users_to_mend(
    code: int, requests: int, logs: pytest.LogCaptureFixture
) -> None:
    words = f"no entry for key {KEY}, said the server"
    with ScriptedServer(fault_of=lambda number, body: status(code, words)).serving() as server:
        generator = generator_for(server, concurrency=1)
        with pytest.raises(UserError) as caught:
            generator.complete_all([Request("q")] * requests, Sampling())
        assert f"HTTP {code}: no entry for key ***, said the server" in str(caught.value)
        assert "A_KEY" in str(caught.value)
        shown = "".join(traceback.format_exception(caught.value, chain=True))
        assert KEY not in shown
        assert caught.value.__context__ is None  # nothing behind it that a logger may dig out
        assert len(server.exchanges) <= 2  # no retry; what waited for its turn was called off
        assert server.exchanges[0].authorization == f"Bearer {KEY}"
        generator.close()


@pytest.mark.parametrize("code", [400, 429, 500])
def test_the_key_is_in_no_failure(code: int, logs: pytest.LogCaptureFixture) -> None:
    with ScriptedServer(fault_of=lambda number, body: status(code, f"got {KEY}")).serving() as server:
        generator = generator_for(server, retries=1)
        (failure,) = generator.complete_all([Request("q")], Sampling())
        assert isinstance(failure, GenerationError)
        assert f"HTTP {code}: got ***" in str(failure)
        for shown in (repr(failure), repr(generator), repr(vars(generator)), repr(generator.describe())):
            assert KEY not in shown
        generator.close()
    assert any("HTTP" in record.getMessage() for record in logs.records)  # there was something to search


def test_the_key_is_in_no_failure_of_an_answer_that_repeats_it(logs: pytest.LogCaptureFixture) -> None:
    for body in ({"error": KEY}, {"choices": [], "key": KEY}):
        with ScriptedServer(faults=[Fault("body", body=body)]).serving() as server:
            generator = generator_for(server, retries=0)
            with pytest.raises(GenerationError) as caught:
                generator.complete("q")
            assert KEY not in str(caught.value) and "***" in str(caught.value)
            generator.close()


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY} ", f"\u00e4{KEY}"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("A_KEY", key)
    with pytest.raises(UserError, match="the environment variable A_KEY contains white space") as caught:
        OpenAIGenerator("m", base_url="http://127.0.0.1:1/v1", api_key_env="A_KEY")
    assert KEY not in str(caught.value)


def test_a_partly_served_request_says_how_far_it_came() -> None:
    with ScriptedServer(faults=[None, None, status(400, "enough")]).serving() as server:
        generator = generator_for(server, samples_per_request=1)
        with pytest.raises(GenerationError, match="^after 2 of 3 completions: HTTP 400: enough$"):
            generator.complete("q", n=3)
        generator.close()


def test_a_hundred_requests_through_every_fault_lose_and_double_nothing(
    logs: pytest.LogCaptureFixture,
) -> None:
    """Each request's texts are the server's answers to that request, each once; the tries are bounded."""
    draw = random.Random(0)
    passing = [fault for name, fault in PASSING.items() if name != "hang"]
    lock = threading.Lock()
    # Met from the end: a short answer first, then what brings nothing, an answer with too many last.
    left = {
        f"q{k}": draw.choices([Fault("more")], k=k % 2)
        + draw.choices(passing, k=draw.randrange(4))
        + draw.choices([Fault("fewer", count=1), Fault("fewer", count=2)], k=k % 3 % 2)
        for k in range(100)
    }
    for k in range(4):  # few, since each takes the whole time-out
        left[f"q{k}"] = [PASSING["hang"]]
    planned = sum(map(len, left.values()))

    def next_fault(number: int, body: dict[str, Any]) -> Fault | None:
        with lock:
            mine = left[body["messages"][0]["content"]]
            return mine.pop() if mine else None

    requests = [Request(f"q{k}", n=3, seed=k) for k in range(100)]
    with ScriptedServer(fault_of=next_fault).serving() as server:
        generator = generator_for(server, concurrency=8, timeout=2.0, retries=6)
        results = generator.complete_all(requests, Sampling())
        generator.close()
        sent: dict[str, list[str]] = {}
        for exchange in server.exchanges:
            kept = exchange.texts[: exchange.body.get("n", 1)]  # "more": the surplus one is left out
            sent.setdefault(exchange.body["messages"][0]["content"], []).extend(kept)
    assert server.most_at_once <= 8
    assert planned > 200 and not any(left.values())  # every planned fault was met
    for request, result in zip(requests, results, strict=True):
        assert not isinstance(result, GenerationError)
        assert [completion.text for completion in result] == sent[request.prompt]
        assert len(result) == 3
    texts = [completion.text for result in results for completion in result]  # type: ignore[union-attr]
    assert len(texts) == len(set(texts)) == 300


@pytest.mark.parametrize("fault", [status(503), Fault("hang", seconds=60.0)])
def test_close_ends_the_waits(fault: Fault) -> None:
    """Those between two tries, and those for the answer of a server that hangs."""
    with ScriptedServer(fault_of=lambda number, body: fault).serving() as server:
        generator = generator_for(server, backoff=60.0, longest_wait=60.0, timeout=60.0)
        outcome: list[Any] = []
        thread = threading.Thread(
            target=lambda: outcome.extend(generator.complete_all([Request("q")], Sampling()))
        )
        thread.start()
        for _ in itertools.takewhile(lambda _: not server.exchanges, range(500)):
            time.sleep(0.01)
        generator.close()
        thread.join(10.0)
        assert not thread.is_alive()
        (failure,) = outcome
        assert isinstance(failure, GenerationError) and str(failure) == "the generator was closed"


def test_an_answer_that_comes_too_late_is_not_counted_twice() -> None:
    slow = ScriptedServer(pause=0.6)
    with slow.serving() as server:
        generator = generator_for(server, timeout=0.2, retries=1)
        with pytest.raises(GenerationError, match="no answer within 0.2 s .tried 2 times."):
            generator.complete("q")
        server.pause = 0.0
        patient = generator_for(server)
        (completion,) = patient.complete("q")
        generator.close()
        patient.close()
        while len(server.exchanges) < 3:
            time.sleep(0.01)
    assert [text for exchange in server.exchanges for text in exchange.texts] == [completion.text]
