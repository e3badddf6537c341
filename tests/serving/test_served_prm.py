"""A real PRM behind the server: its scores are those of `PRM.score`, and the command stops as it should."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served import Loopback, serving, wait_for
from tiny_models import tiny_cots, tiny_prm

from dreamprm.cli import main
from dreamprm.client import Client, ServerError
from dreamprm.config.loading import load_config
from dreamprm.data.step_scores import probability
from dreamprm.models import PRM
from dreamprm.runtime.retries import Retries
from dreamprm.scorers.opening import open_scorer
from dreamprm.serving.settings import BatchSettings, LimitSettings, ServeConfig

# What goes through the model together changes the order of float32 sums, and so the last bits: of log-odds
# below 10 some units of 1e-6, of probabilities, whose slope is at most 1/4, less.
ROUNDING = 2e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny-run"
    tiny_prm(layers=1, vision_layers=1, attn_implementation="sdpa").save_pretrained(folder / "model")
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Loopback]:
    scorer = open_scorer(load_config(ServeConfig, None, [f"model={folder}"]))
    with serving(scorer, limits=LimitSettings(tokens=200), batch=BatchSettings(window_ms=20)) as server:
        yield server


def test_scores_are_those_of_the_prm_whatever_is_batched_with_them(served: Loopback, folder: Path) -> None:
    prm = PRM.from_pretrained(folder / "model")
    cots = tiny_cots(6)
    requests = [(question, images, [steps, steps[:1], ["so", *steps]]) for question, images, steps in cots]
    client = served.client()
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda one: client.score(*one), requests * 3))
    for number, answer in enumerate(together):
        expected = prm.score_candidates(*requests[number % 6])
        for log_odds, probabilities in zip(answer, expected, strict=True):
            assert [probability(value) for value in log_odds] == pytest.approx(probabilities, abs=ROUNDING)
    assert served.count("dreamprm_tokens_total") > 0


def test_a_request_with_too_many_tokens_is_refused_and_others_are_scored(served: Loopback) -> None:
    with pytest.raises(
        ServerError, match=r"422: candidates\[1\] has \d+ tokens; at most 200 \(limits.tokens\)"
    ):
        served.client().score("what is two plus two ?", [], [["four ."], ["one two " * 200]])
    assert len(served.client().score("what is two plus two ?", [], [["four ."]])[0]) == 1
    with pytest.raises(ServerError, match="422: .*<.image_pad.>"):
        served.client().score("what is <|image_pad|> ?", [], [["four ."]])


def test_sigterm_lets_the_command_answer_what_it_has_accepted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command runs in this, the main thread; its clients, and who sends the signal, in others."""
    monkeypatch.setenv("DREAMPRM_TOKEN", "t-1")
    port = free_port()
    url, question = f"http://127.0.0.1:{port}", "what is two plus two ?"
    answers: list[list[list[float]] | ServerError] = []
    half_sent: list[bytes] = []

    def ask() -> None:
        client = Client(url, retries=Retries(count=0))
        while True:
            try:
                answers.append(client.score(question, [], [["four ."]]))
            except ServerError as error:
                answers.append(error)
                return

    def drive() -> None:
        # Nobody listens until the model is loaded.
        answers.append(
            Client(url, "t-1", retries=Retries(count=400, first=0.1, longest=0.1)).score(
                question, [], [["four ."]]
            )
        )
        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        body = b'{"question": "what is two plus two ?", "candidates": [["four ."]]}'
        head = "POST /v1/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t-1\r\nContent-Length: "
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body[:20])
            wait_for(lambda: len(answers) >= 8)
            os.kill(os.getpid(), signal.SIGTERM)
            for client in clients:
                client.join(20)
            half.sendall(body[20:])
            half_sent.append(half.recv(65536))

    driver = threading.Thread(target=drive)
    driver.start()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["serve", f"model={folder}", f"port={port}"]) == 0
    driver.join(20)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    written = capsys.readouterr()
    assert written.err == "" and f"serving tiny-run on {url}: POST /v1/score" in written.out
    assert "stopping: requests that were accepted are answered" in written.out
    # What was half received when the signal came is answered, new requests find nobody.
    assert half_sent[0].startswith(b"HTTP/1.1 200")
    good = [answer for answer in answers if not isinstance(answer, ServerError)]
    assert all(answer[0] == pytest.approx(good[0][0], abs=4 * ROUNDING) for answer in good)
    bad = [answer.status for answer in answers if isinstance(answer, ServerError)]
    assert len(bad) == 3 and set(bad) <= {None, 503}
    assert f"stopped; {len(good) + 1} requests were answered with scores\n" in written.out


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=nowhere"], "nowhere"),
        (["model=M", "scores=likelihood"], "scores=likelihood gives no scores of steps"),
        (["model=M", "port=70000"], "port must be >= 0 and <= 65535, got 70000"),
        (["model=M", "host=no.such.host.invalid"], "cannot listen on host=no.such.host.invalid port=8000"),
        (
            ["model=M", "token_env=NOT_SET_HERE"],
            "the environment variable NOT_SET_HERE (token_env) is not set",
        ),
        (["model=M", "token_env=sk-123"], "token_env must be the name of an environment variable"),
        (["model=M", "queue.bytes=2000"], "is less than one request may have (limits.body="),
        (["model=M", "limits.candidate=3"], "did you mean 'limits.candidates'"),
    ],
)
def test_a_users_mistake_is_one_message(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *(part.replace("=M", f"={folder}") for part in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "sk-123" not in error


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "model=nowhere", f"port={port}"]) == 2
    assert f"cannot listen on host=127.0.0.1 port={port}: " in capsys.readouterr().err
