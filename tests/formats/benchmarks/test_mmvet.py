"""MM-Vet: grades of a judge, and how they are carried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published_layouts import encoded, images, mmvet_rows, save, table
from scripted_judge import ScriptedJudge

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import read_candidate_records
from dreamprm.formats.benchmarks import (
    build_benchmark,
    check_candidates,
    read_questions,
    to_candidates,
    write_candidates,
)
from dreamprm.formats.benchmarks.mmvet import read_grade
from dreamprm.formats.benchmarks.scores import scores
from dreamprm.generators.base import Completion, GenerationError

MMVET = build_benchmark("mmvet")


@pytest.fixture
def questions(tmp_path: Path):
    images(tmp_path, "images/v1_0.png", "images/v1_1.png")
    return read_questions(MMVET, save(tmp_path / "mm-vet.json", mmvet_rows()))


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    return save(tmp_path / "llava.json", {"v1_0": "x is -1", "v1_1": "A kitten."})


def credits(done):
    return {record.id: tuple(one.credit for one in record.candidates) for record in done.records}


def test_questions_of_the_published_file(questions, tmp_path: Path) -> None:
    assert [question.record.id for question in questions] == ["mmvet-v1_0", "mmvet-v1_1"]
    assert questions[0].record.images == (str(tmp_path / "images/v1_0.png"),)
    assert questions[0].groups == {"capability": ("ocr", "math"), "combination": ("ocr_math",)}


@pytest.mark.parametrize(
    "reply, credit",
    [
        ("0.6", 0.6),
        ("Grade: 0.6", 0.6),
        ("**Score: 1.0**", 1.0),
        ("It names one of two.\nGrade: 0.5", 0.5),
        ("0.5\nIt names one of two.", 0.5),
        ("Correctness score = 0.3.", 0.3),
        ("0.5/1.0", 0.5),
        ("1", 1.0),
        ("1.5", None),
        ("10", None),
        ("-0.5", None),
        ("good", None),
        ("", None),
        ("1 cat is named", None),
    ],
)
def test_grades_are_read_strictly(reply: str, credit: float | None) -> None:
    assert read_grade(reply) == credit


def test_a_candidate_carries_its_credit(questions, responses: Path, tmp_path: Path) -> None:
    judge = ScriptedJudge(["Grade: 0.4", "Grade: 0.9"])
    done = to_candidates(MMVET, questions, responses, judge=judge)
    assert credits(done) == {"mmvet-v1_0": (0.4,), "mmvet-v1_1": (0.9,)}
    assert [record.candidates[0].correct for record in done.records] == [False, True]
    assert done.outcomes() == {"llava": {"mmvet-v1_0": 0.4, "mmvet-v1_1": 0.9}}
    assert scores(MMVET, questions, done.outcomes()["llava"]) == pytest.approx(
        {
            "accuracy": 0.65,
            "capability/ocr": 0.4,
            "capability/math": 0.4,
            "capability/rec": 0.9,
            "combination/ocr_math": 0.4,
            "combination/rec": 0.9,
        }
    )
    write_candidates(tmp_path / "out.jsonl", done)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["candidates"][0]["credit"] for row in rows] == [0.4, 0.9]
    assert rows[0]["image"] == "images/v1_0.png"
    assert list(read_candidate_records(tmp_path / "out.jsonl")) == done.records


def test_what_the_judge_is_asked(questions, responses: Path) -> None:
    judge = ScriptedJudge(["0.5"])
    to_candidates(MMVET, questions, responses, judge=judge)
    prompt, temperature = judge.asked[0]
    assert temperature == 0.0
    assert "Question: What is x?\nReference: -1 <AND> -5\n<response>\nx is -1\n</response>" in prompt


def test_a_reply_without_a_grade_is_asked_for_again(questions, responses: Path) -> None:
    judge = ScriptedJudge(["good", "fine", "0.7", "bad"])
    done = to_candidates(MMVET, questions, responses, judge=judge)
    assert [temperature for _, temperature in judge.asked] == [0.0, 0.5, 1.0] + [0.0, 0.5, 1.0, 1.5, 2.0]
    assert credits(done) == {"mmvet-v1_0": (0.7,), "mmvet-v1_1": (None,)}
    assert done.records[1].candidates[0].correct is None
    assert done.report.verdicts == {"llava": {"right": 1, "undecided": 1}}
    # An undecided candidate counts 0 in figures, and is told.
    assert done.outcomes()["llava"]["mmvet-v1_1"] == 0.0
    assert done.report.lines() == [
        "llava: 1 right, 0 wrong, 1 undecided",
        "undecided: 1 x MM-Vet: no grade in 5 replies, the last 'bad'",
    ]


def test_a_grade_that_was_cut_off_does_not_count(questions, responses: Path) -> None:
    judge = ScriptedJudge(
        [
            Completion("It is half right.\nGrade: 0", 9, finished=False),
            "Grade: 0.5",
            Completion("Grade: 0.9\nSince the", 9, finished=False),
        ]
    )
    done = to_candidates(MMVET, questions, responses, judge=judge)
    assert credits(done) == {"mmvet-v1_0": (0.5,), "mmvet-v1_1": (0.9,)}


def test_a_request_that_the_judge_refuses_is_undecided(questions, responses: Path) -> None:
    refusal = GenerationError("prompt too long", refused=True)
    done = to_candidates(MMVET, questions, responses, judge=ScriptedJudge([refusal]))
    assert [record.candidates[0].correct for record in done.records] == [None, None]
    assert credits(done) == {"mmvet-v1_0": (None,), "mmvet-v1_1": (None,)}


def test_a_judge_that_gives_no_reply_stops_the_command_after_the_others(questions, responses: Path) -> None:
    judge = ScriptedJudge([GenerationError("busy"), "Grade: 1"])
    with pytest.raises(UserError, match=r"1 of 2 answers; the first: MM-Vet: no grade \(busy\)"):
        to_candidates(MMVET, questions, responses, judge=judge)
    assert len(judge.asked) == 2


def test_candidates_of_any_origin_are_graded(questions, responses: Path) -> None:
    records = to_candidates(MMVET, questions, responses, judge=ScriptedJudge(["0"])).records
    done = check_candidates(MMVET, questions, records, judge=ScriptedJudge(["1.0", "0.2"]))
    assert credits(done) == {"mmvet-v1_0": (1.0,), "mmvet-v1_1": (0.2,)}
    assert [record.candidates[0].correct for record in done.records] == [True, False]
    assert [record.candidates[0].text for record in done.records] == ["x is -1", "A kitten."]


def test_published_grades(questions, tmp_path: Path) -> None:
    rows = [
        {"index": 0, "question": "What?", "answer": "a cat", "category": "rec,gen"},
        {"index": 1, "question": "Who?", "answer": "he", "category": "rec"},
    ]
    found = read_questions(
        MMVET, table(tmp_path / "MMVet.tsv", [row | {"image": encoded()} for row in rows]), images="ignore"
    )
    grades = ({"prediction": "A cat", "score": score} for score in (0.3, 1))
    graded = [row | grade for row, grade in zip(rows, grades, strict=True)]
    path = table(tmp_path / "InternVL_MMVet_gpt-4-turbo.xlsx", graded)
    done = to_candidates(MMVET, found, path, outcomes="published")
    assert done.outcomes() == {"InternVL": {"mmvet-0": 0.3, "mmvet-1": 1.0}}
    assert credits(done) == {"mmvet-0": (0.3,), "mmvet-1": (1.0,)}
    assert scores(MMVET, found, done.outcomes()["InternVL"])["capability/rec"] == 0.65
    with pytest.raises(
        DataError, match="field 'true_false, correct, hit, score, match, judgement or if_right' is missing"
    ):
        to_candidates(MMVET, questions, save(tmp_path / "m.json", {"v1_0": "x"}), outcomes="published")


def test_a_judge_is_needed(questions, responses: Path) -> None:
    with pytest.raises(UserError, match="answers to MM-Vet are graded by a language model: give a judge"):
        to_candidates(MMVET, questions, responses)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rules": "stated"}, "answers to MM-Vet are graded, so rules must be 'own'"),
        ({"max_tokens": 3}, "max_tokens must be >= 4, got 3; it must hold a grade"),
    ],
)
def test_settings(settings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_benchmark("mmvet", **settings)


def test_unknown_capabilities_are_refused(tmp_path: Path) -> None:
    rows = {"v1_0": mmvet_rows()["v1_0"] | {"capability": ["smell"]}}
    with pytest.raises(DataError, match="field 'capability': got 'smell'; allowed: some of rec, ocr"):
        read_questions(MMVET, save(tmp_path / "q.json", rows), images="ignore")
