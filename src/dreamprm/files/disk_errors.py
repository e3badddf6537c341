"""What the system said when a file could not be written or read, whichever library passed it on, in words."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dreamprm.config.errors import UserError
from dreamprm.files.writer_process import temporary_digits

FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""The system's error codes when a file cannot grow."""

PLACE = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTEMPTY, errno.EIO),
    )
)
"""The system's error codes when a path is not what it should be, or may not be used."""

# How libraries in Rust (safetensors, tokenizers) and C++ (Arrow) write the system's error code.
_CODE = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)


def disk_error(error: BaseException | None) -> OSError | None:
    """The system's error behind an exception, if there is one: itself, its cause, or the code in its text."""
    seen: set[int] = set()  # a library may raise an error from itself
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno is not None:
            return error
        if not isinstance(error, UserError) and (found := _CODE.search(str(error))):
            code = int(found[1] or found[2])
            return OSError(code, os.strerror(code))
        error = error.__cause__
    return None


def is_full(error: BaseException | None) -> bool:
    """Whether there was no room to write."""
    found = disk_error(error)
    return found is not None and found.errno in FULL


def told(error: OSError, place: str | Path | None = None) -> str:
    """The error in one line, with what to do about it.

    Args:
        error: of the system.
        place: what was being written, if the error does not name it.
    """
    place = error.filename or place
    if error.errno in FULL:
        where = f" while writing {place}" if place else ""
        return f"{error.strerror}{where}; make room and run the same command again"
    return f"{place}: {error.strerror}; give another place, or make this one readable and writable"


@contextmanager
def told_as(what: str) -> Iterator[None]:
    """Turn errors of the system inside the block into user errors that begin with `what`.

    Raises:
        UserError: with the system's error, and what to do.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found = disk_error(error)
        if found is None:
            raise
        raise UserError(f"{what}: {told(found)}") from error


def require_folder(path: str | Path, setting: str = "output") -> None:
    """Refuse a folder that cannot be written to, before any work is done; it need not exist yet.

    A file is made where the folder is, or where it will be, and removed again.

    Raises:
        UserError: it is a file or below one, may not be written to, or its disk is full.
    """
    folder = Path(path)
    given = f"{setting}={folder}"
    try:
        there = folder
        while not os.path.lexists(there) and there != there.parent:
            there = there.parent
        if not there.is_dir():
            what = "is a file" if there == folder else f"lies below {there}, which is not a folder"
            raise UserError(f"{given} {what}; give a folder to make or to continue in")
        probe = there / f".{folder.name[:40]}-{temporary_digits()}.partial"
        probe.touch()
        probe.unlink()
        if there != folder:
            _require_names(folder, there, given)
    except UserError:
        raise
    except (OSError, ValueError) as error:  # a ValueError for NUL in a path
        reason = error.strerror if isinstance(error, OSError) else error
        if is_full(error):
            raise UserError(f"{given} cannot be written to ({reason}); make room there") from error
        raise UserError(
            f"{given} cannot be written to ({reason}); give a folder that can be made and written to"
        ) from error


def _require_names(folder: Path, there: Path, given: str) -> None:
    """The names of the folders that are to be made, against the file system's longest one."""
    longest = os.pathconf(there, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    for part in folder.relative_to(there).parts:
        if len(os.fsencode(part)) > longest:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(folder))
