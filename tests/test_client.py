"""The client of a served PRM: what it sends, when it asks again, and what it says when it gets no scores."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dreamprm.client import Client, ServerError
from dreamprm.config.errors import UserError
from dreamprm.runtime.retries import Retries

QUICK = Retries(count=3, first=0.001, longest=1.0)
GOOD = {"candidates": [{"log_odds": [1.5, -2.0]}]}


class Scripted:
    """Answers the first requests as told, the last answer again and again; None hangs up."""

    def __init__(self, *answers: tuple[int, dict[str, str], Any] | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], Any]] = []

    @contextmanager
    def serving(self) -> Iterator[str]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                script.requests.append((self.path, dict(self.headers), json.loads(body) if body else None))
                answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, value = answer
                content = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for name, text in headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST

            def log_message(self, *args: object) -> None:
                """Nothing on stderr."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


def test_what_is_sent_and_what_comes_back(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), "red")
    image.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    with (script := Scripted((200, {}, GOOD))).serving() as url:
        client = Client(url + "/v1/", "t", retries=QUICK)
        images = [tmp_path / "a.png", str(tmp_path / "a.png"), content, image, "data:image/png;base64,AA=="]
        assert client.score("q", images, [["a", "b"]]) == [[1.5, -2.0]]
        client.close()
    ((path, headers, body),) = script.requests
    assert path == "/v1/score" and headers["Authorization"] == "Bearer t"
    assert body["question"] == "q" and body["candidates"] == [["a", "b"]]
    assert body["images"][0] == body["images"][1] == body["images"][2] and body["images"][4][:5] == "data:"


def test_a_busy_server_is_asked_again_when_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("dreamprm.client.time.sleep", waits.append)
    busy = (429, {"Retry-After": "1"}, {"error": {"message": "full"}})
    with Scripted(busy, (503, {}, b"starting"), None, (200, {}, GOOD)).serving() as url:
        assert Client(url, retries=QUICK).score("q", [], [["a", "b"]]) == [[1.5, -2.0]]
    assert waits[0] == 1.0 and len(waits) in (2, 3) and max(waits[1:]) < 0.1
    with (script := Scripted(busy)).serving() as url:
        with pytest.raises(ServerError, match=r"/v1/score answers 429: full \(4 times\)") as raised:
            Client(url, retries=QUICK).score("q", [], [["a", "b"]])
        assert raised.value.status == 429 and len(script.requests) == 4
    # It asks for more time than there is.
    with (script := Scripted((429, {"Retry-After": "100"}, b""))).serving() as url:
        with pytest.raises(ServerError, match="answers 429"):
            Client(url, retries=QUICK).score("q", [], [["a", "b"]])
        assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            (422, {}, {"error": {"message": "candidates[0] has no steps"}}),
            "answers 422: candidates.0. has no steps",
        ),
        ((401, {}, b"<html>no</html>"), "answers 401: <html>no</html>"),
        ((500, {}, {"error": "odd"}), "answers 500: "),
        ((302, {"Location": "http://x"}, b""), "answers 302: "),
        ((200, {}, b"[1"), "the answer is not JSON"),
        ((200, {}, [1]), "the answer is not an object"),
        ((200, {}, {}), "was asked for 1 candidates and answers"),
        ((200, {}, {"candidates": []}), "was asked for 1 candidates"),
        ((200, {}, {"candidates": [{"log_odds": [1.0] * 3}]}), "candidate 0, which has 2 steps"),
        ((200, {}, {"candidates": [{"log_odds": [1.0, True]}]}), "candidate 0, which has 2 steps"),
        ((200, {}, b'{"candidates": [{"log_odds": [1.0, NaN]}]}'), "candidate 0, which has 2 steps"),
        ((200, {}, {"candidates": [{"error": "too long"}]}), "candidates.0.: too long"),
    ],
)
def test_no_scores_are_said_at_once(answer: Any, message: str) -> None:
    with (script := Scripted(answer)).serving() as url:
        with pytest.raises(ServerError, match=message):
            Client(url, retries=QUICK).score("q", [], [["a", "b"]])
        assert len(script.requests) == 1


def test_rewards_are_checked() -> None:
    with Scripted((200, {}, {"rewards": [0.5]}), (200, {}, {"rewards": [0.5, None]})).serving() as url:
        client = Client(url, retries=QUICK)
        assert client.rewards(["q"], ["r"]) == [0.5]
        with pytest.raises(ServerError, match="expected 2 rewards, got"):
            client.rewards(["q", "q"], ["r", "s"])


def test_nobody_there_and_wrong_addresses(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"http://127.0.0.1:9 does not answer: .*\(4 times\)") as raised:
        Client("http://127.0.0.1:9", retries=QUICK).score("q", [], [["a"]])
    assert raised.value.status is None
    for url in ("127.0.0.1:8000", "ftp://x", "http://", "http://[::1"):
        with pytest.raises(UserError, match="must be like http://127.0.0.1:8000"):
            Client(url)
    with pytest.raises(UserError, match="must not contain a user"):
        Client("http://me:secret@x")
    with pytest.raises(UserError, match="the token contains"):
        Client("http://x", "a\nb")
    with pytest.raises(UserError, match=r"nowhere.png' cannot be read"):
        Client("http://127.0.0.1:9").score("q", [tmp_path / "nowhere.png"], [["a"]])
    with pytest.raises(UserError, match="an image must be given as"):
        Client("http://127.0.0.1:9").score("q", [3], [["a"]])  # type: ignore[list-item]


def test_it_imports_no_torch() -> None:
    code = (
        "import sys, dreamprm.client, dreamprm.responses;"
        "print([name for name in ('torch', 'numpy', 'PIL', 'openai') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
