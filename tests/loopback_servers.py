"""OpenAI-compatible servers on loopback: a scripted one that misbehaves as told, and a real one."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest


@dataclass(frozen=True)
class Fault:
    """What a server does instead of answering.

    `hang`: says nothing for `seconds`, then hangs up. `drop`: hangs up at once. `cut`: promises the whole
    answer and hangs up halfway. `status`: an error with `headers` and `body`. `malformed`: 200 with broken
    JSON. `body`: 200 with `body` as JSON (bytes as they are). `fewer`: an answer with at most `count`
    choices; `more`: `count` choices too many.
    """

    kind: Literal["hang", "drop", "cut", "status", "malformed", "body", "fewer", "more"]
    seconds: float = 30.0
    code: int = 500
    headers: tuple[tuple[str, str], ...] = ()
    body: Any = None
    count: int = 1


def status(code: int, message: str = "scripted", **headers: str) -> Fault:
    """An error in OpenAI's form; header names are written with underscores."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Fault("status", code=code, headers=named, body={"error": {"message": message}})


@dataclass(frozen=True)
class Exchange:
    """One request as the server saw it, and what it answered."""

    body: dict[str, Any]
    authorization: str
    fault: Fault | None
    texts: tuple[str, ...]  # of the choices in the answer; empty where no answer reached the client
    at: float


