"""How records are stored as Arrow: the columns of each kind, and how rows become records again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dreamprm.data.readers import read_candidate_records, read_meta_records, read_step_records
from dreamprm.data.records import Candidate, CandidateRecord, MetaRecord, StepRecord


@dataclass(frozen=True)
class ArrowForm:
    """One kind of record: its reader, its columns (the record's attributes), and how a row is decoded."""

    read: Callable[..., Iterator[Any]]
    schema: pa.Schema
    decode: Callable[..., Any]

    def batch(self, records: Sequence[Any]) -> pa.RecordBatch:
        """The records as one batch of columns."""
        columns = [
            pa.array([_plain(getattr(record, column.name)) for record in records], column.type)
            for column in self.schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def records(self, columns: dict[str, list[Any]]) -> list[Any]:
        """The records of decoded columns; the inverse of `batch`."""
        return [self.decode(*row) for row in zip(*(columns[name] for name in self.schema.names), strict=True)]


def _plain(value: Any) -> Any:
    """Candidates as dicts, which Arrow can store; everything else unchanged."""
    if isinstance(value, tuple) and value and isinstance(value[0], Candidate):
        return [
            {name: getattr(one, name) for name in _CANDIDATE.names}
            | {"scores": [{"scorer": scorer, "log_odds": values} for scorer, values in one.scores.items()]}
            for one in value
        ]
    return value


def _step(
    question: str,
    images: Iterable[str],
    domain: str,
    steps: Iterable[str],
    labels: Iterable[float | None],
    rollouts: Iterable[int | None],
    id: str,
    place: str,
    final_answer_correct: bool | None,
) -> StepRecord:
    return StepRecord(
        question,
        tuple(images),
        domain,
        tuple(steps),
        tuple(labels),
        tuple(rollouts),
        id,
        place=place,
        final_answer_correct=final_answer_correct,
    )


def _meta(
    question: str, images: Iterable[str], steps: Iterable[str], correct: bool, id: str, place: str
) -> MetaRecord:
    return MetaRecord(question, tuple(images), tuple(steps), correct, id, place=place)


def _candidate(
    question: str,
    images: Iterable[str],
    benchmark: str,
    answer: str,
    candidates: Iterable[dict[str, Any]],
    id: str,
) -> CandidateRecord:
    decoded = tuple(
        Candidate(
            **{
                **candidate,
                "steps": tuple(candidate["steps"]),
                "scores": {one["scorer"]: tuple(one["log_odds"]) for one in candidate["scores"]},
            }
        )
        for candidate in candidates
    )
    return CandidateRecord(question, tuple(images), benchmark, answer, decoded, id)


_TEXTS = pa.list_(pa.string())
_CANDIDATE = pa.schema(
    {
        "text": pa.string(),
        "steps": _TEXTS,
        "final_answer": pa.string(),
        "correct": pa.bool_(),
        "generator": pa.string(),
        "scores": pa.list_(pa.struct({"scorer": pa.string(), "log_odds": pa.list_(pa.float64())})),
        "credit": pa.float64(),
    }
)

FORMS: dict[str, ArrowForm] = {
    "step": ArrowForm(
        read_step_records,
        pa.schema(
            {
                "question": pa.string(),
                "images": _TEXTS,
                "domain": pa.string(),
                "steps": _TEXTS,
                "labels": pa.list_(pa.float64()),
                "rollouts": pa.list_(pa.int64()),
                "id": pa.string(),
                "place": pa.string(),
                "final_answer_correct": pa.bool_(),
            }
        ),
        _step,
    ),
    "meta": ArrowForm(
        read_meta_records,
        pa.schema(
            {
                "question": pa.string(),
                "images": _TEXTS,
                "steps": _TEXTS,
                "correct": pa.bool_(),
                "id": pa.string(),
                "place": pa.string(),
            }
        ),
        _meta,
    ),
    "candidate": ArrowForm(
        read_candidate_records,
        pa.schema(
            {
                "question": pa.string(),
                "images": _TEXTS,
                "benchmark": pa.string(),
                "answer": pa.string(),
                "candidates": pa.list_(pa.struct(list(_CANDIDATE))),
                "id": pa.string(),
            }
        ),
        _candidate,
    ),
}
"""The kinds of records by name."""
