"""A generator behind any OpenAI-compatible server: vLLM, SGLang, `transformers serve`, hosted models."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dreamprm.errors import UserError
from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.generators.openai_client import NO_KEY, Answer, ChatClient, Failure, require_openai
from dreamprm.generators.openai_continuation import (
    CONTINUE_FLAGS, Continuation, find_continuation, fit_to_prefix,
)
from dreamprm.generators.openai_messages import user_message
from dreamprm.generators.retries import Retries
from dreamprm.prompting import continue_instruction

HOSTED = "https://api.openai.com/v1"

_OWN_FIELDS = (
    "model", "messages", "n", "temperature", "max_tokens", "max_completion_tokens", "stop", "seed", "stream",
    *CONTINUE_FLAGS,
)


@dataclass
class OpenAIGenerator(Generator):
    """Chat completions of an OpenAI-compatible server, with bounded concurrency and retries.

    A request's n completions are asked for in one chat request where the server allows; where it returns
    fewer, the missing ones are asked for again, and surplus ones are left out. 408, 409, 429, 5xx, cut
    connections, time-outs, malformed and empty answers are tried again (`Retries`), and after the last try
    the request is a `GenerationError`. 400, 413 and 422 refuse one request, which is not tried again; every
    other 4xx (a wrong key, model or address) is a `UserError`. Both carry the server's words, never the key.

    Seeds: the request for the completions from the k-th on carries a seed derived from the request's seed and
    k, so that no two of them share one. How a server spreads one seed over the n samples of one request is
    its own affair (vLLM counts up from it), and whether equal seeds give equal texts too.

    Tokens: servers report the sum over the choices of a chat request. It is exact for one choice; for several
    it is divided in proportion to the texts' lengths (the sum stays exact). A server that reports none gets
    the estimate of one token for four bytes of UTF-8, and `describe` says so. By instruction, tokens also
    count a repetition of the prefix that was cut from the text: they are what the server generated.

    Attributes:
        model: the model's name on the server.
        base_url: the API's address, such as http://localhost:8000/v1; None: the environment variable
            OPENAI_BASE_URL, or OpenAI's own.
        api_key_env: the environment variable that holds the key. Where it is not set none is sent ("EMPTY"),
            which servers of one's own accept; OpenAI's own address needs one.
        concurrency: how many chat requests may be under way at once, >= 1.
        timeout: seconds without a byte after which a try has failed, > 0.
        retries: how often a chat request is tried again, >= 0.
        backoff: seconds before the first retry, doubled for each further one.
        longest_wait: bounds the wait before a retry in seconds; a server whose Retry-After asks for more ends
            the request.
        prefix: `continue`: prefixes are sent as an open turn of the assistant (`CONTINUE_FLAGS`); `instruct`:
            the model is told to go on, and a repetition of the prefix is cut from its reply; `auto`: two
            requests of one token find out which, before the first prefix. `continue` also fits servers that
            always continue a last turn of the assistant and ignore the flags (llama.cpp, LMDeploy), which
            `auto` cannot tell.
        samples_per_request: completions asked for in one chat request, >= 1; None: all n. 1 for servers that
            refuse more.
        token_limit: the field that carries the length limit: `max_tokens`, `max_completion_tokens` (OpenAI's
            newer models take no other), or None: the second for OpenAI's own address, else the first.
        send_seed: False leaves the seed out, for servers that refuse it.
        image_detail: OpenAI's `detail` of each image (`low`, `high`, `auto`); None sends none.
        extra_body: further fields of the request's JSON, such as {"top_p": 0.9}.

    Raises:
        UserError: a value that is not allowed, a key that is missing or malformed, no openai package.
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 8
    timeout: float = 600.0
    retries: int = 6
    backoff: float = 1.0
    longest_wait: float = 120.0
    prefix: str = "auto"
    samples_per_request: int | None = None
    token_limit: str | None = None
    send_seed: bool = True
    image_detail: str | None = None
    extra_body: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self._check()
        self._retries = Retries(self.retries, self.backoff, self.longest_wait)
        self._address = self.base_url or os.environ.get("OPENAI_BASE_URL") or HOSTED
        _check_address(self._address)
        hosted = urlsplit(self._address).hostname == urlsplit(HOSTED).hostname
        self._limit_field = self.token_limit or ("max_completion_tokens" if hosted else "max_tokens")
        require_openai()
        self._read_key(required=hosted)
        self.parallel = self.concurrency
        self._under_way = threading.BoundedSemaphore(self.concurrency)
        self._closed = threading.Event()
        self._client: ChatClient | None = None
        self._client_lock = threading.Lock()
        self._continuation_lock = threading.Lock()
        self._continuation = None if self.prefix == "auto" else Continuation(self.prefix, "as set")
        self._tokens_estimated = False
        # Only spreads the waits; which numbers it draws is of no consequence to any result.
        self._jitter = random.Random()

    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        if len(requests) <= 1:
            return [self._complete(request, sampling) for request in requests]
        with ThreadPoolExecutor(min(self.concurrency, len(requests)), "openai-generator") as pool:
            futures = [pool.submit(self._complete, request, sampling) for request in requests]
            try:
                return [future.result() for future in futures]
            except BaseException:  # a UserError or Ctrl-C: what has not begun never will
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def describe(self) -> dict[str, str]:
        found = self._continuation
        how = f"{found.how}: {found.why}" if found else "auto: not needed so far"
        said = {"generator": "openai", "model": self.model, "server": self._address, "prefix": how}
        if self._tokens_estimated:
            said["tokens"] = "estimated from the texts (4 bytes each): the server reports none"
        return said

    def close(self) -> None:
        """End waits between tries and close the connections; requests under way end as failed."""
        self._closed.set()
        with self._client_lock:
            if self._client is not None:
                self._client.close()

    def _complete(self, request: Request, sampling: Sampling) -> list[Completion] | GenerationError:
        """A request's n completions: as many chat requests as it takes."""
        try:
            message = user_message(request.prompt, request.images, detail=self.image_detail)
        except OSError as error:
            return GenerationError(f"an image cannot be sent: {error}", refused=True)
        body: dict[str, Any] = {"messages": [message]}
        how = None
        if request.prefix.strip():  # white space alone is no beginning: the response starts afresh
            found = self._how_to_continue()
            if isinstance(found, Failure):
                return self._error(found, "while finding out how prefixes are continued (set prefix to "
                                          "'continue' or 'instruct' to leave that out): ")
            how = found.how
        if how == "continue":
            body["messages"].append({"role": "assistant", "content": request.prefix})
            body.update(CONTINUE_FLAGS)
        elif how == "instruct":
            text = f"{request.prompt}\n\n{continue_instruction(request.prefix)}"
            body["messages"] = [_with_text(message, text)]
        body["temperature"] = sampling.temperature
        body[self._limit_field] = sampling.max_tokens
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        completions: list[Completion] = []
        while len(completions) < request.n:
            missing = request.n - len(completions)
            count = min(missing, self.samples_per_request or missing)
            if self.send_seed:
                body["seed"] = _derived_seed(request.seed, len(completions))
            answer = self._ask(body | ({"n": count} if count > 1 else {}))
            if isinstance(answer, Failure):
                so_far = f"after {len(completions)} of {request.n} completions: " if completions else ""
                return self._error(answer, so_far, several=count > 1)
            if any(choice.reason == "content_filter" for choice in answer.choices[:count]):
                # Asking again until one passes would draw from another distribution than the model's.
                return GenerationError("the server's content filter cut a completion", refused=True)
            for choice, tokens in zip(answer.choices[:count], self._tokens(answer)[:count], strict=True):
                text = fit_to_prefix(request.prefix, choice.text) if how == "instruct" else choice.text
                completions.append(_completion(text, tokens, choice.reason, sampling.stop))
        return completions

    def _how_to_continue(self) -> Continuation | Failure:
        """How prefixes are continued; found out once, while other threads that need it wait."""
        with self._continuation_lock:
            if self._continuation is None:
                limit = {self._limit_field: 1}
                found = find_continuation(lambda body: self._ask(body | limit))
                if isinstance(found, Failure):
                    return found
                self._continuation = found
            return self._continuation

    def _ask(self, body: dict[str, Any]) -> Answer | Failure:
        """One chat request with its retries.

        Raises:
            UserError: a failure that every request will meet.
        """
        body = {"model": self.model, **body, **(self.extra_body or {})}
        failures = 0
        while not self._closed.is_set():
            with self._under_way:
                answer = self._connected().ask(body)
            if isinstance(answer, Answer) or answer.kind == "refused":
                return answer
            if answer.kind == "hopeless":
                raise UserError(
                    f"{self._address} does not serve model {self.model!r}: {answer.words}; the address is "
                    "base_url, the model's name is model, and the key is read from the environment variable "
                    f"{self.api_key_env}"
                )
            failures += 1
            wait = self._retries.wait(failures, asked=answer.asked, uniform=self._jitter.random())
            if wait is None:
                asked = ""
                if answer.asked is not None and answer.asked > self.longest_wait:
                    asked = f"; it asks to wait {answer.asked:g} s, longest_wait is {self.longest_wait:g}"
                return Failure("again", f"{answer.words} (tried {failures} times{asked})")
            self._closed.wait(wait)  # outside the bound, so that others may go on; close() ends it
        return Failure("again", "the generator was closed")

    def _tokens(self, answer: Answer) -> list[int]:
        """Each choice's tokens: the server's sum in proportion to the lengths of the texts."""
        sizes = [len(choice.text.encode()) for choice in answer.choices]
        if answer.completion_tokens is None:
            self._tokens_estimated = True
            return [-(-size // 4) for size in sizes]
        return _shares(answer.completion_tokens, sizes)

    def _connected(self) -> ChatClient:
        with self._client_lock:
            if self._client is None:
                self._client = ChatClient(self._address, key=self._read_key(), timeout=self.timeout)
            return self._client

    def _read_key(self, *, required: bool = False) -> str:
        """The key from the environment; never kept on this object, whose repr and fields are logged."""
        key = os.environ.get(self.api_key_env, "")
        if not key:
            if required:
                raise UserError(f"{self._address} needs a key: set the environment variable "
                                f"{self.api_key_env}, or give base_url for another server")
            return NO_KEY
        # Anything else cannot be sent in a header, and the HTTP library's message would show the key.
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise UserError(f"the key in the environment variable {self.api_key_env} holds white space or "
                            "characters that no key has; set it without them")
        return key

    def _error(self, failure: Failure, before: str = "", *, several: bool = False) -> GenerationError:
        hint = ("; if the server gives one completion at a time, set samples_per_request to 1"
                if several and failure.kind == "refused" else "")
        return GenerationError(f"{before}{failure.words}{hint}", refused=failure.kind == "refused")

    def _check(self) -> None:
        if not self.model:
            raise UserError("openai generator: model must not be empty; give the model's name on the server")
        for name in ("concurrency", "samples_per_request"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"openai generator: {name} must be >= 1, got {value!r}")
        if not self.timeout > 0:
            raise UserError(f"openai generator: timeout must be > 0 seconds, got {self.timeout!r}")
        for name, allowed in (
            ("prefix", ("auto", "continue", "instruct")),
            ("token_limit", (None, "max_tokens", "max_completion_tokens")),
            ("image_detail", (None, "low", "high", "auto")),
        ):
            value = getattr(self, name)
            if value not in allowed:
                known = ", ".join(map(str, allowed))
                raise UserError(f"openai generator: {name} must be one of {known}; got {value!r}")
        taken = [name for name in self.extra_body or {} if name in _OWN_FIELDS]
        if taken:
            raise UserError(f"openai generator: extra_body must not hold {', '.join(taken)}: the generator "
                            "sets these from its own settings")


def _check_address(address: str) -> None:
    """An http address without user, password or query: those would put a secret into files and messages."""
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError("openai generator: base_url must hold no user, password or query; a key belongs into "
                        "the environment variable that api_key_env names")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"openai generator: base_url must be like http://localhost:8000/v1, got {address!r}")


def _with_text(message: dict[str, Any], text: str) -> dict[str, Any]:
    """A user's turn with another text and the same images."""
    if isinstance(message["content"], str):
        return message | {"content": text}
    return message | {"content": [*message["content"][:-1], {"type": "text", "text": text}]}


def _completion(text: str, tokens: int, reason: str | None, stop: Sequence[str]) -> Completion:
    """A completion without its stop text, which some servers (`transformers serve`) leave at the end."""
    ends = [position for position in (text.find(word) for word in stop) if position >= 0]
    if ends:
        return Completion(text[: min(ends)], tokens)
    return Completion(text, tokens, finished=reason != "length")


def _derived_seed(seed: int, index: int) -> int:
    """31 bits, which every server takes; equal for equal arguments on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=4).digest()) >> 1


def _shares(total: int, sizes: Sequence[int]) -> list[int]:
    """Whole numbers that add up to `total`, in proportion to `sizes` (by largest remainder)."""
    weights = list(sizes) if any(sizes) else [1] * len(sizes)
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


__all__ = ["HOSTED", "OpenAIGenerator"]