@dataclass
class ScriptedServer:
    """An OpenAI-compatible chat server whose faults are scripted.

    Attributes:
        faults: what happens to the first requests in the order of their arrival; None is an honest answer.
        fault_of: asked once the script is spent, with the request's number and body.
        prefix: what the server does with the flags for an open last turn: `continues`, `ignores`, `refuses`.
        words: texts of the choices, given the request's body and number and the choice's index.
        counts_tokens: whether answers hold `usage`; a token is a word.
        forward_to: the address of a server that answers instead of this one (`words` is not used then).
        pause: seconds that an honest answer takes.
    """

    faults: Sequence[Fault | None] = ()
    fault_of: Callable[[int, dict[str, Any]], Fault | None] = lambda number, body: None
    prefix: Literal["continues", "ignores", "refuses"] = "ignores"
    words: Callable[[dict[str, Any], int, int], str] = lambda body, number, index: (
        f"request {number} choice {index} " + "x " * index
    )
    counts_tokens: bool = True
    forward_to: str | None = None
    pause: float = 0.0
    exchanges: list[Exchange] = field(default_factory=list)
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._arrived = 0
        self._at_once = 0
        self._stopping = threading.Event()

    @property
    def url(self) -> str:
        """The address to give as `base_url`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def chats(self) -> list[Exchange]:
        """The exchanges that asked for more than one token: all but the probes of the prefix."""
        return [one for one in self.exchanges if _limit(one.body) != 1]

    @contextmanager
    def serving(self) -> Iterator["ScriptedServer"]:
        """Serve on a free port until the block ends."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server._serve(self)

            def log_message(self, *args: object) -> None:
                """Nothing on stderr."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["Content-Length"])
        content = handler.rfile.read(length)
        if len(content) < length:  # the client was closed while it sent
            handler.close_connection = True
            return
        body = json.loads(content)
        with self._lock:
            number = self._arrived
            self._arrived += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        scripted = number < len(self.faults)
        fault = self.faults[number] if scripted else self.fault_of(number, body)
        try:
            texts, send = self._reply(handler, number, body, fault)
        finally:
            with self._lock:
                self._at_once -= 1
        if texts and _has_hung_up(handler):  # it lost patience: nobody reads this answer
            texts = ()
        # Recorded before it is sent: once the client has an answer, the record is complete.
        authorization = handler.headers.get("Authorization", "")
        with self._lock:
            self.exchanges.append(Exchange(body, authorization, fault, texts, time.monotonic()))
        send()

    def _reply(
        self, handler: BaseHTTPRequestHandler, number: int, body: dict[str, Any], fault: Fault | None
    ) -> tuple[tuple[str, ...], Callable[[], None]]:
        kind = fault.kind if fault else None
        if fault and kind in ("hang", "drop"):
            return (), lambda: self._leave(handler, fault.seconds if kind == "hang" else 0.0)
        if fault and kind == "status":
            return (), lambda: _send(handler, fault.code, json.dumps(fault.body).encode(), fault.headers)
        if fault and kind == "malformed":
            return (), lambda: _send(handler, 200, b'{"choices": [{"message": ')
        if fault and kind == "body":
            raw = fault.body if isinstance(fault.body, bytes) else json.dumps(fault.body).encode()
            return (), lambda: _send(handler, 200, raw)
        self._stopping.wait(self.pause)
        if self.forward_to is not None:
            code, content = _forward(self.forward_to, body)
        else:
            code, content = self._answer(number, body, fault)
        if fault and kind == "cut":
            return (), lambda: _cut(handler, content)
        choices = json.loads(content).get("choices", []) if code == 200 else []
        return (
            tuple(choice["message"]["content"] for choice in choices),
            lambda: _send(handler, code, content),
        )

    def _leave(self, handler: BaseHTTPRequestHandler, seconds: float) -> None:
        self._stopping.wait(seconds)
        _hang_up(handler)

    def _answer(self, number: int, body: dict[str, Any], fault: Fault | None) -> tuple[int, bytes]:
        flags = body.get("continue_final_message", False)
        if flags and self.prefix == "refuses":
            return 400, json.dumps({"error": {"message": "unknown field continue_final_message"}}).encode()
        n = body.get("n", 1)
        if fault and fault.kind in ("fewer", "more"):
            n = min(n, fault.count) if fault.kind == "fewer" else n + fault.count
        limit = _limit(body)
        choices: list[dict[str, Any]] = []
        tokens = 0
        for index in range(n):
            words = self.words(body, number, index).split(" ")
            reason = "stop" if len(words) <= limit else "length"
            tokens += min(len(words), limit)
            message = {"role": "assistant", "content": " ".join(words[:limit])}
            choices.append({"index": index, "message": message, "finish_reason": reason})
        prompt = sum(len(str(message["content"]).split()) + 3 for message in body["messages"]) + 3
        if flags and self.prefix == "continues":
            prompt -= 5  # no end of the turn, no new turn
        answer: dict[str, Any] = {"id": str(number), "object": "chat.completion", "choices": choices}
        if self.counts_tokens:
            answer["usage"] = {
                "prompt_tokens": prompt,
                "completion_tokens": tokens,
                "total_tokens": prompt + tokens,
            }
        return 200, json.dumps(answer).encode()


def _limit(body: dict[str, Any]) -> int:
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or 10**9)


def _send(
    handler: BaseHTTPRequestHandler, code: int, content: bytes, headers: Sequence[tuple[str, str]] = ()
) -> None:
    try:
        handler.send_response(code)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)
    except OSError:  # the client has given up waiting
        handler.close_connection = True


def _cut(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    _hang_up(handler)


def _has_hung_up(handler: BaseHTTPRequestHandler) -> bool:
    try:
        return handler.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:  # still there, with nothing more to say
        return False
    except OSError:
        return True


def _hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    try:
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the client was first
        pass


def _forward(address: str, body: dict[str, Any]) -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"{address}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@dataclass(frozen=True)
class RealServer:
    """A running `transformers serve`: its address and the name under which it serves its model."""

    url: str
    model: str


@contextmanager
def serving_model(folder: Path, log: Path, *, patience: float = 120.0) -> Iterator[RealServer]:
    """`transformers serve` in a process of its own on a free port, ended with the block.

    Args:
        folder: a checkpoint with processor and chat template.
        log: where the server's output goes.
        patience: seconds within which it must answer.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "transformers.cli.transformers",
        "serve",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | own)
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log, patience)
            yield RealServer(f"http://127.0.0.1:{port}/v1", str(folder))
        finally:
            process.terminate()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_healthy(address: str, process: subprocess.Popen[bytes], log: Path, patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    text = log.read_text(errors="replace")[-3000:]
    raise RuntimeError(f"transformers serve did not answer (exit code {process.poll()}):\n{text}")


one_real_server = pytest.mark.xdist_group("real_server")
"""Marks the tests of `real_server`: with --dist loadgroup one process starts it, once."""


@pytest.fixture(scope="session")
def tiny_served_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of `tiny_served_model.py`."""
    from tiny_served_model import save_tiny_served_model

    return save_tiny_served_model(tmp_path_factory.mktemp("served") / "tiny_served_model")


@pytest.fixture(scope="session")
def real_server(tiny_served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """`transformers serve` with `tiny_served_model`."""
    missing = [name for name in ("openai", "fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"a real server needs {', '.join(missing)}: pip install -e '.[test]'")
    log = tmp_path_factory.mktemp("real_server") / "log.txt"
    with serving_model(tiny_served_model, log) as server:
        yield server
