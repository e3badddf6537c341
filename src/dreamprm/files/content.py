"""What a stored result belongs to: files known by their bytes, and requests known by everything in them.

A path does not say what it holds: a picture may be replaced, a model trained again, a folder moved. Every
journal, cache and checkpoint is therefore keyed by digests made here.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from dreamprm.config.errors import DataError

# A file written this recently may be written again without its times changing: file systems keep times in
# steps of up to 2 seconds (FAT), so its digest is computed again when it is next asked for.
_UNSETTLED_NS = 2_000_000_000

_THREADS = 4
"""Files hashed at once: hashing is as fast as one core, usually slower than the disk."""


class FileStamp(NamedTuple):
    """What the system says about a file: equal for one that nobody has written to or replaced.

    `changed` (ctime) is set by the system and by nobody else: size and modification time may be equal by
    chance, or because a copy keeps them.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: str | Path) -> FileStamp:
        """The stamp of a file.

        Raises:
            OSError: there is no such file.
        """
        stat = os.stat(path)
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class FileDigests:
    """SHA-256 digests of files, each read once per command; one object serves a whole command.

    A file is read again only if its device, inode, size, modification or change time are not those it had.
    A copy of equal size and modification time has another inode or change time, so it is noticed. Digests are
    kept in memory only. Reading takes about 1 s per GB and core, asking again about 5 microseconds.

    Within one command a file must stay as it is: results computed from its earlier bytes would otherwise be
    stored under its later ones. May be used by several threads.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[FileStamp, str, bool]] = {}  # path -> (stamp, digest, settled)

    def of(self, path: str | Path) -> str:
        """64 hexadecimal digits for the file's bytes.

        Raises:
            OSError: the file cannot be read.
            DataError: its content is not what it was when it was first asked for.
        """
        path = os.fspath(path)
        stamp = FileStamp.of(path)
        before = self._known.get(path)
        if before is not None and before[0] == stamp and before[2]:
            return before[1]
        asked = time.time_ns()
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if FileStamp.of(path) != stamp or (before is not None and before[1] != digest):
            raise DataError(
                f"{path} was changed while this command was running; run the same command again: what it "
                "has stored is kept, and used again where the content is the same"
            )
        self._known[path] = stamp, digest, asked - max(stamp.modified, stamp.changed) > _UNSETTLED_NS
        return digest

    def found(self, path: str | Path) -> str | None:
        """Like `of`; None if there is no such file, or if it cannot be read."""
        try:
            return self.of(path)
        except OSError:
            return None

    def of_all(self, paths: Iterable[str | Path]) -> dict[str, str | None]:
        """`found` of each path, in the order given; large files are read at the same time."""
        named = [os.fspath(path) for path in paths]
        with ThreadPoolExecutor(_THREADS) as pool:
            return dict(zip(named, pool.map(self.found, named), strict=True))


def content_key(content: Any) -> str:
    """32 hexadecimal digits that differ if the content differs: the key of a request in a journal.

    Args:
        content: JSON values: everything that determines the result, files by their digests.
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def image_contents(images: Sequence[str], digests: FileDigests) -> list[str]:
    """Images as part of a request's content: the digest of each, in order.

    An image that cannot be read is known by its path, as no result can be made from it.
    """
    return [digests.found(path) or f"unreadable: {path}" for path in images]


def changed_parts(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[str]:
    """In words, what differs between the digests by name that were stored and those of today; small first."""
    told = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            how = "is new" if old is None else "is missing" if new is None else "has other content"
            told.append(f"{name} {how}")
    return told
