"""The longest batches that a training can meet, which decide its peak, and how long its usual ones are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from dreamprm.config.errors import UserError
from dreamprm.data.sampling import DomainSampler, EpochSampler
from dreamprm.data.text_reader import TextRecord
from dreamprm.models.shares import Share
from dreamprm.training.assembly import Run
from dreamprm.training.run_batches import Samplers

CHARACTERS = 3.5
"""In a token, of English and LaTeX: to tell long records from short ones before they are encoded."""
CANDIDATES = 8
"""Records of each domain that are encoded to find the longest, at least."""
TRIES = 200
"""Records that are encoded at most: those that cannot be used are passed over."""
SAMPLED = 100
"""Batches whose lengths are estimated, to say how long they usually are."""


@dataclass(frozen=True)
class LongestRows:
    """The records of the longest batches, which every batch of a counted window then has.

    Attributes:
        rank: the process that has the most of them.
        rows, length: of this process's inner batch, and the tokens in its longest row.
        usual: tokens in the longest row of the usual inner batch, over `length`.
    """

    samplers: Samplers
    rank: int
    rows: int
    length: int
    usual: float


class _Always:
    """A sampler that gives the same rows at every step."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = list(rows)

    def rows(self, step: int) -> list[Any]:
        """The rows."""
        del step
        return self._rows


def longest_batches(run: Run, texts: Sequence[TextRecord], *, processes: int = 1) -> LongestRows:
    """The records of the longest inner and outer batches of this run, whose model may have no weights.

    Args:
        texts: of the language-modelling loss, if there is one.
        processes: that share the batches' rows.

    A batch is as long as its longest row. Records are ranked by their characters and the sizes of their
    images; the first of each domain are encoded, and the longest of them are taken.
    """
    config, table, processor = run.config, run.records, run.prm.processor
    measure = _Measure(run)
    estimates = table.characters() / CHARACTERS + measure.most * table.image_counts()
    sizes: dict[int, int] = {}
    longest: list[list[int]] = []  # by domain: numbers within it, longest first
    for rows in table.domains.values():
        found = measure.longest(
            (int(row) for row in rows[np.argsort(-estimates[rows], kind="stable")]),
            lambda row: _lengths(processor, run, table[row]),
            wanted=max(config.batch_size, CANDIDATES),
        )
        sizes |= {row: size for size, row in found}
        place = {int(row): i for i, row in enumerate(rows)}
        longest.append(_repeated([place[row] for _, row in found], config.batch_size))
    heads = [sizes[int(rows[numbers[0]])] for rows, numbers in zip(table.domains.values(), longest)]
    chosen = range(len(longest)) if config.sampling == "mixed" else [int(np.argmax(heads))]
    picked = [(domain, number) for domain in chosen for number in longest[domain]]
    every = list(table.domains.values())
    lengths = [sizes[int(every[domain][number])] for domain, number in picked]
    shares = [Share(rank, processes).rows(len(lengths)) for rank in range(processes)]
    most = [max((lengths[row] for row in rows), default=0) for rows in shares]
    rank = int(np.argmax([len(rows) * size for rows, size in zip(shares, most)]))
    text_sampler = None
    if config.lm_weight:
        order = np.argsort([-len(text.text) / CHARACTERS - measure.most * len(text.images) for text in texts])
        text_sampler = _always(_repeated([int(i) for i in order], config.lm_batch_size))
    order = np.argsort(
        [-_characters(record) / CHARACTERS - measure.most * len(record.images) for record in run.meta]
    )
    best = measure.longest(
        (int(i) for i in order),
        lambda i: _lengths(processor, run, run.meta[i]),
        wanted=max(config.meta_batch_size, CANDIDATES),
    )
    usual = _usual(run, estimates) / float(max(estimates[every[domain][number]] for domain, number in picked))
    return LongestRows(
        Samplers(
            cast(DomainSampler, _Always(picked)),
            _always(_repeated([i for _, i in best], config.meta_batch_size)),
            text_sampler,
        ),
        rank,
        rows=len(shares[rank]),
        length=most[rank],
        usual=min(1.0, usual),
    )


def _always(rows: Sequence[int]) -> EpochSampler:
    return cast(EpochSampler, _Always(rows))


class _Measure:
    """Finds long records; what cannot be used is passed over, as training leaves it out or refuses it."""

    def __init__(self, run: Run) -> None:
        patcher = run.prm.processor.patcher
        side = patcher.patch * patcher.merge
        self.most = run.config.data.max_pixels / side**2
        """Tokens of an image at the most."""

    def longest(
        self, order: Iterable[int], tokens: Callable[[int], int], *, wanted: int
    ) -> list[tuple[int, int]]:
        """(tokens, number), most tokens first, of the first `wanted` numbers that can be used.

        Raises:
            UserError: none can.
        """
        found: list[tuple[int, int]] = []
        reason: UserError | None = None
        for tried, number in enumerate(order):
            if len(found) == wanted or tried == TRIES:
                break
            try:
                found.append((tokens(number), number))
            except UserError as error:
                reason = error
        if not found:
            raise reason or UserError("there is no record to plan with")
        return sorted(found, reverse=True)


def _lengths(processor: Any, run: Run, record: Any) -> int:
    encoded = processor.encode(record.question, run.images.open_all(record.images), record.steps)
    return max(len(row.input_ids) for row in encoded.rows)


def _characters(record: Any) -> int:
    return len(record.question) + sum(map(len, record.steps))


def _repeated(numbers: list[int], count: int) -> list[int]:
    """The first `count` numbers, from the start again where there are fewer."""
    return [numbers[i % len(numbers)] for i in range(count)]


def _usual(run: Run, estimates: np.ndarray) -> float:
    """The longest row of a batch, by the estimates, in the mean over the first batches."""
    rows = list(run.records.domains.values())
    found = [
        max(float(estimates[rows[domain][number]]) for domain, number in run.sampler.rows(step))
        for step in range(SAMPLED)
    ]
    return sum(found) / len(found)
