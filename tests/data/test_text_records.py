"""The text pool's file: its rows, and a message for each way in which one can be wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.text_reader import TextRecord, read_text_records


@pytest.mark.parametrize("array", [False, True])
def test_rows_are_texts_with_an_image_or_none(
    write_rows: Callable[..., Path],
    folder: Path,
    array: bool,
) -> None:
    path = write_rows(
        [
            {"text": "two bars", "image": "i.png"},
            {"text": "1 plus 1 equals 2"},
            {"text": "none", "image": None},
        ],
        array=array,
    )
    assert read_text_records(path) == [
        TextRecord("two bars", (str(folder / "i.png"),)),
        TextRecord("1 plus 1 equals 2"),
        TextRecord("none"),
    ]


def test_relative_images_start_from_the_image_root(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    path = write_rows([{"text": "a", "image": "x/i.png"}, {"text": "b", "image": "/elsewhere/j.png"}])
    records = read_text_records(path, image_root=tmp_path / "root")
    assert [record.images for record in records] == [
        (str(tmp_path / "root" / "x" / "i.png"),),
        ("/elsewhere/j.png",),
    ]


@pytest.mark.parametrize(
    "row, message",
    [
        ('{"text": "cut', "2: "),
        (["text"], "2: a row of a text pool must be an object, got list"),
        ({"image": "i.png"}, "2: text must be a text that is not empty, got None"),
        ({"text": "  "}, "2: text must be a text that is not empty, got '  '"),
        ({"text": 5}, "2: text must be a text that is not empty, got 5"),
        ({"text": "a", "image": 3}, "2: image must be a path or absent, got 3"),
        ({"text": "a", "image": ""}, "2: image must be a path or absent, got ''"),
        ({"text": "a", "image": ["i.png"]}, "2: image must be a path or absent, got ['i.png']"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(write_rows: Callable[..., Path], row: Any, message: str) -> None:
    path = write_rows([{"text": "good"}, row])
    with pytest.raises(DataError, match=re.escape(f"{path}:{message}")):
        read_text_records(path)


def test_an_empty_pool_says_what_to_do(write_rows: Callable[..., Path]) -> None:
    path = write_rows([], array=True)
    with pytest.raises(DataError, match=r"rows\.json: the text pool is empty; .*lm_weight=0"):
        read_text_records(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file: .*absent\.jsonl"):
        read_text_records(tmp_path / "absent.jsonl")
