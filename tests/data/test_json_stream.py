"""Files are read value by value, with line numbers, whatever their size."""

import json
from pathlib import Path

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import json_stream
from dreamprm.data.json_stream import Row, stream_json

VALUES = [
    {"a": 1.25, "b": 'x\u00e9\n"]}, ['},
    {"c": [1, {"d": None}]},
    {"e": "\\u0041\U0001f600"},
    {"n": -12.5e3},
]


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "values.txt"
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
def test_arrays_are_the_same_for_every_chunk_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, ascii_only: bool, chunk: int
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_CHARACTERS", chunk)
    path = written(tmp_path, " \n" + json.dumps(VALUES, indent=indent, ensure_ascii=ascii_only) + "\n")
    assert [row.value for row in stream_json(path)] == VALUES


def test_top_level_numbers_are_not_cut_at_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_CHARACTERS", 2)
    assert [row.value for row in stream_json(written(tmp_path, "[123456, 7.25, true]"))] == [
        123456,
        7.25,
        True,
    ]


def test_lines_of_an_array(tmp_path: Path) -> None:
    path = written(tmp_path, '\n[\n  {"a": 1},\n\n  {"a":\n 2}, {"a": 3}\n]')
    assert list(stream_json(path)) == [Row(3, {"a": 1}), Row(5, {"a": 2}), Row(6, {"a": 3})]


def test_json_lines_with_blank_lines_and_byte_order_mark(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": 1}\n\n{"a": 2}\r\n', encoding="utf-8-sig")
    assert list(stream_json(path)) == [Row(1, {"a": 1}), Row(3, {"a": 2})]
    assert [row.value for row in stream_json(written(tmp_path, "[1]", encoding="utf-8-sig"))] == [1]


def test_a_bad_line_does_not_end_the_reading(tmp_path: Path) -> None:
    rows = list(stream_json(written(tmp_path, '{"a": 1}\n{"a": \n{"a": 3}')))
    assert [row.value for row in rows] == [{"a": 1}, None, {"a": 3}]
    assert rows[1].line == 2 and "not a JSON object: Expecting value at column" in str(rows[1].problem)


def test_an_empty_array_has_no_values(tmp_path: Path) -> None:
    assert list(stream_json(written(tmp_path, " [ ] "))) == []


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('[{"a": 1},\n{"a": }]', 2, "Expecting value"),
        ('[{"a": 1}\n{"a": 2}]', 2, "expected ',' or ']' after a value"),
        ('[{"a": 1},\n', 2, "Expecting value"),
        ('[\n{"a": "never closed', 2, "Unterminated string"),
        ('[{"a": 1}\n\n', 3, "expected ',' or ']' after a value"),
        ('[{"a": 1}]\n{"a": 2}', 2, "text after the closing ']'"),
        ("[", 1, "Expecting value"),
    ],
)
def test_a_broken_array_names_the_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError) as caught:
        list(stream_json(path))
    assert str(caught.value).startswith(f"{path}:{line}: broken JSON array: {what}")
    assert str(caught.value).endswith("fix the file")


def test_a_broken_array_is_found_before_the_file_is_read_on(tmp_path: Path) -> None:
    path = written(tmp_path, '[{"a" 1}' + " " * (3 << 20) + "]")
    with path.open(encoding="utf-8") as file:
        with pytest.raises(DataError, match="Expecting ':' delimiter"):
            list(json_stream._array(file, path))
        assert len(file.read()) > (1 << 20)


def test_an_endless_value_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_CHARACTERS", 10)
    monkeypatch.setattr(json_stream, "MAX_VALUE_CHARACTERS", 100)
    with pytest.raises(DataError, match="a value longer than 100 characters"):
        list(stream_json(written(tmp_path, '[{"a": "' + "x" * 1000)))


def test_values_come_before_the_file_is_read_whole(tmp_path: Path) -> None:
    """Lazy: the first values of an array with a broken end come, and about a megabyte is held."""
    rows = [{"a": "x" * 1000}] * 5000
    path = written(tmp_path, json.dumps(rows)[:-1] + ", broken")
    reading = stream_json(path)
    assert next(reading).value == rows[0]
    with path.open(encoding="utf-8") as file:
        text = json_stream.JsonText(file, path)
        text.next_character()
        text.advance(1)
        for _ in range(4000):
            text.next_character()
            json_stream.next_value(text)
            text.next_character()
            text.advance(text.position + 1)
            assert len(text.text) <= (1 << 20) + 2000
    with pytest.raises(DataError, match="Expecting value"):
        list(reading)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; allowed: a JSON array, or one JSON object per line"),
        (b" \n ", "the file is empty"),
        (b"question,answer\n", r"starts with 'q'; allowed: '\[' .* or '\{' "),
        (b'{"a": "\xff"}', "not UTF-8 text"),
        (b'[{"a": "\xff"}]', "not UTF-8 text"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(stream_json(path))
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file: .*absent\.json; give the path"):
        list(stream_json(tmp_path / "absent.json"))
