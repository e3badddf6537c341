"""Records, scores and picks of hundreds of thousands of questions: arrays, and texts in a temporary file.

Each is read like the sequence of tuples or records that it stands for, and what is read is made anew.
"""

from __future__ import annotations

import marshal
import tempfile
import weakref
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from dreamprm.data.records import Candidate, CandidateRecord, QuestionRecord
from dreamprm.files.disk_errors import told_as

T = TypeVar("T")
S = TypeVar("S")
_LEVEL = 1  # of compression: texts of one question share words, and higher levels gain little
_IN_MEMORY = 32_000_000  # bytes of texts from which on they lie in a file


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


class Mapped(_Rows[T], Generic[S, T]):
    """What a function makes of the members of another sequence, whenever they are read."""

    def __init__(self, function: Callable[[S], T], rows: Sequence[S]) -> None:
        self._function, self._rows = function, rows

    def __len__(self) -> int:
        return len(self._rows)

    def _row(self, index: int) -> T:
        return self._function(self._rows[index])


class _Stored:
    """Values that marshal can write, each compressed by itself, in a file that no folder lists.

    The file is the system's temporary one (`TMPDIR`) and ends with the process, however that ends. A few
    megabytes stay in memory.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115, closed with its owner
        self._ends = array("q", [0])
        weakref.finalize(self, self._file.close)

    def append(self, value: Any) -> None:
        """Add one value.

        Raises:
            UserError: the temporary folder has no room.
        """
        packed = zlib.compress(marshal.dumps(value), _LEVEL)
        with told_as("the texts of a suite, in the folder for temporary files (TMPDIR)"):
            self._file.seek(self._ends[-1])
            self._file.write(packed)
        self._ends.append(self._ends[-1] + len(packed))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Any:
        start = self._ends[index]
        self._file.seek(start)
        return marshal.loads(zlib.decompress(self._file.read(self._ends[index + 1] - start)))


class _Places(_Rows[tuple[int, int]]):
    """(record, candidate) numbers."""

    def __init__(self) -> None:
        self._records, self._candidates = array("q"), array("q")

    def append(self, record: int, candidate: int) -> None:
        self._records.append(record)
        self._candidates.append(candidate)

    def __len__(self) -> int:
        return len(self._records)

    def _row(self, index: int) -> tuple[int, int]:
        return self._records[index], self._candidates[index]


class PackedQuestions:
    """Question records by id.

    Args:
        questions: the last one of an id counts.
    """

    def __init__(self, questions: Iterable[QuestionRecord]) -> None:
        self._numbers: dict[str, int] = {}
        self._stored = _Stored()
        for number, one in enumerate(questions):
            self._numbers[one.id] = number
            self._stored.append(
                (one.question, one.images, one.answer, one.options, one.domain)
                + (one.answer_type, one.precision, one.unit, one.id)
            )

    def __contains__(self, id: str) -> bool:
        return id in self._numbers

    def __getitem__(self, id: str) -> QuestionRecord:
        return QuestionRecord(*self._stored[self._numbers[id]])


class PackedRecords(_Rows[CandidateRecord]):
    """Candidate records.

    Attributes:
        ids, answers: of the records.
        generators: of each record's candidates.
        open: (record, candidate) numbers of the candidates with neither verdict nor credit, in order.
    """

    def __init__(self, records: Iterable[CandidateRecord]) -> None:
        self.ids: list[str] = []
        self.answers: list[str] = []
        self.generators: list[tuple[str | None, ...]] = []
        self.open = _Places()
        self._stored = _Stored()
        self._last: tuple[int, CandidateRecord] | None = None  # read for each of its candidates in turn
        known: dict[Any, Any] = {}  # answers and generators repeat: each is held once
        for number, record in enumerate(records):
            generators = tuple(one.generator for one in record.candidates)
            self.ids.append(record.id)
            self.answers.append(known.setdefault(record.answer, record.answer))
            self.generators.append(known.setdefault(generators, generators))
            for index, one in enumerate(record.candidates):
                if one.correct is None and one.credit is None:
                    self.open.append(number, index)
            self._stored.append(_fields(record))

    def __len__(self) -> int:
        return len(self._stored)

    def _row(self, index: int) -> CandidateRecord:
        if self._last is None or self._last[0] != index:
            self._last = index, _record(*self._stored[index])
        return self._last[1]


def _fields(record: CandidateRecord) -> tuple[Any, ...]:
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
    return record.question, record.images, record.benchmark, record.answer, record.id, candidates


def _record(
    question: str, images: tuple[str, ...], benchmark: str, answer: str, id: str, candidates: list[Any]
) -> CandidateRecord:
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


class PackedScores(_Rows[NDArray[np.float64]]):
    """One vector per question, with one score per candidate.

    Args:
        values: all scores, one after another.
        candidates: the number of candidates of each question.
    """

    def __init__(self, values: NDArray[np.float64], candidates: Sequence[int] | NDArray[np.int64]) -> None:
        self.values = values
        self._ends = np.concatenate([[0], np.cumsum(candidates)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _row(self, index: int) -> NDArray[np.float64]:
        return self.values[self._ends[index] : self._ends[index + 1]]

    def table(self, rows: NDArray[np.int64], n: int) -> NDArray[np.float64]:
        """(len(rows), n) the scores of questions that all have n candidates."""
        return self.values[self._ends[rows][:, None] + np.arange(n)]


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
