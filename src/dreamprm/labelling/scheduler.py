"""Supplies jobs with the rollouts they ask for: from the journal, or from the generator, judged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dreamprm.answers.base import Checker, Judgement
from dreamprm.config.errors import UserError
from dreamprm.data.records import QuestionRecord
from dreamprm.generators.base import (
    GRACE_SECONDS,
    Completion,
    GenerationError,
    Generator,
    Request,
    Sampling,
    shutdown,
)
from dreamprm.labelling.jobs import Want
from dreamprm.labelling.journal import ASKED, Journal, Key, Rollout, is_empty
from dreamprm.labelling.replies import ReplyLimits
from dreamprm.labelling.rollout_content import Contents, QuestionContent
from dreamprm.labelling.rollout_keys import JournalNames, consecutive, number_of, seed_of
from dreamprm.labelling.status import LabelStatus

T = TypeVar("T")


@dataclass(frozen=True)
class Task(Generic[T]):
    """A question, its prompt, and a function that starts its job."""

    question: QuestionRecord
    prompt: str
    start: Callable[[], Any]


@dataclass(eq=False)
class _Active:
    """A task in progress: its job and the round it waits for; `drew`: not all came from the journal."""

    task: Task[Any]
    number: int
    job: Any
    content: QuestionContent
    wants: Sequence[Want] = ()
    missing: int = 0
    failure: GenerationError | None = None
    drew: bool = False


@dataclass(frozen=True, eq=False)
class _Piece:
    """The part of a want that is not in the journal; `there`: a text that only has to be judged."""

    active: _Active
    keys: tuple[Key, ...]
    want: Want
    input: str
    there: Completion | None


@dataclass
class Scheduler:
    """Runs the jobs of many questions with one generator.

    With a server, each want is a separate call, and `generator.parallel` calls run at a time. A generator
    that batches (`generator.together` > 1) gets the wants of that many questions in one call. The results of
    a call are judged and written to the journal before anything else happens to them; if the judge gives no
    reply, they are written without a verdict and judged when the run is started again.

    A question whose request fails is counted and skipped; the others continue until more than
    `max_failed_fraction` of all questions have failed.

    A rollout in the journal is used for the content that it was sampled for, also if its question has another
    id or place now; a content that the journal does not have is sampled. Where only the answer or the checker
    has changed, the text is judged again. With `older_rollouts`, texts of version 0.2.0 and older are judged
    again too; otherwise they are refused.
    """

    generator: Generator
    sampling: Sampling
    checker: Checker
    journal: Journal
    status: LabelStatus
    seed: int
    max_failed_fraction: float
    judge: Generator | None = None
    contents: Contents = field(default_factory=Contents)
    older_rollouts: bool = False
    limits: ReplyLimits = field(default_factory=ReplyLimits)
    _ready: deque[_Piece] = field(default_factory=deque, init=False)
    _answered: bool = field(default=False, init=False)
    _prepared: bool = field(default=False, init=False)
    _names: JournalNames = field(default_factory=JournalNames, init=False)

    def run(self, tasks: Sequence[Task[T]]) -> Iterator[tuple[int, T]]:
        """Run all tasks; yields the number and result of each task as it ends. Failed tasks yield nothing.

        Raises:
            UserError: too many questions failed, too many replies say nothing (`limits`), the generator
                cannot serve any request, an image was replaced while it was used, or the journal holds
                rollouts that do not say what they belong to.
        """
        if not self._prepared:
            self.prepare(tasks)
        # A generator that has already served this run does not refuse everything.
        self._answered = any(rollout.tokens for rollout in self.journal)
        batching = self.generator.together > 1
        places = self.generator.together if batching else 2 * self.generator.parallel
        waiting = iter(enumerate(tasks))
        active: list[_Active] = []
        flying: dict[Future[list[GenerationError | None]], list[_Piece]] = {}
        with ThreadPoolExecutor(1 if batching else self.generator.parallel) as pool:
            try:
                while True:
                    yield from self._fill(active, waiting, places)
                    if not active:
                        return
                    for group in self._groups(batching, busy=bool(flying)):
                        flying[pool.submit(self._serve, group)] = group
                    done, _ = wait(flying, return_when=FIRST_COMPLETED)
                    for future in done:
                        pieces = flying.pop(future)
                        for piece, failure in zip(pieces, future.result(), strict=True):
                            yield from self._arrived(piece, failure, active)
            except BaseException:
                shutdown(flying, [self.generator, self.judge], grace=GRACE_SECONDS, say=self.status.say)
                raise

    def prepare(self, tasks: Sequence[Task[T]]) -> None:
        """Find what the journal has of the tasks; `run` does so too, if it has not been done.

        Raises:
            UserError: the journal holds rollouts that do not say what they belong to; nothing was asked.
        """
        self._prepared = True
        self.status.begin(len(tasks))
        chains = self.journal.chains()
        refuses_older = self.journal.has_older and not self.older_rollouts
        if not chains and not refuses_older:
            return
        firsts = [(self.contents.of(task.question, task.prompt), _first_wants(task)) for task in tasks]
        if chains:
            asked = [
                [text for want in wants for text in (content.input(want)[:ASKED], content.old_input(want))]
                for content, wants in firsts
            ]
            self._names = JournalNames.of([task.question.id for task in tasks], asked, self.journal)
            self.status.found(self._names.there, self._names.unused)
        if refuses_older:
            for content, wants in firsts:
                for want in map(self._names.named, wants):
                    for key in want.keys:
                        self._before(key, content, want)

    def _fill(
        self, active: list[_Active], waiting: Iterator[tuple[int, Task[T]]], places: int
    ) -> Iterator[tuple[int, T]]:
        while len(active) < places:
            following = next(waiting, None)
            if following is None:
                return
            number, task = following
            one = _Active(task, number, task.start(), self.contents.of(task.question, task.prompt))
            active.append(one)
            yield from self._advance(one, None, active)

    def _advance(
        self, one: _Active, rollouts: list[list[Rollout]] | None, active: list[_Active]
    ) -> Iterator[tuple[int, Any]]:
        """Run a job until it asks for something that is not in the journal, or ends."""
        while True:
            try:
                wants = next(one.job) if rollouts is None else one.job.send(rollouts)
                one.wants = [self._names.named(want) for want in wants]
            except StopIteration as stop:
                active.remove(one)
                self.status.done(drew=one.drew)
                yield one.number, stop.value
                return
            pieces = self._missing(one)
            if pieces:
                one.missing, one.drew = len(pieces), True
                self._ready.extend(pieces)
                return
            rollouts = self._collect(one)

    def _missing(self, one: _Active) -> list[_Piece]:
        pieces = []
        for want in one.wants:
            input = one.content.input(want)
            fresh = []
            for key in want.keys:
                if self.journal.find(key, input) is not None:
                    continue
                before = self._before(key, one.content, want)
                if before is not None:
                    there = Completion(
                        before.text, before.tokens, before.finished, before.reasoning, before.note
                    )
                    pieces.append(_Piece(one, (key,), want, input, there))
                elif want.given is not None:
                    pieces.append(_Piece(one, (key,), want, input, Completion(want.given, 0)))
                else:
                    fresh.append(key)
            pieces += [_Piece(one, keys, want, input, None) for keys in consecutive(fresh)]
        return pieces

    def _collect(self, one: _Active) -> list[list[Rollout]]:
        found = []
        for want in one.wants:
            input = one.content.input(want)
            rollouts = [self.journal.find(key, input) for key in want.keys]
            found.append([rollout for rollout in rollouts if rollout is not None])
            assert len(found[-1]) == len(want.keys)
        return found

    def _before(self, key: Key, content: QuestionContent, want: Want) -> Rollout | None:
        """A rollout that was sampled for this, with its text, however it was judged."""
        input = content.input(want)
        found = self.journal.unjudged(key, input) or self.journal.sampled(key, input[:ASKED])
        return found or self._older(key, content.old_input(want))

    def _older(self, key: Key, old_input: str) -> Rollout | None:
        """A rollout of version 0.2.0 or older, which knew neither images nor the generator's files."""
        found = self.journal.sampled(key, old_input)
        if found is not None and not self.older_rollouts:
            raise UserError(
                f"{self.journal.path} holds rollouts of version 0.2.0 or older (the first: question "
                f"{key.question}), which do not say what the images and the model's files held. If none was "
                "replaced since, set older_rollouts=reuse: the texts are kept, and their answers are judged "
                "again. Otherwise choose another output"
            )
        return found

    def _groups(self, batching: bool, *, busy: bool) -> Iterator[list[_Piece]]:
        if batching:
            if self._ready and not busy:
                group = list(self._ready)
                self._ready.clear()
                yield group
            return
        while self._ready:
            yield [self._ready.popleft()]

    def _serve(self, group: list[_Piece]) -> list[GenerationError | None]:
        """In a thread: sample, judge, write. Returns each piece's failure, if any."""
        asked = [piece for piece in group if piece.there is None]
        results: dict[int, list[Completion] | GenerationError] = {}
        if asked:
            answers = self.generator.complete_all([self._request(piece) for piece in asked], self.sampling)
            results = {id(piece): answer for piece, answer in zip(asked, answers, strict=True)}
        return [self._keep(piece, results.get(id(piece), [])) for piece in group]

    def _request(self, piece: _Piece) -> Request:
        question = piece.active.task.question
        first = number_of(piece.keys[0])
        return Request(
            piece.active.task.prompt,
            question.images,
            piece.want.prefix,
            len(piece.keys),
            seed_of(self.seed, piece.keys[0]) + first,
            first,
        )

    def _keep(self, piece: _Piece, answer: Sequence[Completion] | GenerationError) -> GenerationError | None:
        """Judge and write the completions, even if something else failed; returns the piece's failure, if
        any."""
        self.contents.require_unchanged(piece.active.content)
        if piece.there is None and self.sampling.temperature > 0 and not isinstance(answer, GenerationError):
            self.status.compared([one.text for one in answer])
        failure: Exception | None = None
        if isinstance(answer, GenerationError):
            failure, answer = answer, answer.completions
        judging: Exception | None = None
        for key, completion in zip(
            piece.keys, answer if piece.there is None else [piece.there], strict=failure is None
        ):
            judgement = None
            if judging is None:  # a judge that gave no reply is not asked about the rest
                try:
                    judgement = self._judgement(piece, completion)
                except Exception as error:
                    judging = error
            if judgement is not None or self.journal.unjudged(key, piece.input) is None:
                rollout = _rollout(key, piece.input, completion, judgement)
                self.journal.append([rollout])
                if piece.there is None:
                    self.status.sampled(rollout)
        failure = judging or failure
        if failure is not None and not isinstance(failure, GenerationError):
            raise failure
        return failure

    def _judgement(self, piece: _Piece, completion: Completion) -> Judgement:
        want = piece.want
        if want.correct is not None:
            return Judgement("right" if want.correct else "wrong", None, "according to its source")
        said_apart = completion.reasoning or not completion.finished
        unsaid = completion.note or (said_apart and is_empty(completion.text))
        if want.given is None and unsaid:
            # The prefix may state an answer, but this reply does not: what it would have been is not known.
            cause = completion.note or ("cut off" if not completion.finished else "only reasoning")
            return Judgement("undecided", None, f"the reply says nothing ({cause})")
        return self.checker.check(want.prefix + completion.text, piece.active.task.question)

    def _arrived(
        self, piece: _Piece, failure: GenerationError | None, active: list[_Active]
    ) -> Iterator[tuple[int, Any]]:
        one = piece.active
        one.missing -= 1
        one.failure = one.failure or failure
        self._answered = self._answered or (failure is None and piece.there is None)
        problem = self.status.replies.problem(self.limits)
        if problem is not None:
            raise UserError(f"{problem} What was paid for is kept in {self.journal.path}")
        if one.missing:
            return
        if one.failure is None:
            yield from self._advance(one, self._collect(one), active)
            return
        one.job.close()
        active.remove(one)
        self._count_failure(one.task.question, one.failure)

    def _count_failure(self, question: QuestionRecord, failure: GenerationError) -> None:
        self.status.failed(question.id, str(failure))
        if failure.refused and not self._answered:
            raise UserError(f"the generator refused the first request: {failure}")
        failed, total = self.status.failures, self.status.total
        if failed > self.max_failed_fraction * total:
            raise UserError(
                f"{failed} of {total} questions failed, more than max_failed_fraction="
                f"{self.max_failed_fraction:g} allows; the last one, {question.id}: {failure}. The "
                "rollouts are kept: fix the cause and run the same command again"
            )


def _first_wants(task: Task[Any]) -> Sequence[Want]:
    """The first round of a task's job, which is begun for that alone."""
    job = task.start()
    wants: Sequence[Want] = next(job, ())
    job.close()
    return wants


def _rollout(key: Key, input: str, completion: Completion, judgement: Judgement | None) -> Rollout:
    return Rollout(
        key,
        input,
        completion.text,
        completion.tokens,
        completion.finished,
        verdict=None if judgement is None else judgement.verdict,
        answer=None if judgement is None else judgement.extracted,
        reason="not judged yet" if judgement is None else judgement.reason,
        reasoning=completion.reasoning,
        note=completion.note,
        empty=is_empty(completion.text),
    )
