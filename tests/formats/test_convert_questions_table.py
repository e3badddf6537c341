"""Questions from any local table: its kinds of files, the field map, images inside of it."""

from __future__ import annotations

import base64
import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from question_layouts import colour_of, embedded, picture, put_json, put_parquet, put_picture
from shared_data import shared_file

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import QuestionRecord, read_question_records, write_records
from dreamprm.data.fields import Fields
from dreamprm.data.records import to_json
from dreamprm.formats.convert import convert_file
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.questions.field_map import FieldMap
from dreamprm.formats.table_files import read_table
from dreamprm.formats.writers import write_cells

ROWS = [
    {"id": "a", "question": "1 + 1?", "answer": "2", "split": "train"},
    {"id": "b", "question": 'Say "x,\ny"', "answer": "x", "split": "test"},
]


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def as_json(folder: Path) -> Path:
    return put_json(folder / "t.json", ROWS)


def as_json_lines(folder: Path) -> Path:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def as_csv(folder: Path) -> Path:
    path = folder / "t.csv"
    path.write_text('\ufeffid,question,answer,split\na,1 + 1?,2,train\nb,"Say ""x,\ny""",x,test\n', "utf-8")
    return path


def as_tsv(folder: Path) -> Path:
    path = folder / "t.tsv"
    path.write_text(
        'id\tquestion\tanswer\tsplit\na\t1 + 1?\t2\ttrain\nb\t"Say ""x,\ny"""\tx\ttest\n', "utf-8"
    )
    return path


def as_xlsx(folder: Path) -> Path:
    write_cells(folder / "t.xlsx", list(ROWS[0]), ROWS)
    return folder / "t.xlsx"


def as_parquet(folder: Path) -> Path:
    return put_parquet(folder / "t.parquet", ROWS)


def as_arrow(folder: Path) -> Path:
    path = folder / "t.arrow"
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return path


def as_saved(folder: Path) -> Path:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(folder / "t"))
    return folder / "t"


def as_hub_folder(folder: Path) -> Path:
    put_parquet(folder / "t/data/all-00000-of-00002.parquet", ROWS[:1])
    put_parquet(folder / "t/data/all-00001-of-00002.parquet", ROWS[1:])
    return folder / "t"


KINDS = [as_json, as_json_lines, as_csv, as_tsv, as_xlsx, as_parquet, as_arrow, as_saved, as_hub_folder]


def questions(source: Path, **options: Any) -> list[QuestionRecord]:
    """What our reader finds in the converted table."""
    options = {"without_image": "keep"} | options
    destination = source.parent / "converted.jsonl"
    convert_file("table", source, destination, **options)
    return list(read_question_records(destination, allow_no_image=True, check_images=True))


def one(folder: Path, row: dict[str, Any], **options: Any) -> QuestionRecord:
    """The question of a table of one row."""
    (record,) = questions(put_json(folder / "t.json", [row]), **options)
    return record


def refusal(source: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        questions(source, **options)
    assert not (source.parent / "converted.jsonl").exists()
    return str(caught.value)


@pytest.mark.parametrize("write", KINDS)
def test_every_kind_of_table_gives_the_same_questions(write: Callable[[Path], Path], tmp_path: Path) -> None:
    expected = [
        QuestionRecord(row["question"], (), row["answer"], (), "t", None, None, None, row["id"])
        for row in ROWS
    ]
    assert questions(write(tmp_path), id="id") == expected
    chosen = questions(write(tmp_path / "again"), id="id", where={"split": ["test", "dev"]}, domain="d")
    assert [(record.id, record.domain) for record in chosen] == [("b", "d")]


@pytest.fixture(autouse=True)
def _again(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()


def test_without_ids_rows_are_numbered(tmp_path: Path) -> None:
    assert [record.id for record in questions(as_json(tmp_path))] == ["table-t-1", "table-t-2"]
    chosen = questions(as_json(tmp_path), where={"split": "test"})
    assert [record.id for record in chosen] == ["table-t-2"]  # of the row, whatever is chosen


def test_lines_of_text_tables_and_rows_of_the_others(tmp_path: Path) -> None:
    def lines(path: Path) -> list[tuple[str, int]]:
        rows = list(read_table(path))
        assert all(isinstance(row, Fields) for row in rows)
        return [(row.path.name, row.line) for row in rows if isinstance(row, Fields)]

    assert lines(as_csv(tmp_path)) == [("t.csv", 2), ("t.csv", 3)]
    assert lines(as_parquet(tmp_path)) == [("t.parquet", 1), ("t.parquet", 2)]
    assert lines(as_hub_folder(tmp_path)) == [
        ("all-00000-of-00002.parquet", 1),
        ("all-00001-of-00002.parquet", 1),
    ]


def test_texts_of_a_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("question,answer,unit\nq,1.50,NA\nr,007,\n")
    records = questions(path, unit="unit")
    assert [(record.answer, record.unit) for record in records] == [("1.50", "NA"), ("007", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv:1: no column names"),
        ("question,answer,answer\n", "t.csv:1: column names must be unique; repeated: answer"),
        ("question,answer\nq\n", "t.csv:2: got 1 cells for 2 columns"),
        ('question,answer\nq,a\n"open,b\n', "broken table: unexpected end of data"),
    ],
)
def test_broken_csv(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    assert message in refusal(path)


def test_a_cell_as_long_as_an_image(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = tmp_path / "t.csv"
    path.write_text(f"question,answer,blob\nq,a,{'x' * (limit + 1)}\n")
    assert [record.answer for record in questions(path)] == ["a"] and csv.field_size_limit() == limit


def test_the_array_inside_of_an_object(tmp_path: Path) -> None:
    source = put_json(tmp_path / "t.json", {"info": [], "data": ROWS})
    assert [record.answer for record in questions(source, member="data")] == ["2", "x"]
    (tmp_path / "converted.jsonl").unlink()
    assert "no member 'dat'; it has info, data" in refusal(source, member="dat")
    assert "give only one of them" in refusal(source, member="data", split="train")


def test_rows_that_are_left_out_leave_no_images(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": "a", "i": embedded("red")},
        {"question": "q", "answer": None, "i": embedded("green")},
        {"question": "q", "answer": None, "i": embedded("red")},
    ]
    source = put_parquet(tmp_path / "t.parquet", rows)
    (record,) = questions(source, image="i", on_error="skip", max_bad_fraction=0.7)
    assert [str(path) for path in (tmp_path / "converted_images").iterdir()] == list(record.images)


def test_a_limit_ends_the_reading_but_bad_rows_before_it_are_judged(tmp_path: Path) -> None:
    source = put_json(tmp_path / "t.json", [{"question": "q", "answer": ""}, *ROWS, {"broken": 1}])
    assert [record.id for record in questions(source, on_error="skip", max_bad_fraction=0.5, limit=1)] == [
        "table-t-2"
    ]
    (tmp_path / "converted.jsonl").unlink()
    assert "1 of 2 rows are bad" in refusal(source, on_error="skip", max_bad_fraction=0.4, limit=1)


def test_other_broken_tables(tmp_path: Path) -> None:
    for name, message in [
        ("t.parquet", "cannot be read as parquet"),
        ("t.arrow", "cannot be read as an arrow"),
    ]:
        (tmp_path / name).write_bytes(b"nothing of the kind")
        assert message in refusal(tmp_path / name)
    (tmp_path / "t.jsonl").write_text('{"question": 1}\n{"a"')
    assert "t.jsonl:2: not a JSON object" in refusal(
        tmp_path / "t.jsonl", on_error="skip", max_bad_fraction=0.9
    )
    (tmp_path / "latin.csv").write_bytes(b"question,answer\n\xe9,b\n")
    assert "latin.csv:2: not UTF-8 text" in refusal(tmp_path / "latin.csv")


def test_sources_that_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("x")
    message = refusal(tmp_path / "t.txt")
    assert (
        "unknown ending '.txt'; allowed: .json, .jsonl, .ndjson, .csv, .tsv, .xlsx, .parquet, .arrow, or a"
        in message
    )
    assert "holds neither a saved dataset nor parquet files" in refusal(tmp_path / "again")
    assert "is one file" in refusal(as_json(tmp_path), split="train")
    assert "a single saved dataset without splits" in refusal(as_saved(tmp_path), split="train")


def test_splits_of_saved_datasets(tmp_path: Path) -> None:
    parts = {name: datasets.Dataset.from_list(rows) for name, rows in [("x", ROWS[:1]), ("y", ROWS[1:])]}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "d"))
    assert [record.answer for record in questions(tmp_path / "d", split="y")] == ["x"]
    (tmp_path / "converted.jsonl").unlink()
    assert "set split to one of its splits: x, y" in refusal(tmp_path / "d")


@pytest.mark.parametrize(
    ("row", "options", "texts", "letter"),
    [
        ({"o": ["x", "y"], "answer": "y"}, {"options": "o"}, ("x", "y"), "B"),
        ({"o": ["x", "y"], "answer": "a"}, {"options": "o"}, ("x", "y"), "A"),
        ({"o": ["x", "y"], "answer": "(B)"}, {"options": "o"}, ("x", "y"), "B"),
        ({"o": ["B", "A"], "answer": "B"}, {"options": "o"}, ("B", "A"), "A"),  # a text, not a letter
        ({"o": ["B", "A"], "answer": 0}, {"options": "o", "answer_index": 0}, ("B", "A"), "A"),
        ({"o": ["B", "A"], "answer": 1}, {"options": "o", "answer_index": 0}, ("B", "A"), "B"),
        ({"o": ["x", "y"], "answer": "2"}, {"options": "o", "answer_index": 1}, ("x", "y"), "B"),
        ({"o": [1, 2.5], "answer": 2.5}, {"options": "o"}, ("1", "2.5"), "B"),
        ({"o": "['it\\'s', \"y\"]", "answer": "A"}, {"options": "o"}, ("it's", "y"), "A"),
        ({"o": '["x", "y"]', "answer": "B"}, {"options": "o"}, ("x", "y"), "B"),
        ({"c": {"text": ["x", "y"]}, "answer": "y"}, {"options": "c.text"}, ("x", "y"), "B"),
        ({"A": "x", "B": "y", "C": None, "D": "", "answer": "B"}, {"options": list("ABCD")}, ("x", "y"), "B"),
        ({"o": [], "answer": "7"}, {"options": "o"}, (), "7"),
        ({"o": None, "answer": 7}, {"options": "o", "answer_index": 0}, (), "7"),
        ({"A": None, "B": None, "answer": "z"}, {"options": ["A", "B"]}, (), "z"),
    ],
)
def test_options_and_answers(
    row: dict[str, Any], options: dict[str, Any], texts: tuple[str, ...], letter: str, tmp_path: Path
) -> None:
    record = one(tmp_path, {"question": "q"} | row, **options)
    assert (record.options, record.answer) == (texts, letter)
    assert record.answer_type == ("choice" if texts else None)


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (
            {"o": ["x", "x"], "answer": "x"},
            {"options": "o"},
            "'answer': got 'x'; allowed: the text of one option",
        ),
        ({"o": ["x", "y"], "answer": "C"}, {"options": "o"}, "one of the letters A, B"),
        (
            {"o": ["x", "y"], "answer": 2},
            {"options": "o", "answer_index": 0},
            "got 2; allowed: the number of an option, 0 to 1",
        ),
        (
            {"o": ["x", "y"], "answer": 0},
            {"options": "o", "answer_index": 1},
            "the number of an option, 1 to 2",
        ),
        (
            {"o": ["x", "y"], "answer": True},
            {"options": "o", "answer_index": 0},
            "got True; allowed: the number",
        ),
        ({"o": "x, y", "answer": "x"}, {"options": "o"}, "'o': got 'x, y'; allowed: a list of options"),
        (
            {"o": ["x", None], "answer": "x"},
            {"options": "o"},
            "'o[1]': got None; allowed: a text that is not",
        ),
        ({"o": list(range(27)), "answer": "0"}, {"options": "o"}, "got '27 options'; allowed: at most 26"),
        (
            {"A": None, "B": "y", "answer": "y"},
            {"options": ["A", "B"]},
            "'A': got None; allowed: a text, since",
        ),
        (
            {"A": "x", "answer": "x"},
            {"options": ["A", "B"]},
            "field 'B' is missing; allowed: an option, or null",
        ),
        (
            {"answer": "x", "opts": []},
            {"options": "opt"},
            "field 'opt' is missing; allowed: a list of options, or "
            "null for an open question; the closest field is 'opts'",
        ),
        ({"answer": None}, {}, "field 'answer': got None; allowed: a text that is not empty, or a number"),
        ({"answer": [1]}, {}, "field 'answer': got [1]; allowed"),
        ({"answer": "x", "question": 3}, {}, "field 'question': got 3; allowed: a text that is not empty"),
        ({"answer": "x"}, {"question": "query"}, "field 'query' is missing"),
        (
            {"answer": "x", "p": "1.5"},
            {"precision": "p"},
            "'p': got '1.5'; allowed: a whole number of decimals",
        ),
        (
            {"answer": "x", "t": "choice"},
            {"answer_type": "t"},
            "'t': got 'choice'; allowed: one of choice, integer",
        ),
        ({"answer": "x", "t": "number"}, {"answer_type": "t"}, "'t': got 'number'; allowed"),
        (
            {"answer": "x"},
            {"where": {"split": "a"}},
            "field 'split' is missing; allowed: a field to compare with",
        ),
        (
            {"answer": "x", "i": {"path": 3}},
            {"image": "i"},
            "'i': got {'path': 3}; allowed: an image path, the ",
        ),
        ({"answer": "x", "i": "no.png"}, {"image": "i"}, "an existing image (no such file: "),
        (
            {"answer": "x"},
            {"without_image": "error"},
            "the question has no image; set without_image=skip",
        ),
    ],
)
def test_bad_rows_name_file_row_field_value_and_what_is_allowed(
    row: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    said = refusal(put_json(tmp_path / "t.json", [{"question": "q"} | row]), **options)
    assert f"{tmp_path / 't.json'}:1: " in said and message in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"question": None}, "question must be a text, got None"),
        ({"answer": 3}, "answer must be a text, got 3"),
        ({"options": []}, "options must name at least one field; write null for none"),
        ({"image": ["a", 3]}, "image must be a non-empty text or null, got 3"),
        (
            {"answer_index": 2, "options": "o"},
            "answer_index must be >= 0 and <= 1, got 2",
        ),
        (
            {"answer_index": True, "options": "o"},
            "answer_index must be a whole number >= 0 and <= 1 or null, got True",
        ),
        ({"answer_index": 0}, "answer_index needs options"),
        ({"where": "split=test"}, "where must be a mapping or null, got 'split=test'"),
    ],
)
def test_bad_maps(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        FieldMap(**options)
    assert str(caught.value).startswith(message)


def test_the_other_fields_of_the_map(tmp_path: Path) -> None:
    row = {
        "q": " Why? ",
        "a": 1.5,
        "meta": {"subject": "maths", "unit": "cm"},
        "p": 1.0,
        "kind": "float",
        "n": 7,
    }
    record = one(
        tmp_path,
        row,
        question="q",
        answer="a",
        domain_field="meta.subject",
        unit="meta.unit",
        precision="p",
        answer_type="kind",
        id="n",
    )
    assert record == QuestionRecord("Why?", (), "1.5", (), "maths", "float", 1, "cm", "7")


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"grade": 7}, ["a"]),
        ({"grade": "7"}, ["a"]),
        ({"grade": [7, 8]}, ["a", "b"]),
        ({"grade": None}, ["c"]),
        ({"good": True}, ["a"]),
        ({"good": "false", "grade": 8}, ["b"]),
        ({"meta.k": "v"}, ["b"]),
    ],
)
def test_where_chooses_rows(where: dict[str, Any], kept: list[str], tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": "a", "grade": 7, "good": True},
        {"question": "q", "answer": "b", "grade": 8, "good": False, "meta": {"k": "v"}},
        {"question": "q", "answer": "c", "grade": None, "good": None},
    ]
    assert [record.answer for record in questions(put_json(tmp_path / "t.json", rows), where=where)] == kept


