"""The HTTP side: who may ask, how much is received, and what becomes of each request.

The event loop only moves bytes. JSON, images and tokens are read in a small pool of threads (`Preparation`),
scores are computed in the model's thread (`Batcher`).
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from dreamprm.config.errors import UserError
from dreamprm.files.content import content_key
from dreamprm.scorers.base import StepScorer
from dreamprm.serving.batching import Batcher, BatchFigures, ModelFailed, Scored, Work
from dreamprm.serving.metrics import CONTENT_TYPE, Metrics
from dreamprm.serving.preparation import Preparation, Prepared
from dreamprm.serving.request_forms import (
    PoolingRequest,
    RequestError,
    Result,
    RewardRequest,
    ScoreRequest,
    Served,
    _Form,
    read_request,
)
from dreamprm.serving.settings import ServeConfig

_READERS = 4
"""Threads that read requests and write answers: a long request must not hold up the others."""

_WRITTEN_HERE = 32
"""The most candidates whose answer is written by the event loop itself: below a millisecond."""

_LONGEST_WAIT = 60
"""The most seconds that Retry-After asks for."""


class Service:
    """A served model: takes requests, answers them, counts them.

    Args:
        scorer: the model; used by one thread.
        config: limits, queue, batches, rewards.
        name: of the model, in answers.
        token: what requests must bring; None: nothing.
    """

    def __init__(
        self, scorer: StepScorer, config: ServeConfig, *, name: str, token: str | None = None
    ) -> None:
        self.served = Served(name, scorer.gives, content_key(scorer.identity()), config.reward)
        self._config, self._token = config, token
        self._requests = self._bytes = self._reading = 0
        self._speed = 0.0  # tokens a second, lately
        self._stopping = False
        self.metrics = Metrics(lambda: self._requests)
        self._preparation = Preparation(scorer, config.limits)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._batcher = Batcher(
            scorer,
            window=config.batch.window_ms / 1000,
            tokens=config.batch.tokens,
            expected=lambda: self._reading > 0,
            told=self._batch_done,
        )

    def app(self) -> FastAPI:
        """The application, for any ASGI server."""
        app = FastAPI(title="dreamprm serve", docs_url=None, redoc_url=None, openapi_url=None)
        forms: dict[str, type[_Form]] = {
            "/v1/score": ScoreRequest,
            "/pooling": PoolingRequest,
            "/get_reward": RewardRequest,
        }
        for place, form in forms.items():
            app.add_api_route(place, self._endpoint(place, form), methods=["POST"])
        app.add_api_route("/v1/models", self._models, methods=["GET"])
        app.add_api_route("/metrics", self._metrics, methods=["GET"])
        app.add_api_route("/health", self._health, methods=["GET"])
        app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]
        return app

    def stop(self) -> None:
        """Take no more requests; those that were accepted are answered."""
        self._stopping = True

    def close(self) -> None:
        """End the threads. Call it when no request is open any more."""
        self._stopping = True
        self._batcher.close(timeout=5.0)
        self._readers.shutdown(wait=False, cancel_futures=True)

    @property
    def answered(self) -> int:
        """How many requests got their scores."""
        return sum(
            int(sample.value)
            for metric in self.metrics.requests.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels.get("status") == "200"
        )

    def _batch_done(self, figures: BatchFigures) -> None:
        self.metrics.batch(figures)
        if figures.tokens and figures.seconds > 0:
            now = figures.tokens / figures.seconds
            self._speed = now if not self._speed else 0.7 * self._speed + 0.3 * now

    def _endpoint(self, place: str, form: type[_Form]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            started = time.monotonic()
            try:
                response = await self._answer(request, form)
            except RequestError as error:
                response = _error(error)
            except ClientDisconnect:
                self.metrics.dropped.inc()
                response = Response(status_code=499)  # nobody reads it
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
                # The time of `stop_seconds` is over.
                response = _error(RequestError(503, "the server has stopped", retry_after=5))
            self.metrics.requests.labels(place, str(response.status_code)).inc()
            self.metrics.seconds.labels(place).observe(time.monotonic() - started)
            return response

        return endpoint

    async def _answer(self, request: Request, form: type[_Form]) -> Response:
        length = _length(request)
        try:
            self._require_token(request)
            self._require_place(length)
        except RequestError:
            await _discard(request, self._config.limits.body, self._config.limits.body_seconds)
            raise
        self._requests += 1
        self._bytes += length or self._config.limits.body
        try:
            self._reading += 1
            try:
                body = await self._body(request, length)
                read = asyncio.get_running_loop().run_in_executor(self._readers, self._read, form, body)
                asked, prepared = await read
                work = [one.work for one in prepared if one.work is not None]
                self._batcher.submit(work)
            finally:
                self._reading -= 1
                self._batcher.look()
            found = await self._scores(request, work)
            if sum(one.count for one in prepared) <= _WRITTEN_HERE:
                return self._written(asked, prepared, found)
            return await asyncio.get_running_loop().run_in_executor(
                self._readers, self._written, asked, prepared, found
            )
        finally:
            self._requests -= 1
            self._bytes -= length or self._config.limits.body

    def _require_token(self, request: Request) -> None:
        if self._token is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise RequestError(401, "this server asks for a token: send Authorization: Bearer TOKEN")

    def _require_place(self, length: int | None) -> None:
        """Whether the request may come in.

        Raises:
            RequestError: 503, the server stops; 413, the body is too large; 429, the queue is full.
        """
        if self._stopping:
            raise RequestError(503, "the server is stopping", retry_after=5)
        most = self._config.limits.body
        if length is not None and length > most:
            raise RequestError(413, f"the body may have at most {most:,} bytes (limits.body), got {length:,}")
        queue = self._config.queue
        if self._requests >= queue.requests or self._bytes + (length or most) > queue.bytes:
            waiting = self._batcher.waiting_tokens
            wait = waiting / self._speed if self._speed else 1.0
            raise RequestError(
                429,
                f"{self._requests:,} requests are waiting, and no more can (queue.requests, queue.bytes); "
                "ask again later",
                retry_after=max(1, min(_LONGEST_WAIT, math.ceil(wait))),
            )

    async def _body(self, request: Request, length: int | None) -> bytes:
        """The request's body.

        Raises:
            RequestError: 413, too large; 408, too slow; 415, compressed.
            ClientDisconnect: the client hung up.
        """
        limits = self._config.limits
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise RequestError(415, "the body must not be compressed (Content-Encoding)")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(limits.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > limits.body:
                        parts.clear()  # read on, as a client that still sends does not see an answer
                        if size > 8 * limits.body:
                            break
                    else:
                        parts.append(part)
        except TimeoutError:
            raise RequestError(
                408, f"the body did not arrive within {limits.body_seconds:g} seconds (limits.body_seconds)"
            ) from None
        if size > limits.body:
            raise RequestError(413, f"the body may have at most {limits.body:,} bytes (limits.body)")
        return b"".join(parts)

    def _read(self, form: type[_Form], body: bytes) -> tuple[_Form, list[Prepared]]:
        asked = read_request(form, body)
        try:
            tasks = asked.tasks(self.served)
        except UserError as error:
            raise RequestError(422, str(error)) from None
        prepared = self._preparation.prepare(tasks)
        if not self._keeps_errors(asked):
            for task, one in zip(tasks, prepared, strict=True):
                for number, words in one.errors.items():
                    place = (
                        task.named(f"candidates[{number}]") if isinstance(asked, ScoreRequest) else task.place
                    )
                    raise RequestError(422, f"{place} {words}")
        return asked, prepared

    def _keeps_errors(self, asked: _Form) -> bool:
        if isinstance(asked, RewardRequest):
            return self._config.reward.unscorable is not None
        return asked.keeps_errors()

    async def _scores(self, request: Request, work: Sequence[Work]) -> list[Scored]:
        """The results of a request's tasks, unless its client hangs up first: then they are not scored.

        Raises:
            ClientDisconnect: it has hung up.
            RequestError: 500, the model failed.
        """
        scored: asyncio.Future[list[Scored]] = asyncio.gather(
            *(asyncio.wrap_future(one.future) for one in work)
        )
        gone: asyncio.Future[None] = asyncio.ensure_future(_disconnected(request))
        try:
            waited: list[asyncio.Future[Any]] = [scored, gone]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not scored.done():
                raise ClientDisconnect
            return list(scored.result())
        except ModelFailed as failure:
            raise RequestError(
                500, f"the model failed ({failure}); the server's own messages say more"
            ) from None
        finally:
            gone.cancel()
            if not scored.done():
                scored.cancel()
            for one in work:
                one.future.cancel()

    def _written(self, asked: _Form, prepared: Sequence[Prepared], found: Sequence[Scored]) -> Response:
        """The answer as JSON.

        Raises:
            RequestError: 422, a candidate could not be scored, and the form has no place for that.
        """
        scored = iter(found)
        results: list[list[Result]] = []
        tokens = 0
        for number, one in enumerate(prepared):
            own: list[Result] = [one.errors.get(place, "") for place in range(one.count)]
            if one.work is not None:
                tokens += one.work.tokens
                for place, score in zip(one.places, next(scored), strict=True):
                    own[place] = str(score) if isinstance(score, UserError) else score
            for place, result in enumerate(own):
                if isinstance(result, str) and not self._keeps_errors(asked):
                    where = (
                        f"candidates[{place}]" if isinstance(asked, ScoreRequest) else f"response {number}"
                    )
                    raise RequestError(422, f"{where}: {result}")
            results.append(own)
        if isinstance(asked, RewardRequest):
            self.metrics.unscorable.inc(sum(isinstance(one, str) for own in results for one in own))
        return _json(asked.answer(results, self.served, tokens))

    async def _models(self, request: Request) -> Response:
        try:
            self._require_token(request)
        except RequestError as error:
            return _error(error)
        served = self.served
        facts = {"id": served.model, "object": "model", "created": 0, "owned_by": "dreamprm"}
        return _json(
            {"object": "list", "data": [facts | {"gives": served.gives, "identity": served.identity}]}
        )

    async def _metrics(self, request: Request) -> Response:
        try:
            self._require_token(request)
        except RequestError as error:
            return _error(error)
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)

    async def _health(self) -> Response:
        if self._stopping:
            return _json({"status": "stopping"}, 503)
        if not self._batcher.alive:
            return _json({"status": "the model's thread has ended"}, 503)
        return _json({"status": "ok", "model": self.served.model, "gives": self.served.gives})


async def _disconnected(request: Request) -> None:
    """Return when the client has hung up. The body must have been received."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _discard(request: Request, most: int, seconds: float) -> None:
    """Receive a body that is refused, up to a limit: a client that still sends does not see the answer."""
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > 8 * most:
                    return
    except TimeoutError:
        return


def _length(request: Request) -> int | None:
    """The announced length of the body; None if it is sent in chunks."""
    given = request.headers.get("content-length", "")
    return int(given) if given.isdecimal() else None


def _json(value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return Response(text, status, headers, media_type="application/json")


def _error(error: RequestError) -> Response:
    """An error in the form of OpenAI's and vLLM's servers."""
    kind = "invalid_request_error" if error.status < 500 and error.status != 429 else "server_error"
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _json(
        {"error": {"message": error.message, "type": kind, "code": error.status}}, error.status, headers
    )


async def _http_error(request: Request, error: HTTPException) -> Response:
    """An unknown address, or a wrong method."""
    places = "POST /v1/score, /pooling, /get_reward; GET /v1/models, /health, /metrics"
    return _error(
        RequestError(
            error.status_code, f"{request.method} {request.url.path}: {error.detail}; there are {places}"
        )
    )
