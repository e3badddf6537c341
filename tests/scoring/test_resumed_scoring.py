"""A scoring run that is stopped goes on: nothing is scored twice, nothing is lost, the result is the same."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from candidate_files import candidate_rows, read_rows, score, write_rows
from tiny_models import tiny_prm

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.models import PRM


def _scores(folder: Path) -> list[float]:
    return [
        value
        for row in read_rows(folder / "suite.jsonl")
        for candidate in row["candidates"]
        for value in candidate["scores"]["tiny-run"]["log_odds"]
    ]


def _scored_now(folder: Path) -> int:
    summary = json.loads((folder / "summary.json").read_text())
    return int(summary["files"]["suite"]["scored_now"])


@pytest.mark.parametrize("passes", [1, 3])
def test_an_interrupted_run_goes_on_without_scoring_again(
    passes: int,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=14))
    score(run_folder, {"suite": source}, tmp_path / "whole")
    wanted = _scores(tmp_path / "whole")
    read = PRM.read
    reads: list[int] = []

    def interrupted(prm: PRM, states: torch.Tensor) -> torch.Tensor:
        if len(reads) == passes:
            raise KeyboardInterrupt
        reads.append(len(states))
        return read(prm, states)

    with monkeypatch.context() as patch:
        patch.setattr(PRM, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            score(run_folder, {"suite": source}, tmp_path / "out")
    assert not (tmp_path / "out/suite.jsonl").exists()
    journal = tmp_path / "out/suite.scores.jsonl"
    held = len(read_rows(journal)) - 1
    assert held >= 1
    journal.write_bytes(journal.read_bytes()[:-7])  # and the last line was cut short

    def watched(prm: PRM, states: torch.Tensor) -> torch.Tensor:
        reads.append(len(states))
        return read(prm, states)

    first, reads[:] = sum(reads), []
    with monkeypatch.context() as patch:
        patch.setattr(PRM, "read", watched)
        score(run_folder, {"suite": source}, tmp_path / "out")
    assert _scores(tmp_path / "out") == wanted  # to the last bit: every pass holds what it would have held
    assert [row["id"] for row in read_rows(tmp_path / "out/suite.jsonl")] == [f"q{n}" for n in range(14)]
    assert _scored_now(tmp_path / "out") == 4 * (14 - (held - 1))
    # A question's equal candidates are read once: 3 of 4, in every question.
    per_row = [len({tuple(c["steps"]): c["steps"] for c in row["candidates"]}) for row in read_rows(source)]
    assert per_row == [3] * 14 and first + sum(reads) > sum(reads) > 0
    again = (tmp_path / "out/suite.jsonl").read_bytes()
    # A finished run is not scored again.
    with monkeypatch.context() as patch:
        patch.setattr(PRM, "read", interrupted)
        score(run_folder, {"suite": source}, tmp_path / "out")
    assert (tmp_path / "out/suite.jsonl").read_bytes() == again


def test_ctrl_c_says_how_to_go_on(
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(prm: PRM, states: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=2))
    arguments = [
        "score",
        f"model={run_folder}",
        f"files.suite={source}",
        f"output={tmp_path / 'out'}",
        "data.allow_no_image=true",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(PRM, "read", stopped)
        assert main(arguments) == 130
    assert f"resume from the last question with: dreamprm {' '.join(arguments)}" in capsys.readouterr().err
    assert main(arguments) == 0
    assert _scored_now(tmp_path / "out") == 8


@pytest.mark.parametrize("lost", [(3,), (1, 9, 12), tuple(range(6, 14)), tuple(range(1, 14, 2))])
def test_whatever_scores_are_missing_the_result_is_the_same_to_the_last_digit(
    lost: tuple[int, ...], run_folder: Path, tmp_path: Path
) -> None:
    """14 rows are two windows; a pass holds the rows that it holds in a run from the start."""
    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=14))
    score(run_folder, {"suite": source}, tmp_path / "out")
    path, journal = tmp_path / "out/suite.jsonl", tmp_path / "out/suite.scores.jsonl"
    whole = path.read_bytes()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for row, line in enumerate(lines, start=-1) if row not in lost))
    path.unlink()
    score(run_folder, {"suite": source}, tmp_path / "out")
    assert path.read_bytes() == whole and _scored_now(tmp_path / "out") == 4 * len(lost)
    assert sorted(journal.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_a_file_that_has_grown_is_scored_where_it_is_new(run_folder: Path, tmp_path: Path) -> None:
    rows = candidate_rows(tmp_path, n=5)
    source = write_rows(tmp_path / "in.jsonl", rows[:3])
    score(run_folder, {"suite": source}, tmp_path / "out")
    write_rows(source, rows)
    score(run_folder, {"suite": source}, tmp_path / "out")
    assert _scored_now(tmp_path / "out") == 8
    score(run_folder, {"suite": source}, tmp_path / "whole")
    assert _scores(tmp_path / "out") == pytest.approx(_scores(tmp_path / "whole"), abs=2e-6)


def test_other_models_and_settings_are_refused(run_folder: Path, tmp_path: Path) -> None:
    rows = candidate_rows(tmp_path, n=3)
    source = write_rows(tmp_path / "in.jsonl", rows)
    score(run_folder, {"suite": source}, tmp_path / "out")
    before = (tmp_path / "out/suite.jsonl").read_bytes()
    other = tiny_prm(seed=1, layers=1, vision_layers=1)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="made differently .*model was"):
        score(tmp_path / "other", {"suite": source}, tmp_path / "out")
    with pytest.raises(UserError, match="precision was 'fp32', is 'bf16'"):
        score(run_folder, {"suite": source}, tmp_path / "out", precision="bf16")
    assert (tmp_path / "out/suite.jsonl").read_bytes() == before
    # The configuration that the results were made with is kept too.
    assert "precision: fp32" in (tmp_path / "out/config.yaml").read_text()
    # What does not decide the scores may change: how much goes into one pass, and the answers.
    rows = candidate_rows(tmp_path, n=3)
    rows[0]["answer"] = "5"
    write_rows(source, rows)
    score(run_folder, {"suite": source}, tmp_path / "out", batch_size=1)
    assert read_rows(tmp_path / "out/suite.jsonl")[0]["answer"] == "5"
    assert _scored_now(tmp_path / "out") == 0


def test_a_killed_process_goes_on(run_folder: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", candidate_rows(tmp_path, n=40))
    score(run_folder, {"suite": source}, tmp_path / "whole")
    read = PRM.read

    def slow(prm: PRM, states: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)
        return read(prm, states)

    child = os.fork()  # a new process would first import torch
    if child == 0:
        PRM.read = slow  # type: ignore[method-assign]
        score(run_folder, {"suite": source}, tmp_path / "out")
        os._exit(0)
    journal = tmp_path / "out/suite.scores.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 4) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    held = journal.read_bytes().count(b"\n") - 1
    assert 4 <= held < 40
    score(run_folder, {"suite": source}, tmp_path / "out")
    assert _scored_now(tmp_path / "out") == 4 * (40 - held)
    assert _scores(tmp_path / "out") == _scores(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.yaml",
        "suite.jsonl",
        "suite.scores.jsonl",
        "suite.scores.jsonl.lock",
        "summary.json",
    ]
