"""Where the image paths of a record lead: into its folder of images, or elsewhere."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_NOTE = "user.dreamprm.images"
LEAVES = "set allow_outside=true if the file may name any image of this machine"


def image_path(root: str, given: str, *, allow_outside: bool) -> tuple[str, str | None]:
    """The absolute path of a record's image, and what is wrong with it if it leads out of the images' folder.

    An absolute path, `..` and symbolic links are followed, and must end inside the folder: a file of records
    that comes from somebody else could otherwise have any image of this machine scored, sent to a server or
    shown in a report. This is the one place where it is decided, for every command that opens images.

    Args:
        root: the folder that image paths are relative to.
        given: the path as written in the record.
        allow_outside: whether it may lead anywhere.
    """
    path = os.path.join(os.path.abspath(root), given)
    if allow_outside:
        return path, None
    try:
        inside, real = _real_folder(os.path.abspath(root)), _real(path)
    except (OSError, ValueError) as error:  # links in a circle; NUL
        return path, f"cannot be followed, {error}"
    if real.startswith(os.path.join(inside, "")):
        return path, None
    return path, f"leads out of {root}"


def is_no_path(given: str) -> bool:
    """Whether a record's image is given by a data URL or a URL instead of a path."""
    scheme, mark, _ = given[:12].partition("://")
    return given[:5].lower() == "data:" or (bool(mark) and scheme.isalnum())


def vouch(path: str | Path) -> None:
    """Note in a file that this package wrote that its image paths were checked, or allowed by the user.

    What `label` or `score` writes names images where they are, and the next command reads it as before. The
    note is an extended attribute with size and time of the file: it does not come with a download, and does
    not outlive a change. Where a file system has none, the next command asks for `allow_outside`.
    """
    with suppress(OSError, AttributeError):
        os.setxattr(path, _NOTE, _state(path))


def is_vouched(path: str | Path) -> bool:
    """Whether `vouch` was called for the file as it is."""
    try:
        return os.getxattr(path, _NOTE) == _state(path)
    except (OSError, AttributeError):
        return False


def _state(path: str | Path) -> bytes:
    found = os.stat(path)
    return f"{found.st_size} {found.st_mtime_ns}".encode()


def _real(path: str) -> str:
    """`os.path.realpath`, with the folders of the images followed once: a set has millions of images."""
    folder, name = os.path.split(path)
    if name in ("", ".", ".."):
        return os.path.realpath(path, strict=os.path.lexists(path))
    # Not the path as it is given: where a folder in it does not exist, `..` leads to another place.
    real = os.path.join(_real_folder(folder), name)
    return os.path.realpath(real, strict=True) if _is_link(real) else real


def _is_link(path: str) -> bool:
    """`os.path.islink`, except that a path that no file can have (with NUL) is an error."""
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False


@lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
