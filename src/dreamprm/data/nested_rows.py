"""The public DreamPRM training form, one row per prefix of a chain of thought, grouped by chain."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dreamprm.data.records import StepRecord
from dreamprm.responses import split_steps

LOOKAHEAD_ROWS = 256
"""A question's rows are collected until this many rows have passed without another of its own."""

# A prefix cut just before 'Step 2' in '### Step 2' or '**Step 2' ends with the marks of that heading.
_CUT_MARKS = re.compile(r"(?:\A|\n)[ \t]*[#*_]{1,6}[ \t]*\Z")


@dataclass(frozen=True, slots=True)
class NestedRow:
    """One row: the chain of thought up to a step (`add`, stripped) and the label of that step."""

    question: str
    images: tuple[str, ...]
    domain: str
    add: str
    label: float
    rollouts: int | None
    id: str | None
    name: str
    """The record's name in messages: its id if it has one, else file and line."""
    place: str = ""
    """Where in its file it was read, as in `StepRecord`."""


@dataclass(slots=True)
class _Chain:
    first: NestedRow
    add: str = ""
    steps: list[str] = field(default_factory=list)
    labels: list[float | None] = field(default_factory=list)
    rollouts: list[int | None] = field(default_factory=list)

    def extended_by(self, add: str) -> bool:
        """Whether `add` continues this chain; a mere common beginning of a word does not count."""
        return add.startswith(self.add) and add[len(self.add) :][:1].isspace()

    def extend(self, row: NestedRow) -> None:
        """Add the row's step. If rows in between are missing, their steps are added without labels."""
        new = row.add[len(self.add) :].strip()
        steps = split_steps(new, len(self.steps) + 1) or (new,)
        unlabelled = [None] * (len(steps) - 1)
        self.steps += steps
        self.labels += [*unlabelled, row.label]
        self.rollouts += [*unlabelled, row.rollouts]
        self.add = row.add

    def record(self) -> StepRecord:
        row = self.first
        return StepRecord(
            question=row.question,
            images=row.images,
            domain=row.domain,
            steps=tuple(self.steps),
            labels=tuple(self.labels),
            rollouts=tuple(self.rollouts),
            id=row.name,
            place=row.place,
        )


def without_cut_marks(add: str) -> str:
    """A prefix without the white space and heading marks (`###`) that cutting it left at the end."""
    return _CUT_MARKS.sub("", add.strip()).strip()


def group_nested(
    rows: Iterable[NestedRow | StepRecord], lookahead: int = LOOKAHEAD_ROWS
) -> Iterator[StepRecord]:
    """Group rows into one record per chain of thought, so that one forward pass scores all of its steps.

    Rows with equal id, question, image and domain belong to one question. Among them, a row continues the
    longest chain whose text it starts with; a row that continues none starts a new chain. Several chains of
    one question are thus told apart, in whatever order the rows come. A row that comes more than `lookahead`
    rows after the last one of its question starts a new record whose earlier steps have no labels: nothing is
    lost, and memory stays bounded.

    Args:
        rows: rows of the public form; records are passed through unchanged.
        lookahead: how many rows to wait for another row of a question.

    Yields:
        Records, in the order in which their questions are completed.
    """
    waiting: OrderedDict[tuple[str | None, str, tuple[str, ...], str], tuple[int, list[NestedRow]]] = (
        OrderedDict()
    )
    for number, row in enumerate(rows):
        if isinstance(row, StepRecord):
            yield row
            continue
        key = (row.id, row.question, row.images, row.domain)
        members = waiting.pop(key, (number, []))[1]
        members.append(row)
        # Moved to the end: the first entry is the question that has waited longest for another row.
        waiting[key] = (number, members)
        while number - next(iter(waiting.values()))[0] >= lookahead:
            yield from _records(waiting.popitem(last=False)[1][1])
    for _, members in waiting.values():
        yield from _records(members)


def _records(rows: list[NestedRow]) -> Iterator[StepRecord]:
    chains: list[_Chain] = []
    for row in sorted(rows, key=lambda row: len(row.add)):  # stable: equal lengths stay in file order
        # Shorter rows came first, and equal ones fill the chains in order: the first match is the longest.
        chain = next((chain for chain in chains if chain.extended_by(row.add)), None)
        if chain is None:
            chain = _Chain(row)
            chains.append(chain)
        chain.extend(row)
    for chain in chains:
        yield chain.record()
