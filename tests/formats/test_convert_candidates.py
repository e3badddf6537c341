"""Candidate records from and to other projects' prediction files."""

from __future__ import annotations

import base64
import builtins
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import Candidate, CandidateRecord, read_candidate_records
from dreamprm.formats.convert import convert_file
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.registry import FORMATS
from dreamprm.formats.table_files import read_cells
from dreamprm.formats.writers import write_cells

mathv, vlmevalkit = FORMATS["mathv"], FORMATS["vlmevalkit"]

QUESTIONS = [
    {"id": "4", "question": "How many?\n<image1>", "options": [], "answer": "6", "image": "i.png"},
    {"id": "5", "question": "Which?", "options": ["x", "y"], "answer": "B", "image": "gone.png"},
    {"id": "6", "question": "Which cat?", "options": ["A", "B"], "answer": "A", "image": "i.png"},
]
TEXT = "I look.\n\nIt is \\boxed{6}."


def output(id: str, **change: Any) -> dict[str, Any]:
    row = {"id": id, "model": "m", "response": TEXT, "model_answer": "6", "correct": True}
    return row | change


def written(folder: Path, name: str, rows: list[Any]) -> Path:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return folder / name


def test_mathv_outputs_of_models_are_grouped_by_question(folder: Path) -> None:
    questions = written(folder, "testmini.jsonl", QUESTIONS)
    written(
        folder, "outputs/b.jsonl", [output("5"), output("4", correct=False, response="5", model_answer="5")]
    )
    bare = {"id": "4", "response": "Step 1: It is.\n\nThen so.\n\nStep 2: Add.\n\nFinal answer: 7"}
    written(folder, "outputs/a.jsonl", [bare, output("4", model=None)])
    records = list(mathv.read(folder / "outputs", questions=questions))
    parts = ("I look.", "It is \\boxed{6}.")
    first = Candidate(TEXT, parts, "6", True, None)
    assert records == [
        CandidateRecord(
            question="How many?",
            images=(str(folder / "i.png"),),
            benchmark="MATH-V",
            answer="6",
            candidates=(
                Candidate(
                    bare["response"],
                    ("Step 1: It is.\n\nThen so.", "Step 2: Add.\n\nFinal answer: 7"),
                    "7",
                    None,
                    "a",
                ),
                first,
                Candidate("5", ("5",), "5", False, "m"),
            ),
            id="4",
        ),
        CandidateRecord(
            "Which?\nOptions:\n(A) x\n(B) y",
            ("gone.png",),
            "MATH-V",
            "B",
            (Candidate(TEXT, parts, "6", True, "m"),),
            "5",
        ),
    ]
    (split,) = mathv.read(
        written(folder, "one.jsonl", [bare]), questions=questions, split="headings", benchmark="mini"
    )
    assert split.benchmark == "mini" and len(split.candidates[0].steps) == 2


@pytest.mark.parametrize("image", ("../secret.png", "/secret.png", "link/secret.png"))
def test_mathv_names_no_image_outside_its_folder(folder: Path, image: str) -> None:
    (folder / "in").mkdir()
    (folder / "in/link").symlink_to(folder)
    (folder / "secret.png").write_bytes(b"")
    questions = written(folder, "in/testmini.jsonl", [QUESTIONS[0] | {"image": image}])
    source = written(folder, "one.jsonl", [output(str(QUESTIONS[0]["id"]))])
    with pytest.raises(DataError, match="'image'.*inside its folder.*leads out of.*allow_outside=true"):
        list(mathv.read(source, questions=questions))
    assert list(mathv.read(source, questions=questions, allow_outside=True))


def test_mathv_comes_back_as_it_was(folder: Path) -> None:
    questions = written(folder, "testmini.jsonl", QUESTIONS)
    rows = [output("4"), output("4", model="n", correct=None, model_answer="7"), output("6")]
    source = written(folder, "all.jsonl", rows)
    records = list(mathv.read(source, questions=questions))
    mathv.write(records, folder / "back.jsonl")
    assert [json.loads(line) for line in (folder / "back.jsonl").read_text().splitlines()] == rows
    assert list(mathv.read(folder / "back.jsonl", questions=questions)) == records
    mathv.write(records[:1], folder / "n.jsonl", generator="n")
    assert json.loads((folder / "n.jsonl").read_text()) == rows[1]
    with pytest.raises(DataError, match="record 6 has no candidate of generator 'n'; it has 'm'"):
        mathv.write(records, folder / "n.jsonl", generator="n")


