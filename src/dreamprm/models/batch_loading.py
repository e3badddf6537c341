"""The batches of both levels one after another, prefetched by worker processes.

A batch is a function of its number alone, so that workers may make them in any order.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from dreamprm.config.errors import UserError
from dreamprm.data.image_notes import ImageNotes
from dreamprm.models.collation import Batch, BatchDataset, MetaBatches, StepBatches
from dreamprm.runtime.worker_processes import worker_context


class WindowBatches(Dataset[Batch]):
    """The batches of both levels in the order in which training takes them.

    Each window has `inner_steps` lower-level batches and then its upper-level one. As a single dataset, both
    levels share their loader workers, and a worker decodes an image once for both.
    """

    def __init__(self, steps: StepBatches, meta: MetaBatches, *, inner_steps: int) -> None:
        self._steps, self._meta, self._inner_steps = steps, meta, inner_steps

    @property
    def per_window(self) -> int:
        """The number of batches per window."""
        return self._inner_steps + 1

    def __getitem__(self, index: int) -> Batch:
        window, place = divmod(index, self.per_window)
        if place == self._inner_steps:
            return self._meta[window]
        return self._steps[window * self._inner_steps + place]

    def take_notes(self) -> ImageNotes:
        """The notes of both levels since the last call."""
        notes = self._steps.take_notes()
        notes.update(self._meta.take_notes())
        return notes


def window_batches(
    dataset: WindowBatches, *, first: int, last: int, workers: int = 0, notes: ImageNotes | None = None
) -> tuple[Iterator[Batch], Iterator[Batch]]:
    """The lower-level and the upper-level batches of the windows from `first` up to `last`.

    The iterators share one source. A batch drawn for the other one waits there, so they may be read in any
    order; read as training does, no batch waits.

    Raises:
        UserError: as `batches`.
    """
    count = dataset.per_window
    source = batches(dataset, start=first * count, stop=last * count, workers=workers, notes=notes)
    numbered = ((place % count == count - 1, batch) for place, batch in enumerate(source))
    waiting: tuple[deque[Batch], deque[Batch]] = (deque(), deque())

    def of(upper: bool) -> Iterator[Batch]:
        while True:
            while not waiting[upper]:
                drawn = next(numbered, None)
                if drawn is None:
                    return
                waiting[drawn[0]].append(drawn[1])
            yield waiting[upper].popleft()

    return of(False), of(True)


class Latest(Iterator[Batch]):
    """The batches of another iterator; `last` is the most recent one."""

    def __init__(self, source: Iterator[Batch]) -> None:
        self._source = source
        self.last: Batch = {}

    def __next__(self) -> Batch:
        self.last = next(self._source)
        return self.last


class _WithNotes(Dataset[Any]):
    """Returns each batch with the dataset's notes, which a worker process would otherwise keep to itself.

    User errors are returned as items too: a worker's exception would arrive with a traceback in its message.
    """

    def __init__(self, dataset: BatchDataset | WindowBatches) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> tuple[Batch | UserError, ImageNotes]:
        try:
            return self._dataset[index], self._dataset.take_notes()
        except UserError as error:
            return error, ImageNotes()


def batches(
    dataset: BatchDataset | WindowBatches,
    *,
    start: int,
    stop: int,
    workers: int = 0,
    notes: ImageNotes | None = None,
) -> Iterator[Batch]:
    """The dataset's batches from `start` up to `stop`, prefetched by `workers` processes (0: in this one).

    Args:
        notes: receives the dataset's notes on each batch as it is returned.

    Raises:
        UserError: raised by the dataset; it surfaces when its batch is due.
    """
    loader: DataLoader[Any] = DataLoader(
        _WithNotes(dataset),
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        multiprocessing_context=worker_context([__name__]) if workers else None,
        # The loader seeds its workers from a generator; using the global one would advance it at each start.
        generator=torch.Generator(),
        worker_init_fn=leave_signals_to_the_loop if workers else None,
    )
    for batch, noted in loader:
        if isinstance(batch, UserError):
            raise batch
        if notes is not None:
            notes.update(noted)
        yield batch


def leave_signals_to_the_loop(worker: int) -> None:
    """Go on when a terminal or a scheduler signals all processes: the loop saves, then ends its workers."""
    del worker
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
