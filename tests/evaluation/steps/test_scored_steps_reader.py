"""Reading step records with scores beside their labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.read_report import Tolerance
from dreamprm.evaluation.steps import read_scored_steps
from dreamprm.evaluation.steps.reader import question_key


def row(**changes: Any) -> dict[str, Any]:
    return {
        "id": "q1",
        "question": "How many bars?",
        "image": "bars.png",
        "domain": "charts",
        "split": "headings",
        "steps": ["one", "two"],
        "labels": [1, 0],
        "rollouts": [8, None],
        "scores": {"prm": {"log_odds": [1.5, -2], "sum_log_odds": -0.5}},
    } | changes


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "scored.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def test_rows_become_arrays(tmp_path: Path) -> None:
    second = row(id=None, labels=[1, None], rollouts=None, scores={"prm": {"steps": [0.5, 0.75]}})
    file = read_scored_steps(write(tmp_path, row(), second))
    steps = file.steps
    assert steps.ids == ("q1", "scored.jsonl:2") and steps.offsets.tolist() == [0, 2, 4]
    np.testing.assert_array_equal(steps.labels, [1, 0, 1, np.nan])
    np.testing.assert_array_equal(steps.rollouts, [8, 0, 0, 0])
    np.testing.assert_allclose(steps.log_odds["prm"], [1.5, -2, 0, np.log(3)], rtol=1e-15)
    key = question_key("How many  bars?\n", ["elsewhere/bars.png"])
    assert steps.questions.tolist() == [key, key]
    assert steps.question_numbers[1] == 1 and file.whole_response == ()
    assert not steps.soft and steps.first_error.tolist() == [1, -2]


def test_questions_of_one_text_and_different_images_are_different(tmp_path: Path) -> None:
    steps = read_scored_steps(write(tmp_path, row(), row(image="lines.png"), row(image=None))).steps
    assert steps.question_numbers[1] == 3


def test_the_named_scorers_are_read(tmp_path: Path) -> None:
    scores = {"prm": {"log_odds": [1, 2]}, "other": {"log_odds": [3, 4]}}
    path = write(tmp_path, row(scores=scores), row(scores=scores | {"third": {"log_odds": [0, 0]}}))
    assert list(read_scored_steps(path, scorers=["other"]).steps.log_odds) == ["other"]
    more = r"jsonl:2: field 'scores': got \['third'\]; allowed: .* of the first record \(prm, other\)"
    with pytest.raises(DataError, match=more):
        read_scored_steps(path)
    with pytest.raises(DataError, match=r"jsonl:1: field 'scores': got .*; allowed: scores of 'third'"):
        read_scored_steps(path, scorers=["third"])


def test_scorers_of_whole_responses_are_left_out_or_refused(tmp_path: Path) -> None:
    scores = {"prm": {"log_odds": [1, 2]}, "orm": {"log_odds": [3]}}
    path = write(tmp_path, row(scores=scores), row(scores=scores))
    file = read_scored_steps(path)
    assert list(file.steps.log_odds) == ["prm"] and file.whole_response == ("orm",)
    with pytest.raises(UserError, match="scorer 'orm' gives one value per response"):
        read_scored_steps(path, scorers=["prm", "orm"])
    only = write(tmp_path, row(scores={"orm": {"log_odds": [3]}}))
    with pytest.raises(DataError, match="no scorer with one value per step [(]scorers: orm[)]"):
        read_scored_steps(only)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, "scores of at least one scorer; `dreamprm score` writes them"),
        ({"scores": {"prm": {"log_odds": [1, 2, 3]}}}, "field 'scores.prm'"),
        ({"scores": {"prm": {"log_odds": [1, float("nan")]}}}, "field 'scores.prm'"),
        ({"labels": [1, 2]}, r"field 'labels\[1\]': got 2"),
        ({"labels": [1]}, "got 1 values for 2 steps"),
        ({"steps": [], "labels": []}, "at least one step"),
        ({"question": ""}, "field 'question'"),
    ],
)
def test_bad_rows_name_line_and_field(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, row(), row(**changes))
    with pytest.raises(DataError, match=message) as error:
        read_scored_steps(path)
    assert "scored.jsonl:2" in str(error.value)
    file = read_scored_steps(path, tolerance=Tolerance("skip", 0.5))
    assert (len(file.steps), file.report.bad, file.report.rows) == (1, 1, 2)
    with pytest.raises(DataError, match="1 of 2 rows are bad"):
        read_scored_steps(path, tolerance=Tolerance("skip", 0.4))
