"""Files that appear whole or not at all, and what is told where they cannot."""

import errno
import os

import pytest

from dreamprm.files import atomic
from dreamprm.files.atomic import (
    atomic_folder,
    atomic_path,
    remove_folder,
    remove_leftovers,
    restore_replaced,
    write_atomically,
    write_lines_atomically,
)


def content(folder):
    """Texts by relative path of all files in a folder, temporary ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


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


def test_the_content_and_the_name_are_flushed_before_and_after_the_rename(tmp_path, monkeypatch):
    done = []
    flush, replace = atomic._flush, os.replace
    monkeypatch.setattr(atomic, "_flush", lambda path: (done.append(path), flush(path)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), replace(*names)))
    write_atomically(tmp_path / "file", "text")
    first, *rest = done
    assert first.name.startswith(".file-") and rest == ["rename", tmp_path]


@pytest.mark.parametrize("many", [False, True])
def test_a_folder_takes_the_place_of_the_older_one(tmp_path, monkeypatch, many):
    flushed, synced = [], []
    flush = atomic._flush
    monkeypatch.setattr(atomic, "_flush", lambda path: (flushed.append(path.name), flush(path)))
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    if many:
        monkeypatch.setattr(atomic, "_MANY_FILES", 1)
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "made" / "folder") as partial:
            (partial / f"{text}.txt").write_text(text)
            (partial / "inside").mkdir()
            (partial / "inside" / "b").write_text(text)
    assert content(tmp_path) == {"made/folder/new.txt": "new", "made/folder/inside/b": "new"}
    assert os.listdir(tmp_path / "made") == ["folder"]
    assert synced == [True] * (2 * many)
    assert flushed.count("b") == 2 * (not many) and flushed.count("made") == 2


def test_a_folder_that_another_process_made_meanwhile_stays(tmp_path, monkeypatch):
    rename = os.rename

    def overtaken(source, target):
        target.mkdir()
        (target / "file").write_text("theirs")
        rename(source, target)

    monkeypatch.setattr(os, "rename", overtaken)
    with pytest.raises(FileExistsError) as caught, atomic_folder(tmp_path / "folder") as partial:
        (partial / "file").write_text("ours")
    assert caught.value.filename == str(tmp_path / "folder")
    assert content(tmp_path) == {"folder/file": "theirs"}


def test_what_kills_leave_is_put_back_or_removed(tmp_path):
    key = "0" * 32
    for name in (f".a-{key}.replaced", f".b-{key}.replaced", "b", f".c-{key}.partial", ".d", ".d-0.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / f".e.png-{key}.partial.png").write_text("half")
    restore_replaced(tmp_path)
    assert (tmp_path / "a" / "file").read_text() == f".a-{key}.replaced" and len(content(tmp_path)) == 7
    remove_leftovers(tmp_path)
    kept = {
        "a/file": f".a-{key}.replaced",
        "b/file": "b",
        ".d/file": ".d",
        ".d-0.partial/file": ".d-0.partial",
    }
    assert content(tmp_path) == kept


def test_a_removal_cut_short_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(atomic.shutil, "rmtree", lambda path: None)
    remove_folder(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    monkeypatch.undo()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []
