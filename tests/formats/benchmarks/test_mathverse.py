"""MathVerse: options in the question's text, versions without text, and answers compared by rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_layouts import mathverse_rows, save

from dreamprm.formats.benchmarks import build_benchmark, read_questions, to_candidates
from dreamprm.formats.benchmarks.mathverse import choices_in
from dreamprm.formats.benchmarks.scores import scores

VERSE = build_benchmark("mathverse")


def test_questions_of_all_versions(tmp_path: Path) -> None:
    found = read_questions(VERSE, save(tmp_path / "testmini.json", mathverse_rows()), images="ignore")
    lettered, vision, free = (question.record for question in found)
    assert (lettered.question, lettered.options) == (
        "Find the angle ()",
        ("40\u00b0", "60\u00b0", "120\u00b0"),
    )
    assert (vision.question, vision.options) == ("The question is shown in the image.", ())
    assert free.answer == "14" and found[1].groups["problem_version"] == ("Vision Only",)
    values = scores(VERSE, found, {"1": 1.0, "2": 0.0, "3": 0.0})
    assert values["accuracy"] == pytest.approx(1 / 3)
    assert values["problem_version_mean"] == 0.25 and values["subfield/Angle"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("x\nChoices:\nA:4\nB:5", ("4", "5")),
        ("x\nChoices:\n(A) 4\n(B) 5\nand more", ("4", "5\nand more")),
        ("x\nChoices:\nB:4\nA:5", ()),
        ("x\nChoices:\nfour\nA:5", ()),
        ("x\nA:4\nB:5", ()),
    ],
)
def test_options_in_a_text(text: str, options: tuple[str, ...]) -> None:
    assert choices_in(text)[1] == options


def test_published_rows_are_predictions(tmp_path: Path) -> None:
    questions = read_questions(VERSE, save(tmp_path / "testmini.json", mathverse_rows()), images="ignore")
    said = ["Step 1: Look.\nFinal answer: B", "The answer is B.", "I think that it is about 15."]
    rows = [
        row | {"model_answer": response, "extraction": extraction, "judgement": flag}
        for row, response, extraction, flag in zip(
            mathverse_rows(), said, ("60\u00b0", "B", "15"), (1, 1, 0), strict=True
        )
    ]
    path = save(tmp_path / "output_testmini.json", rows)
    found = to_candidates(VERSE, questions, {"gpt-4v": path})
    assert [record.candidates[0].correct for record in found.records] == [True, True, False]
    assert [record.candidates[0].text for record in found.records] == said
    assert found.report.flags.disagreements == 0
    plain = to_candidates(VERSE, questions, {"gpt-4v": path}, use_extracted=False)
    assert [record.candidates[0].correct for record in plain.records][:2] == [True, True]
    assert to_candidates(VERSE, questions, path, outcomes="published").outcomes()["output_testmini"] == {
        "mathverse-1": 1.0,
        "mathverse-2": 1.0,
        "mathverse-3": 0.0,
    }
