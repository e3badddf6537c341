"""Which process makes a temporary file: 32 hexadecimal digits in its name, from which others see whether that
process still runs.

8 digits for the machine, 8 for the process's number, 8 for when it started (the system's start included, as
numbers are given again), 8 at random. A temporary file of a process that has ended is a leftover and may be
removed by anybody; one of another machine may not, as nobody here knows.
"""

from __future__ import annotations

import hashlib
import os
import socket
from functools import cache
from pathlib import Path

DIGITS = "[0-9a-f]{32}"


def temporary_digits() -> str:
    """Digits for a new temporary name of this process; no two calls give the same."""
    pid = os.getpid()
    return f"{_machine()}{pid:08x}{_start(pid) or '0' * 8}{os.urandom(4).hex()}"


def has_ended(digits: str) -> bool:
    """Whether the process that made these digits ran on this machine and has certainly ended."""
    machine, pid, start = digits[:8], int(digits[8:16], 16), digits[16:24]
    if machine != _machine() or start == "0" * 8:
        return False
    return _start(pid) != start


@cache
def _machine() -> str:
    """The machine, and the space in which its processes are numbered: containers have their own."""
    known = [socket.gethostname()]
    for path in ("/etc/machine-id", "/proc/self/ns/pid"):
        try:
            known.append(os.readlink(path) if path.startswith("/proc") else Path(path).read_text())
        except OSError:
            known.append("")
    return _digest(known)


def _start(pid: int) -> str | None:
    """When a process started; None if no process has this number, or there is no /proc to read."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        # The command's name, in brackets, may hold anything; a zombie (Z) has ended.
        state, *rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else _digest([boot, rest[18]])


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
