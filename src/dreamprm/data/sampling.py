"""Which rows a training step reads: a pure function of the step, so resuming needs only the step number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from dreamprm.config.errors import UserError

Sampling = Literal["single", "mixed"]

MOST_REPEATED = 4096
"""Rows that a batch may have even if its set has fewer, which it then repeats. A batch without a limit would
never end."""

# Keys of the independent random streams derived from one seed.
_ORDER, _ROWS = 0, 1


class _Permutations:
    """Seeded permutations of range(size), one per epoch; the last two are kept, as a batch may span both."""

    def __init__(self, size: int, *key: int) -> None:
        self.size, self.key = size, key
        self.kept: dict[int, np.ndarray] = {}

    def epoch(self, number: int) -> np.ndarray:
        """The permutation of one epoch, int64 (size,)."""
        if number not in self.kept:
            self.kept = {epoch: kept for epoch, kept in self.kept.items() if epoch == number - 1}
            self.kept[number] = np.random.default_rng([*self.key, number]).permutation(self.size)
        return self.kept[number]

    def rows(self, start: int, count: int) -> list[int]:
        """Entries start, ..., start + count - 1 of the epochs' permutations laid end to end."""
        rows: list[int] = []
        while len(rows) < count:
            number, offset = divmod(start + len(rows), self.size)
            rows += self.epoch(number)[offset : offset + count - len(rows)].tolist()
        return rows


class DomainSampler:
    """Rows of the training domains by step; within an epoch, a domain's rows are drawn without replacement.

    `single` (the default in the configurations; DreamPRM, arXiv 2505.20241, trains on one domain per
    micro-batch): a step holds `batch_size` rows of one domain, and each cycle of K steps visits all K domains
    once, in its own seeded order. `mixed`: a step holds `batch_size` rows of every domain. `rows(step)`
    depends only on the arguments and the step: there is nothing to store in a checkpoint, loader workers can
    request steps in any order (in sequence is fastest), and equal seeds give equal rows as long as numpy's
    `default_rng` gives equal permutations.

    Args:
        domain_sizes: the number of rows in every domain, in the order of the domain indices.
        mode: `single` or `mixed`.
        batch_size: rows per step (`single`), or rows per domain and step (`mixed`); >= 1. If it exceeds the
            size of a domain, the domain's rows are repeated, up to `MOST_REPEATED`.
        seed: >= 0.

    Raises:
        UserError: no domain, a domain without rows (it is named), an unknown mode, a batch size < 1 or more
            than all rows, or a seed < 0.
    """

    def __init__(
        self, domain_sizes: Mapping[str, int], *, mode: Sampling, batch_size: int, seed: int
    ) -> None:
        _check(batch_size, seed, largest=max(domain_sizes.values(), default=0), of="the largest domain")
        if mode not in ("single", "mixed"):
            raise UserError(f"sampling must be 'single' or 'mixed', got {mode!r}")
        if not domain_sizes:
            raise UserError("there is no training domain; give at least one file of step records")
        if empty := [name for name, size in domain_sizes.items() if size < 1]:
            raise UserError(
                f"no records in domain {', '.join(map(repr, empty))}; every domain needs at least one"
            )
        self.mode, self.batch_size, self.seed = mode, batch_size, seed
        self.names = tuple(domain_sizes)
        self._domains = [
            _Permutations(size, seed, _ROWS, index) for index, size in enumerate(domain_sizes.values())
        ]
        self._order = _Permutations(len(self.names), seed, _ORDER)

    def rows(self, step: int) -> list[tuple[int, int]]:
        """The rows of one step.

        Args:
            step: the number of micro-batches before this one, >= 0.

        Returns:
            (domain index, row within the domain) pairs, grouped by domain.
        """
        if self.mode == "mixed":
            start = step * self.batch_size
            return [
                (index, row)
                for index, domain in enumerate(self._domains)
                for row in domain.rows(start, self.batch_size)
            ]
        cycle = step // len(self.names)  # each earlier cycle visited this domain once
        (index,) = self._order.rows(step, 1)
        return [(index, row) for row in self._domains[index].rows(cycle * self.batch_size, self.batch_size)]

    def positions(self, step: int) -> dict[str, dict[str, int]]:
        """Every domain's position before a step: epochs finished, and rows visited in the current one."""
        visits = dict.fromkeys(range(len(self.names)), step)
        if self.mode == "single":
            cycle, within = divmod(step, len(self.names))
            visited = self._order.rows(cycle * len(self.names), within)
            visits = {index: cycle + (index in visited) for index in visits}
        return {
            name: _position(visits[index] * self.batch_size, self._domains[index].size)
            for index, name in enumerate(self.names)
        }


class EpochSampler:
    """Rows of one set by step (the meta set, the language-modelling pool), without replacement in an epoch.

    Like `DomainSampler`, a pure function of the step. A batch at the end of an epoch takes its missing rows
    from the next epoch, so all batches have the same size.

    Args:
        size: rows in the set, >= 1.
        batch_size: rows per batch, >= 1.
        seed: >= 0; sets sampled alongside each other need different seeds to be independent.
        setting: what `batch_size` is called in messages.

    Raises:
        UserError: an empty set, a batch size < 1 or more than all rows, or a seed < 0.
    """

    def __init__(self, size: int, batch_size: int, seed: int, *, setting: str = "batch_size") -> None:
        _check(batch_size, seed, largest=size, of="the set", setting=setting)
        if size < 1:
            raise UserError(f"a set to sample from needs at least one record, got {size}")
        self.batch_size, self.seed = batch_size, seed
        self._rows = _Permutations(size, seed, _ROWS)

    def rows(self, step: int) -> list[int]:
        """The row numbers of one batch; `step` is the number of batches before it."""
        return self._rows.rows(step * self.batch_size, self.batch_size)

    def positions(self, step: int) -> dict[str, int]:
        """The position before a step: epochs finished, and rows visited in the current one."""
        return _position(step * self.batch_size, self._rows.size)


def _check(batch_size: int, seed: int, *, largest: int, of: str, setting: str = "batch_size") -> None:
    if batch_size < 1:
        raise UserError(f"{setting} must be >= 1, got {batch_size}")
    if batch_size > max(largest, MOST_REPEATED):
        raise UserError(
            f"{setting}={batch_size:,} is more than the {largest:,} records of {of}, which each batch would "
            f"only repeat; give at most {max(largest, MOST_REPEATED):,}"
        )
    if seed < 0:
        raise UserError(f"seed must be >= 0, got {seed}")


def _position(visited: int, size: int) -> dict[str, int]:
    epoch, offset = divmod(visited, size)
    return {"epoch": epoch, "offset": offset}
