"""WeMath: its letter rule, and the four-dimensional metrics by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from published_layouts import encoded, images, save, table, wemath_rows

from dreamprm.config.errors import DataError
from dreamprm.evaluation.benchmark import scores_with_intervals
from dreamprm.formats.benchmarks import build_benchmark, read_questions, to_candidates
from dreamprm.formats.benchmarks.scores import scores

WEMATH = build_benchmark("wemath")


def questions(folder: Path, problems: int = 1):
    rows = [
        row | {"ID": f"{row['ID'][:6]}_{problem}"}
        for problem in range(1, problems + 1)
        for row in wemath_rows()
    ]
    return read_questions(WEMATH, save(folder / "testmini.json", rows), images="ignore")


def outcomes(*right: str, problem: int = 1) -> dict[str, float]:
    """1 for the named keys of a problem of each kind, else 0."""
    return {f"{row['ID'][:6]}_{problem}:{row['key']}": float(row["key"] in right) for row in wemath_rows()}


def test_questions_of_the_published_file(tmp_path: Path) -> None:
    rows = wemath_rows()
    images(tmp_path / "images", *(row["image_path"] for row in rows))
    found = read_questions(WEMATH, save(tmp_path / "testmini.json", rows), image_root=tmp_path / "images")
    record = found[2].record
    assert (len(found), record.id, record.answer) == (7, "wemath-2steps_1:2steps_multi", "A")
    # The letters C and F stand in the file; ours are in order.
    assert record.options == ("3 cm", "4 cm", "none", "No correct answer")
    assert record.images == (str(tmp_path / "images/2steps/image/3.png"),)
    assert found[6].groups == {
        "problem": ("3steps_1",),
        "steps": ("3",),
        "part": ("multi",),
        "concept": ("Area",),
    }


def test_a_letter_left_out_moves_the_answer_with_it(tmp_path: Path) -> None:
    rows = [wemath_rows()[0] | {"answer": "F"}]
    (found,) = read_questions(WEMATH, save(tmp_path / "q.json", rows), images="ignore")
    assert found.record.answer == "D"


@pytest.mark.parametrize(
    "option, options",
    [
        ("A. 300, 400;B. 400, 300; E. No correct answer", ("300, 400", "400, 300", "No correct answer")),
        (
            "A. to get Shape ;C.; B. to get Shape ;C.; C. No.  ;D. none",
            ("to get Shape ;C.", "to get Shape ;C.", "No.", "none"),
        ),
        ("A. 5dm;  ; B. 6dm", ("5dm", "6dm")),
        ("A. 1; 3;B. 2; 3", ("1; 3", "2; 3")),
    ],
)
def test_options_in_one_text(tmp_path: Path, option: str, options: tuple[str, ...]) -> None:
    rows = [wemath_rows()[0] | {"option": option}]
    (found,) = read_questions(WEMATH, save(tmp_path / "q.json", rows), images="ignore")
    assert found.record.options == options


@pytest.mark.parametrize(
    "response, right, chosen",
    [
        ("<Thought process>: It is so. <Answer>: A", True, "A"),
        ("<Answer>: B. 4 cm", False, "B"),
        ("Answer: A", True, "A"),
        ("A", True, "A"),
        ("Answer A, no: Answer: B", False, "B"),
        # The script finds no letter behind a bracket, nor behind "answer" in lower case.
        ("Answer: (A)", False, None),
        ("Step 1: I look.\nFinal answer: A", False, None),
        ("Answer:", False, None),
    ],
)
def test_the_own_rule(tmp_path: Path, response: str, right: bool, chosen: str | None) -> None:
    question = questions(tmp_path)[0].record
    judgement = WEMATH.checker().check(response, question)
    assert (judgement.verdict, judgement.extracted) == ("right" if right else "wrong", chosen)


def test_stated_answers_are_read_in_any_form(tmp_path: Path) -> None:
    checker = build_benchmark("wemath", rules="stated").checker()
    question = questions(tmp_path)[0].record
    for response in ("Answer: (A)", "Step 1: I look.\nFinal answer: A", "The answer is 3 cm."):
        assert checker.check(response, question).verdict == "right"
    assert checker.check("Final answer: B", question).verdict == "wrong"
    assert checker.check("I cannot see it.", question).verdict == "undecided"


def test_the_four_dimensions_by_hand(tmp_path: Path) -> None:
    """Four problems of each kind; what each is called follows from the paper's four definitions."""
    found = questions(tmp_path, problems=4)
    steps = ("2steps_1", "2steps_2", "3steps_1", "3steps_2", "3steps_3")
    wholes = ("2steps_multi", "3steps_multi")
    given = (
        outcomes(*steps, *wholes, problem=1)  # complete mastery, both
        | outcomes(*steps, problem=2)  # inadequate generalisation, both
        | outcomes("2steps_1", "3steps_2", *wholes, problem=3)  # loose: mastery; strict: rote memorisation
        | outcomes("3steps_multi", problem=4)  # insufficient knowledge; rote memorisation both ways
    )
    values = scores(WEMATH, found, given)
    assert values == pytest.approx(
        {
            "ik": 1 / 8,
            "ig": 2 / 8,
            "cm_strict": 2 / 8,
            "rm_strict": 3 / 8,
            "score_strict": 1 - 1 / 8 - 1 / 8 - 3 / 8,
            "cm_loose": 4 / 8,
            "rm_loose": 1 / 8,
            "score_loose": 1 - 1 / 8 - 1 / 8 - 1 / 8,
            "rm_strict_rate": 3 / 5,
            "rm_loose_rate": 1 / 5,
            # right steps: 5 + 5 + 2 + 0 of 20; wholes: two-step 1, 3; three-step 1, 3, 4
            "one_step": 12 / 20,
            "two_step": 2 / 4,
            "three_step": 3 / 4,
            "accuracy": 17 / 28,
        }
    )
    # Score as the script writes it: (525 - ig / 2 - rm - ik) / 525 with 525 for the number of problems.
    assert values["score_strict"] == (8 - 0.5 * 2 - 3 - 1) / 8


