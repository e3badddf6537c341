"""Run every command on disks that are full, read-only or not ours, then make room and run it again.

    python experiments/reliability/disks.py              # all commands
    python experiments/reliability/disks.py train score  # some of them

The disks are tmpfs of several sizes, of few files, and read-only ones, mounted where nobody else sees them
(in a mount namespace; as root, or where users may make one), met by a run that begins and by one that was
stopped half-way. Everywhere: files that may grow to several sizes (RLIMIT_FSIZE), a folder of another user
(as root, if others may read Python's files), a file where a folder should be.

A command on such a disk may end well, if there was room enough. Otherwise it has to end with one message and
no traceback, with exit code 2 (1 where a disk is full and nothing can be said of what stands); what is there
is whole and of this run; and with room the same command leaves bit for bit what it leaves elsewhere.

Prints one line per case and the counts, and exits with 1 if one was bad. Files go to a temporary folder
(`TMPDIR`).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from damage import Runs
from forked import Forked, in_a_child
from tiny_commands import (
    ALL,
    COMMANDS,
    JOURNALS,
    differences,
    prepare_process,
    results,
    temporaries,
    world,
)

from dreamprm.config.errors import UserError
from dreamprm.files.content import FileDigests
from dreamprm.training.checkpoint import check_files, read_header

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
NOBODY = 65534
SHARES = (0.02, 0.2, 0.45, 0.7, 0.93)
"""Sizes of the disks, as shares of what a run leaves."""


class Disk:
    """A tmpfs, or, without a mount, a folder.

    Args:
        folder: where it is mounted.
        size: bytes, in whole pages.
        files: how many files and folders it has room for.
    """

    def __init__(self, folder: Path, *, size: int = 2**26, files: int = 10_000) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._mount(f"size={_pages(size)},nr_inodes={files}", "-t", "tmpfs", "tmpfs")

    def make_room(self) -> None:
        """As large as anybody needs."""
        self._mount("remount,rw,size=67108864,nr_inodes=10000")

    def write_nothing(self) -> None:
        """Make it read-only."""
        self._mount("remount,ro")

    def fill(self) -> None:
        """Leave no room on it."""
        with suppress(OSError), (self.folder / "filling").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def _mount(self, options: str, *kind: str) -> None:
        subprocess.run(["mount", "-o", options, *kind, str(self.folder)], check=True)


def _pages(size: int) -> int:
    return max(size // 4096, 1) * 4096


def own_mounts() -> None:
    """Let this process mount what no other sees.

    Raises:
        OSError: the system does not allow it.
    """
    root = os.geteuid() == 0
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS if root else CLONE_NEWNS | CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    if not root:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.returncode, done.stderr)


def can_mount(place: Path) -> bool:
    """Whether a process of this one can mount disks."""

    def work() -> None:
        own_mounts()
        Disk(place / "probe").close()

    try:
        in_a_child(work, place / "probe.txt")
    except RuntimeError:
        return False
    return True


class Cases:
    """The cases of one command.

    Args:
        runs: of the commands, elsewhere.
        name: of the command.
    """

    def __init__(self, runs: Runs, name: str) -> None:
        self.runs, self.name = runs, name
        if name == "report":
            runs.straight("evaluate")  # which it reports on
        if name == "train":
            runs.kept()
        # Asked here: who may mount is root there, and can be nobody else.
        self.is_root = os.geteuid() == 0 and all(map(_others_may_read, (os.__file__, torch.__file__)))
        self.wanted = runs.wanted(name)
        straight = runs.straight(name)
        self.size = sum(path.stat().st_size // 4096 * 4096 + 4096 for path in straight.rglob("*"))
        self.place = runs.here.folder / f"disk of {name}"

    def all(self, *, mounts: bool, few: bool = False) -> Iterator[tuple[str, str, str]]:
        """(case, outcome, what was said) of each; outcome: `room`, `refused` or `BAD`."""
        few = few or self.name == "sandbox"  # each of its processes imports all anew
        shares: Sequence[float] = SHARES[2:3] if few else SHARES
        straight = self.runs.straight(self.name)
        largest = max(path.stat().st_size for path in straight.rglob("*") if path.is_file())
        for share in shares:
            size = max(int(largest * share), 2048)  # what it prints has to fit
            yield self._case(f"files of {size:,} bytes", _as_it_is, before=_limit(size))
        for case, spoil in (("a file in its place", _a_file), ("below a file", _below_a_file)):
            yield self._case(case, _as_it_is, around=spoil)
        if self.is_root:
            yield self._case("a folder of another user", _as_it_is, before=_nobody)
        if not mounts:
            return
        for share in shares:
            size = int(self.size * share)
            yield self._case(f"a disk of {size:,} bytes", _as_it_is, size=size)
        yield self._case("a read-only disk", Disk.write_nothing)
        if not few:
            yield self._case("a disk of 4 files", _as_it_is, files=4)
            yield self._case("a disk that is full", Disk.fill)
        if self.name in COMMANDS:
            yield self._case("a disk that was made read-only", Disk.write_nothing, stopped=True)
            yield self._case("a disk that was filled", Disk.fill, stopped=True)
        if self.name == "train":
            cache = f"data.cache_dir={self.place / 'cache'}"
            yield self._case("a cache on a read-only disk", Disk.write_nothing, cache=cache)
            for size in (4096, 16384):
                yield self._case(f"a cache on a disk of {size:,} bytes", _as_it_is, cache=cache, size=size)

    def _case(
        self,
        case: str,
        spoil: Callable[[Disk], None],
        *,
        before: Callable[[], None] | None = None,
        around: Callable[[Path], Path] | None = None,
        stopped: bool = False,
        cache: str = "",
        **disk: int,
    ) -> tuple[str, str, str]:
        self.place.mkdir()
        mounted = before is None and around is None
        on = Disk(self.place, **disk) if mounted and not cache else None
        caches = Disk(_made(self.place / "cache"), **disk) if cache else None
        try:
            output = self.place / "out" if around is None else around(self.place)
            words = [cache] if cache else []
            if stopped:
                self.runs.stopped(self.name, output)
            if on or caches:
                spoil(on or caches)  # type: ignore[arg-type]
            outcome, told = self._judge(output, words, before)
            if outcome != "BAD" and around is None:
                for one in (on, caches):
                    if one is not None:
                        one.make_room()
                (self.place / "filling").unlink(missing_ok=True)
                # One that had room is as it is elsewhere; some commands refuse to write it a second time.
                bad = self._unlike(output, words) if outcome == "room" else self._again(output, words)
                if bad:
                    return case, "BAD", f"{told} | with room: {bad}"
            return case, outcome, told
        finally:
            for one in (on, caches):
                if one is not None:
                    one.close()
            shutil.rmtree(self.place)

    def _judge(
        self, output: Path, words: Sequence[str], before: Callable[[], None] | None
    ) -> tuple[str, str]:
        printed = self.runs.here.folder / "printed.txt"
        process = self.runs.here.start(self.name, output, printed, *words, before=before)
        code, text = process.wait(), process.text()
        message = [line for line in text.splitlines() if line.startswith("dreamprm: ")]
        if code == 0:
            return "room", ""
        full = len(message) == 1 and "make room" in message[0]
        if "Traceback" in text or len(message) != 1 or not (code == 2 or (code == 1 and full)):
            return "BAD", f"exit code {code}: {text[-700:]}"
        broken = broken_files(output, self.wanted) if output.is_dir() else []
        if broken:
            return "BAD", f"{message[0]} | not whole: {', '.join(broken)}"
        return "refused", message[0]

    def _again(self, output: Path, words: Sequence[str]) -> str:
        """What is wrong with the same command when there is room; empty if nothing is."""
        process = self.runs.here.start(self.name, output, self.runs.here.folder / "printed.txt", *words)
        if process.wait():
            return f"exit code {process.wait()}: {process.text()[-700:]}"
        return self._unlike(output, words)

    def _unlike(self, output: Path, words: Sequence[str]) -> str:
        """How what a finished run has left differs from that of a run elsewhere; empty if it does not."""
        left = temporaries(output)
        if left:
            return f"left behind: {', '.join(path.name for path in left)}"
        other = differences(results(output, ALL[self.name]), self.wanted)
        if words:
            other.remove("config.yaml")  # which names the cache
        return f"differs: {', '.join(other)}" if other else ""


def broken_files(output: Path, wanted: dict[str, Any]) -> list[str]:
    """Files of a run that ended early which are neither whole nor a beginning of what they will be."""
    broken = []
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        if "/." in f"/{name}" or path.suffix == ".lock":
            continue
        try:
            whole = _is_whole(path, name, wanted, output)
        except (UserError, ValueError):
            whole = False
        if not whole:
            broken.append(name)
    return broken


def _is_whole(path: Path, name: str, wanted: dict[str, Any], output: Path) -> bool:
    if path.is_dir():
        if path.name.startswith("step-"):
            check_files(path, read_header(path), FileDigests())
        return True
    if path.suffix == ".jsonl":
        *lines, last = path.read_bytes().split(b"\n")
        for line in lines:
            json.loads(line)
        grows = bool(JOURNALS.fullmatch(path.name)) or name in ("metrics.jsonl", "domain_weights.jsonl")
        return not last or grows
    if path.suffix == ".json":
        json.loads(path.read_bytes())
        return True
    return name not in wanted or wanted[name] in ("there", _read(path, output))


def _read(path: Path, output: Path) -> bytes:
    return path.read_bytes().replace(os.fsencode(output), b"OUT")


def _as_it_is(disk: Disk) -> None:
    """Nothing more is wrong with it."""


def _limit(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _others_may_read(path: str) -> bool:
    """Whether another user can import a module."""
    return all(folder.stat().st_mode & 0o001 for folder in Path(path).resolve().parents)


def _nobody() -> None:
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _a_file(place: Path) -> Path:
    (place / "file").write_text("years of work")
    return place / "file"


def _below_a_file(place: Path) -> Path:
    return _a_file(place) / "out"


def run_cases(
    names: Sequence[str], runs: Runs, *, mounts: bool, few: bool = False
) -> dict[str, list[tuple[str, str, str]]]:
    """All cases of these commands, in a process that mounts what this one does not see.

    Args:
        names: of commands.
        runs: of the commands.
        mounts: whether it can.
        few: one size of each kind, and not all kinds.
    """
    found = runs.here.folder / "found.json"
    cases = [Cases(runs, name) for name in names]  # what they compare with is made here, for all

    def work() -> None:
        if mounts:
            own_mounts()
        rows = {
            one.name: [_printed(one.name, row) for row in one.all(mounts=mounts, few=few)] for one in cases
        }
        found.write_text(json.dumps(rows))

    process = Forked(lambda: work() or 0, runs.here.folder / "cases.txt", shown=True)
    if process.wait(longest=3600.0):
        raise RuntimeError("the cases could not be run")
    return {name: [tuple(row) for row in rows] for name, rows in json.loads(found.read_text()).items()}


def _printed(name: str, row: tuple[str, str, str]) -> tuple[str, str, str]:
    case, outcome, told = row
    told = told.replace("\n", " | ")
    print(f"{outcome:8} {name}: {case}: {told[: 900 if outcome == 'BAD' else 200]}", flush=True)
    return row


def main(arguments: Sequence[str]) -> int:
    """Run the cases and print what comes of each; returns the exit code."""
    prepare_process()
    with tempfile.TemporaryDirectory() as place, world(Path(place), short=True) as here:
        os.chmod(place, 0o755)  # another user reads there
        mounts = can_mount(Path(place))
        if not mounts:
            print("disks cannot be mounted here: files are limited in size instead")
        rows = run_cases(list(arguments) or list(ALL), Runs(here), mounts=mounts)
    counts = {name: Counter(outcome for _, outcome, _ in cases) for name, cases in rows.items()}
    print(f"\n{'command':15} {'cases':>6} {'refused':>8} {'room':>6} {'bad':>5}")
    for name, count in counts.items():
        print(f"{name:15} {count.total():6} {count['refused']:8} {count['room']:6} {count['BAD']:5}")
    return any(count["BAD"] for count in counts.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
