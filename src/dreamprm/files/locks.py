"""One process at a time: locks of the operating system, which end with their process however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dreamprm.config.errors import UserError
from dreamprm.files.atomic import make_folder

LOCK = "train.lock"
"""The lock of a training's folder, a file in it, removed at the end; left by a kill, it says nothing."""

OUTPUT_LOCK = ".output.lock"
"""The same for the folder of another command."""


def acquire(path: Path, *, of: Path, wait: bool = False) -> FileLock:
    """The lock in a file, which is made if it is missing; `release` gives it back.

    Args:
        path: the lock's file.
        of: what it is the lock of, for the message.
        wait: until nobody else holds it.

    Raises:
        UserError: another process holds it.
        OSError: the file cannot be made.
    """
    lock = FileLock(path, thread_local=False)  # whoever closes the file gives it back
    while True:
        try:
            path.touch()
            before = path.stat().st_ino
            lock.acquire(timeout=-1 if wait else 0)
        except FileNotFoundError:  # the holder before has just removed it, perhaps with its empty folder
            make_folder(path.parent)
            continue
        except Timeout:
            raise UserError(
                f"{of} is being written by another process; wait for it, or give another output"
            ) from None
        # The holder before may have removed the file in between: a lock on that one keeps nobody out.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == before:
                return lock
        lock.release()


@contextmanager
def owned_folder(folder: Path, *, lock: str = OUTPUT_LOCK) -> Iterator[None]:
    """Hold a folder, which is made if it is missing, against other processes that would write to it.

    Folders that were made and hold nothing when the block ends are removed again: a command that refused to
    start leaves nothing behind.

    Args:
        folder: to hold.
        lock: the name of the lock's file in it.

    Raises:
        UserError: another process holds it.
        OSError: it cannot be made, or not be written to.
    """
    with _held(folder / lock, of=folder):
        yield


@contextmanager
def owned_path(path: Path) -> Iterator[None]:
    """The same for a file, or a folder that appears as a whole; the lock lies next to it."""
    path = Path(os.path.abspath(path))  # of the folder we are in, the name
    with _held(path.with_name(f".{path.name}.lock"), of=path):
        yield


@contextmanager
def path_in_turn(path: Path) -> Iterator[None]:
    """As `owned_path`, once whoever holds it is done: for what several processes make and share."""
    with _held(path.with_name(f".{path.name}.lock"), of=path, wait=True):
        yield


@contextmanager
def _held(place: Path, *, of: Path, wait: bool = False) -> Iterator[None]:
    folder = place.parent
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    make_folder(folder)
    lock = acquire(place, of=of, wait=wait)
    try:
        yield
    finally:
        with suppress(OSError):
            place.unlink(missing_ok=True)  # still held, so that it is nobody else's
        lock.release()
        for part in missing:
            try:
                os.rmdir(part)
            except OSError:  # it holds something
                break
