"""A generator that keeps its replies in a journal between runs, so that a judge is never asked twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dreamprm.files.append_only import AppendOnlyFile, Line, require_fields
from dreamprm.files.content import FileDigests, content_key, image_contents
from dreamprm.files.json_values import shown
from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.generators.registry import SERVING, build_generator, generator_identity

FORM = 2
"""Of a journal's lines; those of version 0.2.0 and older name none, and knew files by their paths."""

Answer = list[Completion] | GenerationError


_REPLY: Mapping[str, str] = MappingProxyType(
    {"text": "a text", "tokens": "a whole number >= 0", "finished": "true or false"}
)


class ReplyJournal(AppendOnlyFile):
    """Replies keyed by request, kept in a JSON Lines file that survives a kill at any moment.

    A line holds `asked`, the digest of the generator and the request (`digest_of`), and `replies`, the n
    completions. A request whose line was cut short is asked again. Replies are found only for the same
    request and generator, so one file can serve several generators. Any thread may read and write.

    Attributes:
        older: number of replies that version 0.2.0 or an older one wrote.

    Args, Raises: as `AppendOnlyFile`; also DataError for a line that this program cannot have written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._replies: dict[str, tuple[Completion, ...]] = {}
        self.older = 0
        self._read(
            self._take,
            what="a journal of replies",
            advice="restore the file, or remove it to ask everything again",
        )

    def __len__(self) -> int:
        return len(self._replies)

    def find(self, asked: str) -> list[Completion] | None:
        """The completions of the request with this digest, or None if it has not been answered yet."""
        with self._mutex:
            found = self._replies.get(asked)
        return None if found is None else list(found)

    def append(self, asked: str, replies: Sequence[Completion]) -> None:
        """Write the completions of a request.

        Raises:
            UserError: the file cannot be written, for example because the disk is full.
        """
        with self._mutex:
            assert asked not in self._replies, f"request {asked} was answered twice"
            self._append(
                {
                    "form": FORM,
                    "asked": asked,
                    "replies": [
                        {"text": one.text, "tokens": one.tokens, "finished": one.finished}
                        | ({"alternatives": one.alternatives} if one.alternatives else {})
                        for one in replies
                    ],
                }
            )
            self._replies[asked] = tuple(replies)

    def _take(self, line: Line, row: Any) -> None:
        del line
        require_fields(row, {"asked": "a text"})
        rows = row.get("replies")
        if not isinstance(rows, list) or not rows:
            raise ValueError(f"field 'replies': got {shown(rows)}; allowed: a list of at least one reply")
        for index, one in enumerate(rows):
            require_fields(one, _REPLY, within=f"replies[{index}]")
        self.older += "form" not in row
        self._replies[row["asked"]] = tuple(
            Completion(
                one["text"],
                one["tokens"],
                one["finished"],
                alternatives=_alternatives(one.get("alternatives", []), index),
            )
            for index, one in enumerate(rows)
        )


def _alternatives(given: Any, index: int) -> tuple[tuple[str, float], ...]:
    found = []
    for pair in given if isinstance(given, list) else [None]:
        match pair:
            case [str(token), float() | int() as logprob]:
                found.append((token, float(logprob)))
            case _:
                raise ValueError(
                    f"field 'replies[{index}].alternatives': got {shown(given)}; allowed: a list of pairs of "
                    "a token and a number"
                )
    return tuple(found)


def digest_of(
    who: Mapping[str, Any], request: Request, sampling: Sampling, digests: FileDigests | None = None
) -> str:
    """A digest of everything that determines a reply: if any of it changes, the digest changes.

    Args:
        who: JSON values that identify the generator (`generator_identity`).
        request, sampling: what it is asked; images count by what they hold.
        digests: of the running command; None: images are read anew.
    """
    return content_key(
        [
            who,
            request.prompt,
            image_contents(request.images, digests or FileDigests()),
            request.prefix,
            request.n,
            request.seed,
            sampling.temperature,
            sampling.max_tokens,
            sampling.stop,
            *([request.first] if request.first else []),  # left out by version 0.2.0, which had none
            *([{"alternatives": sampling.alternatives}] if sampling.alternatives else []),
        ]
    )


@dataclass(eq=False)
class _Call:
    """One thread's requests, which may be served together with those of other threads."""

    requests: Sequence[Request]
    sampling: Sampling
    answers: Future[list[Answer]] = field(default_factory=Future)


