"""Batches: which steps and labels are in them, in which order, and that they follow from the step alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_image, tiny_processor
from torch import Tensor

from dreamprm.config.errors import DataError
from dreamprm.data import DomainSampler, EpochSampler, MetaRecord, StepRecord
from dreamprm.data.image_notes import ImageNotes
from dreamprm.data.record_table import RecordTable, write_records
from dreamprm.data.text_reader import TextRecord
from dreamprm.models.batch_loading import Latest, WindowBatches, batches, window_batches
from dreamprm.models.collation import MetaBatches, StepBatches
from dreamprm.models.images import ImageStore
from dreamprm.training.objectives import step_loss_by_group

STEPS = ("one plus two", "equals three", "the answer is three")


def _record(
    domain: str,
    number: int,
    labels: tuple[float | None, ...],
    *,
    images: tuple[str, ...] = (),
) -> StepRecord:
    return StepRecord(
        question=f"what is {number} ?",
        images=images,
        domain=domain,
        steps=STEPS[: len(labels)],
        labels=labels,
        rollouts=(None,) * len(labels),
        id=f"{domain}-{number}",
    )


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for i, path in enumerate(paths):
        tiny_image(i, size=(56, 28 * (i + 1))).save(path)
    return paths


def _dataset(
    records: list[StepRecord],
    *,
    mode: Any = "mixed",
    batch_size: int = 1,
    **options: Any,
) -> StepBatches:
    rows: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        rows.setdefault(record.domain, []).append(i)
    sampler = DomainSampler(
        {name: len(numbers) for name, numbers in rows.items()}, mode=mode, batch_size=batch_size, seed=1
    )
    return StepBatches(
        records, rows, sampler, **{"processor": tiny_processor(), "images": ImageStore()} | options
    )


def _flat(batch: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}
    for name, value in batch.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    one, other = _flat(one), _flat(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype and torch.equal(value, other[name]), name


@pytest.mark.parametrize("readout", ["step_end", "chat_suffix"])
def test_unlabelled_steps_are_left_out_of_ends_and_labels(readout: str, pictures: list[str]) -> None:
    records = [_record("a", 1, (0.25, None, 0.75), images=(pictures[0],)), _record("b", 2, (None, 0.5))]
    processor = tiny_processor(readout=readout)
    batch = _dataset(records, processor=processor)[0]

    encoded = [
        processor.encode(records[0].question, [tiny_image(0, size=(56, 28))], records[0].steps),
        processor.encode(records[1].question, [], records[1].steps),
    ]
    whole = processor.collate(encoded)
    kept = torch.tensor([0, 2, 4])  # of the five steps, in the records' order
    assert torch.equal(batch["inputs"]["step_rows"], whole["step_rows"][kept])
    assert torch.equal(batch["inputs"]["step_cols"], whole["step_cols"][kept])
    for name in whole.keys() - {"step_rows", "step_cols"}:
        assert torch.equal(batch["inputs"][name], whole[name])
    torch.testing.assert_close(batch["labels"], torch.tensor([0.25, 0.75, 0.5]), rtol=0, atol=0)
    assert batch["group"].tolist() == [0, 0, 1]
    assert batch["domains"].tolist() == [0, 1]


@pytest.mark.parametrize("mode", ["single", "mixed"])
def test_groups_lead_each_label_to_its_domain(mode: str) -> None:
    # Domain k's labels lie in [k/4, k/4 + 0.2), so that a label tells its domain.
    records = [
        _record(domain, i, (k / 4 + i / 50, k / 4 + i / 50 + 0.01))
        for k, domain in enumerate("abcd")
        for i in range(3 + k)
    ]
    dataset = _dataset(records, mode=mode, batch_size=2)
    met = set()
    for step in range(8):
        batch = dataset[step]
        domains = batch["domains"].tolist()
        assert domains == (sorted(domains) if mode == "single" else [0, 1, 2, 3])
        assert len(domains) == (1 if mode == "single" else 4)
        assert (batch["labels"] * 4).floor().long().tolist() == batch["domains"][batch["group"]].tolist()
        assert len(batch["labels"]) == len(batch["inputs"]["step_rows"]) == 4 * len(domains)
        met.update(batch["labels"].tolist())
    # 16 rows of each domain (of 3, 4, 5 and 6) in 8 mixed steps, 4 in 8 single ones; two labels a row.
    assert len(met) == (2 * (3 + 4 + 5 + 6) if mode == "mixed" else 2 * (3 + 4 + 4 + 4))


@pytest.mark.parametrize("mode", ["single", "mixed"])
def test_steps_lead_to_their_cots_and_cots_to_their_rows(mode: str) -> None:
    # Record i's labels are i/50 and unlabelled; the domains take turns in the table.
    records = [_record("abc"[i % 3], i, (i / 50, None, i / 50)[: 1 + i % 3]) for i in range(12)]
    dataset = _dataset(records, mode=mode, batch_size=2)
    met = set()
    for step in range(8):
        batch = dataset[step]
        cots = batch["cots"].tolist()
        assert len(cots) == (2 if mode == "single" else 6)
        assert batch["cot_domains"].tolist() == [row % 3 for row in cots]
        # one labelled step, or two of the records with three steps
        assert batch["cot"].tolist() == [i for i, row in enumerate(cots) for _ in range(1 + (row % 3 == 2))]
        wanted = torch.tensor([cots[i] / 50 for i in batch["cot"].tolist()])
        torch.testing.assert_close(batch["labels"], wanted, rtol=1e-6, atol=0)
        met.update(cots)
    assert met == set(range(12))


def test_a_batch_without_a_labelled_step_adds_nothing() -> None:
    batch = _dataset([_record("a", 1, (None, None))])[0]
    assert batch["group"].dtype == torch.long and batch["group"].shape == batch["labels"].shape == (0,)
    loss = step_loss_by_group(torch.zeros(0), batch["labels"], batch["group"], 1)
    assert loss.tolist() == [0.0]


def test_latest_keeps_the_batch_handed_out_last() -> None:
    dataset = _dataset([_record("a", 1, (0.5,)), _record("b", 2, (0.25,))])
    latest = Latest(batches(dataset, start=0, stop=2))
    for step in range(2):
        assert next(latest) is latest.last
        _assert_same(latest.last, dataset[step])
    assert next(latest, None) is None
    _assert_same(latest.last, dataset[1])


def test_a_batch_is_a_function_of_the_step(pictures: list[str]) -> None:
    records = [_record("a", i, (0.5,), images=(pictures[i % 2],)) for i in range(5)]
    texts = [TextRecord(f"{i} plus one", (pictures[0],) if i % 2 else ()) for i in range(6)]
    options: dict[str, Any] = {"texts": texts, "text_sampler": EpochSampler(6, 3, seed=2)}
    dataset = _dataset(records, batch_size=2, **options)
    before = dataset[3]
    for step in (0, 7, 1):
        dataset[step]
    _assert_same(dataset[3], before)
    _assert_same(_dataset(records, batch_size=2, **options)[3], before)
    assert not torch.equal(dataset[4]["inputs"]["input_ids"], before["inputs"]["input_ids"])


def test_texts_stand_beside_the_steps_only_where_there_is_a_pool(pictures: list[str]) -> None:
    records = [_record("a", 1, (0.5,))]
    texts = [TextRecord("one plus one equals two"), TextRecord("six bars", (pictures[1],))]
    batch = _dataset(records, texts=texts, text_sampler=EpochSampler(2, 2, seed=0))[0]
    processor = tiny_processor()
    pairs = [
        (texts[i].text, [tiny_image(1, size=(56, 56))] if texts[i].images else [])
        for i in EpochSampler(2, 2, seed=0).rows(0)
    ]
    _assert_same(batch["text"], processor.collate_text([processor.encode_text(*pair) for pair in pairs]))
    assert "text" not in _dataset(records)[0]


def test_meta_batches_number_the_steps_chains_and_give_their_labels(pictures: list[str]) -> None:
    records = [
        MetaRecord(f"what is {i} ?", (pictures[0],) if i else (), STEPS[: i + 1], i % 2 == 0, f"m{i}")
        for i in range(3)
    ]
    sampler = EpochSampler(3, 3, seed=4)
    dataset = MetaBatches(records, sampler, processor=tiny_processor(), images=ImageStore())
    batch = dataset[0]
    order = sampler.rows(0)
    assert batch["cot"].tolist() == [m for m, i in enumerate(order) for _ in range(i + 1)]
    assert batch["correct"].tolist() == [float(i % 2 == 0) for i in order]
    assert batch["correct"].dtype == torch.float32 and batch["cot"].dtype == torch.long
    assert len(batch["inputs"]["step_rows"]) == 6
    _assert_same(dataset[0], batch)


def test_batches_run_from_start_to_stop_and_leave_the_global_random_state() -> None:
    dataset = _dataset([_record("a", i, (i / 10,)) for i in range(5)])
    state = torch.get_rng_state()
    got = list(batches(dataset, start=2, stop=5))
    # A resumed run makes its loader at another step: were this to draw a number, it would go on differently.
    assert torch.equal(torch.get_rng_state(), state)
    assert len(got) == 3
    for step, batch in zip((2, 3, 4), got):
        _assert_same(batch, dataset[step])


def test_a_table_gives_the_batches_of_its_list(pictures: list[str], tmp_path: Path) -> None:
    records = [_record("ab"[i % 2], i, (0.5, i / 6), images=(pictures[i % 2],)) for i in range(6)]
    write_records(tmp_path / "records.jsonl", records)
    table = RecordTable.open(tmp_path / "records.jsonl", kind="step", cache_dir=tmp_path / "cache")
    sampler = DomainSampler({"a": 3, "b": 3}, mode="mixed", batch_size=2, seed=1)
    from_table = StepBatches(table, table.domains, sampler, processor=tiny_processor(), images=ImageStore())
    for step in range(3):
        _assert_same(from_table[step], _dataset(records, batch_size=2)[step])


def test_a_loader_worker_gives_the_same_batches(pictures: list[str]) -> None:
    records = [_record("a", i, (0.5, None), images=(pictures[i % 2],)) for i in range(4)]
    dataset = _dataset(records, batch_size=2, images=ImageStore(tiny_processor().patcher.resized))
    here, there = (list(batches(dataset, start=1, stop=3, workers=workers)) for workers in (0, 1))
    assert len(here) == len(there) == 2
    for one, other in zip(here, there):
        _assert_same(one, other)


@pytest.mark.parametrize("workers", [0, 1])
def test_both_levels_come_from_one_source(workers: int, pictures: list[str], tmp_path: Path) -> None:
    """A resumed run's windows 1 and 2 of two steps, with the notes of both levels."""
    absent = str(tmp_path / "absent.png")
    images = ImageStore(tiny_processor().patcher.resized, missing="text_only")
    steps = _dataset([_record("a", i, (0.5,), images=(pictures[i % 2],)) for i in range(8)], images=images)
    meta = MetaBatches(
        [MetaRecord(f"what is {i} ?", (absent,), STEPS[:2], i % 2 == 0, f"m{i}") for i in range(3)],
        EpochSampler(3, 1, seed=4),
        processor=tiny_processor(),
        images=images,
    )
    notes = ImageNotes()
    inner, outer = window_batches(
        WindowBatches(steps, meta, inner_steps=2), first=1, last=3, workers=workers, notes=notes
    )
    got = [next(inner), next(inner), next(outer), next(inner), next(inner), next(outer)]
    for batch, expected in zip(got, [steps[2], steps[3], meta[1], steps[4], steps[5], meta[2]], strict=True):
        _assert_same(batch, expected)
    assert next(inner, None) is None and next(outer, None) is None
    assert len(notes.lost) == 2 and all("absent.png" in text for text in notes.lost.values())


