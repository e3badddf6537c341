"""Where the image paths of a record lead: into its folder of images, or elsewhere."""

from __future__ import annotations

import os
from functools import lru_cache

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


def _real(path: str) -> str:
    """`os.path.realpath`, with the folders of the images followed once: a set has millions of images."""
    folder, name = os.path.split(path)
    if name in ("", ".", "..") or os.path.islink(path):
        return os.path.realpath(path, strict=os.path.lexists(path))
    return os.path.join(_real_folder(folder), name)


@lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