def test_mathv_errors(folder: Path) -> None:
    questions = written(folder, "testmini.jsonl", QUESTIONS)
    source = written(folder, "m.jsonl", [output("4"), output("99")])
    with pytest.raises(UserError, match=r"needs the questions: give questions=.*testmini\.jsonl"):
        list(mathv.read(source))
    with pytest.raises(DataError, match=r"m\.jsonl:2: field 'id': got '99'.*other_questions=skip"):
        list(mathv.read(source, questions=questions))
    report = ConvertReport()
    kept = mathv.read(source, questions=questions, other_questions="skip", report=report)
    assert [r.id for r in kept] == ["4"]
    left_out = "an answer to a question that is not in the questions file"
    assert (report.rows, report.not_chosen) == (2, {left_out: 1})
    with pytest.raises(UserError, match="other_questions must be one of error, skip, got 'x'"):
        list(mathv.read(source, questions=questions, other_questions="x"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="split must be one of"):
        list(mathv.read(source, questions=questions, split="x"))
    with pytest.raises(DataError, match=r"m\.jsonl:1: field 'response': got ' '"):
        list(mathv.read(written(folder, "m.jsonl", [output("4", response=" ")]), questions=questions))
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no \.jsonl file"):
        list(mathv.read(folder / "empty", questions=questions))
    bad = written(folder, "q.jsonl", [QUESTIONS[0] | {"answer": None}])
    with pytest.raises(
        DataError,
        match=r"q\.jsonl:1: field 'answer': got None; allowed: a text that is not empty, or a number",
    ):
        list(mathv.read(source, questions=bad))


# VLMEvalKit.

COLUMNS = ["index", "question", "hint", "A", "B", "answer", "prediction", "category", "hit", "res"]
ROWS: list[dict[str, Any]] = [
    {
        "index": 7,
        "question": "Which?",
        "A": "None",
        "B": "1.50",
        "answer": "B",
        "prediction": "It is so.\n\nB",
    },
    {
        "index": 8,
        "question": "How\tmany?",
        "hint": "Count.",
        "answer": "=6",
        "prediction": "It is 6",
        "hit": 1,
    },
]


def table(path: Path, rows: list[dict[str, Any]], columns: list[str] = COLUMNS) -> Path:
    write_cells(path, columns, rows)
    return path


def test_texts_are_held_once_as_the_file_has_them(folder: Path) -> None:
    """Python's own form of a text with one character beyond the BMP takes four bytes a character."""
    texts = [f"{k} is \U0001d465.\n\n" + "So it is. " * 200 for k in range(1000)]
    source = written(folder, "wide.jsonl", [{"id": k % 20, "response": text} for k, text in enumerate(texts)])
    rows = [{"id": k, "question": "q", "answer": "6"} for k in range(20)]
    questions = written(folder, "wide_questions.jsonl", rows)
    list(mathv.read(source, questions=questions))  # what is imported and compiled on use
    tracemalloc.start()
    records = mathv.read(source, questions=questions)
    first = next(records)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [one.text for one in first.candidates] == texts[::20]
    assert first.candidates[0].steps == tuple(texts[0].strip().split("\n\n"))
    # All in UTF-8, 2 MB, and the 50 of the one record in Python's form; that of all takes 10 MB.
    assert held < 2 * sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize("ending", [".xlsx", ".tsv", ".csv", ".json"])
def test_vlmevalkit_files_of_models_are_grouped_by_index(tmp_path: Path, ending: str) -> None:
    table(tmp_path / f"Qwen2-VL_2B_MMStar{ending}", ROWS)
    table(tmp_path / f"GPT_MMStar{ending}", [ROWS[1] | {"hit": 0, "res": "12"}])
    table(tmp_path / f"GPT_MMStar_V2{ending}", [{"index": 9}])
    first = CandidateRecord(
        question="Count.\nHow\tmany?",
        images=(),
        benchmark="MMStar",
        answer="=6",
        candidates=(
            Candidate("It is 6", ("It is 6",), "12", False, "GPT"),
            Candidate("It is 6", ("It is 6",), None, True, "Qwen2-VL_2B"),
        ),
        id="8",
    )
    second = CandidateRecord(
        "Which?\nOptions:\n(A) None\n(B) 1.50",
        (),
        "MMStar",
        "B",
        (Candidate("It is so.\n\nB", ("It is so.", "B"), None, None, "Qwen2-VL_2B"),),
        "7",
    )
    assert list(vlmevalkit.read(tmp_path, benchmark="MMStar")) == [first, second]
    pattern = tmp_path / f"Qwen*_MMStar{ending}"
    assert [r.id for r in vlmevalkit.read(pattern, benchmark="MMStar")] == ["7", "8"]
    (whole,) = vlmevalkit.read(tmp_path / f"GPT_MMStar{ending}", benchmark="MMStar", split="whole")
    assert whole.candidates == first.candidates[:1]


@pytest.mark.parametrize("ending", [".xlsx", ".tsv", ".csv", ".json"])
def test_vlmevalkit_comes_back_as_it_was(tmp_path: Path, ending: str) -> None:
    def record(id: str, *candidates: Candidate, images: tuple[str, ...] = ()) -> CandidateRecord:
        return CandidateRecord("why\n(A) 1", images, "B", "A", candidates, id)

    one = Candidate("=1\n\nA", ("=1", "A"), "A", True, "m")
    two = Candidate("B", ("B",), "B", None, "m")
    other = Candidate("C", ("C",), "C", False, "n")
    records = [record("1", one, two, images=("a.png", "b.png")), record("x-2", two, one, images=("c.png",))]
    for sample in (0, 1):
        vlmevalkit.write(records, tmp_path / f"m_B{ending}", sample=sample)
        back = list(vlmevalkit.read(tmp_path / f"m_B{ending}", benchmark="B"))
        assert [r.candidates for r in back] == [(r.candidates[sample],) for r in records]
        assert [(r.id, r.question, r.images, r.answer) for r in back] == [
            (r.id, r.question, r.images, r.answer) for r in records
        ]
    assert next(read_cells(tmp_path / f"m_B{ending}")).values["index"] in (1, "1")
    mixed = record("1", one, other)
    with pytest.raises(DataError, match="record 1 has candidates of 'm', 'n'.* generator="):
        vlmevalkit.write([mixed], tmp_path / f"o{ending}")
    with pytest.raises(DataError, match="record 1 has 1 candidates of generator 'n', none with sample=1"):
        vlmevalkit.write([mixed], tmp_path / f"o{ending}", generator="n", sample=1)
    with pytest.raises(UserError, match="sample must be >= 0, got -1"):
        vlmevalkit.write([mixed], tmp_path / f"o{ending}", sample=-1)
    vlmevalkit.write([mixed], tmp_path / f"n_B{ending}", generator="n")
    assert next(vlmevalkit.read(tmp_path / f"n_B{ending}", benchmark="B")).candidates == (other,)


@pytest.mark.parametrize(
    ("cells", "min_score", "correct"),
    [
        ({"hit": "True"}, None, True),
        ({"hit": "0.0", "score": 1}, None, False),
        ({"score": "1"}, None, True),
        ({"score": "0.4"}, 0.5, False),
        ({"score": "0.5"}, 0.5, True),
        ({}, 0.5, None),
    ],
)
def test_vlmevalkit_correct(
    tmp_path: Path, cells: Any, min_score: float | None, correct: bool | None
) -> None:
    path = table(tmp_path / "m_B_result.tsv", [ROWS[0] | cells], [*COLUMNS, "score"])
    (record,) = vlmevalkit.read(path, benchmark="B", min_score=min_score)
    assert (record.candidates[0].correct, record.candidates[0].generator) == (correct, "m")


@pytest.mark.parametrize(
    "cells, min_score, correct, credit",
    [
        ({"score": "0.4"}, None, False, 0.4),
        ({"score": 0.5}, None, True, 0.5),
        ({"score": "0.5"}, 0.6, False, 0.5),
        ({"score": "0.3", "hit": "1"}, None, True, 0.3),
        ({"score": 1}, None, True, 1.0),
        ({"score": 0}, None, False, 0.0),
        ({"score": None}, None, None, None),
    ],
)
@pytest.mark.parametrize("ending", [".xlsx", ".tsv", ".json"])
def test_vlmevalkit_grades(
    tmp_path: Path,
    ending: str,
    cells: Any,
    min_score: float | None,
    correct: bool | None,
    credit: float | None,
) -> None:
    row = {key: value for key, value in ROWS[0].items() if key not in ("hit", "score")} | cells
    path = table(tmp_path / f"m_B{ending}", [row], [*COLUMNS, "score"])
    (record,) = vlmevalkit.read(path, benchmark="B", min_score=min_score, graded=True)
    assert (record.candidates[0].correct, record.candidates[0].credit) == (correct, credit)


@pytest.mark.parametrize(
    "cells, message",
    [
        ({"score": "7"}, r"'score': got '7'; allowed: a grade in \[0, 1\] \(graded=true\)"),
        ({"score": "good"}, "'score': got 'good'; allowed: a grade in"),
        ({"score": "nan"}, "allowed: a grade in"),
        (
            {"score": "0", "hit": "1"},
            "'score': got '0'; allowed: a grade that fits 'hit' or min_score: a right answer",
        ),
        ({"score": "1", "hit": "0"}, "a wrong answer .correct=false. earns less than 1"),
    ],
)
def test_vlmevalkit_bad_grades(tmp_path: Path, cells: Any, message: str) -> None:
    path = table(tmp_path / "m_B.tsv", [ROWS[0] | cells], [*COLUMNS, "score"])
    with pytest.raises(DataError, match=message):
        list(vlmevalkit.read(path, benchmark="B", graded=True))


def test_vlmevalkit_writes_grades(tmp_path: Path) -> None:
    def record(id: str, credit: float | None) -> CandidateRecord:
        correct = None if credit is None else credit > 0.1
        candidate = Candidate("t", ("t",), "A", correct, "m", {}, credit)
        return CandidateRecord("q", (), "B", "A", (candidate,), id)

    records = [record("1", 0.1 + 0.2), record("2", None), record("3", 0.1)]
    vlmevalkit.write(records, tmp_path / "m_B.tsv")
    back = list(vlmevalkit.read(tmp_path / "m_B.tsv", benchmark="B", graded=True))
    assert back == records
    vlmevalkit.write([record("2", None)], tmp_path / "m_B.tsv")
    assert "score" not in (tmp_path / "m_B.tsv").read_text()
    with pytest.raises(UserError, match="graded must be true or false, got 'yes'"):
        list(vlmevalkit.read(tmp_path / "m_B.tsv", benchmark="B", graded="yes"))  # type: ignore[arg-type]


def test_vlmevalkit_failures_are_no_answers(tmp_path: Path) -> None:
    """What VLMEvalKit writes where a server gave nothing must not count as a wrong answer."""
    failed = "Failed to obtain answer via API."
    rows = [ROWS[0], ROWS[1] | {"prediction": failed}]
    path = table(tmp_path / "m_MMStar.tsv", rows)
    with pytest.raises(DataError, match="field 'prediction': got 'Failed to obtain answer via API.'"):
        list(vlmevalkit.read(path, benchmark="MMStar"))
    report = ConvertReport()
    (record,) = vlmevalkit.read(path, benchmark="MMStar", empty="skip", report=report)
    assert (record.id, len(record.candidates)) == ("7", 1)
    reason = "no answer: the prediction is empty or reports a failure"
    assert report.lines() == [f"left out 1 of 2: {reason}"]


def test_vlmevalkit_files_of_one_model_with_two_endings(tmp_path: Path) -> None:
    for ending in (".tsv", ".json"):
        table(tmp_path / f"m_MMStar{ending}", ROWS)
    with pytest.raises(UserError, match="holds m_MMStar with several endings"):
        list(vlmevalkit.read(tmp_path, benchmark="MMStar"))


def test_vlmevalkit_thinking_and_extracted_answers(tmp_path: Path) -> None:
    row = ROWS[0] | {"thinking": "I look.\n\nI see.", "extracted": "B", "res": "A"}
    path = table(tmp_path / "m_B.tsv", [row], [*COLUMNS, "thinking", "extracted"])
    (record,) = vlmevalkit.read(path, benchmark="B")
    (candidate,) = record.candidates
    assert candidate == Candidate(
        "I look.\n\nI see.\n\nIt is so.\n\nB", ("I look.", "I see.", "It is so.", "B"), "B", None, "m"
    )


def test_vlmevalkit_images_come_from_the_questions(folder: Path) -> None:
    encoded = base64.b64encode((folder / "i.png").read_bytes()).decode()
    columns = ["index", "question", "answer", "image", "image_path"]
    rows = [
        {"index": 1, "question": "q1", "answer": "a", "image": encoded},
        {"index": 1000001, "question": "q1", "answer": "b", "image": "1"},
        {"index": 2, "question": "q2", "answer": "a", "image": json.dumps([encoded, encoded])},
        {"index": 3, "question": "q3", "answer": "a", "image_path": "['i.png', 'gone.png']"},
        {"index": 4, "question": "q4", "answer": "a"},
    ]
    questions = table(folder / "B.tsv", rows, columns)
    predictions = [{"index": row["index"], "prediction": "x"} for row in rows]
    source = table(folder / "m_B.xlsx", predictions, ["index", "prediction"])
    done = convert_file("vlmevalkit", source, folder / "out.jsonl", benchmark="B", questions=str(questions))
    assert done.records == 5
    (stored,) = (folder / "out_images").iterdir()
    assert stored.read_bytes() == (folder / "i.png").read_bytes()
    records = list(read_candidate_records(folder / "out.jsonl", allow_no_image=True, missing_image="keep"))
    image = f"out_images/{stored.name}"
    assert [record.images for record in records] == [
        (image,),
        (image,),
        (image, image),
        ("i.png", "gone.png"),
        (),
    ]
    with pytest.raises(DataError, match=r"field 'images': got \[\]; allowed: an image path"):
        list(read_candidate_records(folder / "out.jsonl", missing_image="text_only"))
    with pytest.raises(UserError, match="set image_folder"):
        list(vlmevalkit.read(source, benchmark="B", questions=questions))
    late = table(folder / "m_B.tsv", [*predictions, {"index": 5, "prediction": "x"}], ["index", "prediction"])
    with pytest.raises(
        DataError, match=r"m_B\.tsv:7: field 'index': got '5'; allowed: an index in the quest"
    ):
        list(vlmevalkit.read(late, benchmark="B", questions=questions, image_folder=folder / "new"))
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": None}, "'index': got None; allowed: the question's index"),
        ({"question": None}, "'question': got None"),
        ({"answer": None}, "'answer': got None; allowed: the reference answer"),
        ({"prediction": None}, r"'prediction': got None; allowed: an answer \(empty=skip"),
        ({"prediction": "  "}, "'prediction': got '  '"),
        ({"A": None}, "'A': got None; allowed: an option, since a later column has one"),
        ({"hit": "0.5"}, "'hit': got '0.5'; allowed: 0 or 1"),
        ({"hit": "yes"}, "'hit': got 'yes'; allowed: 0 or 1, or a number"),
        ({"score": "0.5"}, "'score': got '0.5'; allowed: 0 or 1; set min_score"),
        ({"image": "!" * 100}, "'image': got .*; allowed: the bytes of an image file in base64"),
        ({"image": "x" * 100}, "'image': got '75 bytes'; allowed: bytes of an image file"),
        ({"image": "[1]"}, r"'image': got '\[1\]'; allowed: a list of non-empty texts"),
        ({"image": "[1"}, r"'image': got '\[1'; allowed: a text, or a list of texts"),
        (
            {"index": 7, "question": "Who?"},
            r"'question': got 'Who\?\\nOptions.*; allowed: the same question as in other",
        ),
    ],
)
def test_vlmevalkit_errors(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = [ROWS[0], ROWS[0] | {"index": 70} | change]
    path = table(tmp_path / "m_B.tsv", rows, [*COLUMNS, "score", "image"])
    with pytest.raises(DataError, match=rf"m_B\.tsv:5: field {message}"):
        list(vlmevalkit.read(path, benchmark="B", image_folder=tmp_path / "images"))


def test_a_score_that_is_no_number_is_not_wrong_in_silence(tmp_path: Path) -> None:
    path = table(tmp_path / "m_B.tsv", [ROWS[0] | {"score": "nan"}], [*COLUMNS, "score"])
    with pytest.raises(DataError, match=r"m_B\.tsv:2: field 'score': got 'nan'; allowed: 0 or 1, or"):
        list(vlmevalkit.read(path, benchmark="B", min_score=0.5))


def test_vlmevalkit_settings(tmp_path: Path) -> None:
    path = table(tmp_path / "m_B.tsv", [ROWS[0], ROWS[1] | {"prediction": None}])
    report = ConvertReport()
    assert [r.id for r in vlmevalkit.read(path, benchmark="B", empty="skip", report=report)] == ["7"]
    assert (report.rows, list(report.not_chosen.values())) == (2, [1])
    with pytest.raises(UserError, match="needs the benchmark's name: give benchmark=MMStar"):
        list(vlmevalkit.read(path))
    with pytest.raises(UserError, match="empty must be one of error, skip, got 'x'"):
        list(vlmevalkit.read(path, benchmark="B", empty="x"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"no prediction file of C at .*; expected: MODEL_C\.xlsx"):
        list(vlmevalkit.read(tmp_path, benchmark="C"))
    with pytest.raises(UserError, match=r"no such file: .*absent\.xlsx"):
        list(vlmevalkit.read(tmp_path / "absent.xlsx", benchmark="B"))
    (tmp_path / "m.pkl").touch()
    with pytest.raises(UserError, match=r"table: '\.pkl'; allowed: \.xlsx, \.tsv, \.csv, \.json"):
        list(vlmevalkit.read(tmp_path / "m.pkl", benchmark="B"))
    with pytest.raises(UserError, match="min_score must be a number or null, got 'high'"):
        list(vlmevalkit.read(path, benchmark="B", min_score="high"))  # type: ignore[arg-type]


# Tables of cells.


@pytest.mark.parametrize("ending", [".xlsx", ".tsv", ".csv", ".json"])
def test_cells_come_back(tmp_path: Path, ending: str) -> None:
    texts = ["NA", "None", "=SUM(A1)", "1.50", 'a\tb\n"c"', "\u00e9", "007"]
    rows = [{"t": text, "n": k, "x": 0.5 if k else None} for k, text in enumerate(texts)]
    write_cells(tmp_path / f"o{ending}", ["t", "n", "x"], rows)
    back = [fields.values for fields in read_cells(tmp_path / f"o{ending}")]
    assert [row["t"] for row in back] == texts
    assert [str(row["n"]) for row in back] == [str(k) for k in range(7)]
    assert back[0]["x"] is None and float(back[1]["x"]) == 0.5


@pytest.mark.parametrize("ending", [".tsv", ".csv"])
def test_a_cell_may_be_as_long_as_an_image_and_the_file_may_start_with_a_mark(
    tmp_path: Path, ending: str
) -> None:
    image = "x" * 3_000_000
    write_cells(tmp_path / f"o{ending}", ["index", "image"], [{"index": 1, "image": image}])
    marked = tmp_path / f"m{ending}"
    marked.write_bytes(b"\xef\xbb\xbf" + (tmp_path / f"o{ending}").read_bytes())
    (row,) = read_cells(marked)
    assert row.values == {"index": "1", "image": image}


def test_cells_that_xlsx_cannot_hold(tmp_path: Path) -> None:
    message = "row 2, column t: 32768 characters, but an .xlsx cell holds at most 32767"
    with pytest.raises(DataError, match=message):
        write_cells(tmp_path / "o.xlsx", ["t"], [{"t": "x" * 32768}])
    with pytest.raises(DataError, match="row 2, column t: contains a control character"):
        write_cells(tmp_path / "o.xlsx", ["t"], [{"t": "\x01"}])


def test_broken_tables(tmp_path: Path) -> None:
    for ending, message in ((".xlsx", ": cannot be read as .xlsx"), (".tsv", ":1: no column names")):
        (tmp_path / f"o{ending}").write_text("")
        with pytest.raises(DataError, match=re.escape(f"o{ending}{message}")):
            list(read_cells(tmp_path / f"o{ending}"))
    (tmp_path / "short.tsv").write_text('a\tb\n"1\n2"\t3\n4\n')
    with pytest.raises(DataError, match=r"short\.tsv:4: got 1 cells for 2 columns"):
        list(read_cells(tmp_path / "short.tsv"))
    (tmp_path / "latin.csv").write_bytes(b"a,b\n1,2\n\xe9,3\n")
    with pytest.raises(DataError, match=r"latin\.csv:3: not UTF-8 text"):
        list(read_cells(tmp_path / "latin.csv"))
    (tmp_path / "nan.json").write_text('[{"a": NaN, "b": 2}]')
    assert [fields.values for fields in read_cells(tmp_path / "nan.json")] == [{"a": None, "b": 2}]
    with pytest.raises(UserError, match="no such file"):
        list(read_cells(tmp_path / "absent.tsv"))


def test_xlsx_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cells(tmp_path / "o.xlsx", ["t"], [{"t": "x"}])
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "openpyxl":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for use in (
        lambda: list(read_cells(tmp_path / "o.xlsx")),
        lambda: write_cells(tmp_path / "p.xlsx", [], []),
    ):
        with pytest.raises(UserError, match=r"need openpyxl: pip install 'dreamprm\[xlsx\]', or use \.tsv"):
            use()


def test_flags_of_a_file_are_compared_with_our_verdicts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All flags say wrong, and the answers are right: a file of other questions looks like this."""
    questions = written(folder, "testmini.jsonl", QUESTIONS)
    rows = [output("4", correct=False, response=f"So \\boxed{{6}}. {k}", model_answer="6") for k in range(3)]
    rows.append(output("4", correct=False, response="I cannot see it.", model_answer=None))
    source = written(folder, "m.jsonl", rows)
    done = convert_file("mathv", source, folder / "o.jsonl", questions=questions)
    line, listed = done.flags
    assert "0 agree, 3 disagree, 1 undecided" in line and "right by its flags 0.0%, by ours 75.0%" in line
    assert "far apart: check that the questions are those of these answers" in line
    assert listed == f"{folder}/o_disagreements.jsonl: 3 disagreements"
    found = [json.loads(text) for text in (folder / "o_disagreements.jsonl").read_text().splitlines()]
    assert [(row["published"], row["ours"], row["extracted"]) for row in found] == [
        ("wrong", "right", "6")
    ] * 3


def test_bad_rows_of_candidate_formats_may_be_skipped(folder: Path) -> None:
    questions = written(folder, "testmini.jsonl", [*QUESTIONS, QUESTIONS[0] | {"id": "9", "answer": None}])
    rows = [output("4"), output("4", response=7), output("9"), output("5")]
    source = written(folder, "m.jsonl", rows)
    with pytest.raises(DataError, match=r"testmini\.jsonl:4: field 'answer'"):
        list(mathv.read(source, questions=questions))
    report = ConvertReport()
    records = list(
        mathv.read(source, report=report, questions=questions, on_error="skip", max_bad_fraction=0.5)
    )
    assert [len(record.candidates) for record in records] == [1, 1]
    assert (report.bad, report.not_chosen) == (2, {"an answer to a question that was left out": 1})
