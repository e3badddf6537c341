"""Questions and predictions of any benchmark: several models and samples, what is missing, what is bad."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from published_layouts import encoded, images, mathv_rows, mmstar_rows, save, table
from scripted_judge import ScriptedJudge

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.help import listing
from dreamprm.data import read_candidate_records
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.record_table import write_records
from dreamprm.evaluation.benchmark import scores_with_intervals
from dreamprm.formats.benchmarks import (
    BENCHMARKS,
    build_benchmark,
    check_candidates,
    read_questions,
    to_candidates,
    write_candidates,
)
from dreamprm.formats.benchmarks.candidates import NO_RESPONSE
from dreamprm.formats.benchmarks.scores import scores

MATHV = build_benchmark("mathvision")


@pytest.fixture
def questions(tmp_path: Path):
    images(tmp_path, "images/4.png", "images/5.png")
    return read_questions(MATHV, save(tmp_path / "testmini.jsonl", mathv_rows()))


def outputs(path: Path, *rows: tuple[str, str], **more) -> Path:
    return save(path, [{"id": id, "response": response} | more for id, response in rows])


def test_the_registry() -> None:
    assert [build_benchmark(name).title for name in BENCHMARKS] == [
        "WeMath",
        "MathVista",
        "MATH-V",
        "MM-Vet",
        "MMStar",
        "MMMU",
        "MMMU-Pro",
        "M3CoT",
        "MathVerse",
        "DynaMath",
    ]
    assert all(build_benchmark(name).name == name for name in BENCHMARKS)
    assert "\n    max_tokens: int, >= 4; default 256\n" in listing(BENCHMARKS).partition("\nmmvet: ")[2]
    with pytest.raises(UserError, match="unknown benchmark 'mathvison', did you mean 'mathvision'"):
        build_benchmark("mathvison")
    with pytest.raises(UserError, match="benchmark 'mmstar' has no setting 'rule', did you mean 'rules'"):
        build_benchmark("mmstar", rule="own")


def test_questions_are_question_records(questions, tmp_path: Path) -> None:
    records = [question.record for question in questions]
    write_records(tmp_path / "questions.jsonl", records)
    assert list(read_question_records(tmp_path / "questions.jsonl")) == records


def test_models_and_samples_become_candidates(questions, tmp_path: Path) -> None:
    right, wrong = ("4", "I see.\n\n\\boxed{6}"), ("4", "\\boxed{5}")
    other = ("5", "\\boxed{B}")
    first = outputs(tmp_path / "a/gemini.jsonl", right, wrong, other, other)
    second = outputs(tmp_path / "qwen.jsonl", wrong, other, model="qwen-vl-max")
    done = to_candidates(MATHV, questions, [first, second])
    record = done.records[0]
    assert [(one.generator, one.correct, one.steps) for one in record.candidates] == [
        ("gemini", True, ("I see.\n\n\\boxed{6}",)),
        ("gemini", False, ("\\boxed{5}",)),
        ("qwen-vl-max", False, ("\\boxed{5}",)),
    ]
    assert (record.question, record.answer, record.id) == ("How many?", "6", "mathvision-4")
    assert done.records[1].question == "How long?\nOptions:\n(A) $1: 2$\n(B) $\\frac{\\sqrt{2}}{2}$"
    # The mean over samples is the expected outcome of one.
    assert done.outcomes() == {
        "gemini": {"mathvision-4": 0.5, "mathvision-5": 1.0},
        "qwen-vl-max": {"mathvision-4": 0.0, "mathvision-5": 1.0},
    }
    named = to_candidates(MATHV, questions, {"first": first, "second": second})
    assert list(named.outcomes()) == ["first", "second"]
    assert done.report.verdicts == {
        "gemini": Counter(right=3, wrong=1),
        "qwen-vl-max": Counter(right=1, wrong=1),
    }


def test_thinking_stands_above_the_prediction(tmp_path: Path) -> None:
    rows = [{"index": 0, "question": "How many?", "choices": "[]", "answer": "6"}]
    found = read_questions(MATHV, table(tmp_path / "MathVision.tsv", rows), images="ignore")
    rows = [rows[0] | {"prediction": "\\boxed{6}", "thinking": "I count."}]
    path = table(tmp_path / "M_MathVision.tsv", rows)
    assert to_candidates(MATHV, found, path).records[0].candidates[0].text == "I count.\n\n\\boxed{6}"


def test_empty_responses_are_an_error_or_wrong(questions, tmp_path: Path) -> None:
    path = outputs(tmp_path / "m.jsonl", ("4", ""), ("5", "\\boxed{B}"))
    with pytest.raises(DataError, match=r"m\.jsonl:1: field 'response': got ''; allowed: .*empty=wrong"):
        to_candidates(MATHV, questions, path)
    done = to_candidates(MATHV, questions, path, empty="wrong")
    (candidate,) = done.records[0].candidates
    assert (candidate.text, candidate.correct, candidate.final_answer) == (NO_RESPONSE, False, None)
    assert done.report.lines() == ["m: 1 right, 1 wrong, 0 undecided (1 without a response)"]
    again = check_candidates(MATHV, questions, done.records)
    assert (again.records[0], again.report) == (done.records[0], done.report)
    write_candidates(tmp_path / "out.jsonl", done)
    assert [one.correct for r in read_candidate_records(tmp_path / "out.jsonl") for one in r.candidates] == [
        False,
        True,
    ]


def test_missing_predictions_are_an_error_or_kept(questions, tmp_path: Path) -> None:
    path = outputs(tmp_path / "m.jsonl", ("5", "\\boxed{B}"))
    with pytest.raises(DataError, match=r"question 4 lacks candidates that other questions have: m \(1\)"):
        to_candidates(MATHV, questions, path)
    done = to_candidates(MATHV, questions, path, incomplete="keep")
    assert [record.id for record in done.records] == ["mathvision-5"]
    with pytest.raises(DataError, match="1 of 2 questions have no outcome, the first is '4'; unanswered"):
        scores(MATHV, questions, done.outcomes()["m"])


def test_published_flags(questions, tmp_path: Path) -> None:
    path = outputs(tmp_path / "m.jsonl", ("4", "\\boxed{7}"), ("5", "x"), correct=True, model_answer="7")
    done = to_candidates(MATHV, questions, path, outcomes="published")
    (first,), (second,) = (record.candidates for record in done.records)
    assert [(one.correct, one.final_answer) for one in (first, second)] == [(True, "7"), (True, "7")]
    assert all(one.credit is None for record in done.records for one in record.candidates)
    graded = outputs(tmp_path / "n.jsonl", ("4", "6"), score=0.3)
    with pytest.raises(DataError, match=r"n\.jsonl:1: got a grade of 0.3; allowed: 0 or 1"):
        to_candidates(MATHV, questions, graded, outcomes="published", incomplete="keep")


def test_answers_already_taken_out(questions, tmp_path: Path) -> None:
    path = outputs(tmp_path / "m.jsonl", ("4", "\\boxed{7}"), ("5", "\\boxed{B}"), model_answer="6")
    used = to_candidates(MATHV, questions, path)
    assert used.outcomes()["m"] == {"mathvision-4": 1.0, "mathvision-5": 0.0}
    read = to_candidates(MATHV, questions, path, use_extracted=False)
    assert read.outcomes()["m"] == {"mathvision-4": 0.0, "mathvision-5": 1.0}


def test_candidates_of_any_origin_are_checked_anew(questions, tmp_path: Path) -> None:
    text = "Step 1: I look.\nFinal answer: 6"
    path = outputs(tmp_path / "m.jsonl", ("4", text), ("5", "Who knows?"))
    records = to_candidates(MATHV, questions, path).records
    done = check_candidates(build_benchmark("mathvision", rules="stated"), questions, records)
    assert [record.candidates[0].correct for record in done.records] == [True, None]
    assert done.records[0].candidates[0].steps == records[0].candidates[0].steps
    # A judge decides what the rules cannot.
    judge = ScriptedJudge(["Verdict: right"])
    judged = check_candidates(build_benchmark("mathvision", rules="stated"), questions, records, judge=judge)
    assert [record.candidates[0].correct for record in judged.records] == [True, True]
    mmstar = build_benchmark("mmstar")
    others = read_questions(mmstar, save(tmp_path / "mmstar.json", mmstar_rows()), images="ignore")
    with pytest.raises(DataError, match="no question has the id 'mathvision-4' .ids look like 'mmstar-0'"):
        check_candidates(mmstar, others, records)


def test_scores_and_intervals(questions) -> None:
    values = scores_with_intervals(MATHV, questions, {"4": 1.0, "mathvision-5": 0.0}, seed=0)
    assert (values["accuracy"].value, values["accuracy"].low, values["accuracy"].high) == (0.5, 0.0, 1.0)
    assert values["subject/counting"].value == values["level/1"].value == 1.0
    with pytest.raises(UserError, match=r"outcome of '4' must be in \[0, 1\], got 1.5"):
        scores(MATHV, questions, {"4": 1.5, "5": 0.0})
    with pytest.raises(UserError, match=r"outcome of '4' must be in \[0, 1\], got nan"):
        scores(MATHV, questions, {"4": float("nan"), "5": 0.0})
    with pytest.raises(DataError, match="no question has the id '6'"):
        scores(MATHV, questions, {"4": 1.0, "5": 0.0, "6": 0.0})


def test_options_are_checked(questions, tmp_path: Path) -> None:
    path = outputs(tmp_path / "m.jsonl", ("4", "6"))
    for option, allowed in (
        ("outcomes", "check, published"),
        ("empty", "error, wrong"),
        ("incomplete", "error, keep"),
    ):
        with pytest.raises(UserError, match=f"{option} must be one of {allowed}, got 'x'"):
            to_candidates(MATHV, questions, path, **{option: "x"})
    with pytest.raises(UserError, match="other_questions must be 'error' or 'skip', got 'x'"):
        to_candidates(MATHV, questions, path, other_questions="x")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no prediction file; give at least one path"):
        to_candidates(MATHV, questions, [])
    with pytest.raises(UserError, match="no such file or folder: .*gone; give predictions of MATH-V"):
        to_candidates(MATHV, questions, tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no predictions; allowed: files ending in .jsonl"):
        to_candidates(MATHV, questions, tmp_path / "empty")
    (tmp_path / "m.txt").write_text("6")
    with pytest.raises(UserError, match=r"m\.txt: unknown ending '\.txt'; allowed: \.jsonl, \.json"):
        to_candidates(MATHV, questions, tmp_path / "m.txt")


@pytest.mark.parametrize(
    "row, message",
    [
        (
            {"response": "6"},
            "field 'id' is missing; allowed: the question's id as MATH-V publishes it, or index",
        ),
        ({"id": "9", "response": "6"}, "field 'id': got '9'; allowed: the id of one of the 2 questions"),
        ({"index": 3, "prediction": "6"}, "field 'index': got 3; allowed: .*an index refers to questions"),
        ({"id": "4", "text": "6"}, "field 'prediction or response' is missing"),
        ({"id": "4", "response": [["6"]]}, r"field 'response': got \['6'\]; allowed: a text or a number"),
        (
            {"id": "4", "response": "6", "correct": "maybe"},
            "field 'correct': got 'maybe'; allowed: true, fal",
        ),
        (
            {"id": "4", "response": "6", "score": 7},
            r"field 'score': got 7; allowed: true, false, or a number",
        ),
    ],
)
def test_bad_predictions(questions, tmp_path: Path, row, message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_candidates(MATHV, questions, save(tmp_path / "m.jsonl", [row]))


def test_predictions_of_nothing(questions, tmp_path: Path) -> None:
    path = outputs(tmp_path / "m.jsonl", ("99", "6"))
    with pytest.raises(DataError, match="the predictions answer none of the questions"):
        to_candidates(MATHV, questions, path, other_questions="skip")


def test_images_are_required_or_ignored(tmp_path: Path) -> None:
    path = save(tmp_path / "testmini.jsonl", mathv_rows())
    with pytest.raises(DataError, match=r"testmini\.jsonl:1: field 'image': got 'images/4\.png'; allowed"):
        read_questions(MATHV, path)
    assert [q.record.images for q in read_questions(MATHV, path, images="ignore")] == [(), ()]
    assert len(read_questions(MATHV, path, images="ignore", limit=1)) == 1
    save(path, [row | {"image": None} for row in mathv_rows()])
    with pytest.raises(DataError, match=r"testmini\.jsonl:1: question 4 has no image; set images=ignore"):
        read_questions(MATHV, path)


def test_images_written_before_an_error_are_removed(tmp_path: Path) -> None:
    good = {"index": 0, "question": "How many?", "choices": "[]", "answer": "6", "image": encoded()}
    path = table(tmp_path / "MathVision.tsv", [good, good | {"index": 1, "answer": None}])
    with pytest.raises(DataError, match=r"MathVision\.tsv:3: field 'answer'"):
        read_questions(MATHV, path, image_folder=tmp_path / "pictures")
    assert not (tmp_path / "pictures").exists()
    with pytest.raises(UserError, match="set image_folder to the folder to write them to"):
        read_questions(MATHV, path)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"images": "some"}, "images must be 'require' or 'ignore', got 'some'"),
        ({"limit": 0}, "limit must be a whole number >= 1"),
        ({"image_root": "/gone"}, "image_root is not a folder: /gone"),
    ],
)
def test_bad_reading_settings(tmp_path: Path, settings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_questions(MATHV, save(tmp_path / "q.jsonl", mathv_rows()), **settings)


def test_bad_question_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file or folder: .*gone\.json; give the questions of"):
        read_questions(MATHV, tmp_path / "gone.json")
    with pytest.raises(DataError, match="two questions have the id '4'; ids must be unique"):
        read_questions(MATHV, save(tmp_path / "q.jsonl", [mathv_rows()[0]] * 2), images="ignore")
    rows = [{"index": 1, "id": id, "question": "q", "choices": "[]", "answer": "6"} for id in ("4", "5")]
    with pytest.raises(DataError, match="two questions have the index '1'; indices must be unique"):
        read_questions(MATHV, table(tmp_path / "MathVision.tsv", rows), images="ignore")
    with pytest.raises(DataError, match=r"q\.json: contains no questions; allowed: at least one"):
        read_questions(MATHV, save(tmp_path / "q.json", []), images="ignore")
    with pytest.raises(DataError, match=r"q\.jsonl:2"):
        (tmp_path / "q.jsonl").write_text(json.dumps(mathv_rows()[0]) + "\n{broken\n")
        read_questions(MATHV, tmp_path / "q.jsonl", images="ignore")
