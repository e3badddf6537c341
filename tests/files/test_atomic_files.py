"""Files that appear whole or not at all, and what is told where they cannot."""

import errno
import os

import pytest

from dreamprm.files.atomic import write_atomically, write_lines_atomically


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
