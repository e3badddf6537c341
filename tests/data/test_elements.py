"""Errors in arrays and objects on one line name the element, and its records have ids of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamprm.config.errors import DataError
from dreamprm.data import read_candidate_records, read_meta_records
from dreamprm.data.json_stream import stream_json


def rows(count: int, bad: int) -> list[dict[str, object]]:
    good = {"question": "q", "steps": ["s"], "correct": True}
    return [good | ({"correct": "yes"} if number == bad else {}) for number in range(1, count + 1)]


def read(path: Path) -> None:
    list(read_meta_records(path, allow_no_image=True))


def test_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(rows(20, 17)))
    with pytest.raises(DataError, match=r"m\.json: element 17: field 'correct': got 'yes'"):
        read(path)
    path.write_text(json.dumps([*rows(2, 0), 3]))
    with pytest.raises(DataError, match=r"m\.json: element 3: the record: got 3"):
        read(path)


def test_several_on_each_of_several_lines(tmp_path: Path) -> None:
    texts = [json.dumps(row) for row in rows(6, 4)]
    path = tmp_path / "m.json"
    path.write_text("[" + texts[0] + ",\n" + ", ".join(texts[1:4]) + ",\n" + ",\n".join(texts[4:]) + "]")
    assert [(row.line, row.element) for row in stream_json(path)] == [
        (1, None), (2, 2), (2, 3), (2, 4), (3, None), (4, None)
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"m\.json:2: element 4: field 'correct'"):
        read(path)


def test_one_on_each_line_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(rows(3, 2), indent=1))
    with pytest.raises(DataError, match=r"m\.json:9: field 'correct'"):
        read(path)


def test_a_broken_value_and_a_nested_one(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(rows(3, 0)).replace('"correct": true}]', '"correct": tru}]'))
    with pytest.raises(DataError, match=r"m\.json:1: element 3: broken JSON array"):
        read(path)
    candidates = {
        "question": "q",
        "benchmark": "b",
        "answer": "a",
        "candidates": [{"text": "t"}, {"text": 5}],
    }
    path.write_text(json.dumps([candidates, candidates]))
    with pytest.raises(DataError, match=r"m\.json: element 1: field 'candidates\[1\]\.text': got 5"):
        list(read_candidate_records(path, allow_no_image=True))


def test_ids_of_records_without_one_differ(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(rows(3, 0)))
    assert [record.id for record in read_meta_records(path, allow_no_image=True)] == [
        "m.json#1",
        "m.json#2",
        "m.json#3",
    ]
