"""What two labellings of the same steps agree on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import ReadReport, read_step_records
from dreamprm.data.consensus import Consensus

STEPS = ["a", "b", "c"]


def row(labels: list[Any], **fields: Any) -> dict[str, Any]:
    return {"question": "q", "domain": "d", "steps": STEPS[: len(labels)], "labels": labels, **fields}


def kept(folder: Path, rows: list[dict[str, Any]], consensus: Consensus) -> tuple[list[Any], ReadReport]:
    path, report = folder / "r.jsonl", ReadReport()
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    records = list(read_step_records(path, allow_no_image=True, consensus=consensus, report=report))
    return [record.labels for record in records], report


# Labels, the second labelling, and what is left with first_error and with steps.
CASES: dict[str, tuple[list[Any], list[Any], Any, Any]] = {
    "the same error": ([0.5, 0.0, 0.5], [0.9, 0.1, 0.2], (0.5, 0.0, 0.5), (0.5, 0.0, None)),
    "no error": ([0.5, 0.25], [True, True], (0.5, 0.25), (0.5, 0.25)),
    "another error": ([0.5, 0.0], [0.2, 0.1], None, (None, 0.0)),
    "only one sees an error": ([0.5, 0.25], [1, 0], None, (0.5, None)),
    "one half is not right": ([0.5], [0.5], None, None),
    "a step that one does not label": ([0.5, None, 0.0], [None, False, 0], None, (None, None, 0.0)),
    "nothing in common": ([0.5, 0.0], [False, True], None, None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_left(case: str, tmp_path: Path) -> None:
    labels, second, of_cots, of_steps = CASES[case]
    rows = [row(labels, critic=second)]
    for on, wanted in (("first_error", of_cots), ("steps", of_steps)):
        found, report = kept(tmp_path, rows, Consensus("critic", on))  # type: ignore[arg-type]
        assert found == ([] if wanted is None else [wanted])
        assert report.disagreeing == report.left_out_count == (wanted is None)
        known = sum(label is not None for label in labels)
        lost = 0 if wanted is None else known - sum(label is not None for label in wanted)
        assert report.disagreeing_steps == lost
        told = "\n".join(report.lines())
        assert ("no consensus with 'critic'" in told) == (wanted is None)
        assert (f"{lost} labels were taken away" in told) == (lost > 0)


def test_the_threshold_is_that_of_the_labels(tmp_path: Path) -> None:
    rows = [row([0.75, 0.25], critic=[1, 0])]
    assert kept(tmp_path, rows, Consensus("critic", threshold=0.5))[0] == [(0.75, 0.25)]
    assert kept(tmp_path, rows, Consensus("critic"))[0] == []


def test_a_scorers_log_odds_come_before_a_field_of_its_name(tmp_path: Path) -> None:
    scores = {"prm": {"log_odds": [2.0, -0.5]}, "shares": {"steps": [0.7, 0.3]}}
    rows = [row([0.5, 0.0], scores=scores, prm=[0, 1])]
    for name in ("prm", "shares"):
        assert kept(tmp_path, rows, Consensus(name))[0] == [(0.5, 0.0)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "field 'critic' is missing"),
        ({"critic": None}, "field 'critic': got None; allowed: a second labelling for data.consensus"),
        ({"scores": {"other": {"log_odds": [1.0, 1.0]}}}, r"\(there are: 'other'\)"),
        ({"critic": [1]}, "got 1 values for 2 steps"),
        ({"critic": [1, 2]}, r"field 'critic\[1\]': got 2; allowed: a number in \[0, 1\]"),
        ({"critic": "right"}, "field 'critic'"),
        ({"scores": {"critic": {"log_odds": [1.0]}}}, "log-odds of 2 steps"),
        ({"scores": {"critic": {"log_odds": [1.0, math.inf]}}}, "scores.critic"),
    ],
)
def test_a_record_without_a_second_labelling_is_a_bad_one(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        kept(tmp_path, [row([0.5, 0.0], **fields)], Consensus("critic"))


def test_the_public_form_has_one_labelling(tmp_path: Path) -> None:
    nested = {"input": "q", "add": "Step 1: a", "accuracy": 0.5, "dataset": "d", "image_path": "i.png"}
    with pytest.raises(UserError, match="one labelling.*leave data.consensus out"):
        kept(tmp_path, [nested], Consensus("critic"))
    with pytest.raises(UserError, match="must be 'first_error' or 'steps', got 'cots'"):
        Consensus("critic", "cots")  # type: ignore[arg-type]
