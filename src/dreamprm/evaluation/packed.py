"""Records, scores and picks of hundreds of thousands of questions, in a small part of the memory of objects.

Each is read like the sequence of tuples or records that it stands for, and what is read is made anew.
"""

from __future__ import annotations

import marshal
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from dreamprm.data.records import Candidate, CandidateRecord

T = TypeVar("T")
_LEVEL = 1  # of compression: texts of one question share words, and higher levels gain little


class _Rows(Sequence[T], Generic[T]):
    """A sequence whose members are made when they are read."""

    def _row(self, index: int) -> T:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self._row(one) for one in range(len(self))[index]]
        return self._row(range(len(self))[index])

    def __iter__(self) -> Iterator[T]:
        return map(self._row, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_equal, self, other))

    __hash__ = None  # type: ignore[assignment]


def _equal(one: object, other: object) -> bool:
    return one == other


class PackedRecords(_Rows[CandidateRecord]):
    """Candidate records, each compressed by itself.

    Attributes:
        ids, answers: of the records.
        generators: of each record's candidates.
        open: (record, candidate) numbers of the candidates with neither verdict nor credit.
    """

    def __init__(self, records: Iterable[CandidateRecord]) -> None:
        self.ids: list[str] = []
        self.answers: list[str] = []
        self.generators: list[tuple[str | None, ...]] = []
        self.open: list[tuple[int, int]] = []
        self._packed: list[bytes] = []
        known: dict[Any, Any] = {}  # answers and generators repeat: each is held once
        for number, record in enumerate(records):
            generators = tuple(one.generator for one in record.candidates)
            self.ids.append(record.id)
            self.answers.append(known.setdefault(record.answer, record.answer))
            self.generators.append(known.setdefault(generators, generators))
            self.open += (
                (number, index)
                for index, one in enumerate(record.candidates)
                if one.correct is None and one.credit is None
            )
            self._packed.append(_packed(record))

    def __len__(self) -> int:
        return len(self._packed)

    def _row(self, index: int) -> CandidateRecord:
        return _unpacked(self._packed[index])


def _packed(record: CandidateRecord) -> bytes:
    candidates = [
        (
            # Steps that the text consists of are not held twice.
            None if one.steps and "\n\n".join(one.steps) == one.text else one.text,
            one.steps,
            one.final_answer,
            one.correct,
            one.generator,
            {name: tuple(values) for name, values in one.scores.items()},
            one.credit,
        )
        for one in record.candidates
    ]
    fields = (record.question, record.images, record.benchmark, record.answer, record.id, candidates)
    return zlib.compress(marshal.dumps(fields), _LEVEL)


def _unpacked(packed: bytes) -> CandidateRecord:
    question, images, benchmark, answer, id, candidates = marshal.loads(zlib.decompress(packed))
    return CandidateRecord(
        question,
        images,
        benchmark,
        answer,
        tuple(
            Candidate("\n\n".join(steps) if text is None else text, steps, *others)
            for text, steps, *others in candidates
        ),
        id,
    )


class PackedLogOdds(_Rows[tuple[tuple[float, ...], ...]]):
    """One scorer's log-odds: for each question a tuple of candidates, each a tuple of its steps' values.

    Attributes:
        values: all values, one after another.
        steps: the number of values of each candidate.
        candidates: the number of candidates of each question.
    """

    def __init__(self) -> None:
        self.values, self.steps, self.candidates = array("d"), array("q"), array("q")
        self._ends: NDArray[np.int64] | None = None

    def append(self, row: Sequence[Sequence[float]]) -> None:
        """Add one question."""
        for values in row:
            self.values.extend(values)
            self.steps.append(len(values))
        self.candidates.append(len(row))
        self._ends = None

    def __len__(self) -> int:
        return len(self.candidates)

    def _row(self, index: int) -> tuple[tuple[float, ...], ...]:
        first, last = self._candidates(index)
        ends = self._ends
        assert ends is not None
        return tuple(tuple(self.values[ends[one] : ends[one + 1]]) for one in range(first, last))

    def _candidates(self, index: int) -> tuple[int, int]:
        if self._ends is None:
            self._ends = np.concatenate([[0], np.cumsum(np.frombuffer(self.steps, np.int64))])
            self._firsts = np.concatenate([[0], np.cumsum(np.frombuffer(self.candidates, np.int64))])
        return int(self._firsts[index]), int(self._firsts[index + 1])


class PackedPicks(_Rows[Mapping[str, Mapping[str, Any]]]):
    """What every selector picks, by question: `{selector: {"candidates": [...] or None, "accuracy": float}}`.

    Args:
        earned: by selector, in the order in which they are shown, the accuracy on each question.
        chosen: for each question, by selector, the candidates that it names.
    """

    def __init__(
        self, earned: Mapping[str, NDArray[np.float64]], chosen: Iterable[Mapping[str, Sequence[int]]]
    ) -> None:
        self._earned = earned
        self._named: dict[str, array[int]] = {}
        self._ends: dict[str, array[int]] = {}
        for row in chosen:
            for selector, indices in row.items():
                if selector not in self._named:
                    self._named[selector], self._ends[selector] = array("i"), array("q", [0])
                self._named[selector].extend(indices)
                self._ends[selector].append(len(self._named[selector]))

    def __len__(self) -> int:
        return len(next(iter(self._earned.values())))

    def named(self, selector: str, index: int) -> list[int] | None:
        """The candidates that one selector names; None if it has no rule that picks one."""
        if selector not in self._named:
            return None
        ends = self._ends[selector]
        return self._named[selector][ends[index] : ends[index + 1]].tolist()

    def _row(self, index: int) -> Mapping[str, Mapping[str, Any]]:
        return {
            selector: {"candidates": self.named(selector, index), "accuracy": float(values[index])}
            for selector, values in self._earned.items()
        }
