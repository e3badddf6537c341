"""`dreamprm score` leaves credits as they are written."""

from __future__ import annotations

from pathlib import Path

from candidate_files import candidate_rows, read_rows, score, write_rows

from dreamprm.data import read_candidate_records

CREDITS = (0.1 + 0.2, 1, 0, None)


def test_scoring_keeps_every_credit_bit_for_bit(run_folder: Path, tmp_path: Path) -> None:
    rows = candidate_rows(tmp_path, n=2)
    for one, credit in zip(rows[0]["candidates"], CREDITS, strict=True):
        one |= {"credit": credit, "correct": None}
    score(run_folder, {"suite": write_rows(tmp_path / "suite.jsonl", rows)}, tmp_path / "scored")
    graded, plain = read_rows(tmp_path / "scored" / "suite.jsonl")
    written = [one["credit"] for one in graded["candidates"]]
    assert repr(written) == repr(list(CREDITS))  # 1 is not 1.0 there
    assert not any("credit" in one for one in plain["candidates"])
    # Scored once more by another name, from the scored file, they are still there.
    score(run_folder, {"suite": tmp_path / "scored" / "suite.jsonl"}, tmp_path / "again", name="other")
    read = list(read_candidate_records(tmp_path / "again" / "suite.jsonl", allow_no_image=True))
    assert [one.credit for one in read[0].candidates] == [0.1 + 0.2, 1.0, 0.0, None]
    assert set(read[0].candidates[0].scores) == {"tiny-run", "other"}
