"""Progress lines and bars on fake streams with a fake clock."""

import io
import pty
import termios

import pytest

from dreamprm.runtime.progress import Progress, duration

WEIGHTS = {"a": 1.5, "b": 1.4, "c": 1.3, "d": 1.0, "e": 0.7, "f": 0.6, "g": 0.5}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(mode, *, total=100, every=4, start=0, stream=None, weights=WEIGHTS):
    stream, clock = stream or io.StringIO(), Clock()
    with Progress(total, mode, every=every, start=start, stream=stream, clock=clock) as progress:
        for step in range(start + 5, total + 1, 5):
            clock.now += 2.0  # 2.5 steps a second
            progress.update(step, inner_loss=0.125, meta_loss=0.25, weights=weights)
    return stream.getvalue()


def test_lines_say_where_training_is():
    lines = run("lines").splitlines()
    assert [line.split()[1] for line in lines] == ["5/100", "20/100", "40/100", "60/100", "80/100", "100/100"]
    assert lines[1] == (
        "step  20/100  inner 0.1250  meta 0.2500  2.5 steps/s  0:32 left  "
        "top a 1.50, b 1.40, c 1.30  bottom e 0.70, f 0.60, g 0.50"
    )
    assert "0:00 left" in lines[-1]


def test_few_domains_are_all_named():
    lines = run("lines", weights={"x": 0.5, "y": 1.5}).splitlines()
    assert lines[0].endswith("left  weights y 1.50, x 0.50")
    assert run("lines", weights={}).splitlines()[0].endswith("left")
    assert run("lines", weights=None).splitlines()[0].endswith("left")


def test_a_resumed_run_counts_its_own_steps_for_the_rate():
    lines = run("lines", total=100, start=80, every=1).splitlines()
    assert "2.5 steps/s  0:06 left" in lines[0] and lines[0].startswith("step  85/100")


def test_losses_that_are_missing_or_not_finite():
    stream = io.StringIO()
    Progress(10, "lines", stream=stream).update(5, inner_loss=float("nan"))
    assert "inner nan" in stream.getvalue() and "meta" not in stream.getvalue()


def test_auto_takes_the_bar_on_a_terminal_only():
    assert Progress(10, stream=io.StringIO()).mode == "lines"
    with Progress(10, stream=Terminal()) as progress:
        assert progress.mode == "bar"


def test_auto_takes_lines_on_a_terminal_without_a_size():
    master, slave = pty.openpty()
    with open(master, "rb", buffering=0), open(slave, "w") as terminal:
        termios.tcsetwinsize(slave, (0, 0))
        assert Progress(10, stream=terminal).mode == "lines"
        termios.tcsetwinsize(slave, (24, 80))
        with Progress(10, stream=terminal) as progress:
            assert progress.mode == "bar"


def test_bar_shows_the_last_state():
    text = run("bar", stream=Terminal())
    assert "100/100" in text and "inner 0.1250  meta 0.2500" in text
    assert "top a 1.50, b 1.40, c 1.30" in text and "bottom e 0.70, f 0.60, g 0.50" in text


def test_bar_survives_an_error_and_a_second_close():
    stream = Terminal()
    progress = Progress(10, "bar", stream=stream)
    with pytest.raises(KeyboardInterrupt), progress:
        progress.update(5, inner_loss=0.5)
        progress.say("saved")
        raise KeyboardInterrupt
    written = stream.getvalue()
    assert "5/10" in written and "saved\n" in written
    progress.close()
    progress.update(10, inner_loss=0.5)
    assert stream.getvalue() == written


def test_none_is_silent():
    stream = Terminal()
    with Progress(10, "none", stream=stream) as progress:
        progress.update(5, inner_loss=0.5)
        progress.say("words")
    assert stream.getvalue() == ""


def test_messages_stand_between_lines():
    stream = io.StringIO()
    Progress(10, "lines", stream=stream).say("resumed from step 5")
    assert stream.getvalue() == "resumed from step 5\n"


def test_duration():
    assert [duration(seconds) for seconds in (0, 59.6, 75, 3600, 36_061)] == [
        "0:00",
        "1:00",
        "1:15",
        "1:00:00",
        "10:01:01",
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"total_steps": 10, "mode": "fancy"}, "mode must be one of auto, bar, lines, none, got 'fancy'"),
        ({"total_steps": 0}, "must be >= 1, got 0 and 20"),
        ({"total_steps": 10, "every": 0}, "must be >= 1, got 10 and 0"),
        ({"total_steps": 10, "start": 11}, r"between 0 and total_steps \(10\), got 11"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        Progress(**arguments)
