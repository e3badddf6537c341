"""What a run shows while it runs: counts, reasons, and how long the rest takes."""

from __future__ import annotations

import io
from pathlib import Path

from dreamprm.labelling.journal import Journal, Key, Rollout
from dreamprm.labelling.status import LISTED, LabelStatus


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _rollout(k: int) -> Rollout:
    return Rollout(Key("q", 0, 1, k), "abc", "text", 5, True, "right", None, "")


def _status(folder: Path, mode: str) -> tuple[LabelStatus, io.StringIO, _Clock]:
    stream, clock = io.StringIO(), _Clock()
    with Journal(folder / "j.jsonl") as journal:
        return LabelStatus(journal, mode, every=30.0, stream=stream, clock=clock), stream, clock


def test_the_rest_is_estimated_from_the_questions_that_drew_rollouts(tmp_path: Path) -> None:
    """Questions that were all in the journal take no time, and tell nothing of those to come."""
    status, stream, clock = _status(tmp_path, "lines")
    status.begin(100)
    status.sampled(_rollout(0))
    for _ in range(80):
        status.done(drew=False)
    for k in range(10):
        clock.now += 6.0
        status.sampled(_rollout(k))
        status.done(drew=True)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[-1] == "questions 89/100  11 rollouts  55 tokens  1:00  about 1:13 left"


def test_a_line_is_shown_before_the_first_question_ends(tmp_path: Path) -> None:
    status, stream, clock = _status(tmp_path, "lines")
    status.begin(2)
    for k in range(3):
        clock.now += 20.0
        status.sampled(_rollout(k))
    assert stream.getvalue() == "questions 0/2  2 rollouts  10 tokens  0:40\n"


def test_each_reason_of_a_failure_is_told_once_and_all_are_counted(tmp_path: Path) -> None:
    status, stream, _ = _status(tmp_path, "lines")
    status.begin(1000)
    for k in range(50):
        status.failed(f"q{k}", "HTTP 500")
    for k in range(50):
        status.failed(f"x{k}", f"too long by {k}")
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["question q0 failed: HTTP 500", "question x0 failed: too long by 0"]
    assert len(lines) == LISTED
    summary = status.summary()
    assert summary["questions"] == {"total": 1000, "done": 0, "failed": 100}
    assert summary["failures"]["HTTP 500"] == 50 and len(summary["failures"]) == LISTED


def test_the_bar_shows_rollouts_between_questions(tmp_path: Path) -> None:
    status, stream, _ = _status(tmp_path, "bar")
    status.begin(3)
    (bar,) = status._bars
    bar.mininterval = 0.0
    status.sampled(_rollout(0))
    assert "0/3" in stream.getvalue() and "1 rollouts  5 tokens" in stream.getvalue()
    status.close()
