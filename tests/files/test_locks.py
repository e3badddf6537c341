"""A second process on the same output is refused by every command, before it reads or writes anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.files.locks import owned_folder, owned_path, path_in_turn
from dreamprm.reporting import write_report
from dreamprm.reporting.contents import Report

Owned = Callable[[Path], AbstractContextManager[None]]
COMMANDS: dict[str, tuple[Owned, str, tuple[str, ...]]] = {
    "evaluate": (owned_folder, "output", ("suites.a=x.jsonl",)),
    "benchmark": (owned_folder, "output", ("name=mathvista", "questions=x.jsonl")),
    "evaluate-steps": (owned_path, "output", ("files.a=x.jsonl",)),
    "sandbox": (owned_path, "folder", ()),
    "convert": (owned_path, "destination", ("format=trl", "source=x.jsonl")),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_process_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owned, key, settings = COMMANDS[command]
    output = tmp_path / "new" / "out.jsonl"
    with owned(output):
        before = sorted(tmp_path.rglob("*"))
        assert main([command, *settings, f"{key}={output}"]) == 2
        told = f"{output} is being written by another process; wait for it, or give another output"
        assert capsys.readouterr().err == f"dreamprm: {told}\n"
        assert sorted(tmp_path.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []  # neither locks nor folders stay
    if command != "sandbox":  # which would generate a world
        assert main([command, *settings, f"{key}={output}"]) == 2
        assert "another process" not in capsys.readouterr().err


def test_a_page_of_a_report_has_one_writer(tmp_path: Path) -> None:
    with owned_path(tmp_path / "report.html"), pytest.raises(UserError, match="report.html is being written"):
        write_report(Report(), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_we_are_in_can_be_owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    with owned_path(Path()), owned_folder(Path()):
        assert (tmp_path / ".in.lock").exists() and (tmp_path / "in/.output.lock").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


@pytest.mark.parametrize("between", [Path.touch, Path.stat], ids=["touched", "looked at"])
def test_a_lock_that_its_holder_removes_meanwhile_is_made_again(
    between: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a holder does that ends just then, who made the folder and leaves nothing in it."""
    place, removed = tmp_path / "made" / ".out.lock", []

    def once(self: Path, *given: Any, **named: Any) -> Any:
        found = between(self, *given, **named)
        if self == place and not removed and os.path.exists(place):
            removed.append(self)
            shutil.rmtree(place.parent)
        return found

    monkeypatch.setattr(Path, between.__name__, once)
    with owned_path(place.with_name("out")):
        assert removed and place.is_file()
        with pytest.raises(UserError, match="is being written"), owned_path(place.with_name("out")):
            pass
    assert not place.exists()


def test_many_take_turns(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "new" / "out", [0], []

    def turn() -> None:
        for _ in range(50):
            with path_in_turn(path):
                inside[0] += 1
                most.append(inside[0])
                inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(turn) for _ in range(8)]:
            one.result(60)
    assert max(most) == 1 and len(most) == 400
