"""The journal: what was written is there again after any kill, and belongs to what it was made by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.scoring.journal import ScoreJournal

MADE_BY = {
    "model": "abc",
    "precision": "fp32",
    "files": {"model": {"config.json": "1", "model.safetensors": "2"}},
}


def _written(path: Path) -> bytes:
    with ScoreJournal(path, MADE_BY) as journal:
        journal.append("d4", [[0.5, -1.25], None], row=4)
        journal.append("d0", [[2.0]], row=0)
    return path.read_bytes()


def test_rows_are_read_again_in_any_order(tmp_path: Path) -> None:
    _written(tmp_path / "deep" / "j.jsonl")
    with ScoreJournal(tmp_path / "deep" / "j.jsonl", MADE_BY) as journal:
        assert len(journal) == 2
        assert "d4" in journal and "d0" in journal and "d1" not in journal
        assert journal.read("d0") == ([[2.0]], None)
        assert journal.read("d4") == ([[0.5, -1.25], None], None)
        journal.append("d2", [[1.0]], row=2)
        assert journal.read("d2") == ([[1.0]], None)


def test_a_line_cut_short_anywhere_is_dropped_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    whole = _written(path)
    lines = whole.splitlines(keepends=True)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        complete = sum(len(b"".join(lines[:k])) <= end for k in (1, 2, 3))
        with ScoreJournal(path, MADE_BY) as journal:
            assert len(journal) == max(complete - 1, 0)
            if "d4" not in journal:
                journal.append("d4", [[0.5, -1.25], None], row=4)
            if "d0" not in journal:
                journal.append("d0", [[2.0]], row=0)
        assert path.read_bytes() == whole


def test_what_was_left_out_is_tried_again(tmp_path: Path) -> None:
    with ScoreJournal(tmp_path / "j.jsonl", MADE_BY) as journal:
        journal.append("d7", [], "no image ü", row=7)
        assert "d7" in journal and journal.read("d7") == ([], "no image ü")
    for _ in range(2):
        with ScoreJournal(tmp_path / "j.jsonl", MADE_BY) as journal:
            if "d7" not in journal:
                journal.append("d7", [[1.0]], row=7)
            assert journal.read("d7") == ([[1.0]], None)
    assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 3


def test_other_makers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    before = _written(path)
    with pytest.raises(UserError, match=r"differently \(kind was None, is 'x'; model was 'abc', is 'd'\)"):
        ScoreJournal(path, MADE_BY | {"model": "d", "kind": "x"})
    files = {"model": {"config.json": "1", "model.safetensors": "3", "a.json": "4"}, "processor": {"t": "5"}}
    told = r"\(model: a.json is new; model: model.safetensors has other content; processor: t is new\)"
    with pytest.raises(UserError, match=told):
        ScoreJournal(path, MADE_BY | {"files": files})
    assert path.read_bytes() == before


def test_scores_that_do_not_say_what_images_held_are_refused_and_kept(tmp_path: Path) -> None:
    """As version 0.2.0 wrote them."""
    path = tmp_path / "j.jsonl"
    old = {"format": 1, "made_by": MADE_BY}, {"row": 0, "digest": "d0", "log_odds": [[2.0]]}
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    before = path.read_bytes()
    with pytest.raises(UserError, match="version 0.2.0 or older, .*not known which pictures.*another output"):
        ScoreJournal(path, MADE_BY)
    path.write_bytes(before.replace(b'"format": 1', b'"format": 9'))
    with pytest.raises(UserError, match="has format 9, but this version reads 2; upgrade"):
        ScoreJournal(path, MADE_BY)
    path.write_bytes(before)
    with pytest.raises(UserError, match="not known which pictures"):
        ScoreJournal(path, MADE_BY)
    assert path.read_bytes() == before


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with ScoreJournal(tmp_path / "j.jsonl", MADE_BY):
        with pytest.raises(UserError, match="being written by another process"):
            ScoreJournal(tmp_path / "j.jsonl", MADE_BY)
    ScoreJournal(tmp_path / "j.jsonl", MADE_BY).close()


@pytest.mark.parametrize("line", ["{}", "no JSON", '{"row": 1, "key": "d"}', '{"row": "x"}'])
def test_a_line_of_something_else_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(_written(path) + line.encode() + b"\n")
    with pytest.raises(DataError, match=r"j\.jsonl:4: not a line of a journal"):
        ScoreJournal(path, MADE_BY)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be opened for writing"):
        ScoreJournal(tmp_path / "file" / "j.jsonl", MADE_BY)
