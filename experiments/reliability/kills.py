"""Kill commands at any instant, run them again, and compare what they leave with an uninterrupted run.

    python experiments/reliability/kills.py            # 100 kills: train, score, sample, label, evaluate
    python experiments/reliability/kills.py 30 train   # 30 kills of one command
    python experiments/reliability/kills.py 30 seed=1  # other instants

A run is started, killed with SIGKILL, started again by the same command, killed again, up to four times, and
then left to its end. All files that it leaves have to hold, bit for bit, what an uninterrupted run leaves,
and no temporary file may remain. Not compared: times, report.html (which shows them), how much of a run was
resumed, and the order of a journal's lines.

A third of the kills are aimed at writes: a watcher waits for one of the temporary files and folders through
which everything is written, and kills up to 4 ms later. Whether a kill was within a write is read off the
disk once the process is dead: a temporary file is there that was not there when it started, or a journal's
line is cut short. The other instants are uniform over the time that a run takes.

Prints one line per command, and exits with 1 if a run did not end as it should. Files go to a temporary
folder (`TMPDIR`).
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forked import Forked
from tiny_commands import (
    COMMANDS,
    TinyCommand,
    World,
    differences,
    prepare_process,
    results,
    temporaries,
    world,
)

KILLS_PER_RUN = 4
LONGEST_DELAY = 0.004
"""Seconds between the appearance of a temporary file and the kill, at most."""


@dataclass
class Tally:
    """What became of one command's runs."""

    runs: int = 0
    kills: int = 0
    in_write: int = 0
    equal: int = 0
    left_behind: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def line(self, name: str, seconds: float) -> str:
        """The row of the table."""
        return (
            f"{name:10} {self.runs:5} {self.kills:6} {self.in_write:11} {self.equal:14} "
            f"{self.kills - self.equal:5} {sum(self.left_behind.values()):10} {seconds:8.0f}"
        )


HEAD = "command     runs  kills  in a write  resumed equal  lost  left over  seconds"


def killed_runs(name: str, here: World, *, kills: int, seed: int = 0) -> Tally:
    """Kill runs of a command this many times, and compare each with a straight run.

    Args:
        name: a key of `COMMANDS`.
        here: its files; everything it writes goes there too.
        kills: how many in all.
        seed: of the instants.
    """
    tiny, rng, tally = COMMANDS[name], random.Random(f"{name} {seed}"), Tally()
    place = here.folder / f"{name} runs"
    place.mkdir()
    wanted, seconds, writes = _straight(name, here)
    while tally.kills < kills:
        output = place / f"{tally.runs:03d}"
        in_this_run = 0
        while in_this_run < min(KILLS_PER_RUN, kills - tally.kills):
            before = set(temporaries(output))
            process = here.start(name, output, place / "printed.txt")
            # A third within writes: aim at one for as long as there are too few of them.
            if 3 * tally.in_write < tally.kills + in_this_run + 3:
                _wait_for_write(process, output, before, number=rng.randint(1, writes))
                time.sleep(rng.uniform(0, LONGEST_DELAY))
            else:
                _wait_until(process, time.monotonic() + rng.uniform(0, seconds))
            if not process.kill():  # it was faster
                if process.wait():
                    tally.faults.append(f"{name}, after {in_this_run} kills: {_failure(process)}")
                break
            in_this_run += 1
            tally.in_write += bool(set(temporaries(output)) - before) or _cut_line(output)
        tally.runs += 1
        tally.kills += in_this_run
        process = here.start(name, output, place / "printed.txt")
        fault = _fault(process, output, tiny, wanted, tally)
        if fault is None:
            tally.equal += in_this_run
        else:
            tally.faults.append(f"{name}, run {tally.runs}, after {in_this_run} kills: {fault}")
    return tally


def _straight(name: str, here: World) -> tuple[dict[str, Any], float, int]:
    """What a run leaves that nothing interrupts, its seconds, and how many of its writes can be seen."""
    shutil.rmtree(output := here.straight(name), ignore_errors=True)
    started = time.monotonic()
    process = here.start(name, output, here.folder / "printed.txt")
    writes = 0
    seen: set[Path] = set()
    while process.poll() is None:
        now = set(temporaries(output))
        writes, seen = writes + len(now - seen), now
        time.sleep(0.0003)
    if process.wait():
        raise RuntimeError(f"it fails without a kill: {process.text()}")
    return results(output, COMMANDS[name]), time.monotonic() - started, max(writes, 1)


def _wait_for_write(process: Forked, output: Path, before: set[Path], *, number: int) -> None:
    """Wait for the n-th temporary file that appears, or the end of the process."""
    seen = before
    while process.poll() is None:
        now = set(temporaries(output))
        number -= len(now - seen)
        if number <= 0:
            return
        seen = now
        time.sleep(0.0003)


def _wait_until(process: Forked, end: float) -> None:
    while process.poll() is None and time.monotonic() < end:
        time.sleep(min(0.01, max(0.0, end - time.monotonic())))


def _cut_line(output: Path) -> bool:
    """Whether the last line of a journal or log was cut short."""
    return any(
        (content := path.read_bytes()) and not content.endswith(b"\n") for path in output.rglob("[!.]*.jsonl")
    )


def _fault(
    process: Forked, output: Path, tiny: TinyCommand, wanted: dict[str, Any], tally: Tally
) -> str | None:
    """Wait for the run's end; returns what is wrong with it."""
    if process.wait():
        return _failure(process)
    left = temporaries(output)
    tally.left_behind.update(path.name for path in left)
    if left:
        return f"left behind: {', '.join(str(path.relative_to(output)) for path in left)}"
    other = differences(results(output, tiny), wanted)
    return f"differs: {', '.join(other)}" if other else None


def _failure(process: Forked) -> str:
    return f"exit code {process.wait()}: {process.text()[-2000:]}"


def main(arguments: Sequence[str]) -> int:
    """Kill the commands and print the table; returns the exit code."""
    numbers = [int(word) for word in arguments if word.isdigit()]
    seeds = [int(word.removeprefix("seed=")) for word in arguments if word.startswith("seed=")]
    names = [word for word in arguments if word in COMMANDS] or list(COMMANDS)
    kills = numbers[0] if numbers else 100
    prepare_process()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as place, world(Path(place)) as here:
        print(HEAD, flush=True)
        for number, name in enumerate(names):
            share = kills // len(names) + (number < kills % len(names))
            started = time.monotonic()
            tally = killed_runs(name, here, kills=share, seed=seeds[0] if seeds else 0)
            print(tally.line(name, time.monotonic() - started), flush=True)
            faults += tally.faults
    print("\n".join(faults))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
