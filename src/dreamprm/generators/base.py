"""The interface that every generator of chains of thought implements."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

from dreamprm.files.content import FileDigests


@dataclass(frozen=True)
class Completion:
    """One sampled continuation.

    Attributes:
        text: what follows the prefix; prefix + text is the whole response.
        tokens: its length in the generator's tokens.
        finished: False if it was cut off at `max_tokens`.
        reasoning: what the model thought before it, if the server keeps that apart; part of no response: it
            is neither graded nor split into steps.
        alternatives: the likeliest first tokens with their log-probabilities, if `Sampling` asked for them
            and the generator has them.
        note: what is unusual about it, in a few words ("a refusal", "only reasoning"), for counts; "" if
            nothing is.
        stopped_by: the stop text that ended it; "" if none did; None if that is not known (a server that does
            not say), or if no stop texts were given. Two completions that differ in it alone are equal.

    A NUL character, which no file of records may hold, becomes U+FFFD, like bytes that are no text; the note
    says so.
    """

    text: str
    tokens: int
    finished: bool = True
    reasoning: str = ""
    note: str = ""
    alternatives: tuple[tuple[str, float], ...] = ()
    stopped_by: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if "\0" in self.text or "\0" in self.reasoning:
            for name in ("text", "reasoning"):
                object.__setattr__(self, name, getattr(self, name).replace("\0", "\ufffd"))
            object.__setattr__(self, "note", ", ".join(filter(None, [self.note, "with NUL characters"])))


@dataclass(frozen=True)
class Request:
    """A request for continuations of one prefix: the arguments of `Generator.complete` that vary by prefix.

    The samples of a prefix are a sequence, of which a request asks for n in a row, from number `first` on. A
    sample is determined by `sequence` and its number, whatever request asks for it: of four samples, the last
    two are the same if they are asked for alone, in a run that was killed after the first two.

    Attributes:
        prompt, images, prefix, n: as in `Generator.complete`.
        seed: of the first sample asked for; it counts up with the samples' numbers.
        first: the number of the first sample asked for, >= 0.

    Raises:
        ValueError: n is below 1, or first below 0.
    """

    prompt: str
    images: tuple[str, ...] = ()
    prefix: str = ""
    n: int = 1
    seed: int = 0
    first: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n (the number of completions) must be >= 1, got {self.n}")
        if self.first < 0:
            raise ValueError(f"first (the number of the first completion) must be >= 0, got {self.first}")

    @property
    def sequence(self) -> int:
        """The seed of the prefix's sample 0, which the seeds of all its samples count up from."""
        return self.seed - self.first


@dataclass(frozen=True)
class Sampling:
    """How texts are sampled; the same for all requests of a run.

    Attributes:
        temperature: divides the logits, >= 0; 0 takes the most likely token.
        max_tokens: length limit of a completion in the generator's tokens, without the prefix, >= 1.
        stop: texts that end a completion when they appear; they are not part of it.
        alternatives: how many of the likeliest first tokens to tell the log-probabilities of; 0: none.

    Raises:
        ValueError: a value is below its bound, or a stop text is empty.
    """

    temperature: float = 1.0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    alternatives: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be >= 0 and finite, got {self.temperature}")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be >= 1, got {self.max_tokens}")
        if "" in self.stop:
            raise ValueError("stop contains an empty text, which would end every completion; remove it")


class GenerationError(Exception):
    """One request failed after all its retries; others may still succeed.

    Attributes:
        refused: the generator understood the request but will not serve it (for example, the prompt is too
            long), so it was not retried.
        completions: the completions received before the failure; they have been paid for.
    """

    def __init__(
        self, message: str, *, refused: bool = False, completions: Sequence[Completion] = ()
    ) -> None:
        super().__init__(message)
        self.refused = refused
        self.completions = tuple(completions)


class Generator(ABC):
    """Continues a partial chain of thought: a local model, a server and the sandbox share this interface."""

    parallel: int = 1
    """How many calls may run at once, from threads of one process."""

    together: int = 1
    """How many chains of thought one `complete_all` call should combine (batching)."""

    @abstractmethod
    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        """Sample every request's n continuations.

        Args:
            requests: their prompts hold the question with its instructions, their images are paths, and
                their prefixes are the text of the response so far; "" starts from the question. Equal
                requests with equal seeds give equal completions, as far as the generator can ensure it.
            sampling: how texts are sampled.

        Returns:
            For each request, its n completions or the error that prevented them; one request's failure does
            not affect the others.

        Raises:
            UserError: no request can succeed as configured (an unknown model, a rejected key).
        """

    def complete(
        self,
        prompt: str,
        image: str | Sequence[str] | None = None,
        *,
        prefix: str = "",
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 1024,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Completion]:
        """Sample n independent continuations of one prompt and prefix.

        Args:
            prompt: the question with its instructions.
            image: the path of the question's image, several paths, or None.
            prefix: the text of the response so far; "" starts from the question.
            n: number of continuations, >= 1.
            temperature, max_tokens, stop: as in `Sampling`.
            seed: equal seeds give equal continuations, as far as the generator can ensure it.

        Returns:
            n completions, each with its text (without the prefix) and its length in tokens.

        Raises:
            GenerationError: the request failed.
            UserError: no request can succeed as configured.
        """
        images = () if image is None else (image,) if isinstance(image, str) else tuple(image)
        sampling = Sampling(temperature=temperature, max_tokens=max_tokens, stop=tuple(stop))
        (result,) = self.complete_all([Request(prompt, images, prefix, n, seed)], sampling)
        if isinstance(result, GenerationError):
            raise result
        return result

    def contents(self, digests: FileDigests) -> dict[str, dict[str, str | None]]:
        """Digests of the files that its replies depend on: by file name, by the setting that names them.

        Replies that are kept between runs belong to these, wherever the files are. Empty for a server, whose
        files nobody here can see: it is known by its model's name.
        """
        del digests
        return {}

    def describe(self) -> dict[str, str]:
        """What a run's summary says about the generator (model, how prefixes are continued); never a key."""
        return {}

    def close(self) -> None:
        """Release its resources (connections, a model)."""


def sequence_seed(text: str) -> int:
    """The seed of a prefix's sample 0, from which the others count up, for a text that names the prefix.

    A sample's seed depends on the prefix and its number alone, so that a run that was killed in the middle of
    a request samples the rest as it would have. Below 31 bits, which every server accepts, with room to
    count up.
    """
    return (int.from_bytes(hashlib.sha1(text.encode()).digest()[:4], "big") >> 1) % (2**31 - 2**20)


GRACE_SECONDS = 20.0
"""How long to wait for calls in progress when a run is stopped."""


def shutdown(
    flying: Collection[Future[Any]],
    generators: Iterable[Generator | None],
    *,
    grace: float,
    say: Callable[[str], None],
) -> None:
    """After an error or a signal: cancel the calls that have not started, and give the others `grace`
    seconds.

    Calls in progress get some time because their results are paid for, but a process that receives SIGTERM
    does not have long.

    Args:
        flying: the calls; each writes its own results.
        generators: closed at the end, so that calls still in progress fail.
        grace: seconds, usually `GRACE_SECONDS`.
        say: receives the progress message.
    """
    # Cancel all of them before waiting for any, so that a worker that becomes free does not start another.
    under_way = [future for future in flying if not future.cancel()]
    under_way = [future for future in under_way if not future.done()]
    try:
        if under_way:
            say(f"waiting up to {grace:g} s for {len(under_way)} calls in progress")
            wait(under_way, timeout=grace)
    finally:  # also after a second Ctrl-C
        for generator in generators:
            if generator is not None:
                generator.close()
