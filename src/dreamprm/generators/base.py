"""The interface that every generator of chains of thought implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Completion:
    """One sampled continuation.

    Attributes:
        text: what follows the prefix; prefix + text is the whole response.
        tokens: its length in the generator's tokens.
        finished: False where it was cut off at `max_tokens`.
    """

    text: str
    tokens: int
    finished: bool = True


@dataclass(frozen=True)
class Request:
    """What is asked for of one prefix: the arguments of `Generator.complete` that differ between prefixes.

    Raises:
        ValueError: n is below 1.
    """

    prompt: str
    images: tuple[str, ...] = ()
    prefix: str = ""
    n: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be >= 1 completions, got {self.n}")


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn; the same for all requests of a run.

    Attributes:
        temperature: divides the logits, >= 0; 0 takes the most likely token.
        max_tokens: longest completion in the generator's tokens, without the prefix, >= 1.
        stop: texts that end a completion where they appear; they are not part of it.

    Raises:
        ValueError: a value below its bound, or an empty stop text.
    """

    temperature: float = 1.0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be >= 0 and finite, got {self.temperature}")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be >= 1, got {self.max_tokens}")
        if "" in self.stop:
            raise ValueError("stop holds an empty text, which would end every completion; leave it out")


class GenerationError(Exception):
    """One request came to nothing, after its retries; others may still succeed.

    Attributes:
        refused: the generator understood the request and will not serve it (a prompt that is too long), so
            that nothing was tried again.
        completions: the first of the request's n, where it failed after these; they were paid for.
    """

    def __init__(
        self, message: str, *, refused: bool = False, completions: Sequence[Completion] = ()
    ) -> None:
        super().__init__(message)
        self.refused = refused
        self.completions = tuple(completions)


class Generator(ABC):
    """Continues a partial chain of thought; a scripted one, a local model and a server look the same."""

    parallel: int = 1
    """How many calls may run at once, from threads of one process."""

    together: int = 1
    """From how many chains of thought one `complete_all` call should be made up (batching)."""

    @abstractmethod
    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        """Sample every request's n continuations.

        Args:
            requests: their prompts hold the question with its instructions, their images are paths, their
                prefixes the text of the response so far; "" starts from the question. Equal requests with
                equal seeds give equal completions, as far as the generator can.
            sampling: how texts are drawn.

        Returns:
            For each request its n completions, or why there are none; a failure of one leaves the others.

        Raises:
            UserError: nothing can work as configured (no such model, a key that is refused).
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
            image: path of the question's image, several paths, or None.
            prefix: the text of the response so far; "" starts from the question.
            n: how many continuations, >= 1.
            temperature, max_tokens, stop: as in `Sampling`.
            seed: equal seeds give equal continuations, as far as the generator can.

        Returns:
            n completions, each with its text (without the prefix) and its length in tokens.

        Raises:
            GenerationError: the request came to nothing.
            UserError: nothing can work as configured.
        """
        images = () if image is None else (image,) if isinstance(image, str) else tuple(image)
        sampling = Sampling(temperature=temperature, max_tokens=max_tokens, stop=tuple(stop))
        (result,) = self.complete_all([Request(prompt, images, prefix, n, seed)], sampling)
        if isinstance(result, GenerationError):
            raise result
        return result

    def describe(self) -> dict[str, str]:
        """What a run's summary should know of it (model, how prefixes are continued); never a key."""
        return {}

    def close(self) -> None:
        """Free what it holds (connections, a model)."""


GRACE_SECONDS = 20.0
"""How long calls under way are waited for when a run is stopped."""


def shutdown(
    flying: Collection[Future[Any]],
    generators: Iterable[Generator | None],
    *,
    grace: float,
    say: Callable[[str], None],
) -> None:
    """After an error or a signal: calls not begun never are, those under way may end, within `grace`.

    They get a while, as what they bring is paid for; but who sent SIGTERM will not wait for long.

    Args:
        flying: the calls; each writes what it brings by itself.
        generators: closed at the end, so that calls still under way fail.
        grace: seconds, as a rule `GRACE_SECONDS`.
        say: is told what is waited for.
    """
    # All are cancelled before any is waited for: a worker that comes free begins none.
    under_way = [future for future in flying if not future.cancel()]
    under_way = [future for future in under_way if not future.done()]
    try:
        if under_way:
            say(f"waiting up to {grace:g} s for {len(under_way)} calls under way")
            wait(under_way, timeout=grace)
    finally:  # also for who presses Ctrl-C again
        for generator in generators:
            if generator is not None:
                generator.close()
