"""MATH-V: testmini with its images and five models' responses, and its rules."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from published_layouts import encoded, images, mathv_rows, picture, save, table
from shared_data import shared_file

from dreamprm.config.errors import DataError
from dreamprm.data import read_candidate_records
from dreamprm.evaluation.benchmark import scores_with_intervals
from dreamprm.formats.benchmarks import (
    build_benchmark,
    check_candidates,
    read_questions,
    to_candidates,
    write_candidates,
)
from dreamprm.formats.benchmarks.mathv_answers import answer_in, equal
from dreamprm.formats.benchmarks.scores import scores

MATHV = build_benchmark("mathvision")

# Right of 304 by the published flags.
RIGHT = {
    "gpt-3.5-turbo-0125": 31,
    "gpt-4-0125-preview": 14,
    "gemini-pro-vision": 44,
    "InternLM-XComposer2-VL": 45,
    "qwen-vl-max": 42,
}

# By rules=stated, of the 73 questions whose options are in the picture.
STATED = {
    "gpt-3.5-turbo-0125": {"right": 10, "wrong": 55, "undecided": 8},
    "gpt-4-0125-preview": {"right": 1, "wrong": 3, "undecided": 69},
    "gemini-pro-vision": {"right": 10, "wrong": 61, "undecided": 2},
    "InternLM-XComposer2-VL": {"right": 12, "wrong": 46, "undecided": 15},
    "qwen-vl-max": {"right": 13, "wrong": 53, "undecided": 7},
}


@pytest.fixture(scope="module")
def testmini():
    return read_questions(MATHV, shared_file("mathvision/testmini.jsonl"))


@pytest.fixture(scope="module")
def checked(testmini):
    return to_candidates(MATHV, testmini, shared_file("mathvision/outputs"))


def test_real_questions_with_their_images(testmini) -> None:
    assert len(testmini) == 304
    assert sum(bool(question.record.options) for question in testmini) == 190
    assert all(Path(image).is_file() for question in testmini for image in question.record.images)
    assert Counter(question.groups["subject"][0] for question in testmini)["topology"] == 19


def test_the_rules_agree_with_every_published_flag(testmini, checked) -> None:
    published = to_candidates(MATHV, testmini, shared_file("mathvision/outputs"), outcomes="published")
    flags = [candidate.correct for record in published.records for candidate in record.candidates]
    found = [candidate.correct for record in checked.records for candidate in record.candidates]
    assert len(flags) == 5 * 304
    assert found == flags
    assert {generator: counts["right"] for generator, counts in checked.report.verdicts.items()} == RIGHT


def test_the_own_extraction_agrees_too(testmini) -> None:
    """The same from the responses alone, without the answers that the authors took out."""
    done = to_candidates(MATHV, testmini, shared_file("mathvision/outputs"), use_extracted=False)
    assert {name: counts["right"] for name, counts in done.report.verdicts.items()} == RIGHT
    assert all(counts["undecided"] == 0 for counts in done.report.verdicts.values())


def test_real_accuracies(testmini, checked) -> None:
    by_generator = checked.outcomes()
    for generator, right in RIGHT.items():
        assert scores(MATHV, testmini, by_generator[generator])["accuracy"] == pytest.approx(right / 304)
    values = scores(MATHV, testmini, by_generator["qwen-vl-max"])
    assert values["subject/arithmetic"] == pytest.approx(6 / 19)
    assert sum(name.startswith("subject/") for name in values) == 16
    interval = scores_with_intervals(MATHV, testmini, by_generator["qwen-vl-max"], seed=1)["accuracy"]
    # Binomial standard error sqrt(p (1 - p) / 304) = .0198; the bootstrap's bounds are near p -+ 1.96 of it.
    assert interval.low == pytest.approx(0.138 - 1.96 * 0.0198, abs=0.006)
    assert interval.high == pytest.approx(0.138 + 1.96 * 0.0198, abs=0.006)


def test_real_candidates_come_back_from_their_file(checked, tmp_path: Path) -> None:
    assert write_candidates(tmp_path / "mathv.jsonl", checked) == 304
    records = list(read_candidate_records(tmp_path / "mathv.jsonl"))
    assert records == checked.records
    assert {len(record.candidates) for record in records} == {5}
    assert records[0].benchmark == "MATH-V" and records[0].id == "mathvision-4"


def test_stated_answers_of_real_responses(testmini, checked) -> None:
    """Our reading of the questions whose options are in the picture: no expressions, so no time limit."""
    pictured = {one.record.id for one in testmini if one.record.options == one.record.letters != ()}
    records = [record for record in checked.records if record.id in pictured]
    done = check_candidates(build_benchmark("mathvision", rules="stated"), testmini, records)
    assert done.report.verdicts == STATED
    for before, after in zip(records, done.records, strict=True):
        for own, stated in zip(before.candidates, after.candidates, strict=True):
            assert stated.correct or not own.correct


@pytest.mark.parametrize(
    "response, answer",
    [
        ("So there are 3 + 3 = 6.\n\n\\boxed{6}", "6"),
        ("First \\boxed{5}, no: \\boxed{7}.", "7"),
        ("It must be (B).", "b"),
        ("C\nbecause of the corner", "c"),
        ("The answer is 12. It is the largest.", "12"),
        ("I add. The final answer is 12 km.", "12"),
        ("the length is 2.50.", "2.50"),
        ("\\boxed{x = \\dfrac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{3/4}", "\\frac{3}{4}"),
        ("\\boxed{40^{\\circ}}", "40"),
        ("\\boxed{\\text{(D)}}", "d"),
        ("\\boxed{.5}", "\\frac{1}{2}"),
        ("\\boxed{\\sqrt2}", "\\sqrt{2}"),
        ("I cannot see it", "icannotseeit"),
    ],
)
def test_answers_are_taken_out(response: str, answer: str) -> None:
    assert answer_in(response) == answer


@pytest.mark.parametrize(
    "reference, answer, same",
    [
        ("6", "6", True),
        ("B", "b", True),
        ("$1: 2$", "1:2", True),
        ("$1: 2$", "0.5", True),
        ("\\frac{\\sqrt{2}}{2}", "0.707", True),
        ("0.71", "0.72", False),
        ("3.14", "\\pi", True),
        ("(1, 2)", "(1.0,\\frac{4}{2})", True),
        ("(1, 2)", "(2,1)", False),
        ("6", "", False),
        ("6", "x", False),
        ("none", "none", True),
    ],
)
def test_answers_are_compared(reference: str, answer: str, same: bool) -> None:
    assert equal(reference, answer) is same


@pytest.mark.parametrize(
    "response, verdict",
    [
        ("\\boxed{B}", "right"),
        ("\\boxed{0.707}", "right"),
        ("\\boxed{A}", "wrong"),
        ("\\boxed{1:2}", "wrong"),
    ],
)
def test_a_choice_is_right_by_its_letter_or_its_text(tmp_path: Path, response: str, verdict: str) -> None:
    found = read_questions(MATHV, save(tmp_path / "test.jsonl", mathv_rows()), images="ignore")
    assert MATHV.checker().check(response, found[1].record).verdict == verdict


def test_vlmevalkit_tables_with_extracted_answers(tmp_path: Path) -> None:
    rows = [
        {
            "index": 0,
            "question": "How many?",
            "choices": "[]",
            "answer": "6",
            "category": "counting",
            "image": encoded(),
        },
        {
            "index": 1,
            "question": "How long?",
            "choices": "['1:2', '1:3']",
            "answer": "B",
            "category": "algebra",
            "image": "0",
        },
    ]
    found = read_questions(MATHV, table(tmp_path / "MathVision_MINI.tsv", rows), image_folder=tmp_path / "p")
    assert [q.record.id for q in found] == ["mathvision-0", "mathvision-1"]
    # The second row names the first one's image.
    assert found[0].record.images == found[1].record.images != ()
    assert Path(found[0].record.images[0]).read_bytes() == picture()
    rows = [row | {"prediction": "long", "res": res} for row, res in zip(rows, ("6.0", "1:2"), strict=True)]
    path = table(tmp_path / "M_MathVision_MINI_gpt-4-turbo.xlsx", rows)
    assert to_candidates(MATHV, found, path).outcomes() == {"M": {"mathvision-0": 1.0, "mathvision-1": 0.0}}


def test_the_hub_form_with_images_inside(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row | {"decoded_image": {"bytes": picture(), "path": None}} for row in mathv_rows()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    found = read_questions(MATHV, tmp_path / "test.parquet", image_folder=tmp_path / "pictures")
    assert [len(question.record.images) for question in found] == [1, 1]
    assert found[1].groups == {"subject": ("metric geometry - length",), "level": ("5",)}


def test_answers_to_other_questions(tmp_path: Path) -> None:
    images(tmp_path, "images/4.png", "images/5.png")
    found = read_questions(MATHV, save(tmp_path / "testmini.jsonl", mathv_rows()))
    rows = [{"id": id, "response": "\\boxed{6}", "model": "m"} for id in ("4", "5", "99")]
    path = save(tmp_path / "m.jsonl", rows)
    with pytest.raises(DataError, match=r"m\.jsonl:3: field 'id': got '99'; allowed: the id of one of the"):
        to_candidates(MATHV, found, path)
    done = to_candidates(MATHV, found, path, other_questions="skip")
    assert done.outcomes() == {"m": {"mathvision-4": 1.0, "mathvision-5": 0.0}}
