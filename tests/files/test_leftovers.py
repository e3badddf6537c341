"""What killed processes leave is removed by others only if its process has certainly ended; locks end too."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from dreamprm.config.errors import UserError
from dreamprm.files import writer_process
from dreamprm.files.atomic import atomic_folder, atomic_path, remove_ended
from dreamprm.files.locks import acquire, owned_folder
from dreamprm.files.writer_process import has_ended, temporary_digits


def in_a_child(work, *, wait: bool = True) -> int:
    """Run a function in a child process, which dies without any clean-up; returns the process's number."""
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        work()
        os._exit(0)
    if wait:
        os.waitpid(child, 0)
    return child


def test_digits_say_whether_their_process_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = temporary_digits()
    assert re.fullmatch("[0-9a-f]{32}", own) and own != temporary_digits() and not has_ended(own)
    in_a_child(lambda: (tmp_path / "digits").write_text(temporary_digits()))
    ended = (tmp_path / "digits").read_text()
    assert has_ended(ended)
    # The number given to another process since; another machine; the form of older versions.
    assert has_ended(ended[:8] + own[8:16] + ended[16:])
    assert not has_ended("0" * 8 + ended[8:]) and not has_ended("0" * 32)
    monkeypatch.setattr(writer_process, "_start", lambda pid: None)
    assert not has_ended(temporary_digits())


def test_a_process_that_is_dead_and_not_yet_buried_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "digits"
    child = in_a_child(lambda: path.write_text(temporary_digits()), wait=False)
    until = time.monotonic() + 10
    while not (path.exists() and path.read_text() and has_ended(path.read_text())):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.waitpid(child, 0)


def test_leftovers_go_and_what_is_being_written_stays(tmp_path: Path) -> None:
    def killed() -> None:
        file, folder, other = (
            atomic_path(tmp_path / "a.json"),
            atomic_folder(tmp_path / "model"),
            atomic_path(tmp_path / "b.json"),
        )
        for writer in (file, other):
            writer.__enter__().write_text("half")
        folder.__enter__()
        os._exit(9)

    in_a_child(killed)
    assert len(list(tmp_path.iterdir())) == 3
    with atomic_path(tmp_path / "a.json") as partial:
        partial.write_text("now")
        remove_ended(tmp_path, re.compile(r"a\.json|model"))
        left = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
        assert left == [".a.json", ".b.json"]
    assert (tmp_path / "a.json").read_text() == "now"
    remove_ended(tmp_path / "missing")


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    held = os.pipe()

    def hold() -> None:
        lock = acquire(tmp_path / "lock", of=tmp_path)
        os.write(held[1], b"x")
        time.sleep(60)
        lock.release()

    child = in_a_child(hold, wait=False)
    os.read(held[0], 1)
    try:
        with pytest.raises(UserError, match="is being written by another process; wait for it"):
            acquire(tmp_path / "lock", of=tmp_path)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    acquire(tmp_path / "lock", of=tmp_path).release()


def test_a_folder_that_was_there_stays_when_a_command_refuses(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ZeroDivisionError), owned_folder(tmp_path):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
