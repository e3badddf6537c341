"""Files that appear whole or not at all, and what is told where they cannot."""

import errno
import os

import pytest

from dreamprm.files.atomic import atomic_path, write_atomically, write_lines_atomically


@pytest.mark.parametrize("content, stands", [("a\r\né\n", "a\r\né\n".encode()), (b"\x00\xff", b"\x00\xff")])
def test_text_and_bytes_stand_as_they_are(tmp_path, content, stands):
    write_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == stands
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_lines_that_fail_half_way_leave_the_old_file(tmp_path):
    def lines():
        yield "one\n"
        raise ValueError("no more")

    write_lines_atomically(tmp_path / "file", ["old\n"])
    with pytest.raises(ValueError, match="no more"):
        write_lines_atomically(tmp_path / "file", lines())
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old\n")]


def test_the_error_names_the_file_and_not_the_temporary_one(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / "page.html", "text")
    assert (caught.value.filename, caught.value.errno) == (str(tmp_path / "page.html"), errno.ENOSPC)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_something_else_writes_replaces_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with atomic_path(path) as partial:
        assert (partial.parent, partial.suffix, partial.exists()) == (tmp_path, ".csv", False)
        partial.write_text("new")
        assert path.read_text() == "old"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("table.csv", "new")]
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("table.csv", "new")]


def test_what_is_written_is_on_the_disk_before_the_file_is_renamed(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("rename"), replace(old, new)))
    with atomic_path(tmp_path / "file") as partial:
        partial.write_text("text")
    assert done == ["fsync", "rename"]


def test_an_error_about_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "file"):
        (tmp_path / "source").read_text()
    assert caught.value.filename == str(tmp_path / "source")
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "folder" / "file") as partial:
        partial.write_text("text")
    assert caught.value.filename == str(tmp_path / "folder" / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(tmp_path / "folder", "text")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "folder"), None)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
