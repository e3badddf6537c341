"""From records to batches: a dataset's i-th item is the whole batch of step i, as CPU tensors.

A batch is a function of the step alone, because the samplers are. Loader workers can therefore prefetch, and
a resumed run sees exactly the batches it would have seen without the interruption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.image_notes import ImageNotes
from dreamprm.data.record_table import RecordTable
from dreamprm.data.sampling import DomainSampler, EpochSampler
from dreamprm.data.text_reader import TextRecord
from dreamprm.models.images import ImageStore
from dreamprm.models.processing import EncodedCoT, PRMProcessor
from dreamprm.models.shares import EVERYTHING, Share, counted_parts, losses_in_part, own_positions
from dreamprm.models.trunk_states import CachedRecords

Batch = dict[str, Any]


class Rows(Protocol):
    """Records, or their row numbers, by position: a list, an array or a memory-mapped table."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def records_at(records: Rows, numbers: Sequence[int]) -> list[Any]:
    """The records with these numbers; from a table in a single read, which takes a quarter of the time."""
    if isinstance(records, RecordTable):
        return records.get(numbers)
    return [records[number] for number in numbers]


STEP, META, TEXT = "step:", "meta:", "text:"
"""What the keys of the notes on the images of each kind of record start with (`BatchDataset.take_notes`)."""


class BatchDataset(Dataset[Batch]):
    """A dataset of batches that notes which of its records it used without their images.

    Args:
        images: opens the images.
        processor: encodes the records.
    """

    def __init__(self, images: ImageStore, processor: PRMProcessor) -> None:
        self._images, self._processor = images, processor
        self._notes = ImageNotes()

    def take_notes(self) -> ImageNotes:
        """The notes on the batches made since the last call."""
        notes, self._notes = self._notes, ImageNotes()
        return notes

    def _shown(
        self, records: Sequence[Any], numbers: Sequence[int], states: CachedRecords | None
    ) -> dict[str, Any]:
        """What the model takes of these records; of their numbers, if a trunk's states are cached."""
        if states is not None:
            return states.collate(numbers)
        encoded = [_encode(self._processor, self._images, record) for record in records]
        if records and isinstance(records[0], TextRecord):
            return self._processor.collate_text(encoded)
        return self._processor.collate(encoded)

    def _note(self, kind: str, number: int, name: str, images: Sequence[str]) -> None:
        lost, cut_off = self._images.lost(images), self._images.cut_off(images)
        self._notes.add(f"{kind}{number}", name, lost=lost, cut_off=cut_off)


class StepBatches(BatchDataset):
    """Lower-level batches: CoTs with step labels, together with texts if there is a pool.

        inputs  what `PRM.forward` takes, with only the labelled steps as step ends
        labels  (S,) float32;  group (S,) long, each step's index into `domains` (n,) long
        cot     (S,) long, each step's index into the CoTs;  cots (c,) long, their row numbers in the table;
                cot_domains (c,) long, their domains
        text    what `PRM.forward(output="token_logits")` takes; absent without a pool
        own     the positions in (S,) of the steps in `inputs`; absent with one process, which has all

    With several processes, `inputs` and `text` hold this process's share of the rows, all else the whole
    batch.

    With micro-batches, `inputs`, `text` and `own` are in the dicts of the list `parts`, each with the other
    fields of its rows, and with `losses`: by field of members (`domains`, `cots`), for each of its losses the
    index of the batch's loss that it is a share of, and this share; `targets` is the number of tokens to
    predict in the texts of all parts.

    Args:
        table: step records.
        rows: the numbers of each domain's records in the table; the order of its keys numbers the domains.
        sampler: decides which records make up step i.
        texts, text_sampler: the language-modelling pool; give both or neither.
        share: of several processes.
        micro_batches: parts of a batch, at most; each has a row, and a text if there are any, for every
            process.
        states, text_states: of the table and of the texts, if a trunk's are cached.
    """

    def __init__(
        self,
        table: Rows,
        rows: Mapping[str, Rows],
        sampler: DomainSampler,
        *,
        processor: PRMProcessor,
        images: ImageStore,
        texts: Sequence[TextRecord] = (),
        text_sampler: EpochSampler | None = None,
        share: Share = EVERYTHING,
        micro_batches: int = 1,
        states: CachedRecords | None = None,
        text_states: CachedRecords | None = None,
    ) -> None:
        super().__init__(images, processor)
        self._share, self._micro_batches = share, micro_batches
        self._states, self._text_states = states, text_states
        self._table, self._rows, self._sampler = table, list(rows.values()), sampler
        self._texts, self._text_sampler = texts, text_sampler

    @property
    def text_count(self) -> int:
        """Number of texts in the pool."""
        return len(self._texts)

    def __getitem__(self, step: int) -> Batch:
        picked = self._sampler.rows(step)
        domains = sorted({domain for domain, _ in picked})
        place = {domain: i for i, domain in enumerate(domains)}
        cots = [int(self._rows[domain][row]) for domain, row in picked]
        records = records_at(self._table, cots)
        labels, group, cot, counts = [], [], [], []
        for number, (domain, _) in enumerate(picked):
            known = [label for label in records[number].labels if label is not None]
            labels += known
            group += [place[domain]] * len(known)
            cot += [number] * len(known)
            counts.append(len(known))
        batch: Batch = {
            "labels": torch.tensor(labels, dtype=torch.float32),
            # A batch may have no labelled step at all, so the dtype must not depend on the list's content.
            "group": torch.tensor(group, dtype=torch.long),
            "domains": torch.tensor(domains),
            "cot": torch.tensor(cot, dtype=torch.long),
            "cots": torch.tensor(cots),
            "cot_domains": torch.tensor([domain for domain, _ in picked]),
        }
        texts = [] if self._text_sampler is None else [int(i) for i in self._text_sampler.rows(step)]
        sizes = [len(rows) for rows in (picked, texts) if rows]
        parts = counted_parts(self._micro_batches, *sizes, share=self._share)
        found = []
        for part in parts:
            rows, shown = part.rows(len(picked)), part.rows(len(texts))
            found.append(self._inputs(records, cots, counts, rows))
            if texts:
                found[-1]["text"] = self._text(texts[shown.start : shown.stop])
            if len(parts) > 1:
                found[-1] |= _part_of(batch, counts, rows, first=rows.start == 0)
        if len(parts) == 1:
            return found[0] | batch
        if texts:
            targets = sum(part["text"]["token_targets"].numel() for part in found)
            found = [part | {"targets": targets} for part in found]
        return batch | {"parts": found}

    def _inputs(
        self, records: Sequence[Any], cots: Sequence[int], counts: Sequence[int], rows: range
    ) -> Batch:
        """What the model takes of this process's share of the rows, of which a record has so many labels."""
        own = self._share.rows(len(rows))
        held = rows[own.start : own.stop]
        inputs = self._shown(
            [records[number] for number in held], [cots[number] for number in held], self._states
        )
        kept = []
        for number in held:
            record = records[number]
            self._note(STEP, cots[number], f"record {record.id}", record.images)
            kept += [label is not None for label in record.labels]
        if not all(kept):
            chosen = torch.tensor(kept)
            for name in inputs.keys() & {"step_rows", "step_cols", "read_states"}:
                inputs[name] = inputs[name][chosen]
        if self._share.count == 1:
            return {"inputs": inputs}
        return {"inputs": inputs, "own": own_positions(counts[rows.start : rows.stop], own)}

    def _text(self, numbers: Sequence[int]) -> Batch:
        """What the model takes of this process's share of these texts."""
        own = self._share.rows(len(numbers))
        numbers = numbers[own.start : own.stop]
        texts = [self._texts[i] for i in numbers]
        collated = self._shown(texts, numbers, self._text_states)
        for i, text in zip(numbers, texts, strict=True):
            self._note(TEXT, i, f"text {i + 1}", text.images)
        return collated


