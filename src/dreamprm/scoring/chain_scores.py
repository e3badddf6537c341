"""Turns a stream of chains of thought into the log-odds of their steps; shared parts are computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dreamprm.config.errors import UserError
from dreamprm.models.candidate_scoring import PassLimits, scored_questions
from dreamprm.models.encoding import EncodedCoT
from dreamprm.models.images import ImageStore
from dreamprm.models.likelihood import likelihood_of_questions
from dreamprm.models.prm import PRM

P = TypeVar("P")

WINDOW_PASSES = 8
"""Chains are sorted by length within this many full passes, whose encoded chains are held in memory."""


@dataclass(frozen=True, slots=True)
class Chain(Generic[P]):
    """A chain of thought to score.

    Attributes:
        question, images, steps: as in a record; at least one step.
        place: where its scores go.
        known: its scores are known and not wanted. It only takes its place among the others, as rounding
            depends on what goes through the model together.
        first: a window begins with it, whatever comes before.
    """

    question: str
    images: tuple[str, ...]
    steps: tuple[str, ...]
    place: P
    known: bool = False
    first: bool = False


Refused = Callable[[Chain[P], UserError], None]


@dataclass
class WindowRule:
    """Where a stream of chains is cut: into windows of at least `size` chains, usually between two questions.

    Args:
        size: for `scored_chains`, the rows of `WINDOW_PASSES` passes.
    """

    size: int
    _length: int = 0
    _last: tuple[str, tuple[str, ...]] | None = None

    def begins(self, chain: Chain[P]) -> bool:
        """Whether a window begins with this chain, the next one of the stream."""
        key = _key(chain)
        # A file with only one question must not be held in memory as a whole either.
        full = self._length >= self.size and (key != self._last or self._length >= 4 * self.size)
        begins = full or chain.first or not self._length
        self._length, self._last = (1 if begins else self._length + 1), key
        return begins


@dataclass
class _Question(Generic[P]):
    """Chains of one question in a window; each is encoded once, even if its scores go to several places, or
    to none."""

    encoded: list[EncodedCoT] = field(default_factory=list)
    places: list[list[P]] = field(default_factory=list)
    numbers: dict[tuple[str, ...], int] = field(default_factory=dict)


def scored_chains(
    prm: PRM,
    chains: Iterable[Chain[P]],
    *,
    images: ImageStore,
    limits: PassLimits,
    refused: Refused[P] | None = None,
    likelihood: bool = False,
) -> Iterator[tuple[P, list[float]]]:
    """The log-odds of every chain's steps, or one value a chain: its likelihood under the backbone.

    Chains of one question (the same text and images) that are near each other share the computation of their
    common beginnings; equal ones are scored once. At most the chains of `4 * WINDOW_PASSES` passes are held
    at a time. Passes without a chain that is wanted are left out.

    Args:
        prm: the model; it is in evaluation mode while the iterator runs.
        chains: a stream of any length.
        images: opens the images.
        limits: of one forward pass.
        refused: called with a chain that cannot be encoded (an image broken, too many tokens) and why; the
            chain then gets no scores. None raises.
        likelihood: give each chain's mean log-likelihood per token (`likelihood_of_questions`).

    Yields:
        (the chain's place, its values) for each that is not `known`, question by question, in no particular
        order within a window.

    Raises:
        UserError: the processor or the image store rejects a chain, and `refused` is None.
    """
    was_training = prm.training
    prm.eval()
    values_of = likelihood_of_questions if likelihood else scored_questions
    try:
        for window in _windows(chains, WINDOW_PASSES * limits.rows):
            if all(chain.known for chain in window):
                continue
            questions = _encoded(prm, window, images, refused)
            encoded = [question.encoded for question in questions]
            wanted = [any(question.places) for question in questions]
            for number, scores in values_of(prm, encoded, limits=limits, wanted=wanted):
                for places, log_odds in zip(questions[number].places, scores, strict=True):
                    for place in places:
                        yield place, log_odds
    finally:
        prm.train(was_training)


def _windows(chains: Iterable[Chain[P]], size: int) -> Iterator[list[Chain[P]]]:
    rule = WindowRule(size)
    window: list[Chain[P]] = []
    for chain in chains:
        if rule.begins(chain) and window:
            yield window
            window = []
        window.append(chain)
    if window:
        yield window


def _key(chain: Chain[P]) -> tuple[str, tuple[str, ...]]:
    return chain.question, chain.images


def _encoded(
    prm: PRM, window: Sequence[Chain[P]], images: ImageStore, refused: Refused[P] | None
) -> list[_Question[P]]:
    by_key: dict[tuple[str, tuple[str, ...]], list[Chain[P]]] = {}
    for chain in window:
        by_key.setdefault(_key(chain), []).append(chain)
    questions: list[_Question[P]] = []
    for (text, paths), members in by_key.items():
        question: _Question[P] = _Question()
        pixels = None
        for chain in members:
            places = [] if chain.known else [chain.place]
            number = question.numbers.get(chain.steps)
            if number is not None:
                question.places[number] += places
                continue
            try:
                if pixels is None:  # opened and resized once for all chains of the question
                    pixels = [prm.processor.patcher.resized(image) for image in images.open_all(paths)]
                encoded = prm.processor.encode(text, pixels, chain.steps)
            except UserError as error:
                if refused is None:
                    raise
                if not chain.known:
                    refused(chain, error)
                continue
            question.numbers[chain.steps] = len(question.encoded)
            question.encoded.append(encoded)
            question.places.append(places)
        if question.encoded:
            questions.append(question)
    return questions
