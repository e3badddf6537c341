"""Hard labels, and no labels after an error: of single records, of tables, and what they count."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamprm.data import RecordTable, StepRecord, write_records
from dreamprm.data.label_rule import LabelRule

Labels = tuple[float | None, ...]


def record(*labels: float | None, name: str = "r") -> StepRecord:
    return StepRecord("q", (), "d", ("s",) * len(labels), labels, (None,) * len(labels), name)


CASES: dict[str, tuple[LabelRule, Labels, Labels]] = {
    "as they are": (LabelRule(), (0.25, None, 0.0), (0.25, None, 0.0)),
    "any completion": (LabelRule(hard=True), (0.125, None, 0.0, 1.0), (1.0, None, 0.0, 1.0)),
    "above, not at": (LabelRule(hard=True, threshold=0.5), (0.5, 0.625, 0.25), (0.0, 1.0, 0.0)),
    "soft, masked": (LabelRule(mask=True), (0.5, 0.0, 0.25, 0.0), (0.5, 0.0, None, None)),
    "threshold of the error": (LabelRule(mask=True, threshold=0.25), (0.5, 0.25, 1.0), (0.5, 0.25, None)),
    "no error": (LabelRule(mask=True), (0.5, None, 1.0), (0.5, None, 1.0)),
    "an unlabelled step is no error": (LabelRule(mask=True), (None, 0.0, None, 1.0), (None, 0.0, None, None)),
    "both": (LabelRule(hard=True, threshold=0.3, mask=True), (0.5, 0.25, 0.5), (1.0, 0.0, None)),
    "nothing known": (LabelRule(hard=True, mask=True), (None, None), (None, None)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_rule_makes_of_labels(case: str) -> None:
    rule, before, after = CASES[case]
    assert rule.of_record(record(*before)).labels == after
    assert rule.changes == (case != "as they are")


_LABELS = st.lists(st.sampled_from([None, 0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=6)


@given(st.lists(_LABELS, min_size=1, max_size=4), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.5]))
def test_every_cot_by_itself_and_once_is_enough(
    cots: list[list[float | None]], hard: bool, mask: bool, threshold: float
) -> None:
    rule = LabelRule(hard=hard, threshold=threshold, mask=mask)
    for labels in cots:
        wanted: list[float | None] = []
        wrong = False
        for label in labels:
            taken = label is None or (mask and wrong)
            wanted.append(None if taken else float(label > threshold) if hard else label)
            wrong = wrong or (label is not None and label <= threshold)
        once = rule.of_record(record(*labels))
        assert once.labels == tuple(wanted)
        assert rule.of_record(once) == once


def test_a_table_has_the_rules_labels_everywhere_and_keeps_those_of_its_file(tmp_path: Path) -> None:
    given_labels: list[Labels] = [(0.5, 0.0, 0.25), (1.0,), (0.75, None, 0.125), (0.0, 1.0)]
    records = [record(*labels, name=str(i)) for i, labels in enumerate(given_labels)]
    write_records(tmp_path / "a.jsonl", records)
    table = RecordTable.open(
        tmp_path / "a.jsonl", kind="step", cache_dir=tmp_path / "cache", allow_no_image=True
    )
    rule = LabelRule(hard=True, mask=True)
    made = table.relabelled(rule)
    wanted = [(1.0, 0.0, None), (1.0,), (1.0, None, 1.0), (0.0, None)]
    for one in (made, pickle.loads(pickle.dumps(made))):
        assert [record.labels for record in one] == wanted
        assert [record.labels for record in one.get([3, 0])] == [wanted[3], wanted[0]]
    assert made.label_ranges() == {"d": (6, 0.0, 1.0)}
    counts = made.label_counts()
    assert (counts.right, counts.wrong, counts.changed) == (4, 2, 3)
    assert (counts.masked, counts.masked_cots) == (2, 2)
    rest = made.without({0: "", 2: ""})
    assert [record.labels for record in rest] == [wanted[1], wanted[3]]
    assert rest.label_counts().masked == 1 and rest.label_ranges() == {"d": (2, 0.0, 1.0)}
    assert [record.labels for record in made.relabelled(LabelRule())] == given_labels
    assert [record.labels for record in table] == given_labels