def test_ids_must_differ(tmp_path: Path) -> None:
    source = put_json(tmp_path / "t.json", [{"question": "q", "answer": "a", "k": 1}] * 2)
    assert "a second question has the id 1; ids must be unique" in refusal(source, id="k")


def test_images_of_every_form(tmp_path: Path) -> None:
    put_picture(tmp_path / "pictures/r.png", "red")
    rows = [
        {
            "question": "q",
            "answer": "a",
            "i": embedded("green"),
            "j": None,
            "raw": picture("blue"),
            "more": [],
        },
        {
            "question": "q",
            "answer": "a",
            "i": {"bytes": None, "path": "pictures/r.png"},
            "j": "pictures/r.png",
            "raw": None,
            "more": [embedded("gray"), embedded("green")],
        },
    ]
    records = questions(put_parquet(tmp_path / "t.parquet", rows), image=["i", "j", "raw", "more"])
    colours = [[colour_of(path) for path in record.images] for record in records]
    assert colours == [["green", "blue"], ["red", "red", "gray", "green"]]
    written = sorted((tmp_path / "converted_images").iterdir())
    assert len(written) == 3  # green is written once
    # One that was overwritten is written again, the others are not.
    before = [path.stat().st_ino for path in written]
    written[1].write_bytes(picture("yellow"))
    records = questions(tmp_path / "t.parquet", image=["i", "j", "raw", "more"])
    assert [[colour_of(path) for path in record.images] for record in records] == colours
    assert [path.stat().st_ino == old for path, old in zip(written, before, strict=True)] == [
        True,
        False,
        True,
    ]


