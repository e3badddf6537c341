"""JSON objects read member by member."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import json_stream
from dreamprm.data.json_stream import Row, stream_member_array, stream_members

VALUES = {"a": {"x": [1, 2.5, "}"]}, "b": 12345, 'c"]': None, "d": '\u00e9 \\ " {', "e": [], "f": {}}


def written(folder: Path, text: str) -> Path:
    path = folder / "o.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
def test_members_are_the_same_for_every_chunk_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_CHARACTERS", chunk)
    path = written(tmp_path, json.dumps(VALUES, indent=indent))
    assert {name: row.value for name, row in stream_members(path)} == VALUES


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_array_of_one_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_CHARACTERS", chunk)
    path = written(tmp_path, '{"info": {"questions": [9]},\n "questions": [1,\n {"q": "[x"}], "last": [2]}')
    assert list(stream_member_array(path, "questions")) == [Row(2, 1), Row(3, {"q": "[x"})]
    assert [row.value for row in stream_member_array(path, "last")] == [2]


def test_lines_of_members(tmp_path: Path) -> None:
    path = written(tmp_path, '{\n"a":\n 1,\n\n"b": {"c":\n 2}}\n')
    assert list(stream_members(path)) == [("a", Row(3, 1)), ("b", Row(5, {"c": 2}))]
    assert list(stream_members(written(tmp_path, " {} "))) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", r"starts with '\['; allowed: '\{'"),
        ("", "starts with 'nothing'"),
        ('{"a": 1', "o.json:1: broken JSON object: expected ',' or '}' after a value, found 'the end"),
        ('{"a": 1}\n}', "o.json:2: broken JSON object: text after the closing '}': '}'"),
        ('{"a" 1}', "expected ':' after the name 'a'"),
        ("{a: 1}", "expected a name in double quotes"),
        ('{"a": 1,}', "expected a name in double quotes"),
        ('{"a": tru}', "broken JSON object: Expecting value"),
    ],
)
def test_broken_objects(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(stream_members(written(tmp_path, text)))


def test_a_member_that_is_absent_or_no_array(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": {}, "b": []}')
    with pytest.raises(DataError, match="no member 'questions'; it has a, b"):
        list(stream_member_array(path, "questions"))
    with pytest.raises(DataError, match="o.json:1: member 'a' is not an array"):
        list(stream_member_array(path, "a"))


def test_no_file_and_no_utf8(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        list(stream_members(tmp_path / "absent.json"))
    path = tmp_path / "latin.json"
    path.write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(DataError, match="not UTF-8"):
        list(stream_members(path))
