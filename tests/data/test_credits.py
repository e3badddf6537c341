"""What graded candidates earn: read, checked, written, stored, and never lost."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError
from dreamprm.data import Candidate, CandidateRecord, RecordTable, read_candidate_records, write_records
from dreamprm.data.records import to_json

CREDITS = (0.1 + 0.2, 1.0, 0.0, None, 1e-300)
CORRECT = (False, True, False, None, None)
RECORD = CandidateRecord(
    "q",
    (),
    "b",
    "B",
    tuple(
        Candidate(str(k), (str(k),), "B", correct, None, credit=credit)
        for k, (correct, credit) in enumerate(zip(CORRECT, CREDITS, strict=True))
    ),
    "1",
)
PLAIN = dataclasses.replace(RECORD, id="2", candidates=(Candidate("a", ("a",), "B", True, None),))


def test_credits_are_read_again_from_lines_arrays_and_tables(tmp_path: Path) -> None:
    lines, array = tmp_path / "lines.jsonl", tmp_path / "array.json"
    write_records(lines, [RECORD, PLAIN])
    array.write_text(json.dumps([to_json(RECORD), to_json(PLAIN)]))
    for path in (lines, array):
        read = list(read_candidate_records(path, allow_no_image=True))
        assert read == [RECORD, PLAIN]
        # To the last bit.
        assert tuple(one.credit for one in read[0].candidates) == CREDITS
        table = RecordTable.open(path, kind="candidate", cache_dir=tmp_path / "cache", allow_no_image=True)
        assert list(table) == [RECORD, PLAIN]
    assert to_json(RECORD)["candidates"][0]["credit"] == 0.1 + 0.2
    assert ["credit" in one for one in to_json(RECORD)["candidates"]] == [True, True, True, False, True]


def test_what_a_candidate_earns() -> None:
    outcomes = [one.outcome for one in RECORD.candidates]
    assert outcomes == [0.1 + 0.2, 1.0, 0.0, 0.0, 1e-300]
    assert [PLAIN.candidates[0].outcome, Candidate("a", (), None, False, None).outcome] == [1.0, 0.0]


def _read(tmp_path: Path, candidate: dict[str, Any]) -> Candidate:
    row = {"question": "q", "benchmark": "b", "answer": "B", "candidates": [{"text": "t"}, candidate]}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (record,) = read_candidate_records(path, allow_no_image=True)
    return record.candidates[1]


@pytest.mark.parametrize(
    "correct, credit",
    [
        (True, 1),
        (True, 0.5),
        (True, 0.01),
        (False, 0),
        (False, 0.99),
        (None, 0),
        (None, 1),
        (None, 0.5),
        (True, None),
    ],
)
def test_credits_beside_truth_values(tmp_path: Path, correct: bool | None, credit: float | None) -> None:
    read = _read(tmp_path, {"text": "t", "correct": correct, "credit": credit})
    assert (read.correct, read.credit) == (correct, credit)
    assert credit is None or isinstance(read.credit, float)


@pytest.mark.parametrize(
    "correct, credit, message",
    [
        (None, 1.5, r"got 1.5; allowed: a number in \[0, 1\]"),
        (None, -0.1, r"got -0.1; allowed: a number in \[0, 1\]"),
        (None, float("nan"), r"got nan; allowed: a number in \[0, 1\]"),
        (None, float("inf"), "got inf; allowed"),
        (None, "0.5", "got '0.5'; allowed"),
        (None, True, "got True; allowed"),
        (None, [0.5], r"got \[0.5\]; allowed"),
        (
            True,
            0,
            r"got 0; allowed: a number in \[0, 1\] that fits 'correct': a right answer \(correct=true\) "
            "earns more than 0",
        ),
        (False, 1.0, r"got 1.0; allowed: .* a wrong answer \(correct=false\) earns less than 1"),
    ],
)
def test_bad_credits(tmp_path: Path, correct: bool | None, credit: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"rows.jsonl:1: field 'candidates\[1\]\.credit': {message}"):
        _read(tmp_path, {"text": "t", "correct": correct, "credit": credit})