def test_images_declared_to_the_library_are_not_decoded(tmp_path: Path) -> None:
    """Bytes are written as they are: decoding and encoding again would lose what a JPEG file holds."""
    kinds = datasets.Features({name: datasets.Value("string") for name in ("question", "answer")})
    kinds["image"] = datasets.Image()
    row = {"question": "q", "answer": "a", "image": {"bytes": picture("red"), "path": None}}
    datasets.Dataset.from_list([row], features=kinds).save_to_disk(str(tmp_path / "t"))
    (record,) = questions(tmp_path / "t", image="image")
    assert Path(record.images[0]).read_bytes() == picture("red")


def test_embedded_images_are_named_by_content_and_ending(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (2, 2), "red").save(tmp_path / "x.jpg", "JPEG")
    row = Fields({"i": (tmp_path / "x.jpg").read_bytes()}, tmp_path / "t.json", line=1)
    (path,) = ImageFolder(folder=tmp_path / "f").take(row, "i")
    assert os.path.dirname(path) == str(tmp_path / "f") and path.endswith(".jpg")
    assert len(Path(path).stem) == 32
    with pytest.raises(UserError, match="contains its images; set image_folder"):
        ImageFolder().take(row, "i")
    bad = Fields({"i": b"GIF89a"}, tmp_path / "t.json", line=4)
    with pytest.raises(
        DataError, match=r"t.json:4: field 'i': got '6 bytes'; allowed: bytes of an image file"
    ):
        ImageFolder(folder=tmp_path / "f").take(bad, "i")


def test_an_image_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    row = Fields({"i": picture("red")}, tmp_path / "t.json", line=1)
    images = ImageFolder(folder=tmp_path / "f")
    with pytest.raises(OSError, match="no space left"):
        images.take(row, "i")
    assert list((tmp_path / "f").iterdir()) == []
    images.discard()
    assert not (tmp_path / "f").exists()


def test_the_first_records_keep_their_images_when_the_reader_wants_no_more(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": "a", "i": embedded("red")},
        {"question": "q", "answer": None, "i": None},
    ]
    source = put_parquet(tmp_path / "t.parquet", rows)
    reading = FieldMap(image="i", image_folder=tmp_path / "f").read(source, ConvertReport())
    record = next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert colour_of(record.images[0]) == "red"
    reading = FieldMap(image="i", image_folder=tmp_path / "g").read(source, ConvertReport())
    next(reading)
    with pytest.raises(DataError, match="field 'answer': got None"):
        next(reading)
    assert not (tmp_path / "g").exists()


def test_base64_is_no_image(tmp_path: Path) -> None:
    """A text is a path: what a table says in another way is told, not guessed."""
    row = {"question": "q", "answer": "a", "i": base64.b64encode(picture("red")).decode()}
    assert "an existing image (no such file" in refusal(put_json(tmp_path / "t.json", [row]), image="i")


@pytest.mark.parametrize(
    ("options", "answer"), [(("B", "A"), "A"), (("B", "A"), "B"), (("C", "B", "A"), "C")]
)
def test_letters_as_options_survive_the_file(options: tuple[str, ...], answer: str, tmp_path: Path) -> None:
    record = QuestionRecord("q", (), answer, options, "d", "choice", None, None, "x")
    write_records(tmp_path / "q.jsonl", [record])
    assert list(read_question_records(tmp_path / "q.jsonl", allow_no_image=True)) == [record]


def test_a_letter_is_written_plainly_where_nothing_can_be_mistaken() -> None:
    def stated(answer: str, *options: str) -> str:
        return str(to_json(QuestionRecord("q", (), answer, options, "d", None, None, None, "x"))["answer"])

    assert [stated("B", "A", "B"), stated("B", "x", "y"), stated("B")] == ["B", "B", "B"]
    assert stated("B", "B", "A") == "(B)"


def test_a_published_table(tmp_path: Path) -> None:
    """MATH-V testmini as its authors publish it: 304 questions, 190 of them with options."""
    source = shared_file("mathvision/testmini.jsonl")
    destination = tmp_path / "questions.jsonl"
    done = convert_file(
        "table", source, destination, options="options", image="image", id="id", domain="MATH-V"
    )
    records = list(read_question_records(destination))
    assert done.records == len(records) == 304
    assert sum(bool(record.options) for record in records) == 190
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    for record, row in zip(records, rows, strict=True):
        assert (record.id, record.options, record.question) == (
            row["id"],
            tuple(row["options"]),
            row["question"],
        )
        assert record.images == (str(source.parent / row["image"]),)
        assert record.answer == row["answer"]


def test_the_command_line_takes_a_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dreamprm.cli import main

    source = as_csv(tmp_path)
    arguments = [
        "convert",
        "format=table",
        f"source={source}",
        f"destination={tmp_path / 'o.jsonl'}",
        "id=id",
        "without_image=keep",
        "where.split=test",
        "domain=mine",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [
        f"wrote 1 question records to {tmp_path / 'o.jsonl'}",
        "left out 1 of 2: split is not test (where)",
    ]
    assert json.loads((tmp_path / "o.jsonl").read_text())["domain"] == "mine"
    assert main([*arguments, "direction=out"]) == 2
    assert "format table can only be read (direction=in)" in capsys.readouterr().err


def test_parts_that_are_numbers_belong_to_the_split_that_their_folder_names(tmp_path: Path) -> None:
    """As the hub's branch refs/convert/parquet has them."""
    for place in ("train/0000", "train/0001", "test/0000"):
        put_parquet(tmp_path / f"hub/default/{place}.parquet", [{"question": place, "answer": "1"}])
    rows = list(read_table(tmp_path / "hub", split="train"))
    assert [row.values["question"] for row in rows if isinstance(row, Fields)] == ["train/0000", "train/0001"]
    (part,) = questions(tmp_path / "hub/default/test/0000.parquet")
    assert (part.id, part.domain) == ("table-test-0000-1", "test-0000")
    with pytest.raises(UserError, match="set split to one of its splits: test, train"):
        list(read_table(tmp_path / "hub"))
