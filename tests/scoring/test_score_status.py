"""What is shown while it scores."""

from __future__ import annotations

import io

from dreamprm.scoring.score import ScoreStatus


def test_lines_tell_count_rate_and_what_is_left() -> None:
    stream, now = io.StringIO(), [0.0]
    with ScoreStatus(
        "suite", 100, before=20, mode="lines", every=10, stream=stream, clock=lambda: now[0]
    ) as status:
        for _ in range(6):
            now[0] += 4
            status.add(10, 30)
    assert (status.scored, status.steps, status.seconds) == (60, 180, 24.0)
    assert stream.getvalue().splitlines() == [
        "suite: resuming, 20 of 100 are already scored",
        "suite: scored 50/100  0:12  2.5 a second  about 0:20 left",
        "suite: scored 80/100  0:24  2.5 a second  about 0:08 left",
    ]


def test_nothing_is_shown_where_nothing_is_wanted() -> None:
    stream = io.StringIO()
    with ScoreStatus("suite", 10, before=1, mode="none", stream=stream) as status:
        status.add(9, 9)
    assert stream.getvalue() == "" and status.scored == 9
