"""The journal: what was written is there again after any kill, and belongs to what it was made by."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.scoring.journal import ScoreJournal

MADE_BY = {"model": "abc", "precision": "fp32"}


def _written(path: Path) -> bytes:
    with ScoreJournal(path, MADE_BY) as journal:
        journal.append(4, "d4", [[0.5, -1.25], None])
        journal.append(0, "d0", [[2.0]])
    return path.read_bytes()


def test_rows_are_read_again_in_any_order(tmp_path: Path) -> None:
    _written(tmp_path / "deep" / "j.jsonl")
    with ScoreJournal(tmp_path / "deep" / "j.jsonl", MADE_BY) as journal:
        assert len(journal) == 2
        assert journal.has(4, "d4") and journal.has(0, "d0") and not journal.has(1, "d1")
        assert journal.read(0) == ([[2.0]], None)
        assert journal.read(4) == ([[0.5, -1.25], None], None)
        journal.append(2, "d2", [[1.0]])
        assert journal.read(2) == ([[1.0]], None)


def test_a_line_cut_short_anywhere_is_dropped_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    whole = _written(path)
    lines = whole.splitlines(keepends=True)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        complete = sum(len(b"".join(lines[:k])) <= end for k in (1, 2, 3))
        with ScoreJournal(path, MADE_BY) as journal:
            assert len(journal) == max(complete - 1, 0)
            if not journal.has(4, "d4"):
                journal.append(4, "d4", [[0.5, -1.25], None])
            if not journal.has(0, "d0"):
                journal.append(0, "d0", [[2.0]])
        assert path.read_bytes() == whole


def test_what_was_left_out_is_tried_again(tmp_path: Path) -> None:
    with ScoreJournal(tmp_path / "j.jsonl", MADE_BY) as journal:
        journal.append(7, "d7", [], "no image ü")
        assert journal.has(7, "d7") and journal.read(7) == ([], "no image ü")
    for _ in range(2):
        with ScoreJournal(tmp_path / "j.jsonl", MADE_BY) as journal:
            if not journal.has(7, "d7"):
                journal.append(7, "d7", [[1.0]])
            assert journal.read(7) == ([[1.0]], None)
    assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 3


def test_other_makers_and_other_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    before = _written(path)
    with pytest.raises(UserError, match=r"differently \(kind was None, is 'x'; model was 'abc', is 'd'\)"):
        ScoreJournal(path, MADE_BY | {"model": "d", "kind": "x"})
    with (
        ScoreJournal(path, MADE_BY) as journal,
        pytest.raises(UserError, match="record 4 .*changed"),
    ):
        journal.has(4, "other")
    assert path.read_bytes() == before


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with ScoreJournal(tmp_path / "j.jsonl", MADE_BY):
        with pytest.raises(UserError, match="being written by another process"):
            ScoreJournal(tmp_path / "j.jsonl", MADE_BY)
    ScoreJournal(tmp_path / "j.jsonl", MADE_BY).close()


@pytest.mark.parametrize("line", ["{}", "no JSON", '{"row": 1, "digest": "d"}', '{"row": "x"}'])
def test_a_line_of_something_else_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(_written(path) + line.encode() + b"\n")
    with pytest.raises(DataError, match=r"j\.jsonl:4: not a line of a journal"):
        ScoreJournal(path, MADE_BY)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be opened for writing"):
        ScoreJournal(tmp_path / "file" / "j.jsonl", MADE_BY)
