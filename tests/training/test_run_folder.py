"""The run folder's logs and files: appended, rewound, and replaced whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.files.atomic import write_atomically
from dreamprm.training.baselines.fixed_weights import past_weights
from dreamprm.training.checkpoint import load_checkpoint, save_checkpoint
from dreamprm.training.continuation import find_checkpoints
from dreamprm.training.run_folder import RunFolder, what_stands
from dreamprm.training.settings import TrainConfig

GIVEN = ("name=x", "data.train=[t.jsonl]", "data.meta=m.jsonl")


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


def test_logs_that_do_not_hold_what_was_logged_are_named(tmp_path: Path) -> None:
    def logged(name: str, *, seconds: float, loss: float = 0.25) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        folder.create()
        for step in (5, 10):
            folder.log_metrics({"step": step, "seconds": seconds, "inner_loss": loss})
            folder.log_weights(step, {"Größe": step / 3})
        return folder

    digests = logged("one", seconds=1.5).log_digests()
    assert logged("slow", seconds=22.75).log_digests() == digests
    assert logged("other", seconds=1.5, loss=0.26).log_digests() != digests
    metrics, weights = (tmp_path / "one" / name for name in digests)
    again = RunFolder(tmp_path / "one")
    assert again.changed_logs(digests) == [] and again.changed_logs({}) == []
    for path in (metrics, weights):
        content = path.read_text()
        for changed in (content.replace("5", "6", 1), content.partition("\n")[2], ""):
            path.write_text(changed)
            again = RunFolder(tmp_path / "one")
            # What comes next is what would have come, and so are the digests in its checkpoints.
            assert again.changed_logs(digests) == [path] and again.log_digests() == digests
        path.write_text(content)


# `str.splitlines` divides at each of them; JSON escapes the control characters, and not the others.
SEPARATORS = "\u2028 \u2029 \x85 \x1c \x1d \x1e \x0b \x0c \r"


def test_rewinding_keeps_lines_whose_names_hold_separators(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (5, 10, 15):
        folder.log_weights(step, {f"a{SEPARATORS}b": 1.0})
    assert folder.rewind(10) == 0
    rows = [json.loads(line) for line in (tmp_path / "domain_weights.jsonl").read_bytes().splitlines()]
    assert rows == [{"step": step, "weights": {f"a{SEPARATORS}b": 1.0}} for step in (5, 10)]
    assert past_weights(str(tmp_path), take="last") == {f"a{SEPARATORS}b": 1.0}


def test_rewinding_counts_damaged_lines_before_the_last(folder: RunFolder) -> None:
    path = folder.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"step": 10', b'{"st\xffep": 10') + b'{"step": 2')
    assert folder.rewind(15) == 1
    assert [row["step"] for row in _lines(path)] == [5, 15]


@pytest.mark.parametrize(
    ("present", "content", "is_run"),
    [
        ({}, [], False),
        ({"notes.txt": "x"}, ["notes.txt"], False),
        ({"logs/train.log": "x", ".gitkeep": "", "vanilla/config.yaml": "x"}, [], False),
        ({"checkpoints/step-000004/state.json": "{}"}, ["checkpoints"], False),
        ({"config.yaml": "lr: 1\n"}, ["config.yaml"], False),
        ({"config.yaml": "model: m\ndata: {}\nversions: {dreamprm: 0.2.0}\n"}, ["config.yaml"], False),
        ({"config.yaml": "\tbroken"}, ["config.yaml"], False),
        (
            {"config.yaml": "model: {}\ndata: {}\ninner_steps: 5\nversions: {dreamprm: 0.2.0}\n"},
            ["config.yaml"],
            True,
        ),
    ],
)
def test_whose_folder_it_is(
    present: dict[str, str], content: list[str], is_run: bool, tmp_path: Path
) -> None:
    """A folder of somebody else's, of another command, of a chain that has its logs there, or a run's."""
    for name, text in present.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    folder = RunFolder(tmp_path)
    assert folder.content() == content and folder.is_run() is is_run
    config = load_config(TrainConfig, None, [*GIVEN, f"output={tmp_path}"])
    if content and not is_run:
        for settings in ({}, {"resume": f"{tmp_path}/checkpoints/step-000004"}):
            with pytest.raises(UserError, match=r"holds files \(.*give another output"):
                find_checkpoints(folder, dataclasses.replace(config, **settings))
    if present and not is_run:
        with pytest.raises(UserError, match="overwrite=true removes runs only"):
            find_checkpoints(folder, dataclasses.replace(config, overwrite=True))
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(
        present
    )


def test_a_run_is_held_by_one_training(folder: RunFolder) -> None:
    folder.config.write_text("")
    with folder.owned():
        with pytest.raises(UserError, match="is being written by another process"), folder.owned():
            pass
        folder.clear()
        assert [path.name for path in folder.path.iterdir()] == ["train.lock"]
        folder.config.write_text("")
    assert [path.name for path in folder.path.iterdir()] == ["config.yaml"]
    with folder.owned():
        pass


def test_a_run_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "a" / "b").owned():
        assert (tmp_path / "a" / "b" / "train.lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_trainings_are_removed_and_nothing_else(tmp_path: Path) -> None:
    key = "0" * 32
    gone = (f".model-{key}.partial", f".config.yaml-{key}.partial.yaml", f".summary.json-{key}.partial.json")
    kept = (f".report.html-{key}.partial.html", f".notes-{key}.partial", ".model-old")
    for name in (*gone, *kept):
        (tmp_path / name).write_text("")
    RunFolder(tmp_path).remove_leftovers()
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_a_full_disk_in_a_save_says_what_stands(tmp_path: Path) -> None:
    """Files may grow to every size on the way in turn; the last whole checkpoint stays."""
    folder = RunFolder(tmp_path)
    tensors, state = {"w": torch.arange(300.0)}, {"notes": "x" * 300}
    first = save_checkpoint(folder.checkpoints, 4, tensors=tensors, state=state)
    whole = max(path.stat().st_size for path in first.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (0, 1, 50, 200, 400, 700, whole - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            with pytest.raises(UserError) as caught, what_stands(folder):
                save_checkpoint(folder.checkpoints, 8, tensors=tensors, state=state, keep=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        message = str(caught.value)
        assert "make room and run the same command again. Checkpoint" in message, size
        assert message.endswith(f"{first} stands") and "step-000008" in message
        assert [path.name for path in folder.checkpoints.iterdir()] == ["step-000004"]
        load_checkpoint(first)


def test_a_log_on_a_full_disk_says_what_stands(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with (
            pytest.raises(UserError, match=r"make room.*\. No checkpoint has been saved"),
            what_stands(folder),
        ):
            folder.log_metrics({"step": 20})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


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
