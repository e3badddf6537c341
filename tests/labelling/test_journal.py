"""The journal survives being killed at any byte, and belongs to one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dreamprm.errors import DataError, UserError
from dreamprm.labelling.journal import Journal, Key, Rollout

FIELDS = ("question", "cot", "step", "rollout", "input", "text", "tokens", "finished", "verdict", "answer",
          "reason")


def _rollout(k: int, *, step: int = 0, text: str = "täxt\nof two lines") -> Rollout:
    return Rollout(Key("q", 1, step, k), "abc", text, 5, True, "right", "7", "compared")


def test_what_was_written_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rollouts.jsonl"
    with Journal(path) as journal:
        journal.append([_rollout(0), _rollout(1, step=2)])
        assert len(journal) == 2
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [tuple(row) for row in rows] == [FIELDS, FIELDS]
    assert rows[1]["text"] == "täxt\nof two lines"
    with Journal(path) as journal:
        assert journal.find(Key("q", 1, 0, 0), "abc") == _rollout(0)
        # The text of a rollout is on file; only that of a CoT is read again.
        assert journal.find(Key("q", 1, 2, 1), "abc") == _rollout(1, step=2, text="")
        assert journal.find(Key("q", 1, 2, 0), "abc") is None
        assert sorted(rollout.key.step for rollout in journal) == [0, 2]


def test_a_line_is_on_file_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        for k in range(3):
            journal.append([_rollout(k)])
            assert len(path.read_text(encoding="utf-8").splitlines()) == k + 1


def test_a_file_cut_at_any_byte_loses_the_cut_line_only(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.append([_rollout(k) for k in range(3)])
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        complete = sum(end <= cut for end in ends)
        with Journal(path) as journal:
            assert len(journal) == complete
            journal.append([_rollout(k) for k in range(complete, 3)])
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line", ["not json", "{}", '"text"', json.dumps({name: 1 for name in FIELDS}),
             json.dumps({**{name: 1 for name in FIELDS}, "verdict": "right", "extra": 1})])
def test_a_line_of_something_else_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"j.jsonl:1: not a line of a journal"):
        Journal(path)
    # Refused, it is let go of.
    path.write_text("")
    Journal(path).close()


def test_a_rollout_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.append([_rollout(0)])
        with pytest.raises(AssertionError, match="sampled twice"):
            journal.append([_rollout(0)])
    path.write_text(path.read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(DataError, match=r"j.jsonl:2: rollout \('q', 1, 0, 0\) stands there twice"):
        Journal(path)


def test_a_rollout_of_another_text_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append([_rollout(0)])
        with pytest.raises(UserError, match="question q, CoT 1, step 0 that continues another text"):
            journal.find(Key("q", 1, 0, 0), "another")


def test_two_processes_on_one_file_are_refused_until_the_first_dies(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    code = ("import sys; from dreamprm.labelling.journal import Journal; j = Journal(sys.argv[1]);"
            "print('held', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="is being written by another process"):
            Journal(path)
        other.kill()
        other.wait()
    Journal(path).close()
