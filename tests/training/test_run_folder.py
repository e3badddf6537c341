"""The run folder's logs and files: appended, rewound, and replaced whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import UserError
from dreamprm.files.atomic import write_atomically
from dreamprm.training.run_folder import RunFolder


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.create()
    for step in (5, 10, 15):
        folder.log_metrics({"step": step, "inner_loss": step / 100})
        folder.log_weights(step, {"Größe": 1.0, "b": step / 10})
    return folder


def test_each_log_holds_a_line_an_upper_step(folder: RunFolder) -> None:
    assert _lines(folder.path / "metrics.jsonl") == [
        {"step": 5, "inner_loss": 0.05},
        {"step": 10, "inner_loss": 0.1},
        {"step": 15, "inner_loss": 0.15},
    ]
    assert _lines(folder.path / "domain_weights.jsonl")[1] == {
        "step": 10,
        "weights": {"Größe": 1.0, "b": 1.0},
    }


def test_creating_it_again_keeps_what_is_there(folder: RunFolder) -> None:
    folder.create()
    assert len(_lines(folder.path / "metrics.jsonl")) == 3


@pytest.mark.parametrize("step, kept", [(0, []), (9, [5]), (10, [5, 10]), (99, [5, 10, 15])])
def test_rewinding_drops_what_was_logged_after_a_step(folder: RunFolder, step: int, kept: list[int]) -> None:
    folder.rewind(step)
    for name in ("metrics.jsonl", "domain_weights.jsonl"):
        assert [row["step"] for row in _lines(folder.path / name)] == kept


@pytest.mark.parametrize("rest", ['{"step": 1', '{"ste', '{"window": 1}\n', "\n"])
def test_rewinding_drops_a_line_cut_short_by_a_crash(folder: RunFolder, rest: str) -> None:
    path = folder.path / "metrics.jsonl"
    path.write_text(path.read_text() + rest)
    folder.rewind(15)
    folder.log_metrics({"step": 20})
    assert [row["step"] for row in _lines(path)] == [5, 10, 15, 20]


def test_rewinding_a_folder_without_logs_makes_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.rewind(3)
    assert list(tmp_path.iterdir()) == []


def test_the_summary_is_readable_json(folder: RunFolder) -> None:
    summary = {"name": "Größe", "weights": {"a": 0.1}, "targets_met": True}
    folder.write_summary(summary)
    assert json.loads(folder.summary.read_text(encoding="utf-8")) == summary
    assert "Größe" in folder.summary.read_text(encoding="utf-8")  # as written, for people
    assert folder.summary.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    failing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "summary.json"
    write_atomically(path, "old")

    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="disk full"):
            write_atomically(path, "new")
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]
    assert path.read_text() == "old"
    write_atomically(path, "new")
    assert path.read_text() == "new"


def test_a_log_that_cannot_be_written_is_the_users_to_know(folder: RunFolder) -> None:
    (folder.path / "metrics.jsonl").unlink()
    (folder.path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written .*start the same command again"):
        folder.log_metrics({"step": 20})
