"""Rows of the public training form become one record a chain of thought."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from dreamprm.data import StepRecord, read_step_records
from dreamprm.data.nested_rows import NestedRow, group_nested, without_cut_marks


def row(
    add: str, label: float = 0.5, *, question: str = "q", id: str | None = "1", domain: str = "d"
) -> NestedRow:
    return NestedRow(question, (), domain, add, label, 8, id, id or "file:1")


def chain(name: str, labels: list[float], **key: Any) -> list[NestedRow]:
    """The nested rows of one chain: its k-th step is 'Step k: NAMEk'."""
    steps = [f"Step {k}: {name}{k}" for k in range(1, len(labels) + 1)]
    return [row("\n".join(steps[:k]), label, **key) for k, label in enumerate(labels, start=1)]


def contents(
    rows: list[NestedRow], **settings: int
) -> list[tuple[tuple[str, ...], tuple[float | None, ...]]]:
    return [(record.steps, record.labels) for record in group_nested(rows, **settings)]


A = (("Step 1: a1", "Step 2: a2", "Step 3: a3"), (0.1, 0.2, 0.3))
B = (("Step 1: b1", "Step 2: b2"), (0.4, 0.5))


def test_one_chain_is_one_record() -> None:
    assert list(group_nested(chain("a", [0.1, 0.2, 0.3]))) == [
        StepRecord("q", (), "d", A[0], (0.1, 0.2, 0.3), (8, 8, 8), "1")
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_rows_does_not_matter(order: tuple[int, ...]) -> None:
    rows = chain("a", [0.1, 0.2, 0.3])
    assert contents([rows[k] for k in order]) == [A]


def test_chains_of_one_question_are_told_apart_even_interleaved() -> None:
    a, b = chain("a", [0.1, 0.2, 0.3]), chain("b", [0.4, 0.5])
    assert contents(a + b) == [A, B]
    assert contents([a[0], b[0], a[1], b[1], a[2]]) == [A, B]


def test_chains_that_share_their_first_step() -> None:
    first = "Step 1: same"
    rows = [
        row(first, 0.1),
        row(first + "\nStep 2: a", 0.2),
        row(first, 0.3),
        row(first + "\nStep 2: b", 0.4),
    ]
    assert contents(rows) == [((first, "Step 2: a"), (0.1, 0.2)), ((first, "Step 2: b"), (0.3, 0.4))]


@pytest.mark.parametrize("key", [{"id": "2"}, {"question": "other"}, {"domain": "other"}, {"id": None}])
def test_rows_of_different_questions_are_not_joined(key: dict[str, Any]) -> None:
    a = chain("a", [0.1, 0.2, 0.3])
    assert contents([*a[:2], *chain("a", [0.4], **key), a[2]]) == [(("Step 1: a1",), (0.4,)), A]


def test_missing_rows_leave_unlabelled_steps() -> None:
    a = chain("a", [0.1, 0.2, 0.3])
    assert contents([a[0], a[2]]) == [(A[0], (0.1, None, 0.3))]
    (record,) = group_nested(a[2:])
    assert (record.steps, record.labels, record.rollouts) == (A[0], (None, None, 0.3), (None, None, 8))


def test_steps_without_headings() -> None:
    rows = [row("First look.", 0.1), row("First look. Then think.", 0.2)]
    assert contents(rows) == [(("First look.", "Then think."), (0.1, 0.2))]


def test_a_longer_word_does_not_continue_a_chain() -> None:
    assert contents([row("It is 1", 0.1), row("It is 12 now", 0.2)]) == [
        (("It is 1",), (0.1,)),
        (("It is 12 now",), (0.2,)),
    ]


@pytest.mark.parametrize(
    ("cut", "whole"),
    [("a\n\n### ", "a"), ("a\n**", "a"), ("a **bold**", "a **bold**"), (" ## ", ""), ("a ###", "a ###")],
)
def test_heading_marks_left_by_the_cut_are_dropped(cut: str, whole: str) -> None:
    assert without_cut_marks(cut) == whole


def test_heading_marks_go_to_the_step_they_open(write_rows: Any) -> None:
    base = {"input": "q", "dataset": "d", "accuracy": 1, "id": 3}
    rows = [base | {"add": "### Step 1: a\n\n### "}, base | {"add": "### Step 1: a\n\n### Step 2: b\n\n"}]
    (record,) = read_step_records(write_rows(rows, array=True), allow_no_image=True)
    assert record.steps == ("### Step 1: a", "### Step 2: b") and record.id == "3"


def test_the_public_example_row(write_rows: Any) -> None:
    """The fields of the public README's example, scaled to two steps."""
    base = {"id": 1128, "input": "Your task is q", "ground_truth": "1.78947", "image_path": "i.png",
            "dataset": "chartqa", "times": 11}  # fmt: skip
    rows = [
        base | {"sid": 1, "add": "Step 1: Restate", "score": 7, "accuracy": 0.6363},
        base | {"sid": 2, "add": "Step 1: Restate\n\nStep 2: Look", "score": 11, "accuracy": 1},
    ]
    (record,) = read_step_records(write_rows(rows, array=True))
    assert record.question == "Your task is q" and record.domain == "chartqa" and record.id == "1128"
    assert record.steps == ("Step 1: Restate", "Step 2: Look")
    assert record.labels == (0.6363, 1.0) and record.rollouts == (11, 11)


def test_waiting_rows_are_bounded() -> None:
    """A question's record comes once `lookahead` rows have passed without one of its own."""
    others = [row(f"Step 1: {k}", id=f"other{k}") for k in range(20)]
    a = chain("a", [0.1, 0.2, 0.3])
    late = list(group_nested([a[0], a[1], *others[:10], a[2], *others[10:]], lookahead=5))
    assert [record.labels for record in late if record.id == "1"] == [(0.1, 0.2), (None, None, 0.3)]
    assert len(late) == 22
    just_late = list(group_nested([a[0], *others[:5], a[1]], lookahead=5))
    assert [record.labels for record in just_late if record.id == "1"] == [(0.1,), (None, 0.2)]
    in_time = list(group_nested([a[0], *others[:4], a[1], *others[4:8], a[2]], lookahead=5))
    assert [record.labels for record in in_time if record.id == "1"] == [(0.1, 0.2, 0.3)]


def test_grouping_is_lazy() -> None:
    """Of endless rows, the first record comes, in the order in which the questions are complete."""
    rows = (row("Step 1: x", id=str(k)) for k in itertools.count())
    assert [record.id for record in itertools.islice(group_nested(rows), 3)] == ["0", "1", "2"]
