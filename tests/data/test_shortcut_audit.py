"""Trivial features that give a label away are measured and told."""

from __future__ import annotations

import pytest

from dreamprm.config.errors import DataError
from dreamprm.data import Candidate, CandidateRecord, MetaRecord, audit_shortcuts, require_both_classes


def meta(steps: tuple[str, ...], correct: bool) -> MetaRecord:
    return MetaRecord("q", (), steps, correct, "1")


def test_every_feature_is_measured_in_both_directions() -> None:
    """Right: two short steps and an answer. Wrong: one long step, or none."""
    right = meta(("Step 1: a", "Step 2: b\nFinal answer: A"), True)
    wrong = [meta(("Step 1: " + "long " * 20,), False), meta((), False)]
    audit = audit_shortcuts([right, right, *wrong])
    assert (audit.right, audit.wrong) == (2, 2)
    assert audit.auc == {
        "has steps": 0.75,
        "number of steps": 1.0,
        "length in characters": 0.5,
        "has a final answer": 1.0,
    }
    reverse = audit_shortcuts(
        [MetaRecord("q", (), r.steps, not r.correct, "1") for r in (right, right, *wrong)]
    )
    assert reverse.auc == audit.auc


def test_the_warning_has_the_figures_and_says_what_to_do() -> None:
    audit = audit_shortcuts([meta(("a",), True), meta((), False), meta((), True), meta((), False)])
    (text,) = audit.warnings()
    assert "2 right and 2 wrong answers with an AUC above 0.65 (0.5 is chance): has steps 0.75," in text
    assert "balance right and wrong answers" in text and "stepless=skip" in text
    assert audit.warnings(bound=0.75) == []


def test_candidates_are_audited_where_their_label_is_known() -> None:
    candidates = [
        Candidate("Step 1: a", ("Step 1: a",), "A", True, None),
        Candidate("bare text", (), None, False, None),
        Candidate("unknown", (), None, None, None),
    ]
    audit = audit_shortcuts([CandidateRecord("q", (), "suite", "A", tuple(candidates), "1")])
    assert (audit.right, audit.wrong) == (1, 1)
    assert audit.auc["has steps"] == audit.auc["has a final answer"] == 1.0
    assert audit.auc["length in characters"] == 0.5


@pytest.mark.parametrize("labels", [[], [True], [False, False]])
def test_one_class_has_no_auc_and_cannot_be_a_meta_set(labels: list[bool]) -> None:
    records = [meta(("a",), correct) for correct in labels]
    audit = audit_shortcuts(records)
    assert audit.auc == {} and audit.warnings(0.5) == []
    counts = f"{sum(labels)} right and {len(labels) - sum(labels)} wrong answers; it needs both"
    with pytest.raises(DataError, match=f"the meta set holds {counts}"):
        require_both_classes(records)


def test_both_classes_are_counted() -> None:
    assert require_both_classes([meta(("a",), label) for label in (True, False, True)]) == (2, 1)
