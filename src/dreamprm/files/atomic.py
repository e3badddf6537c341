"""Files that appear whole or not at all: a crash leaves the old content or the new one, never half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file's content; a text is written as UTF-8, its line ends as they are.

    Raises: OSError, naming the file, where the system cannot write it; what stood there is untouched.
    """
    _replace(path, [content.encode() if isinstance(content, str) else content])


def write_lines_atomically(path: Path, lines: Iterable[str]) -> None:
    """As `write_atomically`, for a file that is too large to be made in memory."""
    _replace(path, (line.encode() for line in lines))


def _replace(path: Path, parts: Iterable[bytes]) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
            # A temporary file is private; the result should be as readable as any other.
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException as error:
            os.unlink(file.name)
            if isinstance(error, OSError) and error.errno is not None:
                error.filename, error.filename2 = str(path), None  # not the temporary file
            raise