class CachedGenerator(Generator):
    """Passes requests on to a generator and writes every reply to a journal before returning it.

    Use it for a judge: its replies are small, paid for, and needed again by every run over the same answers.
    A request that is in the journal is answered from there, and a request that another thread has already
    sent is waited for, so equal requests with equal seeds get one reply. Failures are not kept, because they
    may be temporary.

    Up to `parallel` threads may call it at once. A generator that batches (`together` > 1) receives the
    requests that arrive while it is busy in one call.

    Attributes:
        before: number of replies in the journal at the start.
        asked, tokens: number of requests answered since then, and number of tokens in these replies.
        silent: how many of these replies are empty or cut off.

    Args:
        generator: the generator that is asked; closed together with this one.
        journal: the journal of its replies; the caller closes it, once no thread is asking any more.
        who: JSON values that identify the generator in the journal (`generator_identity`).
        digests: of the running command, for images; None: of its own.
        formerly: what older versions put in place of `who`, if that said as much: a server, known by its
            settings. Its replies to requests without images are then found too. None: nothing older counts.
    """

    def __init__(
        self,
        generator: Generator,
        journal: ReplyJournal,
        who: Mapping[str, Any],
        *,
        digests: FileDigests | None = None,
        formerly: Mapping[str, Any] | None = None,
    ) -> None:
        self.generator, self.journal = generator, journal
        self.parallel = max(generator.parallel, generator.together)
        self.before = len(journal)
        self.asked = self.tokens = self.silent = 0
        self._who, self._formerly = dict(who), formerly
        self._digests = FileDigests() if digests is None else digests
        self._images = False
        self._mutex = threading.Lock()
        self._under_way: dict[str, Future[Answer]] = {}
        self._waiting: list[_Call] = []
        self._busy = threading.Lock()
        self._closed = threading.Event()

    def complete_all(self, requests: Sequence[Request], sampling: Sampling) -> list[Answer]:
        """See `Generator.complete_all`.

        Raises:
            UserError: also if the journal cannot be written.
        """
        asked = [digest_of(self._who, request, sampling, self._digests) for request in requests]
        answers: dict[str, Future[Answer]] = {}
        mine: dict[str, Request] = {}
        with self._mutex:
            for name, request in zip(asked, requests, strict=True):
                if name in answers:
                    continue
                known = self._kept(name, request, sampling)
                if known is not None:
                    answers[name] = Future()
                    answers[name].set_result(known)
                    continue
                if name not in self._under_way:
                    mine[name] = request
                    self._under_way[name] = Future()
                answers[name] = self._under_way[name]
        if mine:
            self._bring(mine, sampling)
        return [answers[name].result() for name in asked]

    def costs(self) -> str:
        """A summary for the user of what was asked in this run."""
        older = ""
        if self.journal.older and (self._formerly is None or self._images):
            older = (
                f", of which {self.journal.older:,} are of version 0.2.0 or older, do not say what the files "
                "of model and images held, and were not used"
            )
        return (
            f"{self.asked:,} requests were answered with {self.tokens:,} tokens; {self.before:,} "
            f"replies were already in the journal{older}"
            + (f"; {self.silent:,} of the new replies are empty or cut off" if self.silent else "")
        )

    def contents(self, digests: FileDigests) -> dict[str, dict[str, str | None]]:
        """See `Generator.contents`."""
        return self.generator.contents(digests)

    def describe(self) -> dict[str, str]:
        """See `Generator.describe`."""
        return self.generator.describe()

    def close(self) -> None:
        """Close the generator: replies that still arrive are written, and nothing more is asked."""
        # Threads waiting for their turn would otherwise load a local model again.
        self._closed.set()
        self.generator.close()

    def _kept(self, name: str, request: Request, sampling: Sampling) -> list[Completion] | None:
        self._images |= bool(request.images)
        known = self.journal.find(name)
        if known is None and self._formerly is not None and self.journal.older and not request.images:
            known = self.journal.find(digest_of(self._formerly, request, sampling))
        return known

    def _bring(self, mine: Mapping[str, Request], sampling: Sampling) -> None:
        """Send these requests, write the replies, and notify the threads that wait for them."""
        failure: BaseException | None = None
        found: dict[str, Answer] = {}
        try:
            found = dict(zip(mine, self._ask(list(mine.values()), sampling), strict=True))
            for name, answer in found.items():
                if not isinstance(answer, GenerationError):
                    image_contents(mine[name].images, self._digests)  # raises if one was replaced meanwhile
                    self.journal.append(name, answer)
                    with self._mutex:
                        self.asked += 1
                        self.tokens += sum(one.tokens for one in answer)
                        self.silent += sum(not one.text.strip() or not one.finished for one in answer)
        except BaseException as error:
            failure = error
        with self._mutex:
            for name in mine:
                future = self._under_way.pop(name)
                if failure is None:
                    future.set_result(found[name])
                else:
                    future.set_exception(failure)

    def _ask(self, requests: Sequence[Request], sampling: Sampling) -> list[Answer]:
        if self._closed.is_set():
            return [_stopped() for _ in requests]
        if self.generator.together == 1:
            return self.generator.complete_all(requests, sampling)
        call = _Call(requests, sampling)
        with self._mutex:
            self._waiting.append(call)
        # The first thread serves all waiting calls; the others then find their answers
        # ready.
        with self._busy:
            if not call.answers.done():
                self._serve(sampling)
        return call.answers.result()

    def _serve(self, sampling: Sampling) -> None:
        with self._mutex:
            calls = [call for call in self._waiting if call.sampling == sampling]
            self._waiting = [call for call in self._waiting if call.sampling != sampling]
        asked = [request for call in calls for request in call.requests]
        answers: list[Answer]
        try:
            if self._closed.is_set():
                answers = [_stopped() for _ in asked]
            else:
                answers = self.generator.complete_all(asked, sampling)
        except BaseException as error:
            for call in calls:
                call.answers.set_exception(error)
            return
        for call in calls:
            own, answers = answers[: len(call.requests)], answers[len(call.requests) :]
            call.answers.set_result(own)


