"""Which rows of a batch belong to one of several processes, and to one of several micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Share:
    """Which rows of every batch this process encodes, of `count` that train together.

    Args:
        rank: this process's number, 0..count-1.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def rows(self, n: int) -> range:
        """Its rows of n: neighbours, as many as the others' or one more."""
        return range(self.rank * n // self.count, (self.rank + 1) * n // self.count)


EVERYTHING = Share()
"""That of one process, which has all rows."""


def own_positions(counts: Sequence[int], rows: range) -> torch.Tensor:
    """The positions of the rows' steps among all steps of a batch, whose rows have `counts` of them."""
    return torch.arange(sum(counts[: rows.start]), sum(counts[: rows.stop]))


def counted_parts(wanted: int, *sizes: int, share: Share) -> list[Share]:
    """The micro-batches of a batch: at most `wanted`, each with a row of every kind for every process.

    Args:
        wanted: `micro_batches`.
        sizes: rows of each kind (CoTs, texts) in the whole batch.
        share: of several processes.

    Returns:
        one `Share` for each, whose `rows` are those of a kind that it holds.
    """
    count = max(1, min(wanted, *(size // share.count for size in sizes)))
    return [Share(part, count) for part in range(count)]


def losses_in_part(inside: torch.Tensor, whole: torch.Tensor, *, first: bool) -> list[tuple[int, float]]:
    """How the losses of a batch, each a mean over its labelled steps, are made of those of one micro-batch.

    A loss without a step in the whole batch is 0, and belongs to the first micro-batch. A micro-batch without
    a labelled step has a share of 0 of the first loss, as it must have one.

    Args:
        inside: `(n,)` long, the micro-batch's labelled steps by loss.
        whole: `(n,)` long, the batch's.

    Returns:
        (loss, share of it), by loss.
    """
    shares = [
        (number, own / total if total else 1.0)
        for number, (own, total) in enumerate(zip(inside.tolist(), whole.tolist(), strict=True))
        if own or (first and not total)
    ]
    return shares or [(0, 0.0)]
