"""Refuses the same file given twice: its records would count twice without a word."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dreamprm.config.errors import UserError
from dreamprm.files.content import FileDigests


def require_distinct(
    paths: Iterable[str | Path], what: str, *, names: Mapping[str, str] | None = None
) -> None:
    """Require that no two paths lead to the same file, or to files of the same content.

    Another spelling of a path, a link and a copy under another name are the same file. Contents are compared
    only among files of equal size. Paths that do not exist are left to their reader, and so are folders.

    Args:
        paths: the paths as given.
        what: the setting that lists them, for the message.
        names: what each path is called in messages, if not by itself.

    Raises:
        UserError: two of them are the same.
    """
    called = names or {}
    seen: dict[tuple[int, int], str] = {}
    by_size: dict[int, list[str]] = {}
    for path in map(str, paths):
        try:
            status = os.stat(path)
        except OSError:
            continue
        key = (status.st_dev, status.st_ino)
        if key in seen:
            raise UserError(
                f"{what}: {called.get(path, path)} and {called.get(seen[key], seen[key])} are the same file, "
                "which would count twice; give each file once"
            )
        seen[key] = path
        if status.st_size and os.path.isfile(path):
            by_size.setdefault(status.st_size, []).append(path)
    for alike in by_size.values():
        if len(alike) > 1:
            _require_distinct_content(alike, what, called)


def _require_distinct_content(paths: Iterable[str], what: str, called: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    digests = FileDigests()
    for path in paths:
        first = seen.setdefault(digests.of(path), path)
        if first != path:
            raise UserError(
                f"{what}: {called.get(path, path)} and {called.get(first, first)} have the same content, "
                "which would count twice; give one of them"
            )