def test_expected_outcomes_give_expected_figures(tmp_path: Path) -> None:
    """Outcomes between 0 and 1 give the mean over all draws of right and wrong answers."""
    found = questions(tmp_path)
    chances = np.array([0.9, 0.5, 0.3, 0.2, 0.7, 0.4, 0.6])
    expected: dict[str, float] = {}
    for draw in range(2**7):
        right = np.array([draw >> bit & 1 for bit in range(7)])
        weight = np.prod(np.where(right, chances, 1 - chances))
        drawn = scores(WEMATH, found, dict(zip((q.published for q in found), map(float, right), strict=True)))
        for name in ("ik", "ig", "cm_strict", "rm_loose", "score_strict", "score_loose", "accuracy"):
            expected[name] = expected.get(name, 0.0) + weight * drawn[name]
    values = scores(WEMATH, found, dict(zip((q.published for q in found), chances, strict=True)))
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_rates_without_a_right_whole_are_absent(tmp_path: Path) -> None:
    values = scores(WEMATH, questions(tmp_path), outcomes("2steps_1"))
    assert values["score_strict"] == 0.0 and "rm_strict_rate" not in values


def test_intervals_draw_whole_problems(tmp_path: Path) -> None:
    """Drawn are problems: two of which one is mastered give scores of 0, 1/2 and 1, and nothing between."""
    found = questions(tmp_path)
    given = outcomes("2steps_1", "2steps_2", "2steps_multi")
    interval = scores_with_intervals(WEMATH, found, given, seed=0, resamples=400)["score_strict"]
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)


def test_a_problem_without_one_of_its_parts_is_refused(tmp_path: Path) -> None:
    rows = wemath_rows()[:2]
    found = read_questions(WEMATH, save(tmp_path / "q.json", rows), images="ignore")
    with pytest.raises(DataError, match="problem 2steps_1 has the parts 1, 2; its figures need 1, 2, multi"):
        scores(WEMATH, found, dict.fromkeys((q.published for q in found), 1.0))


def test_vlmevalkit_tables(tmp_path: Path) -> None:
    rows = [
        {
            "index": 10 + number,
            "ID": row["ID"],
            "key": row["key"],
            "question": row["question"],
            "A": "3 cm",
            "B": "4 cm",
            "C": "none",
            "F": "No correct answer",
            "answer": "A",
        }
        for number, row in enumerate(wemath_rows())
    ]
    path = table(tmp_path / "WeMath.tsv", [row | {"image": encoded()} for row in rows])
    found = read_questions(WEMATH, path, image_folder=tmp_path / "pictures")
    assert found[0].record.options == ("3 cm", "4 cm", "none", "No correct answer")
    assert Path(found[0].record.images[0]).parent == tmp_path / "pictures"
    rows = [row | {"prediction": "Answer: A"} for row in rows]
    predictions = table(tmp_path / "Qwen2-VL_WeMath.xlsx", rows)
    done = to_candidates(WEMATH, found, predictions)
    assert done.outcomes()["Qwen2-VL"] == dict.fromkeys((q.record.id for q in found), 1.0)
    assert scores(WEMATH, found, done.outcomes()["Qwen2-VL"])["score_strict"] == 1.0


def test_own_predictions(tmp_path: Path) -> None:
    letters = {"3steps_2": "B"}
    rows = [row | {"response": f"<Answer>: {letters.get(row['key'], 'A')}"} for row in wemath_rows()]
    found = questions(tmp_path)
    done = to_candidates(WEMATH, found, save(tmp_path / "GPT-4o.json", rows))
    values = scores(WEMATH, found, done.outcomes()["GPT-4o"])
    assert (values["score_strict"], values["score_loose"]) == (0.5, 1.0)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"key": "4steps_1"}, "field 'key': got '4steps_1'; allowed: one of 2steps_1"),
        ({"answer": "D"}, "field 'answer': got 'D'; allowed: one of the letters A, B, C, F"),
        ({"option": "3 cm or 4 cm"}, "field 'option': got '3 cm or 4 cm'; allowed: options in order"),
        ({"option": None}, "field 'option' is missing"),
        ({"ID": None}, "field 'ID or index' is missing; allowed: the question's id, as WeMath publishes it"),
    ],
)
def test_bad_rows(tmp_path: Path, change, message: str) -> None:
    path = save(tmp_path / "q.json", [wemath_rows()[0] | change])
    with pytest.raises(DataError, match=message):
        read_questions(WEMATH, path, images="ignore")
