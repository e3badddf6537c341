"""A generator behind any OpenAI-compatible server: vLLM, SGLang, `transformers serve`, hosted models."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, dataclass
from typing import Any

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.schema import setting
from dreamprm.data.image_decoder import ImageError, ImageReading
from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.generators.openai_client import (
    Answer,
    ChatClient,
    Choice,
    Failure,
    require_openai,
)
from dreamprm.generators.openai_continuation import (
    CONTINUE_FLAGS,
    Continuation,
    find_continuation,
    fit_to_prefix,
)
from dreamprm.generators.openai_messages import DataUrls, tokens_by_choice, user_message, with_text
from dreamprm.generators.prompting import continue_instruction
from dreamprm.generators.server_access import api_address, is_hosted, read_key, require_no_key
from dreamprm.runtime.retries import Retries
from dreamprm.runtime.settings import ground_colour, image_ground_setting, truncated_image_setting

_OWN_FIELDS = (
    "model",
    "messages",
    "n",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "stream",
    *CONTINUE_FLAGS,
)

IN_SECONDS = "it is in seconds"


@dataclass
class OpenAIGenerator(Generator):
    """Chat completions of an OpenAI-compatible server, with bounded concurrency and retries.

    A request's n completions are requested in one chat request if the server allows it; if it returns fewer,
    the missing ones are requested again, and surplus ones are dropped. 408, 409, 429, 5xx, broken
    connections, time-outs, and malformed or empty answers are retried (`Retries`); after the last try the
    request fails with a `GenerationError`. 400, 413 and 422 refuse a single request, which is not retried;
    every other 4xx (a wrong key, model or address) is a `UserError`. Both errors quote the server's message
    and never contain the key.

    Seeds: the chat request for the completions from the k-th of a prefix on carries a number derived from the
    prefix's seed, plus k, so that no two of them share a seed. A server that counts up from it for the n
    samples of one chat request (vLLM) thus uses the same seed for a sample whatever chat request asks for it;
    for others, `samples_per_request=1` ensures that. Whether equal seeds give equal texts depends on the
    server.

    Tokens: servers report the total over the choices of a chat request. It is exact for one choice; for
    several it is divided in proportion to the lengths of the texts (the total stays exact). If a server
    reports no tokens, one token per four bytes of UTF-8 is assumed, and `describe` says so. With
    prefix=instruct, tokens also count a repetition of the prefix that was cut from the text: they are what
    the server generated.

    Attributes:
        model: the model's name on the server.
        base_url: the API's address, such as http://localhost:8000/v1; None: the environment variable
            OPENAI_BASE_URL, or OpenAI's own.
        api_key_env: the environment variable that holds the key. If it is not set, no key is sent ("EMPTY"),
            which self-hosted servers accept; OpenAI's own address needs one.
        concurrency: maximum number of chat requests in progress at once, >= 1.
        timeout: seconds without receiving a byte after which a try has failed, > 0.
        retries: how often a chat request is retried, >= 0.
        backoff: seconds before the first retry, doubled for each further one.
        longest_wait: longest wait before a retry in seconds; if the server's Retry-After asks for more, the
            request fails.
        prefix: `continue`: prefixes are sent as an open assistant turn (`CONTINUE_FLAGS`); `instruct`: the
            model is instructed to continue, and a repetition of the prefix is cut from its reply; `auto`: two
            one-token requests, sent before the first prefix, find out which of the two the server supports.
            Set `continue` for servers that always continue a final assistant turn and ignore the flags
            (llama.cpp, LMDeploy), which `auto` cannot detect.
        samples_per_request: completions asked for in one chat request, >= 1; None: all n. Use 1 for servers
            that refuse more.
        token_limit: the field that carries the length limit: `max_tokens` or `max_completion_tokens`
            (OpenAI's newer models accept only the latter); None: `max_completion_tokens` for OpenAI's own
            address, otherwise `max_tokens`.
        send_seed: whether to send the seed; False for servers that refuse it.
        image_detail: OpenAI's `detail` for each image (`low`, `high`, `auto`); None sends none.
        image_ground: the colour that transparent areas of images show; such images are sent as PNG files of
            what our decoder reads, plain ones as they are (`data_url`).
        truncated_image: `read` also sends images that are cut off, as far as they go; `error` refuses them.
        extra_body: further fields of the request's JSON, such as {"top_p": 0.9}.

    Raises:
        UserError: a value is not allowed, the key is missing or malformed, or the openai package is missing.
    """

    model: str = setting(MISSING, "the model's name on the server")
    base_url: str | None = setting(
        None, "the API's address, such as http://localhost:8000/v1; null: $OPENAI_BASE_URL, or OpenAI's own"
    )
    api_key_env: str = setting(
        "OPENAI_API_KEY", "the environment variable that holds the key; if it is not set, no key is sent"
    )
    concurrency: int = setting(8, "maximum number of chat requests in progress at once", minimum=1)
    timeout: float = setting(
        600.0, "seconds without receiving a byte after which a try has failed", above=0, advice=IN_SECONDS
    )
    retries: int = setting(6, "how often a chat request is retried", minimum=0)
    backoff: float = setting(
        1.0, "seconds before the first retry, doubled for each further one", minimum=0, advice=IN_SECONDS
    )
    longest_wait: float = setting(
        120.0,
        "longest wait before a retry, in seconds; if the server asks for more, the request fails",
        minimum=0,
        advice=IN_SECONDS,
    )
    prefix: str = setting(
        "auto",
        "continue: prefixes are sent as an open assistant turn; instruct: the model is asked to continue; "
        "auto: two one-token requests find out which the server supports",
        choices=("auto", "continue", "instruct"),
    )
    samples_per_request: int | None = setting(
        None,
        "completions asked for in one chat request; null: all; use 1 for servers that refuse more",
        minimum=1,
    )
    token_limit: str | None = setting(
        None,
        "the field that carries the length limit; null: max_completion_tokens for OpenAI's own address, "
        "otherwise max_tokens",
        choices=("max_tokens", "max_completion_tokens"),
    )
    send_seed: bool = setting(True, "send the request's seed; false for servers that refuse it")
    image_detail: str | None = setting(
        None, "OpenAI's `detail` for each image; null sends none", choices=("low", "high", "auto")
    )
    image_ground: str = image_ground_setting()
    truncated_image: str = truncated_image_setting()
    extra_body: dict[str, Any] | None = setting(
        None, "further fields of the request's JSON, such as {top_p: 0.9}"
    )

    def __post_init__(self) -> None:
        self._check()
        self._retries = Retries(self.retries, self.backoff, self.longest_wait)
        self._address = api_address(self.base_url)
        hosted = is_hosted(self._address)
        self._limit_field = self.token_limit or ("max_completion_tokens" if hosted else "max_tokens")
        self._url_of = DataUrls(ImageReading(self.image_ground, self.truncated_image == "read"))
        require_openai()
        # Only checked here, to fail early: this object, whose repr and fields are logged, never stores
        # it.
        read_key(self.api_key_env, self._address)
        self.parallel = self.concurrency
        self._under_way = threading.BoundedSemaphore(self.concurrency)
        self._closed = threading.Event()
        self._client: ChatClient | None = None
        self._client_lock = threading.Lock()
        self._continuation_lock = threading.Lock()
        self._continuation = None if self.prefix == "auto" else Continuation(self.prefix, "as set")
        self._tokens_estimated = False
        # Only spreads out the waits; its random numbers do not affect any result.
        self._jitter = random.Random()

    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        if len(requests) <= 1:
            return [self._complete(request, sampling) for request in requests]
        pool = ThreadPoolExecutor(min(self.concurrency, len(requests)), "openai-generator")
        try:
            futures = [pool.submit(self._complete, request, sampling) for request in requests]
            return [future.result() for future in futures]
        finally:
            # After a UserError or Ctrl-C, requests not yet started are cancelled; `close` ends the
            # others.
            pool.shutdown(wait=False, cancel_futures=True)

    def describe(self) -> dict[str, str]:
        found = self._continuation
        how = f"{found.how}: {found.why}" if found else "auto: no prefix so far"
        said = {"generator": "openai", "model": self.model, "server": self._address, "prefix": how}
        if self._tokens_estimated:
            said["tokens"] = "estimated from the texts (4 bytes per token): the server reports none"
        return said

    def close(self) -> None:
        """End waits between tries and close the connections; requests in progress fail."""
        self._closed.set()
        with self._client_lock:
            if self._client is not None:
                self._client.close()

    def _complete(self, request: Request, sampling: Sampling) -> list[Completion] | GenerationError:
        """A request's n completions, from as many chat requests as it takes."""
        try:
            message = user_message(
                request.prompt, request.images, detail=self.image_detail, url_of=self._url_of
            )
        except ImageError as error:
            return GenerationError(f"an image cannot be sent: {error}", refused=True)
        body: dict[str, Any] = {"messages": [message]}
        how = None
        if request.prefix.strip():  # a prefix of white space alone counts as none
            found = self._how_to_continue()
            if isinstance(found, Failure):
                return self._error(
                    found,
                    "while finding out how prefixes are continued (set prefix to "
                    "'continue' or 'instruct' to skip this): ",
                )
            how = found.how
        if how == "continue":
            body["messages"].append({"role": "assistant", "content": request.prefix})
            body.update(CONTINUE_FLAGS)
        elif how == "instruct":
            text = f"{request.prompt}\n\n{continue_instruction(request.prefix)}"
            body["messages"] = [with_text(message, text)]
        body["temperature"] = sampling.temperature
        body[self._limit_field] = sampling.max_tokens
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.alternatives:
            body |= {"logprobs": True, "top_logprobs": sampling.alternatives}
        completions: list[Completion] = []
        while len(completions) < request.n:
            missing = request.n - len(completions)
            # At temperature 0 one at a time: vLLM refuses several greedy samples, as they are all the
            # same.
            count = min(missing, self.samples_per_request or missing) if sampling.temperature else 1
            if self.send_seed:
                body["seed"] = _derived_seed(request.sequence, request.first + len(completions))
            answer = self._ask(body | ({"n": count} if count > 1 else {}))
            if isinstance(answer, Failure):
                so_far = f"after {len(completions)} of {request.n} completions: " if completions else ""
                return self._error(answer, so_far, several=count > 1, completions=completions)
            if any(choice.reason == "content_filter" for choice in answer.choices[:count]):
                # Asking again until one passes would not sample from the model's own distribution.
                return GenerationError(
                    "the server's content filter cut a completion", refused=True, completions=completions
                )
            self._tokens_estimated |= answer.completion_tokens is None
            for choice, tokens in zip(answer.choices[:count], tokens_by_choice(answer), strict=False):
                text = fit_to_prefix(request.prefix, choice.text) if how == "instruct" else choice.text
                completions.append(_completion(text, tokens, choice, sampling.stop))
        return completions

    def _how_to_continue(self) -> Continuation | Failure:
        """How prefixes are continued; determined once, while other threads that need it wait."""
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
            UserError: a failure that would affect every request.
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
                    asked = f"; it asks to wait {answer.asked:g} s; longest_wait is {self.longest_wait:g} s"
                return Failure("again", f"{answer.words} (tried {failures} times{asked})")
            self._closed.wait(wait)  # outside the semaphore, so that others can continue; close() ends it
        return Failure("again", "the generator was closed")

    def _connected(self) -> ChatClient:
        with self._client_lock:
            if self._client is None:
                key = read_key(self.api_key_env, self._address)
                self._client = ChatClient(self._address, key=key, timeout=self.timeout)
            return self._client

    def _error(
        self,
        failure: Failure,
        before: str = "",
        *,
        several: bool = False,
        completions: Sequence[Completion] = (),
    ) -> GenerationError:
        hint = (
            "; if the server returns only one completion per request, set samples_per_request to 1"
            if several and failure.kind == "refused"
            else ""
        )
        return GenerationError(
            f"{before}{failure.words}{hint}", refused=failure.kind == "refused", completions=completions
        )

    def _check(self) -> None:
        try:
            check_settings(self)
            ground_colour(self.image_ground)
        except UserError as error:
            raise UserError(f"openai generator: {error}") from error
        if not self.model:
            raise UserError("openai generator: model must not be empty; give the model's name on the server")
        require_no_key(self.api_key_env, self.extra_body or {})
        taken = [name for name in self.extra_body or {} if name in _OWN_FIELDS]
        if taken:
            raise UserError(
                f"openai generator: extra_body must not contain {', '.join(taken)}: the generator "
                "sets these from its own settings"
            )


def _completion(text: str, tokens: int, choice: Choice, stop: Sequence[str]) -> Completion:
    """A completion without its stop text, which some servers (`transformers serve`) keep at the end."""
    ends = [position for position in (text.find(word) for word in stop) if position >= 0]
    finished = bool(ends) or choice.reason != "length"
    by = choice.stopped_by if stop else None
    if ends:
        by = next(word for word in stop if text.startswith(word, min(ends)))
    elif by not in (None, "", *stop):
        by = ""  # a text that the server stops at by itself: the end of a turn
    return Completion(
        text[: min(ends)] if ends else text,
        tokens,
        finished,
        choice.reasoning,
        choice.note,
        choice.alternatives,
        stopped_by=by,
    )


def _derived_seed(seed: int, index: int) -> int:
    """Counts up with the index, in 31 bits, which every server accepts; the same on every machine."""
    start = int.from_bytes(hashlib.blake2b(f"{seed}:0".encode(), digest_size=4).digest()) >> 1
    return (start + index) % 2**31
