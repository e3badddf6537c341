"""Files that appear whole or not at all: a crash leaves the old content or the new one, never half of it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file's content; a text is written as UTF-8, its line ends as they are.

    Raises: OSError, naming the file, where the system cannot write it; what stood there is untouched.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_lines_atomically(path: Path, lines: Iterable[str]) -> None:
    """As `write_atomically`, for a file that is too large to be made in memory."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.writelines(line.encode() for line in lines)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`, which it replaces where the block ends without an error.

    For a file that something else writes: a library that takes a path, or a writer of many lines.

    Args:
        path: the file; its folder must exist.

    Yields:
        A path in the same folder, with the same ending, under which there is no file yet. Where the block
        raises it is removed, and what stood at `path` is untouched.

    Raises: OSError, naming `path`, where the system cannot write it.
    """
    partial = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # whoever made it: a library's temporary files may be private
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        # The error of a write names no file, that of an open or a rename the temporary one.
        ours = isinstance(error, OSError) and str(error.filename or partial) == str(partial)
        if isinstance(error, OSError) and ours and error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise
