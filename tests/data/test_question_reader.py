"""Question records: what is read, what is refused, and that writing is the inverse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError
from dreamprm.data import QuestionRecord, ReadReport, read_question_records, write_records

BASE = {"question": "How many?", "answer": "7"}


def _read(tmp_path: Path, *rows: Any, **settings: Any) -> list[QuestionRecord]:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(read_question_records(path, **{"allow_no_image": True, **settings}))


def test_a_question_without_more_than_it_needs(tmp_path: Path) -> None:
    assert _read(tmp_path, BASE, BASE) == [
        QuestionRecord("How many?", (), "7", (), "sums", None, None, None, f"sums-{k}") for k in (1, 2)
    ]


def test_rows_of_an_array_on_one_line_have_different_ids(tmp_path: Path) -> None:
    path = tmp_path / "sums.json"
    path.write_text(json.dumps([BASE, BASE]))
    assert [r.id for r in read_question_records(path, allow_no_image=True)] == ["sums-1", "sums-2"]


def test_everything_that_a_question_can_say(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (record,) = _read(
        tmp_path,
        {
            **BASE,
            "id": 3,
            "image": "a.png",
            "domain": "d",
            "answer": 1.5,
            "answer_type": "float",
            "precision": 1,
            "unit": "cm",
        },
        allow_no_image=False,
    )
    assert record == QuestionRecord(
        "How many?", (str(tmp_path / "a.png"),), "1.5", (), "d", "float", 1, "cm", "3"
    )
    assert (record.image, record.letters) == (str(tmp_path / "a.png"), ())
    assert _read(tmp_path, {**BASE, "domain": "own"}, domain="given")[0].domain == "given"


@pytest.mark.parametrize(
    ("answer", "options", "letter"),
    [
        ("B", ["x", "y"], "B"),
        ("b", ["x", "y"], "B"),
        ("(B)", ["x", "y"], "B"),
        (" y ", ["x", "y"], "B"),
        (7, ["5", "7"], "B"),
        ("A", ["A", "B"], "A"),
        # Options that are letters out of order: the text decides, and brackets say that the letter is meant.
        ("B", ["B", "C", "A"], "A"),
        ("(B)", ["B", "C", "A"], "B"),
    ],
)
def test_an_answer_with_options_becomes_a_letter(
    answer: Any, options: list[str], letter: str, tmp_path: Path
) -> None:
    (record,) = _read(tmp_path, {**BASE, "answer": answer, "options": options})
    assert (record.answer, record.letters) == (letter, tuple("ABC"[: len(options)]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": None}, "field 'answer': got None; allowed: a text that is not empty, or a number"),
        ({"answer": " "}, "field 'answer': got ' '"),
        ({"answer": True}, "field 'answer': got True"),
        ({"answer": "z", "options": ["x", "y"]}, "the text of one option, or one of the letters A, B"),
        ({"answer": "C", "options": ["x", "y"]}, "one of the letters A, B"),
        ({"answer": "x", "options": ["x", "x"]}, "one of the letters A, B"),
        ({"options": ["x"] * 27}, "field 'options': got '27 options'; allowed: at most 26 options"),
        ({"answer_type": "list"}, "field 'answer_type': got 'list'; allowed: one of choice, integer"),
        ({"answer_type": "choice"}, "'choice' needs 'options'"),
        ({"precision": -1}, "field 'precision': got -1; allowed: a whole number of decimals >= 0, or null"),
        ({"precision": 1.5}, "field 'precision': got 1.5"),
        ({"question": ""}, "field 'question': got ''"),
    ],
)
def test_a_bad_field_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        _read(tmp_path, BASE, {**BASE, **changes})
    assert f"sums.jsonl:2: {message}" in str(error.value) or message in str(error.value)
    assert "sums.jsonl:2" in str(error.value)
    report = ReadReport()
    rows = [BASE, {**BASE, **changes}]
    assert len(_read(tmp_path, *rows, on_error="skip", max_bad_fraction=0.5, report=report)) == 1
    assert report.bad == 1


def test_an_image_is_needed_unless_told_otherwise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="allow_no_image"):
        _read(tmp_path, BASE, allow_no_image=False)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    image = str(tmp_path / "a.png")
    records = [
        QuestionRecord("q", (image,), "B", ("x", "y"), "d", "choice", None, None, "1"),
        QuestionRecord("q", (image, image), "1.50", (), "d", "float", 2, "cm", "2"),
        QuestionRecord("q", (), "A", ("B", "C", "A"), "d", None, None, None, "3"),
        QuestionRecord("q", (), "B", ("B", "C", "A"), "d", None, None, None, "4"),
    ]
    path = tmp_path / "written.jsonl"
    assert write_records(path, records) == 4
    assert list(read_question_records(path, allow_no_image=True)) == records
