"""Asks a PRM that `dreamprm serve` serves; without torch, so that it can stand in any program.

from dreamprm.client import Client

client = Client("http://127.0.0.1:8000")
log_odds = client.score("What is 2 + 3?", [], [["Step 1: 2 + 3 = 5"], ["Step 1: 2 + 3 = 6"]])
rewards = client.rewards(["What is 2 + 3?"], ["2 + 3 = 5. The answer is 5."])
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import math
import os
import random
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dreamprm.config.errors import UserError
from dreamprm.runtime.retries import Retries, retry_after

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageSource = str | os.PathLike[str] | bytes | Image

TOKEN_VARIABLE = "DREAMPRM_TOKEN"
"""The environment variable that holds the token, for the server and its clients."""

AGAIN = (429, 503)
"""Answers after which the same request may succeed: the queue is full, the server is stopping or starting."""


class ServerError(UserError):
    """A server gave no scores.

    Attributes:
        status: of its answer; None if there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    asked: float | None
    body: bytes


class Client:
    """A served PRM. One object may be used by many threads; connections are kept and used again.

    A request is sent again if the server's queue is full or it is starting (429 and 503, after the time that
    it asks for), or if there is no answer. Scoring changes nothing on the server, so that this is safe.

    Args:
        url: the server's address, such as `http://127.0.0.1:8000`.
        token: what the server asks for; None: the environment variable DREAMPRM_TOKEN, if it is set.
        timeout: seconds to wait for an answer, queueing included.
        retries: how often and after which waits a request is sent again; None: 8 times, from 0.2 seconds on.

    Raises:
        UserError: the address is not one, or the token cannot be sent.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 300.0,
        retries: Retries | None = None,
    ) -> None:
        self.url, self._secure, self._host, self._port, self._path = _address(url)
        token = os.environ.get(TOKEN_VARIABLE) if token is None else token
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise UserError("the token contains white space or characters that no header can hold")
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout
        self._retries = Retries(count=8, first=0.2, longest=60.0) if retries is None else retries
        self._idle: list[http.client.HTTPConnection] = []
        self._mutex = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    def score(
        self, question: str, images: Sequence[ImageSource], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """The log-odds of every step of every candidate, log(p / (1 - p)).

        Args:
            question: its text.
            images: paths, the bytes of files, images of Pillow, or data URLs; empty for none.
            candidates: the steps of each.

        Returns:
            For each candidate, a number per step; a single one if the model scores whole responses (an ORM).

        Raises:
            ServerError: the server refuses the request, fails, or does not answer.
            UserError: an image cannot be read.
        """
        answer = self.ask("/v1/score", score_request(question, images, candidates))
        scored = []
        for number, found in enumerate(scored_candidates(answer, candidates)):
            if "error" in found:
                raise ServerError(f"{self.url}: candidates[{number}]: {found['error']}")
            scored.append([float(value) for value in found["log_odds"]])
        return scored

    def rewards(
        self,
        questions: Sequence[str],
        responses: Sequence[str],
        images: Sequence[Sequence[ImageSource]] | None = None,
    ) -> list[float]:
        """One reward per response; the server splits responses into steps and aggregates their scores.

        Args:
            questions: of each response.
            responses: whole texts.
            images: of each question, as for `score`; None for none.

        Raises:
            ServerError, UserError: as `score`.
        """
        request: dict[str, Any] = {"prompts": list(questions), "responses": list(responses)}
        if images is not None:
            request["images"] = [[encoded_image(image) for image in shown] for shown in images]
        answer = self.ask("/get_reward", request)
        rewards = answer.get("rewards")
        if not isinstance(rewards, list) or len(rewards) != len(responses) or not all(map(_finite, rewards)):
            raise ServerError(f"{self.url}/get_reward: expected {len(responses)} rewards, got {_cut(answer)}")
        return [float(reward) for reward in rewards]

    def model(self) -> dict[str, Any]:
        """What is served: `id`, its name; `gives`, as `dreamprm score` calls it; `identity`, a digest of
        what its scores depend on.

        Raises:
            ServerError: as `score`.
        """
        models = self.ask("/v1/models").get("data")
        if not isinstance(models, list) or not models or not isinstance(models[0], dict):
            raise ServerError(f"{self.url}/v1/models: names no model; is this the address of dreamprm serve?")
        return dict(models[0])

    def ask(self, place: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """POST a request as JSON (GET without one) and return the JSON object of the answer.

        Raises:
            ServerError: as `score`.
        """
        body = None if request is None else json.dumps(request, ensure_ascii=False).encode()
        failures = 0
        while True:
            try:
                answer = self._send(place, body)
            except (OSError, http.client.HTTPException) as error:
                problem = ServerError(f"{self.url} does not answer: {error or type(error).__name__}")
                asked = None
            else:
                if answer.status == 200:
                    return self._object(place, answer.body)
                problem = ServerError(
                    f"{self.url}{place} answers {answer.status}: {_words(answer.body)}", answer.status
                )
                if answer.status not in AGAIN:
                    raise problem
                asked = answer.asked
            failures += 1
            wait = self._retries.wait(failures, asked=asked, uniform=random.random())
            if wait is None:
                times = f" ({failures} times)" if failures > 1 else ""
                raise ServerError(f"{problem}{times}", problem.status)
            time.sleep(wait)

    def close(self) -> None:
        """Close the connections that are not in use; the next request opens another."""
        with self._mutex:
            _close_all(self._idle)

    def _send(self, place: str, body: bytes | None) -> _Answer:
        """One exchange. A kept connection may have been closed by the server: then a new one is opened."""
        with self._mutex:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                return self._exchange(connection, place, body)
            except (ConnectionError, http.client.RemoteDisconnected):
                pass
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return self._exchange(kind(self._host, self._port, timeout=self._timeout), place, body)

    def _exchange(self, connection: http.client.HTTPConnection, place: str, body: bytes | None) -> _Answer:
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, f"{self._path}{place}", body, self._headers)
            with connection.getresponse() as response:
                content = response.read()
                asked = retry_after(response.headers.get("Retry-After"))
                answer = _Answer(response.status, asked, content)
        except BaseException:
            connection.close()  # half an answer may be waiting in it
            raise
        with self._mutex:
            self._idle.append(connection)
        return answer

    def _object(self, place: str, body: bytes) -> dict[str, Any]:
        try:
            value = json.loads(body)
        except ValueError as error:
            raise ServerError(f"{self.url}{place}: the answer is not JSON ({error}): {_cut(body)}") from error
        if not isinstance(value, dict):
            raise ServerError(f"{self.url}{place}: the answer is not an object: {_cut(body)}")
        return value


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def score_request(
    question: str, images: Sequence[ImageSource], candidates: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """The body of a request to `/v1/score`.

    Raises:
        UserError: an image cannot be read.
    """
    return {
        "question": question,
        "images": [encoded_image(image) for image in images],
        "candidates": [list(steps) for steps in candidates],
    }


def scored_candidates(answer: Mapping[str, Any], candidates: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """The `candidates` of an answer of `/v1/score`, checked against those that were asked for.

    Each has finite `log_odds`, as many as its candidate has steps, or a single one; or an `error`.

    Raises:
        ServerError: an answer to something else.
    """
    found = answer.get("candidates")
    if not isinstance(found, list) or len(found) != len(candidates):
        raise ServerError(f"the server was asked for {len(candidates)} candidates and answers {_cut(answer)}")
    for number, (one, steps) in enumerate(zip(found, candidates, strict=True)):
        values = one.get("log_odds") if isinstance(one, dict) else None
        if isinstance(one, dict) and isinstance(one.get("error"), str):
            continue
        if (
            not isinstance(values, list)
            or len(values) not in (1, len(steps))
            or not all(map(_finite, values))
        ):
            raise ServerError(
                f"the server answers candidate {number}, which has {len(steps)} steps, with {_cut(one)}"
            )
    return found


def encoded_image(image: ImageSource) -> str:
    """An image as base64 text: the bytes of its file as they are; an image of Pillow as PNG.

    Raises:
        UserError: no such file, or no image.
    """
    if isinstance(image, str) and image.startswith("data:"):
        return image
    if isinstance(image, bytes | bytearray):
        content = bytes(image)
    elif isinstance(image, str | os.PathLike):
        try:
            with open(image, "rb") as file:
                content = file.read()
        except (OSError, ValueError) as error:
            raise UserError(f"image {os.fspath(image)[:300]!r} cannot be read: {error}") from error
    elif hasattr(image, "save"):
        target = io.BytesIO()
        image.save(target, "PNG")
        content = target.getvalue()
    else:
        raise UserError(
            "an image must be given as a path, as the bytes of its file, as a PIL image or as a data URL, "
            f"got {type(image).__name__}"
        )
    return base64.b64encode(content).decode("ascii")


def _address(url: str) -> tuple[str, bool, str, int | None, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except (ValueError, AttributeError):
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host:
        raise UserError(f"a server's address must be like http://127.0.0.1:8000, got {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            "a server's address must not contain a user, password or query; a token is given apart"
        )
    path = parts.path.rstrip("/").removesuffix("/v1")
    shown = f"[{host}]" if ":" in host else host
    place = shown if port is None else f"{shown}:{port}"
    return f"{parts.scheme}://{place}{path}", parts.scheme == "https", host, port, path


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _words(body: bytes) -> str:
    """The server's own message, or the beginning of what it sent."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, TypeError, LookupError):
        return _cut(body)
    return message if isinstance(message, str) else _cut(body)


def _cut(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else json.dumps(value)
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text):,} characters)"
