"""MMStar: options in the question's text, the rule on how a response starts, figures by category."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_layouts import encoded, mmstar_rows, picture, save, table

from dreamprm.config.errors import DataError, UserError
from dreamprm.formats.benchmarks import build_benchmark, read_questions, to_candidates
from dreamprm.formats.benchmarks.scores import scores

MMSTAR = build_benchmark("mmstar")


@pytest.fixture
def questions(tmp_path: Path):
    return read_questions(MMSTAR, save(tmp_path / "mmstar.json", mmstar_rows()), images="ignore")


def test_options_are_taken_out_of_the_text(questions) -> None:
    assert [question.record.options for question in questions] == [
        ("a red book", "a cat", "a bed", "none, of these"),
        ("7", "5", "9", "8"),
        ("7", "5", "9", "8"),
    ]
    assert [question.record.question for question in questions] == [
        "Which?",
        "Hint: Answer.\nQuestion: How many?",
        "Hint: Answer.\nQuestion: How many?",
    ]
    assert questions[2].record.id == "mmstar-2"


@pytest.mark.parametrize(
    "response, right",
    [
        ("B", True),
        ("b: a cat", True),
        ("(B) a cat", True),
        ("Option B", True),
        ("The answer is B.", True),
        ("A", False),
        ("Step 1: I look.\nFinal answer: B", False),
        ("The correct answer is B", False),
        ("", False),
        ("Bananas", True),
    ],
)
def test_the_own_rule(questions, response: str, right: bool) -> None:
    assert MMSTAR.checker().check(response, questions[0].record).verdict == ("right" if right else "wrong")


@pytest.mark.parametrize(
    "response, verdict",
    [
        ("Step 1: I look.\nFinal answer: B", "right"),
        ("Final answer: (C)", "wrong"),
        ("Who knows?", "undecided"),
    ],
)
def test_stated_answers(questions, response: str, verdict: str) -> None:
    checker = build_benchmark("mmstar", rules="stated").checker(questions)
    assert checker.check(response, questions[0].record).verdict == verdict


def test_a_bare_letter_is_an_options_letter(tmp_path: Path) -> None:
    """Also where the options are letters in another order, which labels leave undecided."""
    row = mmstar_rows()[0] | {"question": "Which?\nOptions: A: B, B: A, C: C, D: D"}
    (question,) = read_questions(MMSTAR, save(tmp_path / "q.json", [row]), images="ignore")
    checker = build_benchmark("mmstar", rules="stated").checker()
    assert checker.check("I look.\nFinal answer: B", question.record).verdict == "right"
    assert checker.check("I look.\nFinal answer: A", question.record).verdict == "wrong"


def test_figures(questions) -> None:
    values = scores(MMSTAR, questions, {"0": 1.0, "1": 0.0, "mmstar-2": 1.0})
    assert values == pytest.approx(
        {
            "accuracy": 2 / 3,
            "category/math": 1 / 2,
            "category/coarse perception": 1.0,
            "l2_category/geometry": 1 / 2,
            "l2_category/image emotion": 1.0,
            "category_mean": 3 / 4,
        }
    )


def test_vlmevalkit_tables(tmp_path: Path) -> None:
    rows = [
        {
            "index": 0,
            "question": "Which?",
            "A": "a book",
            "B": "a cat",
            "answer": "B",
            "category": "math",
            "l2_category": "geometry",
        },
        {
            "index": 7,
            "question": "Who?",
            "A": "he",
            "B": "she",
            "answer": "A",
            "category": "math",
            "l2_category": "geometry",
        },
    ]
    path = table(tmp_path / "MMStar.tsv", [row | {"image": encoded()} for row in rows])
    found = read_questions(MMSTAR, path, image_folder=tmp_path / "pictures")
    assert found[1].record.options == ("he", "she") and len(found[1].record.images) == 1
    predictions = table(tmp_path / "InternVL_MMStar.xlsx", [row | {"prediction": "B"} for row in rows])
    assert to_candidates(MMSTAR, found, predictions).outcomes() == {
        "InternVL": {"mmstar-0": 1.0, "mmstar-7": 0.0}
    }


def test_the_hub_form_with_images_inside(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row | {"image": picture(), "meta_info": {"source": "MMBench"}} for row in mmstar_rows()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mmstar.parquet")
    found = read_questions(MMSTAR, tmp_path / "mmstar.parquet", image_folder=tmp_path / "pictures")
    assert [len(question.record.images) for question in found] == [1, 1, 1]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"question": "Which?"},
            "field 'question': got 'Which\\?'; allowed: a text that ends with its options",
        ),
        ({"answer": "E"}, "field 'answer': got 'E'; allowed: one of the letters A, B, C, D"),
        ({"index": None}, "field 'index' is missing; allowed: the question's id, as MMStar publishes it"),
    ],
)
def test_bad_rows(tmp_path: Path, change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_questions(MMSTAR, save(tmp_path / "q.json", [mmstar_rows()[0] | change]), images="ignore")


def test_a_gap_in_the_columns_is_refused(tmp_path: Path) -> None:
    row = {"index": 0, "question": "Which?", "A": "a", "B": None, "C": "c", "answer": "A"}
    path = table(tmp_path / "MMStar.tsv", [row])
    message = "field 'B': got None; allowed: an option, since a later column has one"
    with pytest.raises(DataError, match=message):
        read_questions(MMSTAR, path, images="ignore")


def test_rules_are_one_of_two() -> None:
    with pytest.raises(UserError, match="rules must be one of own, stated, got 'mine'"):
        build_benchmark("mmstar", rules="mine")
