"""Files replaced as unobtrusively as a user can: same path, same size, same modification time."""

from __future__ import annotations

import os
from pathlib import Path

from tiny_models import tiny_image


def bitmap(path: Path, seed: int, *, size: tuple[int, int] = (56, 56)) -> Path:
    """An uncompressed picture: all of one size have equally many bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tiny_image(seed, size=size).save(path, "BMP")
    return path


def replace_unnoticed(path: Path, content: bytes) -> None:
    """Write other content of the same length in place, and put the modification time back."""
    stat = path.stat()
    assert len(content) == stat.st_size and content != path.read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def redraw(path: Path, seed: int) -> None:
    """Replace a bitmap by another one, unnoticed."""
    other = bitmap(path.with_name("other.bmp"), seed)
    content = other.read_bytes()
    other.unlink()
    replace_unnoticed(path, content)


def flip_last_bit(path: Path) -> None:
    """Change one bit at the end of a file, unnoticed: in a file of tensors, one number."""
    content = path.read_bytes()
    replace_unnoticed(path, content[:-1] + bytes([content[-1] ^ 1]))


def touch(path: Path) -> None:
    """Another modification time, the same content."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**10))
