"""Servers on loopback for tests: in a thread of this process, and a scorer that is told what to do."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dreamprm.client import Client
from dreamprm.config.errors import UserError
from dreamprm.runtime.retries import Retries
from dreamprm.scorers.base import CandidateScores, ScoringTask, StepScorer
from dreamprm.serving.app import Service
from dreamprm.serving.graceful import Server
from dreamprm.serving.serve import bound_socket
from dreamprm.serving.settings import ServeConfig


def told_score(question: str, step: str, position: int) -> float:
    """A number that belongs to this question, step and place, and to no other of the tests."""
    return (hash((question, step, position)) % 1_000_003) / 1000.0


@dataclass
class ToldScorer(StepScorer):
    """Gives each step the `told_score` of it, and remembers what it was asked.

    Attributes:
        gate: waited for before every batch.
        fails: called with the tasks of each batch; may raise.
        batches: the tasks of each batch.
    """

    gives: str = "step"
    gate: threading.Event = field(default_factory=threading.Event)
    fails: Callable[[Sequence[ScoringTask]], None] = lambda tasks: None
    batches: list[list[ScoringTask]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()
        self.began = threading.Event()

    def identity(self) -> dict[str, Any]:
        return {"told": True}

    def score(self, tasks: Sequence[ScoringTask]) -> list[list[CandidateScores | UserError]]:
        self.began.set()
        assert self.gate.wait(20)
        self.batches.append(list(tasks))
        self.fails(tasks)
        return [
            [
                CandidateScores(
                    tuple(told_score(task.question, step, place) for place, step in enumerate(steps)), 1
                )
                for steps in task.candidates
            ]
            for task in tasks
        ]


@dataclass
class Loopback:
    """A running server.

    Attributes:
        server: uvicorn around the service.
        port: on 127.0.0.1.
    """

    service: Service
    server: Server
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str | None = None, **settings: Any) -> Client:
        """A client that does not wait long."""
        return Client(self.url, token, retries=Retries(count=0), **settings)

    def post(
        self, place: str, body: Any, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """One exchange: status, the JSON of the answer, and its headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, place, content, headers or {})
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text[:1] == b"{" else {}, dict(response.headers)
        finally:
            connection.close()

    def get(self, place: str) -> str:
        """The text of a page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", place)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def count(self, sample: str) -> float:
        """A sample of /metrics, such as `dreamprm_candidates_total`."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(sample + " ")]
        return float(lines[0].split()[-1]) if lines else 0.0


@contextmanager
def serving(
    scorer: StepScorer, *, token: str | None = None, port: int = 0, **settings: Any
) -> Iterator[Loopback]:
    """Serve on a free port of loopback until the block ends."""
    config = ServeConfig(model="told", **settings)
    service = Service(scorer, config, name="told", token=token)
    listening = bound_socket("127.0.0.1", port)
    server = Server(service, stop_seconds=config.stop_seconds)
    thread = threading.Thread(target=server.serve_on, args=(listening,), daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Loopback(service, server, listening.getsockname()[1])
    finally:
        if isinstance(scorer, ToldScorer):
            scorer.gate.set()
        server.tell()
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


def wait_for(what: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until something is true."""
    import time

    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