def test_the_levels_may_be_read_in_any_order() -> None:
    steps = _dataset([_record("a", i, (i / 10,)) for i in range(5)])
    meta = MetaBatches(
        [MetaRecord(f"what is {i} ?", (), STEPS[:2], True, f"m{i}") for i in range(3)],
        EpochSampler(3, 1, seed=4),
        processor=tiny_processor(),
        images=ImageStore(),
    )
    inner, outer = window_batches(WindowBatches(steps, meta, inner_steps=2), first=0, last=2)
    for window, batch in enumerate(list(outer)):
        _assert_same(batch, meta[window])
    for step, batch in enumerate(list(inner)):
        _assert_same(batch, steps[step])


def test_what_the_processor_refuses_names_the_record() -> None:
    dataset = _dataset([_record("a", 7, (0.5, 0.5))], processor=tiny_processor(max_length=3))
    with pytest.raises(DataError, match=r"record a-7: the record has \d+ tokens, but max_length is 3"):
        dataset[0]


def test_a_missing_image_is_an_error_or_leaves_text_only(tmp_path: Path) -> None:
    records = [_record("a", 1, (0.5,), images=(str(tmp_path / "absent.png"),))]
    with pytest.raises(DataError, match=r"absent\.png is missing or broken"):
        _dataset(records)[0]
    batch = _dataset(records, images=ImageStore(missing="text_only"))[0]
    _assert_same(batch, _dataset([_record("a", 1, (0.5,))])[0])
