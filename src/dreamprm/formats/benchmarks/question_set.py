"""Questions of a benchmark, with what it knows of them beyond a record: ids, groups, accepted answers."""

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
    """A question with what its benchmark knows of it beside.

    Attributes:
        record: what is sampled for and judged by; its id is the benchmark's name, "-" and the published id.
        published: the id as the benchmark publishes it.
        groups: what figures are broken down by: subject, category, skills.
        accepted: all right answers, where the benchmark accepts several; else empty.
        index: the row's `index` in VLMEvalKit's table, or None.
    """

    record: QuestionRecord
    published: str
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    index: str | None = None


Questions = Sequence[BenchmarkQuestion]


class QuestionSet(Sequence[BenchmarkQuestion]):
    """The questions of one file, in its order, found by any of their names.

    Raises:
        DataError: two questions of one id or index.
    """

    def __init__(self, questions: Sequence[BenchmarkQuestion]) -> None:
        self._questions = tuple(questions)
        self._by_id: dict[str, BenchmarkQuestion] = {}
        self._by_published: dict[str, BenchmarkQuestion] = {}
        self._by_index: dict[str, BenchmarkQuestion] = {}
        for question in self._questions:
            if question.record.id in self._by_id:
                raise DataError(f"two questions have the id {question.published!r}; each may appear once")
            self._by_id[question.record.id] = question
            self._by_published[question.published] = question
            if question.index in self._by_index:
                raise DataError(f"two questions have the index {question.index!r}; each may appear once")
            if question.index is not None:
                self._by_index[question.index] = question

    def __len__(self) -> int:
        return len(self._questions)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._questions[index]

    def __iter__(self) -> Iterator[BenchmarkQuestion]:
        return iter(self._questions)

    def named(self, id: str) -> BenchmarkQuestion | None:
        """The question with this record id or published id; None where there is none."""
        return self._by_id.get(id) or self._by_published.get(id)

    def required(self, id: str) -> BenchmarkQuestion:
        """The question with this record id or published id.

        Raises:
            DataError: there is none.
        """
        found = self.named(id)
        if found is None:
            example = self[0].record.id if len(self) else "none"
            raise DataError(
                f"no question has the id {id!r} (they are like {example!r}); give the questions that "
                "the candidates answer"
            )
        return found

    def published(self, id: str) -> BenchmarkQuestion | None:
        """The question that the benchmark publishes under this id."""
        return self._by_published.get(id)

    def at_index(self, index: str) -> BenchmarkQuestion | None:
        """The question with this `index` of VLMEvalKit's table."""
        return self._by_index.get(index)


def several_accepted(questions: Sequence[BenchmarkQuestion]) -> dict[str, tuple[str, ...]]:
    """All accepted answers by record id, of the questions that have several."""
    return {question.record.id: question.accepted for question in questions if question.accepted}


def groups_of(row: Fields, names: Iterable[str], *, inside: str | None = None) -> dict[str, tuple[str, ...]]:
    """The values of some fields, each as a tuple of texts; absent and empty ones are left out.

    A value is a text, a number, or a list of them, also one that a table's cell holds in Python's notation.

    Args:
        row: the row.
        names: its fields.
        inside: an object in the row that may hold them instead, such as `metadata`.

    Raises:
        DataError: a value that is none of these.
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