def _part_of(batch: Batch, counts: Sequence[int], rows: range, *, first: bool) -> Batch:
    """The labels of some of a batch's rows, and what their losses are in those of the batch."""
    steps = own_positions(counts, rows)
    inside, whole = (
        torch.bincount(of, minlength=len(batch["domains"])) for of in (batch["group"][steps], batch["group"])
    )
    by_domain = losses_in_part(inside, whole, first=first)
    numbers = torch.tensor([number for number, _ in by_domain])
    return {
        "labels": batch["labels"][steps],
        "group": torch.searchsorted(numbers, batch["group"][steps]),
        "domains": batch["domains"][numbers],
        "cot": batch["cot"][steps] - rows.start,
        "cots": batch["cots"][rows.start : rows.stop],
        "losses": {"domains": by_domain, "cots": [(number, 1.0) for number in rows]},
    }


class MetaBatches(BatchDataset):
    """Upper-level batches of complete CoTs: `inputs`, `cot` (S,) long and `correct` (M,) float32.

    With several processes, `own` and a share of `inputs` as in `StepBatches`; with micro-batches, the dicts
    of the list `parts` have all of these for their CoTs; `states` as there.
    """

    def __init__(
        self,
        records: Rows,
        sampler: EpochSampler,
        *,
        processor: PRMProcessor,
        images: ImageStore,
        share: Share = EVERYTHING,
        micro_batches: int = 1,
        states: CachedRecords | None = None,
    ) -> None:
        super().__init__(images, processor)
        self._share, self._micro_batches, self._states = share, micro_batches, states
        self._records, self._sampler = records, sampler

    def __getitem__(self, window: int) -> Batch:
        numbers = self._sampler.rows(window)
        records = records_at(self._records, numbers)
        batch = _of_meta(records)
        parts = counted_parts(self._micro_batches, len(records), share=self._share)
        found = [self._part(numbers, records, part.rows(len(records))) for part in parts]
        return found[0] if len(parts) == 1 else batch | {"parts": found}

    def _part(self, numbers: Sequence[int], records: Sequence[Any], rows: range) -> Batch:
        """All fields of some rows, of which this process encodes its share."""
        share, held = self._share.rows(len(rows)), records[rows.start : rows.stop]
        own = rows[share.start : share.stop]
        inputs = self._shown(
            [records[number] for number in own], [numbers[number] for number in own], self._states
        )
        for number in own:
            self._note(META, int(numbers[number]), f"record {records[number].id}", records[number].images)
        batch = _of_meta(held) | {"inputs": inputs}
        if self._share.count > 1:
            batch["own"] = own_positions([len(record.steps) for record in held], share)
        return batch


def _of_meta(records: Sequence[Any]) -> Batch:
    steps = torch.tensor([len(record.steps) for record in records])
    return {
        "cot": torch.repeat_interleave(torch.arange(len(records)), steps),
        "correct": torch.tensor([float(record.correct) for record in records]),
    }


def encode_record(processor: PRMProcessor, record: Any, images: Sequence[Any]) -> EncodedCoT:
    """A step, meta or text record as the processor encodes it, with these images.

    Raises:
        UserError: it cannot be.
    """
    if isinstance(record, TextRecord):
        return processor.encode_text(record.text, images)
    return processor.encode(record.question, images, record.steps)


def _encode(processor: PRMProcessor, images: ImageStore, record: Any) -> EncodedCoT:
    try:
        return encode_record(processor, record, images.open_all(record.images))
    except DataError:
        raise
    except UserError as error:
        if isinstance(record, TextRecord):
            raise
        raise DataError(f"record {record.id}: {error}") from error
