"""Places without write permission, in a child process that gives up root's power to write everywhere."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_disk_errors import COMMANDS

from dreamprm.cli import main
from dreamprm.data.record_table import RecordTable

_CAPABILITIES_VERSION = 0x20080522  # of Linux, <linux/capability.h>


def give_up_capabilities() -> None:
    """Obey permissions like anybody else, as the owner of the test's files."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def unprivileged(work: Callable[[], Any]) -> Any:
    """What a function returns (JSON values) in a child process without privileges."""
    if not hasattr(ctypes.CDLL(None), "capset"):
        pytest.skip("the system has no capabilities to give up")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        try:
            give_up_capabilities()
            answer = json.dumps([work()])
        except BaseException as error:
            answer = json.dumps(repr(error))
        with os.fdopen(write, "w") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    assert isinstance(answer, list), answer
    return answer[0]


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder that may be read and not be written to."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


def told(*words: str) -> tuple[int, str]:
    """The exit code of a command, and what it says on standard error."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(words)
    return code, said.getvalue()


def test_every_command_says_in_one_line_that_its_output_cannot_be_written(
    tmp_path: Path, closed: Path
) -> None:
    (tmp_path / "c.yaml").write_text("seed: 0\n")
    (tmp_path / "s.json").write_text("[]")

    def all_commands() -> list[Any]:
        return [
            (command, *told(command, *(word.format(place) for word in words)))
            for command, words in commands.items()
            for place in (closed, closed / "new" / "below")
        ]

    source = str(tmp_path / "s.json")
    commands = {
        command: [
            {"C": str(tmp_path / "c.yaml"), "source=s.json": f"source={source}"}.get(w, w) for w in words
        ]
        for command, words in COMMANDS.items()
    }
    for command, code, said in unprivileged(all_commands):
        assert (code, said.count("\n")) == (2, 1), (command, said)
        assert str(closed) in said and "Permission denied" in said, (command, said)
    assert list(closed.iterdir()) == []


def test_a_file_or_folder_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut/a.jsonl").write_text("{}\n")
    (tmp_path / "b.jsonl").write_text("{}\n")
    (tmp_path / "b.jsonl").chmod(0)
    (tmp_path / "shut").chmod(0)
    inputs = (tmp_path / "shut/a.jsonl", tmp_path / "b.jsonl")
    commands = (("evaluate", "suites.a"), ("evaluate-steps", "files.a"), ("convert", "source"))
    more = {"convert": ("format=trl", f"destination={tmp_path}/out.jsonl")}
    try:
        answers = unprivileged(
            lambda: [
                (command, *told(command, f"{key}={path}", *more.get(command, (f"output={tmp_path}/out",))))
                for path in inputs
                for command, key in commands
            ]
        )
    finally:
        (tmp_path / "shut").chmod(0o755)
    for command, code, said in answers:
        assert (code, said.count("\n")) == (2, 1), (command, said)
        assert "Permission denied" in said, (command, said)
    assert not (tmp_path / "out").exists()


def test_a_read_only_cache_is_enough_if_it_holds_the_copies(tmp_path: Path) -> None:
    cache, data, other = tmp_path / "cache", tmp_path / "m.jsonl", tmp_path / "n.jsonl"
    for path, question in ((data, "q"), (other, "r")):
        path.write_text(json.dumps({"question": question, "steps": ["s"], "correct": True}) + "\n")

    def opened(path: Path) -> str:
        try:
            table = RecordTable.open(path, kind="meta", cache_dir=cache, allow_no_image=True)
        except Exception as error:
            return str(error)
        return table[0].question

    assert opened(data) == "q"
    held = [cache, *cache.rglob("*")]
    for path in held:
        path.chmod(0o555 if path.is_dir() else 0o444)
    tmp_path.chmod(0o555)  # the inputs' folder too
    try:
        first, second = unprivileged(lambda: [opened(data), opened(other)])
    finally:
        for path in (tmp_path, *held):
            path.chmod(0o755)
    assert first == "q"
    assert second.startswith(f"cache_dir={cache} cannot be written to (Permission denied)")
    assert sorted(cache.rglob("*")) == sorted(held[1:])
