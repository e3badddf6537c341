"""Atomic writes of files and folders: a crash leaves either the old content or the new, never a mixture.

Every writer here works the same way: it writes under a temporary name in the same folder, flushes the content
to disk, renames it into place and flushes the folder that contains the name.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dreamprm.config.loading import config_yaml
from dreamprm.files.writer_process import DIGITS, has_ended, temporary_digits

TEMPORARY = re.compile(rf"\.(?P<name>.+)-(?P<by>{DIGITS})\.(?P<state>partial|replaced)(\.[^.]*)?", re.DOTALL)
"""The temporary names used here for what belongs at `name`; a killed process may leave some behind."""

ANY = re.compile(".*", re.DOTALL)

# Flushing files one by one takes about 5 ms each; above this number, one flush of everything is faster.
_MANY_FILES = 200


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file's content; text is written as UTF-8 with its line ends unchanged.

    Raises: OSError, naming the file, if it cannot be written; the old content is then untouched.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_lines_atomically(path: Path, lines: Iterable[str]) -> None:
    """Like `write_atomically`, for a file that is too large to build in memory."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.writelines(line.encode() for line in lines)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path to write a file to, with the same suffix; it replaces `path` when the block ends.

    For writers that need a path or a handle: `with atomic_path(path) as partial: table.save(partial)`. The
    file must be closed inside the block. If the block raises, the temporary file is removed and the old
    content of `path` is untouched.

    Raises: OSError, naming `path`, if it cannot be written.
    """
    path = Path(path)
    partial = _beside(path, "partial" + path.suffix)
    try:
        yield partial
        _flush(partial)
        os.chmod(partial, 0o644)  # temporary files made by a library may be private
        os.replace(partial, path)
        _flush(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename in (None, partial, str(partial)):
            error.filename, error.filename2 = str(path), None  # not the temporary file
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """A new temporary folder to write to; it replaces `folder` when the block ends. Parents are created.

    If the block raises, the temporary folder is removed and the old `folder` is untouched. A process killed
    between the two renames of a replacement leaves the old folder under a temporary name; `restore_replaced`
    puts it back.

    Raises:
        FileExistsError: another process has created the folder in the meantime; that one stays.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    make_folder(folder.parent)
    partial, replaced = _beside(folder, "partial"), _beside(folder, "replaced")
    partial.mkdir()
    try:
        yield partial
        _flush_tree(partial)
        if folder.exists():
            os.rename(folder, replaced)  # a folder cannot be renamed onto another
        try:
            os.rename(partial, folder)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise FileExistsError(errno.EEXIST, "another process has created it", str(folder)) from error
            raise
        _flush(folder.parent)
    finally:
        if replaced.exists() and not folder.exists():
            os.rename(replaced, folder)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def make_folder(folder: str | Path) -> None:
    """Make a folder and its missing parents, with their names on disk; nothing happens if it is there.

    Raises: OSError, if one of them cannot be made.
    """
    folder = Path(folder)
    while not folder.is_dir():
        make_folder(folder.parent)
        try:
            folder.mkdir()
            _flush(folder.parent)
        except FileExistsError:
            if os.path.lexists(folder) and not folder.is_dir():
                raise
        except FileNotFoundError:  # a parent
            if folder.parent.is_dir():
                raise
        # Otherwise another process made or removed it meanwhile, as locks do with folders that stay empty.


def flush_file(path: Path) -> None:
    """Wait until what a file holds is on disk, for files that grow line by line; a missing one is skipped."""
    if path.exists():
        _flush(path)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that an interrupted removal leaves no partial folder under its name."""
    doomed = _beside(folder, "partial")
    os.rename(folder, doomed)
    shutil.rmtree(doomed)


def restore_replaced(root: Path) -> None:
    """Put back the folders in `root` that a kill left under a temporary name before their replacement came.

    Use it only if no other process writes to `root`.
    """
    _restore(root, _leftovers(root))


def remove_leftovers(root: Path, names: re.Pattern[str] = ANY) -> None:
    """`restore_replaced`, then remove what killed processes left half-written or half-removed in `root`.

    Use it only if no other process writes to `root`, or to the `names` in it: which process made a temporary
    file is not asked.
    """
    _remove(root, [found for found in _leftovers(root) if names.fullmatch(found[1]["name"])])


def remove_ended(root: str | Path, names: re.Pattern[str] = ANY) -> None:
    """Like `remove_leftovers`, for places where other processes may write: it takes only what was made by
    processes of this machine that have certainly ended.

    Args:
        root: the folder; nothing happens if it does not exist.
        names: of the files and folders whose temporaries are meant.
    """
    root = Path(root)
    if root.is_dir():
        meant = [found for found in _leftovers(root) if names.fullmatch(found[1]["name"])]
        _remove(root, [found for found in meant if has_ended(found[1]["by"])])


def _restore(root: Path, found: Iterable[tuple[Path, re.Match[str]]]) -> None:
    for path, match in found:
        final = root / match["name"]
        if match["state"] == "replaced" and not final.exists():
            os.rename(path, final)


def _remove(root: Path, found: Sequence[tuple[Path, re.Match[str]]]) -> None:
    _restore(root, found)
    for path, _ in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # as it was put back, or another process was faster


def _beside(path: Path, state: str) -> Path:
    """A unique temporary name in the same folder, so that a rename moves no bytes."""
    return path.with_name(f".{path.name}-{temporary_digits()}.{state}")


def _leftovers(root: Path) -> list[tuple[Path, re.Match[str]]]:
    return [(path, match) for path in root.iterdir() if (match := TEMPORARY.fullmatch(path.name))]


def _flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_tree(folder: Path) -> None:
    tree = [(Path(inside), files) for inside, _, files in os.walk(folder)]
    if sum(len(files) for _, files in tree) > _MANY_FILES:
        os.sync()
        return
    for inside, files in tree:
        for name in files:
            _flush(inside / name)
        _flush(inside)


def save_config(path: str | os.PathLike[str], config: Any, *, extra: Mapping[str, str] | None = None) -> None:
    """Write `config_yaml` of the configuration atomically."""
    write_atomically(Path(path), config_yaml(config, extra=extra))
