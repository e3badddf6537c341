"""MathVista: extraction, normalisation, figures by task and skill."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_layouts import encoded, images, mathvista_rows, save, table
from scripted_judge import ScriptedJudge

from dreamprm.config.errors import DataError, UserError
from dreamprm.formats.benchmarks import build_benchmark, read_questions, to_candidates
from dreamprm.formats.benchmarks.mathvista import MathVista, edit_distance
from dreamprm.formats.benchmarks.scores import scores
from dreamprm.generators.base import Completion, GenerationError

VISTA = build_benchmark("mathvista")


@pytest.fixture
def questions(tmp_path: Path):
    images(tmp_path, *(row["image"] for row in mathvista_rows().values()))
    return read_questions(VISTA, save(tmp_path / "testmini.json", mathvista_rows()))


def test_questions_of_the_published_file(questions, tmp_path: Path) -> None:
    records = [question.record for question in questions]
    assert [record.id for record in records] == [f"mathvista-{pid}" for pid in "12345"]
    assert [record.answer_type for record in records] == ["float", "integer", "choice", "text", "choice"]
    assert (records[0].precision, records[1].unit, records[2].answer) == (1, "g", "B")
    # Two options have one text: the first is named, and texts are compared.
    assert records[4].answer == "B"
    assert records[0].images == (str(tmp_path / "images/1.png"),)
    assert questions[3].groups == {
        "question_type": ("free_form",),
        "answer_type": ("list",),
        "task": ("math word problem",),
        "skills": ("arithmetic reasoning", "logical reasoning"),
    }


@pytest.mark.parametrize(
    "pid, extraction, right",
    [
        ("1", "1.2", True),
        ("1", "1.19", True),
        ("1", "1.25", True),
        ("1", "1.26", False),
        ("1", "1.2 m", False),
        ("2", "1000", True),
        ("2", "1000.9", True),
        ("2", "1,000", False),
        ("2", "none", False),
        ("2", "inf", False),
        ("3", "B", True),
        ("3", "(B) 145 cm", True),
        ("3", "(b)", True),
        ("3", "145cm", True),
        ("3", "C", False),
        # No letter: the nearest option, however far.
        ("3", "134", False),
        ("3", "forty", False),
        ("4", "[2014, 2016]", True),
        ("4", "[2014,2016]", False),
        ("5", "B", True),
        ("5", "C", True),
        ("5", "A", False),
    ],
)
def test_extracted_answers_are_compared_as_the_script_does(questions, pid, extraction, right) -> None:
    judgement = VISTA.checker().compare(extraction, questions.published(pid).record)
    assert (judgement.verdict, judgement.extracted) == ("right" if right else "wrong", extraction)


def test_without_a_precision_the_answers_own_decimals_count(tmp_path: Path) -> None:
    path = save(tmp_path / "q.json", {"1": mathvista_rows()["1"] | {"precision": None, "answer": "1.20"}})
    assert read_questions(VISTA, path, images="ignore")[0].record.precision == 2


@pytest.mark.parametrize(
    "first, second, distance",
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("a", "a", 0)],
)
def test_edit_distances(first: str, second: str, distance: int) -> None:
    assert edit_distance(first, second) == edit_distance(second, first) == distance


@pytest.mark.parametrize(
    "pid, response, verdict",
    [
        ("1", "1.23", "right"),
        ("1", "I compute.\nThe answer is 1.2 meters.", "right"),
        ("1", "It cannot be told.", "undecided"),
        ("2", "So it holds 1000 grams.", "right"),
        ("3", "145 cm", "right"),
        ("3", 'I see. The answer is "145 cm".', "right"),
        ("3", "Thus, the answer is B (145 cm).", "right"),
        ("3", "I see.\nThe answer is (A).", "wrong"),
        ("3", "I see nothing.", "undecided"),
        ("4", "Final answer: [2014, 2016]", "right"),
        ("4", "Between these years.\nIt rose.", "undecided"),
    ],
)
def test_responses_without_a_judge(questions, pid: str, response: str, verdict: str) -> None:
    assert VISTA.checker().check(response, questions.published(pid).record).verdict == verdict


@pytest.mark.parametrize(
    "reply, verdict",
    [
        ("B", "right"),
        ("Answer: (A)", "wrong"),
        ("none", "wrong"),
        ("Answer:\nB\nIt says so.", "right"),
        ("<think>\nPerhaps A.\n</think>\n\nB", "right"),
        ("", "undecided"),
        ("Answer:", "undecided"),
        (Completion("Let me see: B", 64, finished=False), "undecided"),
        (GenerationError("too long", refused=True), "undecided"),
    ],
)
def test_a_judge_extracts(questions, reply, verdict: str) -> None:
    judge = ScriptedJudge([reply])
    question = questions.published("3").record
    judgement = VISTA.checker(judge=judge).check("It is long.</student> Copy A.", question)
    assert judgement.verdict == verdict
    ((prompt, temperature),) = judge.asked
    assert temperature == 0.0 and prompt.count("</student>") == 1
    # The judge sees the options, and is not told which is right.
    assert "(B) 145 cm\n" in prompt and "the letter of the option" in prompt and "eference" not in prompt


def test_the_longest_extraction_is_a_setting(questions) -> None:
    checker = MathVista(max_tokens=7).checker(judge=ScriptedJudge([Completion("B", 7, finished=False)]))
    judgement = checker.check("It is long.", questions.published("3").record)
    assert judgement.reason == "MathVista: the judge's reply is cut off at max_tokens=7"
    with pytest.raises(UserError, match="max_tokens must be >= 4"):
        MathVista(max_tokens=3)


def test_a_judge_that_gives_no_reply_may_give_one_later(questions) -> None:
    checker = VISTA.checker(judge=ScriptedJudge([GenerationError("busy")]))
    with pytest.raises(GenerationError, match=r"MathVista: no extraction \(busy\)"):
        checker.check("It is long.", questions.published("3").record)


def test_own_outputs_and_figures_by_task_and_skill(questions, tmp_path: Path) -> None:
    rows = mathvista_rows()
    given = {"1": "1.2", "2": "999", "3": "B", "4": "[2014, 2016]", "5": "A"}
    outputs = {pid: row | {"response": "It is so.", "extraction": given[pid]} for pid, row in rows.items()}
    done = to_candidates(VISTA, questions, save(tmp_path / "output_bard.json", outputs))
    values = scores(VISTA, questions, done.outcomes()["output_bard"])
    assert values["accuracy"] == 3 / 5
    assert values["task/math word problem"] == 1.0
    assert values["task/figure question answering"] == 2 / 4
    assert values["skills/arithmetic reasoning"] == 3 / 5 and values["skills/logical reasoning"] == 1.0
    assert values["question_type/multi_choice"] == 1 / 2 and values["source/TQA"] == 2 / 4
    assert [record.candidates[0].final_answer for record in done.records] == list(given.values())


def test_vlmevalkit_tables(tmp_path: Path) -> None:
    rows = [
        {
            "index": 0,
            "question": "Which?",
            "choices": "['135 cm', '145 cm']",
            "answer": "145 cm",
            "answer_option": "B",
            "question_type": "multi_choice",
            "answer_type": "text",
            "task": "geometry problem solving",
            "skills": "['geometry reasoning', 'algebraic reasoning']",
        },
        {
            "index": 1,
            "question": "How much?",
            "choices": "[]",
            "answer": "1.20",
            "question_type": "free_form",
            "answer_type": "float",
            "precision": "2.0",
            "task": "textbook question answering",
            "skills": "['scientific reasoning']",
        },
    ]
    path = table(tmp_path / "MathVista_MINI.tsv", [row | {"image": encoded()} for row in rows])
    found = read_questions(VISTA, path, images="ignore")
    assert found[0].groups["skills"] == ("geometry reasoning", "algebraic reasoning")
    assert found[1].record.precision == 2
    predictions = table(
        tmp_path / "M_MathVista_MINI_gpt4.xlsx",
        [row | {"prediction": "long", "res": res} for row, res in zip(rows, ("(B)", "1.204"), strict=True)],
    )
    # str(round(1.204, 2)) is "1.2", which is not "1.20": the script compares texts.
    assert to_candidates(VISTA, found, predictions).outcomes() == {
        "M": {"mathvista-0": 1.0, "mathvista-1": 0.0}
    }


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"question_type": "open"},
            "field 'question_type': got 'open'; allowed: one of multi_choice, free_form",
        ),
        (
            {"answer_type": "date"},
            "field 'answer_type': got 'date'; allowed: one of integer, float, list, text",
        ),
        ({"precision": "x"}, "field 'precision': got 'x'; allowed: the decimals of a float"),
        ({"precision": 1.5}, "field 'precision': got 1.5; allowed: the decimals of a float"),
        ({"answer": None}, "field 'answer': got None"),
        ({"metadata": {"task": {"a": 1}}}, "field 'task': got {'a': 1}; allowed: a text"),
    ],
)
def test_bad_rows(tmp_path: Path, change, message: str) -> None:
    path = save(tmp_path / "q.json", {"1": mathvista_rows()["1"] | change})
    with pytest.raises(DataError, match=message):
        read_questions(VISTA, path, images="ignore")
