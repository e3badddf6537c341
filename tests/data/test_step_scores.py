"""Scores beside candidates: written, read again, and refused where they do not fit."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError
from dreamprm.data import Candidate, CandidateRecord, RecordTable, read_candidate_records, write_records
from dreamprm.data.step_scores import probability, scores_to_json

SCORES = {"prm": (60.0, -0.25), "orm": (1.5,)}
RECORD = CandidateRecord(
    "q",
    (),
    "b",
    "B",
    (Candidate("a\n\nb", ("a", "b"), "B", True, None, SCORES), Candidate("c", ("c",), "C", False, None)),
    "1",
)


def test_scores_are_read_again_from_files_and_tables(tmp_path: Path) -> None:
    path = tmp_path / "scored.jsonl"
    write_records(path, [RECORD])
    assert list(read_candidate_records(path, allow_no_image=True)) == [RECORD]
    table = RecordTable.open(path, kind="candidate", cache_dir=tmp_path / "cache", allow_no_image=True)
    assert list(table) == [RECORD]
    (row,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert "scores" not in row["candidates"][1]
    assert row["candidates"][0]["scores"]["prm"]["steps"] == [1.0, pytest.approx(1 / (1 + math.exp(0.25)))]


def test_aggregates_stand_beside_them() -> None:
    assert scores_to_json({"orm": (0.0,)}, {"orm": {"last": 0.0}}) == {
        "orm": {"log_odds": [0.0], "steps": [0.5], "last": 0.0}
    }


@pytest.mark.parametrize(("log_odds", "p"), [(0.0, 0.5), (800.0, 1.0), (-800.0, 0.0), (math.log(3), 0.75)])
def test_probabilities_do_not_overflow(log_odds: float, p: float) -> None:
    assert probability(log_odds) == pytest.approx(p, abs=1e-15)


def _read(tmp_path: Path, scores: Any) -> CandidateRecord:
    row = {
        "question": "q",
        "benchmark": "b",
        "answer": "B",
        "candidates": [{"text": "ab", "steps": ["a", "b"], "scores": scores}],
    }
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (record,) = read_candidate_records(path, allow_no_image=True)
    return record


def test_probabilities_alone_will_do(tmp_path: Path) -> None:
    scores = _read(tmp_path, {"x": {"steps": [0.75, 1]}}).candidates[0].scores
    assert scores["x"][0] == pytest.approx(math.log(3), rel=1e-12)
    assert scores["x"][1] == pytest.approx(math.log(1e7), rel=1e-6)  # clipped at 1 - 1e-7
    assert _read(tmp_path, None).candidates[0].scores == {}


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5], "field 'candidates[0].scores': got [0.5]; allowed: an object of scores by scorer"),
        ({"x": [0.5, 0.5]}, "field 'candidates[0].scores.x'"),
        ({"x": {}}, "2 finite numbers, or a single one"),
        ({"x": {"log_odds": []}}, "2 finite numbers"),
        ({"x": {"log_odds": [1, 2, 3]}}, "2 finite numbers"),
        ({"x": {"log_odds": [1, None]}}, "2 finite numbers"),
        ({"x": {"log_odds": [1, True]}}, "2 finite numbers"),
        ({"x": {"log_odds": [1, math.nan]}}, "2 finite numbers"),
        ({"x": {"steps": [0.5, 1.5]}}, "field 'candidates[0].scores.x.steps': got [0.5, 1.5]; allowed: prob"),
    ],
)
def test_scores_that_do_not_fit_are_named(scores: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        _read(tmp_path, scores)
    assert message in str(error.value)
