"""Runs the searches of many questions, a group at a time, in rounds that are the same in every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import torch

from dreamprm.config.errors import UserError
from dreamprm.data.records import QuestionRecord
from dreamprm.generators.base import Completion, GenerationError, Request, Sampling, sequence_seed
from dreamprm.models.aggregation import aggregate_logit
from dreamprm.scorers.base import CandidateScores
from dreamprm.search.chains import Chain, ChainReader
from dreamprm.search.methods.base import Ask, Plan, SearchMethod
from dreamprm.search.suppliers import Completions, Scores

TOKENS = "generated_tokens"
"""The limit that a question can reach before its method is done."""


@dataclass(frozen=True)
class SearchTask:
    """A question, its prompt for the generator, its text for the scorer, and its reader of steps."""

    question: QuestionRecord
    prompt: str
    shown: str
    reader: ChainReader


@dataclass(frozen=True)
class Limits:
    """What one question may cost.

    Attributes:
        n: the size of the search, as its method takes it.
        generated_tokens: the most tokens generated for it; None: no limit.
        chain_tokens, step_tokens: the most tokens of a continuation to the end, and of one step.
    """

    n: int
    generated_tokens: int | None
    chain_tokens: int
    step_tokens: int


@dataclass
class Cost:
    """What was spent on one question, whether in this run or in one before.

    Attributes:
        generated: tokens of its completions, text that was cut away or came to nothing included.
        scored: tokens that the scorer read for it, as it counts them.
        continuations: completions.
        cut_away: completions that went past the step they were asked for.
        empty: completions without any text.
        cut_off: continuations that ended at a limit of tokens.
        unscored: chains that the scorer refused.
        over: tokens generated past `Limits.generated_tokens`, by a generator that ignores max_tokens.
    """

    generated: int = 0
    scored: int = 0
    continuations: int = 0
    cut_away: int = 0
    empty: int = 0
    cut_off: int = 0
    unscored: int = 0
    over: int = 0


@dataclass(frozen=True)
class Found:
    """The result for one question.

    Attributes:
        chains: the complete chains in the order in which they came; if there are none, the best partial one.
        chosen: the index of the one that is the answer; None if there is not even a partial one.
        cost: what was spent.
        course: (generated tokens, scored tokens, index of the chain chosen then) whenever the choice changed.
        limit: `TOKENS` if that limit ended the search; None if its method did.
    """

    chains: tuple[Chain, ...]
    chosen: int | None
    cost: Cost
    course: tuple[tuple[int, int, int], ...]
    limit: str | None


@dataclass(frozen=True)
class _Piece:
    """A continuation still to be sampled: for which ask, and its number among those of its prefix."""

    ask: int
    prefix: Chain
    number: int
    whole: bool
    stops: tuple[str, ...]


@dataclass(eq=False)
class _Search:
    """The search of one question in progress."""

    task: SearchTask
    number: int
    plan: Plan
    asks: Sequence[Ask] = ()
    pieces: list[_Piece] = field(default_factory=list)
    fresh: list[tuple[int, Chain]] = field(default_factory=list)  # by ask, not scored yet
    complete: list[Chain] = field(default_factory=list)
    partial: Chain | None = None  # the best
    drawn: Counter[str] = field(default_factory=Counter)  # samples by prefix
    scores: dict[tuple[str, ...], CandidateScores] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    course: list[tuple[int, int, int]] = field(default_factory=list)
    limit: str | None = None
    failure: Exception | None = None


@dataclass
class Driver:
    """Searches question by question in groups of `together`, which take their rounds together.

    A round is: every search's continuations, then one call of the scorer for all new chains. Which requests
    go through generator and scorer together thus depends on the files and settings alone, and never on
    timing: a run that was killed ends with the same bytes as one that was not.

    A question whose request fails, or whose chains all cannot be scored, ends without a result; the others
    continue.
    """

    method: SearchMethod
    completions: Completions
    scores: Scores
    limits: Limits
    temperature: float
    seed: int
    aggregation: str
    together: int

    def run(self, tasks: Sequence[SearchTask]) -> Iterator[tuple[int, Found | Exception]]:
        """Search for every question; yields the number of each with its result, group by group.

        Raises:
            UserError: generator or scorer cannot serve anything, or the journal cannot be written.
        """
        for start in range(0, len(tasks), self.together):
            group = [
                _Search(task, start + i, self.method.plan(self.limits.n))
                for i, task in enumerate(tasks[start : start + self.together])
            ]
            for search in group:
                self._ask(search, None)
            while active := [search for search in group if search.asks]:
                self._continue(active)
                self._score([search for search in active if search.failure is None])
                for search in active:
                    self._advance(search)
            for search in group:
                yield search.number, self._result(search)

    def _ask(self, search: _Search, chains: list[list[Chain]] | None) -> None:
        """Take the plan's next asks; none once it has ended."""
        try:
            search.asks = next(search.plan) if chains is None else search.plan.send(chains)
        except StopIteration:
            search.asks = ()
        search.fresh = []
        for i, ask in enumerate(search.asks):
            reader = search.task.reader
            whole = reader.to_the_end(ask.prefix, whole=ask.whole)
            stops = reader.stop if whole else reader.stops(ask.prefix)
            first = search.drawn[ask.prefix.text]
            search.drawn[ask.prefix.text] += ask.count
            search.pieces += [_Piece(i, ask.prefix, first + k, whole, stops) for k in range(ask.count)]

    def _continue(self, searches: Sequence[_Search]) -> None:
        """Sample every piece of the round, a wave at a time where a budget does not allow all at once."""
        while waves := [(search, *self._wave(search)) for search in searches if search.pieces]:
            calls = [
                (
                    search,
                    group,
                    self._request(search, group),
                    Sampling(self.temperature, most, group[0].stops),
                )
                for search, wave, most in waves
                for group in _in_rows(wave)
            ]
            answers = self.completions.of([(request, sampling) for _, _, request, sampling in calls])
            for (search, group, _, sampling), answer in zip(calls, answers, strict=True):
                if isinstance(answer, GenerationError):
                    search.failure = search.failure or answer
                    search.pieces = []
                    continue
                for piece, completion in zip(group, answer, strict=True):
                    self._take(search, piece, completion)
                    if not completion.finished and sampling.max_tokens < self._most(piece.whole):
                        search.limit = TOKENS  # not the longest that it may be, but all that was left

    def _wave(self, search: _Search) -> tuple[list[_Piece], int]:
        """The pieces that may be sampled now, taken from the search's, and the most tokens of each."""
        whole = search.pieces[0].whole
        most = self._most(whole)
        same = [piece for piece in search.pieces if piece.whole == whole]
        if self.limits.generated_tokens is not None:
            left = self.limits.generated_tokens - search.cost.generated
            if left <= 0:
                search.limit, search.pieces = TOKENS, []
                return [], most
            same, most = same[: max(1, left // most)], min(most, left)
        taken = set(map(id, same))
        search.pieces = [piece for piece in search.pieces if id(piece) not in taken]
        return same, most

    def _most(self, whole: bool) -> int:
        return self.limits.chain_tokens if whole else self.limits.step_tokens

    def _request(self, search: _Search, group: Sequence[_Piece]) -> Request:
        task, prefix, first = search.task, group[0].prefix, group[0].number
        start = sequence_seed(f"{self.seed}/{task.question.id}/{prefix.text}")
        return Request(
            task.prompt,
            task.question.images,
            task.reader.sent(prefix),
            len(group),
            start + first,
            first,
        )

    def _take(self, search: _Search, piece: _Piece, completion: Completion) -> None:
        reader, cost = search.task.reader, search.cost
        cost.continuations += 1
        cost.generated += completion.tokens
        if self.limits.generated_tokens is not None:
            cost.over = max(0, cost.generated - self.limits.generated_tokens)
        if not piece.whole and reader.said_nothing(completion):
            # Its next heading is not the one that was expected: once more without stop texts.
            cost.cut_away += 1
            if search.failure is None:
                search.pieces.append(replace(piece, stops=reader.stop))
            return
        chain, cut_away = reader.read(piece.prefix, completion, whole=piece.whole)
        cost.cut_away += cut_away
        cost.cut_off += not completion.finished
        if chain is None:
            cost.empty += 1
        else:
            search.fresh.append((piece.ask, chain))

    def _score(self, searches: Sequence[_Search]) -> None:
        """Score the new chains of all searches in one call."""
        wanted = [
            list(dict.fromkeys(chain.steps for _, chain in one.fresh if chain.steps not in one.scores))
            for one in searches
        ]
        asking = [(one, steps) for one, steps in zip(searches, wanted, strict=True) if steps]
        results = self.scores.of([(one.task.shown, one.task.question.images, steps) for one, steps in asking])
        for (one, steps), scored in zip(asking, results, strict=True):
            for key, result in zip(steps, scored, strict=True):
                if isinstance(result, UserError):
                    one.cost.unscored += sum(chain.steps == key for _, chain in one.fresh)
                    one.failure = one.failure or result
                else:
                    one.scores[key] = result
                    one.cost.scored += result.tokens
        for one in searches:
            scorable = [(ask, chain) for ask, chain in one.fresh if chain.steps in one.scores]
            if scorable or one.complete or one.partial:
                one.failure = None  # it goes on with those that can be scored
            one.fresh = self._valued(one, scorable)

    def _valued(self, search: _Search, chains: Sequence[tuple[int, Chain]]) -> list[tuple[int, Chain]]:
        if not chains:
            return []
        log_odds = [search.scores[chain.steps].log_odds for _, chain in chains]
        flat = torch.tensor([value for row in log_odds for value in row], dtype=torch.float64)
        owner = torch.tensor([i for i, row in enumerate(log_odds) for _ in row])
        values = aggregate_logit(flat, owner, len(chains), aggregation=self.aggregation).tolist()
        return [
            (ask, replace(chain, log_odds=row, value=value))
            for (ask, chain), row, value in zip(chains, log_odds, values, strict=True)
        ]

    def _advance(self, search: _Search) -> None:
        """Send a search its chains; end it if its tokens are spent or it has failed."""
        rows: list[list[Chain]] = [[] for _ in search.asks]
        # Pieces that were asked for again come late: in the order of asks all the same.
        for ask, chain in search.fresh:
            rows[ask].append(chain)
        for chain in (chain for row in rows for chain in row):
            if chain.complete:
                search.complete.append(chain)
            elif search.partial is None or chain.value > search.partial.value:
                search.partial = chain
        chosen = self.method.chosen(search.complete)
        if chosen is not None and (not search.course or search.course[-1][2] != chosen):
            search.course.append((search.cost.generated, search.cost.scored, chosen))
        if search.failure is not None or search.limit is not None:
            search.plan.close()
            search.asks = ()
            return
        self._ask(search, rows)

    def _result(self, search: _Search) -> Found | Exception:
        if search.failure is not None:
            return search.failure
        chains = tuple(search.complete)
        if not chains and search.partial is not None:
            chains = (search.partial,)
            search.course.append((search.cost.generated, search.cost.scored, 0))
        return Found(chains, self.method.chosen(chains), search.cost, tuple(search.course), search.limit)


def _in_rows(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """The pieces in groups that one request can ask for: of one prefix and ending, with numbers in a row."""

    def row(numbered: tuple[int, _Piece]) -> tuple[str, tuple[str, ...], int]:
        place, piece = numbered
        return piece.prefix.text, piece.stops, piece.number - place

    ordered = sorted(pieces, key=lambda piece: (piece.ask, piece.number))
    return [[piece for _, piece in group] for _, group in groupby(enumerate(ordered), row)]
