"""`dreamprm score` with a scorer that does not compute here: windows, equal candidates, errors, resuming."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.scorers.base import CandidateScores, ScoringTask, StepScorer

ASKED: list[ScoringTask] = []


class Stub(StepScorer):
    """Scores a step by its length; refuses what says so."""

    gives = "step"

    def __init__(self, url: str) -> None:
        self.url = url

    def identity(self) -> dict[str, Any]:
        return {"served": "stub"}

    def score(self, tasks: Sequence[ScoringTask]) -> list[list[CandidateScores | UserError]]:
        ASKED.extend(tasks)
        return [
            [
                UserError("too long for me")
                if "bad" in steps
                else CandidateScores(tuple(len(step) / 10 for step in steps), 1)
                for steps in task.candidates
            ]
            for task in tasks
        ]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("dreamprm.scorers.opening.ServerScorer", Stub)
    ASKED.clear()
    rows = [
        {
            "id": f"q{number}",
            "question": f"question {number}",
            "benchmark": "b",
            "answer": "1",
            "candidates": [
                {"text": "x", "steps": list(steps)}
                for steps in (("one", "three"), ("one", "three"), ("bad",) if number == 1 else ("seven",))
            ],
        }
        for number in range(4)
    ]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "score",
        "server=http://127.0.0.1:8000",
        f"files.a={source}",
        f"output={tmp_path}/out",
        "data.allow_no_image=true",
        "log.progress=none",
        "batch_size=4",
    ]


def test_a_server_s_scores_are_written_and_kept(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2  # one candidate cannot be scored
    assert "too long for me" in capsys.readouterr().err
    ASKED.clear()
    again = [*command, "data.on_error=skip", "data.max_bad_fraction=0.5"]
    assert main(again) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "a.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["q0", "q2", "q3"]
    scores = [one["scores"]["127.0.0.1-8000"]["log_odds"] for one in rows[0]["candidates"]]
    assert scores == [[0.3, 0.5], [0.3, 0.5], [0.5]]
    # What was scored before the error is kept, and equal candidates are asked about once.
    assert "question 0" not in {task.question for task in ASKED}
    assert all(len(set(task.candidates)) == len(task.candidates) for task in ASKED)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["made_by"]["served"] == "stub" and summary["files"]["a"]["left_out"] == 1


def test_settings_of_a_local_model_are_refused(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "precision=bf16", "scores=response"]) == 2
    assert "scores, precision: for a model that computes here, not for a server" in capsys.readouterr().err
    assert main([*command, "model=runs/a"]) == 2
    assert "give one of model, server and critic.name, not model and server" in capsys.readouterr().err
    assert main([*command, "layout=trl"]) == 2
    assert "layout is for a model of another project" in capsys.readouterr().err
    assert main([*command, "critic.samples=3"]) == 2
    assert "critic.samples" in capsys.readouterr().err
