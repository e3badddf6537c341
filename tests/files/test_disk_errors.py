"""Errors of the disk, whoever passes them on, are told in one line, and met before any work is done."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.data.record_table import RecordTable
from dreamprm.files.disk_errors import disk_error, is_full, require_folder, told


def test_the_systems_error_is_found_behind_those_of_libraries(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(SafetensorError) as rust:
            save_file({"x": torch.zeros(100)}, tmp_path / "x")
        with pytest.raises(OSError, match=".") as arrow, pa.OSFile(str(tmp_path / "y"), "wb") as sink:
            sink.write(b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for caught in (rust, arrow):
        assert is_full(caught.value), caught.value
    chained = ValueError("cannot save")
    chained.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded", "place")
    assert is_full(chained) and told(disk_error(chained)).endswith(  # type: ignore[arg-type]
        "while writing place; make room and run the same command again"
    )
    assert disk_error(ValueError("no error of the disk")) is None and disk_error(None) is None
    circle = ValueError("raised from itself")
    circle.__cause__ = circle
    assert disk_error(circle) is None


@pytest.mark.parametrize("place", ["file", "file/x/y", "loop", "n" * 300, "a\0b", "/proc/nowhere/x"])
def test_a_folder_that_cannot_be_written_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"^output=.*give a folder"):
        require_folder(tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_can_be_written_is_not_made(tmp_path: Path) -> None:
    require_folder(tmp_path)
    require_folder(tmp_path / "a" / "b")
    require_folder("relative")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_read_only_or_full_folder_is_refused(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *arguments: Any, **more: Any) -> None:
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(UserError, match=os.strerror(code)) as caught:
        require_folder(tmp_path, "data.cache_dir")
    assert str(caught.value).startswith(f"data.cache_dir={tmp_path} cannot be written to")
    assert ("make room" in str(caught.value)) == (code == errno.ENOSPC)


def test_a_cache_that_cannot_be_written_is_refused_where_a_copy_is_to_be_made(tmp_path: Path) -> None:
    data = tmp_path / "m.jsonl"
    data.write_text('{"question": "q", "steps": ["s"], "correct": true}\n')
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"cache_dir={tmp_path}/file is a file"):
        RecordTable.open(data, kind="meta", cache_dir=tmp_path / "file", allow_no_image=True)


# Each command with the least that it needs to reach its output.
COMMANDS = {
    "sandbox": ("folder={}",),
    "train": ("C", "name=x", "data.train=[t]", "data.meta=m", "model.path=m", "output={}"),
    "sample": ("C", "questions.files=[q]", "generator={{name: sandbox, folder: w}}", "output={}"),
    "label": ("C", "questions.files=[q]", "generator={{name: sandbox, folder: w}}", "output={}"),
    "benchmark": ("name=mmstar", "questions=q", "output={}"),
    "score": ("model=m", "files={{a: f}}", "output={}"),
    "evaluate": ("suites={{a: f}}", "output={}"),
    "evaluate-steps": ("files={{a: f}}", "output={}"),
    "convert": ("format=processbench", "source=s.json", "destination={}/d.jsonl"),
}


@pytest.mark.parametrize("place", ["file", "file/below"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so_in_one_line(
    command: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("years of work")
    (tmp_path / "c.yaml").write_text("seed: 0\n")
    (tmp_path / "s.json").write_text("[]")
    words = [word.format(tmp_path / place) for word in COMMANDS[command]]
    words = [str(tmp_path / "c.yaml") if word == "C" else word for word in words]
    assert main([command, *words]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and str(tmp_path / "file") in message
    assert "is a file" in message or "is not a folder" in message
    assert (tmp_path / "file").read_text() == "years of work"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EEXIST])
def test_a_place_that_fails_later_ends_with_2_and_one_line(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code), "runs/x/plots")

    monkeypatch.setattr("dreamprm.reporting.run_report", fail)
    assert main(["report", "runs/x"]) == 2
    assert capsys.readouterr().err == (
        f"dreamprm: runs/x/plots: {os.strerror(code)}; give another place, or make this one readable and "
        "writable\n"
    )
