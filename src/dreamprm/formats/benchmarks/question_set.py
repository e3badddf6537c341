"""A benchmark's questions with data beyond their records: ids, groups, accepted answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import parsed_list


@dataclass(frozen=True, slots=True)
class BenchmarkQuestion:
    """A question with additional data from its benchmark.

    Attributes:
        record: the record used for sampling and judging; its id is the benchmark's name, "-" and the
            published id.
        published: the id as the benchmark publishes it.
        groups: the values that figures are broken down by: subject, category, skills.
        accepted: all right answers if the benchmark accepts several, else empty.
        index: the row's `index` in VLMEvalKit's table, or None.
    """

    record: QuestionRecord
    published: str
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    index: str | None = None


Questions = Sequence[BenchmarkQuestion]


class QuestionSet(Sequence[BenchmarkQuestion]):
    """The questions of one file, in order; they can be looked up by any of their ids.

    Attributes:
        left_out: published ids (and indices) of bad rows of the file that were left out.

    Raises:
        DataError: two questions with the same id or index.
    """

    def __init__(self, questions: Sequence[BenchmarkQuestion], left_out: Iterable[str] = ()) -> None:
        self._questions = tuple(questions)
        self.left_out = frozenset(left_out)
        self._by_id: dict[str, BenchmarkQuestion] = {}
        self._by_published: dict[str, BenchmarkQuestion] = {}
        self._by_index: dict[str, BenchmarkQuestion] = {}
        for question in self._questions:
            if question.record.id in self._by_id:
                raise DataError(f"two questions have the id {question.published!r}; ids must be unique")
            self._by_id[question.record.id] = question
            self._by_published[question.published] = question
            if question.index in self._by_index:
                raise DataError(f"two questions have the index {question.index!r}; indices must be unique")
            if question.index is not None:
                self._by_index[question.index] = question

    def __len__(self) -> int:
        return len(self._questions)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._questions[index]

    def __iter__(self) -> Iterator[BenchmarkQuestion]:
        return iter(self._questions)

    def named(self, id: str) -> BenchmarkQuestion | None:
        """The question with this record id or published id; None if no question has it."""
        return self._by_id.get(id) or self._by_published.get(id)

    def required(self, id: str) -> BenchmarkQuestion:
        """The question with this record id or published id.

        Raises:
            DataError: no question has it.
        """
        found = self.named(id)
        if found is None:
            example = self[0].record.id if len(self) else "none"
            raise DataError(
                f"no question has the id {id!r} (ids look like {example!r}); give the questions that "
                "the candidates answer"
            )
        return found

    def published(self, id: str) -> BenchmarkQuestion | None:
        """The question with this published id, or None."""
        return self._by_published.get(id)

    def at_index(self, index: str) -> BenchmarkQuestion | None:
        """The question with this `index` in VLMEvalKit's table, or None."""
        return self._by_index.get(index)


def several_accepted(questions: Sequence[BenchmarkQuestion]) -> dict[str, tuple[str, ...]]:
    """All accepted answers by record id, for questions that have several."""
    return {question.record.id: question.accepted for question in questions if question.accepted}


def groups_of(row: Fields, names: Iterable[str], *, inside: str | None = None) -> dict[str, tuple[str, ...]]:
    """The values of some fields, each as a tuple of texts; absent and empty ones are left out.

    A value is a text, a number, or a list of these, which may also be a Python literal in a table's cell.

    Args:
        row: the row.
        names: the fields to read.
        inside: the name of an object in the row that may hold them instead, such as `metadata`.

    Raises:
        DataError: a value of another type.
    """
    held = row.values.get(inside) if inside is not None else None
    nested: Mapping[str, Any] = held if isinstance(held, dict) else {}
    found = {}
    for name in names:
        value = row.values.get(name, nested.get(name))
        texts = [_text(row, name, one) for one in _as_list(value)]
        if kept := tuple(text for text in texts if text):
            found[name] = kept
    return found


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str) and value.strip().startswith("["):
        value = parsed_list(value.strip())
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(row: Fields, name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise row.error(name, "a text, a number, or a list of them", value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