def _stopped() -> GenerationError:
    return GenerationError("the run was stopped")


@contextmanager
def cached_generator(
    name: str, path: str | Path, *, say: Callable[[str], None] | None = None, **settings: Any
) -> Iterator[CachedGenerator]:
    """The generator of this name with its settings, with its replies kept in a file.

    Settings that say how requests are served, not what is asked (`SERVING`), may differ between runs: a reply
    is found again even if the server's address has changed. Therefore name the model exactly. A local model
    is known by its files, wherever they are.

    Args:
        name: a key of `GENERATORS`.
        path: the journal's file.
        say: receives a summary of the judge's requests at the end; None: no summary.
        settings: the generator's settings.

    Raises:
        UserError: as `build_generator`; another process holds the file, or it cannot be written.
        DataError: the file is not a journal of replies.
    """
    generator, digests = build_generator(name, **settings), FileDigests()
    try:
        with ReplyJournal(path) as journal:
            formerly = None
            if not generator.contents(digests):
                formerly = {"generator": name, **{k: v for k, v in settings.items() if k not in SERVING}}
            judge = CachedGenerator(
                generator,
                journal,
                generator_identity(name, settings, generator, digests),
                digests=digests,
                formerly=formerly,
            )
            try:
                yield judge
            finally:
                if say is not None:
                    say(f"judge: {judge.costs()}")
    finally:
        generator.close()
