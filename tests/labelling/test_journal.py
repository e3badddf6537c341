"""The journal survives being killed at any byte, and belongs to one process."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.labelling.journal import Journal, Key, Rollout

FIELDS = (
    "question",
    "cot",
    "step",
    "rollout",
    "input",
    "text",
    "tokens",
    "finished",
    "verdict",
    "answer",
    "reason",
)


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
        # Of a prefix's rollout the texts are on file; only a CoT's are read again.
        found = journal.find(Key("q", 1, 2, 1), "abc")
        assert found == replace(_rollout(1, step=2), text="", answer=None, reason="")
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
    "line",
    [
        "not json",
        "{}",
        '"text"',
        json.dumps(dict.fromkeys(FIELDS, 1)),
        json.dumps({**dict.fromkeys(FIELDS, 1), "verdict": "right", "extra": 1}),
        json.dumps(dict.fromkeys(FIELDS[:-1], "right")),
    ],
)
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
    with pytest.raises(DataError, match=r"j.jsonl:2: rollout \('q', 1, 0, 0\) occurs twice"):
        Journal(path)


OTHER = "0123456789abcdef"  # what is asked, as the first half of an input


def test_a_rollout_belongs_to_its_input_and_others_of_its_key_stay(tmp_path: Path) -> None:
    one, other = (replace(_rollout(0, text=half), input=OTHER + half) for half in ("a" * 16, "b" * 16))
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.append([_rollout(0), one, other])
    with Journal(path) as journal:
        assert len(journal) == 3 and journal.find(one.key, "another") is None
        assert [journal.find(one.key, each.input) for each in (_rollout(0), one, other)] == [
            _rollout(0),
            one,
            other,
        ]
        assert journal.chains() == {"abc": 1, OTHER: 1}
        assert (journal.questions(OTHER), journal.questions("abc"), journal.questions("x")) == (
            {"q"},
            {"q"},
            set(),
        )


def test_the_text_of_a_rollout_is_found_by_what_was_asked(tmp_path: Path) -> None:
    """Of a prefix's rollout too, whose text is not held in memory."""
    path = tmp_path / "j.jsonl"
    judged = replace(_rollout(0, step=2, text="judged"), input=OTHER + "a" * 16)
    waiting = replace(_rollout(1, step=2, text="waiting"), input=OTHER + "a" * 16, verdict=None)
    old = replace(_rollout(2, step=2, text="old"), input="fedcba9876543210")
    with Journal(path) as journal:
        journal.append([judged, waiting, old])
    with Journal(path) as journal:
        assert journal.sampled(judged.key, OTHER) == judged
        assert journal.sampled(waiting.key, OTHER) == waiting
        assert journal.sampled(old.key, "fedcba9876543210") == old
        assert journal.sampled(old.key, OTHER) is None and journal.sampled(judged.key, "x") is None
        later = replace(judged, key=Key("q", 1, 2, 9))
        journal.append([later])  # after the file was searched
        assert journal.sampled(later.key, OTHER) == later


def test_a_rollout_without_a_verdict_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    waiting = replace(_rollout(0, step=1), verdict=None, answer=None, reason="judge: no reply")
    with Journal(path) as journal:
        journal.append([waiting])
    with Journal(path) as journal:
        assert journal.find(waiting.key, "abc") is None and len(journal) == 0
        assert journal.unjudged(waiting.key, "abc") == waiting
        assert journal.unjudged(waiting.key, "another") is None
        journal.append([_rollout(0, step=1)])
    with Journal(path) as journal:
        assert journal.unjudged(waiting.key, "abc") is None
        found = journal.find(waiting.key, "abc")
        assert found is not None and found.verdict == "right"
    assert [json.loads(line)["verdict"] for line in path.read_text(encoding="utf-8").splitlines()] == [
        "unjudged",
        "right",
    ]


def test_a_prefixs_rollout_takes_little_memory(tmp_path: Path) -> None:
    """Ten thousand questions of 4 CoTs have 1.3 million of them."""
    with Journal(tmp_path / "j.jsonl") as journal:
        tracemalloc.start()
        for k in range(5000):
            words = f"rollout {k} " * 50
            journal.append(
                [
                    Rollout(
                        Key(f"q{k // 100}", 1, 2, k),
                        f"input {k // 8}",
                        words,
                        100,
                        True,
                        "right",
                        words,
                        words,
                    )
                ]
            )
        assert tracemalloc.get_traced_memory()[0] / 5000 < 400
        tracemalloc.stop()


def test_a_full_disk_is_told_and_costs_one_line(tmp_path: Path) -> None:
    """The system writes a part of a line, then none; the next line must not run into that part."""
    path = tmp_path / "j.jsonl"
    code = (
        "import resource, sys; from dreamprm.config.errors import UserError;"
        "from dreamprm.labelling.journal import Journal, Key, Rollout;"
        "journal = Journal(sys.argv[1]);"
        "rollout = lambda k: Rollout(Key('q', 1, 0, k), 'abc', 'x' * 500, 5, True, 'right', '7', '');"
        "journal.append([rollout(0)]);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "for k in (1, 2):\n"
        "    try: journal.append([rollout(k)])\n"
        "    except UserError as error: print(error)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, resource.RLIM_INFINITY))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    assert len(told) == 2
    assert "cannot be written ([Errno 27] File too large)" in told[0] and "make room" in told[0]
    assert told[1] == told[0]  # also once there is room: the rest of the line is lost
    with Journal(path) as journal:
        assert sorted(rollout.key.rollout for rollout in journal) == [0]


@pytest.mark.parametrize("name", ["file/j.jsonl", "folder"])
def test_a_place_that_cannot_be_written_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be opened for writing"):
        Journal(tmp_path / name)


def test_two_processes_on_one_file_are_refused_until_the_first_dies(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    code = (
        "import sys; from dreamprm.labelling.journal import Journal; j = Journal(sys.argv[1]);"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="is being written by another process"):
            Journal(path)
        other.kill()
        other.wait()
    Journal(path).close()
