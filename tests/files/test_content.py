"""Files are known by their bytes, and read again only when they may have changed."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from replaced_files import flip_last_bit, touch

from dreamprm.config.errors import DataError
from dreamprm.files import content
from dreamprm.files.content import FileDigests, changed_parts, content_key, image_contents


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was written long enough ago."""
    monkeypatch.setattr(content, "_UNSETTLED_NS", -(10**18))
    path = tmp_path / "file"
    path.write_bytes(b"content" * 100)
    return path


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how many files are read."""
    counted: list[int] = []
    file_digest = hashlib.file_digest

    def counting(file: object, name: str) -> object:
        counted.append(1)
        return file_digest(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return counted


def test_a_digest_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    shutil.copy(tmp_path / "a", tmp_path / "b")
    digests = FileDigests()
    assert (
        digests.of(tmp_path / "a") == digests.of(tmp_path / "b") == hashlib.sha256(b"x" * 100_000).hexdigest()
    )
    with pytest.raises(FileNotFoundError):
        digests.of(tmp_path / "none")
    assert digests.found(tmp_path / "none") is None and digests.found(tmp_path) is None


def test_an_unchanged_file_is_read_once_and_a_touched_one_again(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, digests = reads(monkeypatch), FileDigests()
    first = digests.of(settled)
    assert digests.of(settled) == first and len(counted) == 1
    touch(settled)
    assert digests.of(settled) == first and len(counted) == 2
    assert digests.of(settled) == first and len(counted) == 2


@pytest.mark.parametrize("how", ["in place", "renamed over", "copied with its times"])
def test_a_file_of_equal_size_and_time_is_noticed_within_a_command(how: str, settled: Path) -> None:
    digests = FileDigests()
    digests.of(settled)
    stat = settled.stat()
    if how == "in place":
        flip_last_bit(settled)
    else:
        other = settled.with_name("other")
        other.write_bytes(settled.read_bytes()[::-1])
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if how == "renamed over":
            other.replace(settled)
        else:
            shutil.copy2(other, settled)
    assert (settled.stat().st_size, settled.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    with pytest.raises(DataError, match="file was changed while this command was running; run the same"):
        digests.of(settled)
    assert FileDigests().of(settled) == hashlib.sha256(settled.read_bytes()).hexdigest()


def test_a_file_just_written_is_read_again_as_its_times_may_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many file systems keep times in steps of milliseconds, some of seconds."""
    path = tmp_path / "file"
    path.write_bytes(b"one")
    counted, digests = reads(monkeypatch), FileDigests()
    stamp = content.FileStamp.of(str(path))
    monkeypatch.setattr(content.FileStamp, "of", lambda path: stamp)
    digests.of(path)
    path.write_bytes(b"two")
    with pytest.raises(DataError, match="changed while"):
        digests.of(path)
    assert len(counted) == 2


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    file_digest = hashlib.file_digest

    def replacing(file: object, name: str) -> object:
        path.write_bytes(b"longer")
        return file_digest(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", replacing)
    with pytest.raises(DataError, match="changed while"):
        FileDigests().of(path)


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}" for k in range(20)]
    for path in paths[1:]:
        path.write_bytes(path.name.encode())
    found = FileDigests().of_all(paths)
    assert list(found) == [str(path) for path in paths] and found[str(paths[0])] is None
    assert found[str(paths[7])] == hashlib.sha256(b"7").hexdigest()


def test_images_are_known_by_what_they_hold(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    shutil.copytree(tmp_path, tmp_path / "moved")
    one, other = str(tmp_path / "a"), str(tmp_path / "b")
    wanted = image_contents([one, other], FileDigests())
    assert image_contents([str(tmp_path / "moved" / name) for name in "ab"], FileDigests()) == wanted
    assert image_contents([other, one], FileDigests()) == wanted[::-1] != wanted
    gone = str(tmp_path / "gone")
    assert image_contents([gone], FileDigests()) == [f"unreadable: {gone}"]


CONTENT = {"question": "q", "images": ["1", "2"], "steps": ["a", "b"], "n": 1, "seed": None}


def _with(**changes: object) -> dict[str, object]:
    return {**CONTENT, **changes}


@pytest.mark.parametrize(
    "other",
    [
        _with(question="r"),
        _with(images=["2", "1"]),
        _with(images=["12"]),
        _with(steps=["a b"]),
        _with(steps=["a", "b", ""]),
        _with(n=2),
        _with(n="1"),
        _with(n=True),
        _with(seed=0),
        {**_with(), "more": None},
    ],
)
def test_a_key_differs_with_any_part(other: dict[str, object]) -> None:
    assert content_key(CONTENT) == content_key(dict(reversed(CONTENT.items())))
    assert content_key(other) != content_key(CONTENT) and len(content_key(other)) == 32


def test_what_differs_is_told_by_name() -> None:
    before = {"a": "1", "b": "1", "c": "1"}
    assert changed_parts(before, {"b": "1", "a": "2", "d": None, "e": "3"}) == [
        "a has other content",
        "c is missing",
        "e is new",
    ]
    assert changed_parts(before, dict(before)) == []
