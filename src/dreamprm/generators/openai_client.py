"""The connection to an OpenAI-compatible server: single requests, and which of them may be sent again."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeGuard

from dreamprm.config.errors import UserError
from dreamprm.generators.server_access import NO_KEY
from dreamprm.runtime.retries import retry_after

_LONGEST_WORDS = 600
_CONNECT_SECONDS = 30.0


@dataclass(frozen=True)
class Choice:
    """One sampled text.

    Attributes:
        text: the message's content.
        reason: the server's `finish_reason`.
        reasoning: what the server keeps apart as the model's reasoning.
        note: what stands in place of the content, or why there is none; "" for ordinary content.
        alternatives: the likeliest first tokens with their log-probabilities, if the server gives them.
        stopped_by: the stop text that ended it, "" if none did, None if the server does not say (vLLM:
            `stop_reason`, SGLang: `matched_stop`; a token's number there means that none did).
    """

    text: str
    reason: str | None
    reasoning: str = ""
    note: str = ""
    alternatives: tuple[tuple[str, float], ...] = ()
    stopped_by: str | None = None


@dataclass(frozen=True)
class Answer:
    """A server's answer: its choices, and the tokens it counted (None if it does not report them)."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True)
class Failure:
    """Why there is no answer.

    Attributes:
        kind: `again`: the request may succeed if it is sent again; `refused`: the fault lies in this request;
            `hopeless`: every request will fail (a wrong key, model or address).
        words: the reason, with the server's message, without the key.
        asked: how many seconds the server asks to wait, or None.
    """

    kind: Literal["again", "refused", "hopeless"]
    words: str
    asked: float | None = None


def require_openai() -> None:
    """Check that the client library is installed, without importing it.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec("openai") is None:
        raise UserError("the openai generator needs the openai package: pip install 'dreamprm[openai]'")


class ChatClient:
    """Sends single chat requests; thread-safe.

    The library's own retries are off: they do not cover malformed answers and do not stop when the run ends.
    Nothing that leaves this class contains the key, even if the server repeats it.

    Args:
        base_url: the address of the API, such as http://localhost:8000/v1.
        key: sent as the bearer token.
        timeout: seconds without receiving a byte after which a request counts as failed.
    """

    def __init__(self, base_url: str, *, key: str, timeout: float) -> None:
        import openai

        self._errors = openai
        self._key = key
        self._timeout = timeout
        self._sockets_lock = threading.Lock()
        self._closed = False
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=key,
            max_retries=0,
            timeout=openai.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._watch]}),
        )

    def ask(self, body: Mapping[str, Any]) -> Answer | Failure:
        """Send one request to `chat/completions`.

        Args:
            body: the request's JSON, with at least `model` and `messages`.

        Returns:
            The answer, or the failure: failures are returned, not raised, so that no traceback contains a
            request's headers.
        """
        fields = dict(body)
        model, messages = fields.pop("model"), fields.pop("messages")
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                model=model, messages=messages, extra_body=fields
            )
            content = raw.http_response.content
        except self._errors.APIStatusError as error:
            return self._status_failure(error)
        except self._errors.APITimeoutError:
            return Failure("again", f"no answer within {self._timeout:g} s")
        except self._errors.APIConnectionError as error:
            cause = error.__cause__ or error
            return Failure("again", self._clean(f"{type(cause).__name__}: {cause}"))
        except self._errors.OpenAIError as error:
            return Failure("again", self._clean(f"{type(error).__name__}: {error}"))
        return self._read(content)

    def close(self) -> None:
        """Close the connections; requests in progress fail at once."""
        # A thread waiting for an answer does not notice that its socket is closed: it must be shut down.
        with self._sockets_lock:
            self._closed = True
            connections = list(self._sockets)
        for connection in connections:
            with suppress(OSError):  # no longer connected
                connection.shutdown(socket.SHUT_RDWR)
        self._client.close()

    def _watch(self, request: Any) -> None:
        request.extensions = {**request.extensions, "trace": self._connected}

    def _connected(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's trace callback: stores the request's socket, which TLS wraps in another one."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            stream = info["return_value"]
            with self._sockets_lock:
                if self._closed:  # connected while `close` ran: nothing else would close it
                    stream.close()
                else:
                    self._sockets.add(stream.get_extra_info("socket"))

    def _status_failure(self, error: Any) -> Failure:
        code = int(error.status_code)
        words = self._clean(f"HTTP {code}: {_server_words(error.response.text)}")
        if code in (408, 409, 429) or code >= 500:
            return Failure("again", words, asked=retry_after(error.response.headers.get("retry-after")))
        return Failure("refused" if code in (400, 413, 422) else "hopeless", words)

    def _read(self, content: bytes) -> Answer | Failure:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):  # also bytes that are not UTF-8
            shown = self._without_key(content.decode("utf-8", "replace"))[:100]
            return Failure("again", self._clean(f"an answer that is not JSON: {shown!r}"))
        choices = data.get("choices") if isinstance(data, dict) else None
        if not isinstance(choices, list) or not choices:
            # Some gateways report an error of the server behind them with status 200.
            words = _server_words(content.decode("utf-8", "replace"))
            return Failure("again", self._clean(f"an answer without choices: {words}"))
        texts = [_choice(choice) for choice in choices]
        if None in texts:
            return Failure("again", "an answer in which not every choice has a text")
        # A server that repeats the key in a reply would have it stored as a rollout or shown in a report.
        texts = [
            replace(one, text=self._without_key(one.text), reasoning=self._without_key(one.reasoning))
            for one in texts
            if one is not None
        ]
        usage = data.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return Answer(
            tuple(one for one in texts if one is not None),
            _count(usage.get("prompt_tokens")),
            _count(usage.get("completion_tokens")),
        )

    def _without_key(self, text: str) -> str:
        return text if self._key == NO_KEY else text.replace(self._key, "***")

    def _clean(self, words: str) -> str:
        words = " ".join(self._without_key(words).split())
        return words if len(words) <= _LONGEST_WORDS else words[:_LONGEST_WORDS] + " ..."


def _choice(given: Any) -> Choice | None:
    message = given.get("message") if isinstance(given, dict) else None
    if not isinstance(message, dict):
        return None
    held = [str(message[name]) for name in _REASONING if isinstance(message.get(name), str)]
    reasoning = next(filter(None, held), "")
    text: Any = message.get("content")
    note = ""
    if isinstance(text, list):  # parts, as in a request; thinking has parts of its own
        parts = [part for part in text if isinstance(part, dict)]
        text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    if text is None or (isinstance(text, str) and not text.strip()):
        # `refusal` replaces the content if the model declines. Where something else does, the text is empty:
        # a model that reasons apart from its answer may use up its tokens before the answer begins, and what
        # stands in a field for other things is not known to be its answer.
        refusal = message.get("refusal")
        text = text or ""
        if isinstance(refusal, str) and refusal:
            text = refusal
            note = "a refusal"
        elif reasoning:
            note = "no content, only reasoning"
        elif message.get("tool_calls") or message.get("function_call"):
            note = "no content, only tool calls"
        elif isinstance(given.get("text"), str) and given["text"]:
            note = "no content, but a text beside the message"
    if not isinstance(text, str) or not _is_unicode(text):
        return None
    reason = given.get("finish_reason")
    return Choice(
        text,
        reason if isinstance(reason, str) else None,
        reasoning if _is_unicode(reasoning) else "",
        note,
        _alternatives(given.get("logprobs")),
        _stopped_by(given),
    )


def _stopped_by(given: dict[str, Any]) -> str | None:
    said = [given[name] for name in ("stop_reason", "matched_stop") if name in given]
    return next((one for one in said if isinstance(one, str)), "") if said else None


def _alternatives(logprobs: Any) -> tuple[tuple[str, float], ...]:
    """The first token's, likeliest first; none where the server writes something else."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict):
        return ()
    listed = first.get("top_logprobs")
    found: dict[str, float] = {}
    for one in [*(listed if isinstance(listed, list) else []), first]:
        token, value = (one.get("token"), one.get("logprob")) if isinstance(one, dict) else (None, None)
        if isinstance(token, str) and _is_unicode(token) and _is_log_probability(value):
            found.setdefault(token, value)
    return tuple(sorted(found.items(), key=lambda pair: -pair[1]))


def _is_log_probability(value: Any) -> TypeGuard[float]:
    # Rounding may leave a certain token a little above 0.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e6 < value < 1e-3


_REASONING = ("reasoning_content", "reasoning")
"""Fields of a message in which servers keep the model's reasoning: vLLM, SGLang; OpenRouter, Ollama."""


def _is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can escape but no file can store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(given: Any) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else None


def _server_words(text: str) -> str:
    """The message of an error body: OpenAI's `error.message`, FastAPI's `detail`, or the body itself."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        for name in ("error", "detail", "message"):
            words = body.get(name)
            if isinstance(words, dict):
                words = words.get("message")
            if isinstance(words, str) and words:
                return words
    return text or "(empty)"
