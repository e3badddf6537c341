"""MMMU: its option and open rules, several accepted answers, figures by subject."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_layouts import encoded, images, mmmu_rows, picture, save, table

from dreamprm.config.errors import DataError, UserError
from dreamprm.formats.benchmarks import build_benchmark, read_questions, to_candidates
from dreamprm.formats.benchmarks.mmmu_answers import holds_answer, open_answers, option_in
from dreamprm.formats.benchmarks.scores import scores

MMMU = build_benchmark("mmmu")
OPTIONS = {"A": "1", "B": "a red house", "C": "Not exist"}


@pytest.fixture
def questions(tmp_path: Path):
    return read_questions(MMMU, save(tmp_path / "validation.json", mmmu_rows()), images="ignore")


def test_questions_with_several_images(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    found = read_questions(MMMU, save(tmp_path / "validation.json", mmmu_rows()))
    assert [Path(image).name for image in found[0].record.images] == ["a.png", "b.png"]
    assert (found[0].record.answer, found[0].record.options) == ("C", ("1", "2", "Not exist"))
    assert (found[1].record.answer, found[1].accepted) == ("24/7", ("24/7", "3.429"))
    assert found[2].groups == {
        "question_type": ("multiple-choice",),
        "subject": ("Art_Theory",),
        "discipline": ("Art and Design",),
    }


@pytest.mark.parametrize(
    "response, letter",
    [
        ("C", "C"),
        ("C.", "C"),
        ("(A)", "A"),
        ("(A) or rather (C)", "C"),
        ("It is A or B here", "B"),
        # Brackets count before bare letters, letters before texts.
        ("B is the one, not (A)", "A"),
        ("I think that there is a red house in it", "B"),
        ("a red house", None),
        ("It does not exist at all, sorry", "C"),
        ("I have no idea at all here", None),
        ("c", None),
        ("", None),
    ],
)
def test_options_in_responses(response: str, letter: str | None) -> None:
    assert option_in(response, OPTIONS) == letter


@pytest.mark.parametrize(
    "response, accepted, right",
    [
        ("3.429", ["24/7", "3.429"], True),
        ("The result is 3.43.", ["24/7", "3.429"], True),
        ("It is 24/7", ["24/7", "3.429"], True),
        ("It is 3.44", ["24/7", "3.429"], False),
        ("x = 1,200", ["1200"], True),
        ("So 5 and then\nthe answer is 7", ["5"], True),
        ("There are 5 of them", ["5"], True),
        ("There are 15 of them", ["5"], False),
        ("The city is Tampa, Florida", ["Tampa", "Florida"], True),
        # One letter needs a space beside it.
        ("The group is ab", ["b"], False),
        ("The group is a b", ["b"], True),
        ("1e3", ["1000"], True),
    ],
)
def test_open_answers(response: str, accepted: list[str], right: bool) -> None:
    assert holds_answer(open_answers(response), accepted) is right


def test_keys_of_the_last_line_only_include_the_equals_sign() -> None:
    assert open_answers("y = 3\nx = 4") == ["4", 4.0] or open_answers("y = 3\nx = 4") == [4.0, 4.0]
    assert open_answers("no key here") == ["no key here"]


@pytest.mark.parametrize(
    "row, response, verdict, extracted",
    [
        (0, "(C)", "right", "C"),
        (0, "I would say (A).", "wrong", "A"),
        (0, "No idea", "wrong", None),
        (1, "So the answer is 3.43", "right", None),
        (1, "So the answer is 24/7", "right", None),
        (1, "7", "wrong", None),
    ],
)
def test_the_own_rules(questions, row: int, response: str, verdict: str, extracted: str | None) -> None:
    judgement = MMMU.checker(questions).check(response, questions[row].record)
    assert judgement.verdict == verdict
    assert extracted is None or judgement.extracted == extracted


def test_stated_answers_know_all_accepted_ones(questions) -> None:
    checker = build_benchmark("mmmu", rules="stated").checker(questions)
    record = questions[1].record
    verdicts = [checker.check(f"I add.\nFinal answer: {text}", record).verdict for text in ("3.429", "4")]
    checker.close()
    assert verdicts == ["right", "wrong"]


def test_a_folder_of_subjects_is_one_model(questions, tmp_path: Path) -> None:
    for number, row in enumerate(mmmu_rows()):
        subject = "_".join(row["id"].split("_")[1:-1])
        path = tmp_path / "llava" / subject / "output.json"
        before = mmmu_rows()[:number] if subject == "Math" else []
        save(path, [one | {"response": "(C)"} for one in [*before, row] if subject in one["id"]])
    save(
        tmp_path / "total.json",
        {row["id"]: answer for row, answer in zip(mmmu_rows(), ("C", "3.429", "B"), strict=True)},
    )
    done = to_candidates(MMMU, questions, [tmp_path / "llava", tmp_path / "total.json"])
    by_generator = done.outcomes()
    assert by_generator["llava"] == {
        "mmmu-validation_Math_1": 1.0,
        "mmmu-validation_Math_2": 0.0,
        "mmmu-validation_Art_Theory_9": 0.0,
    }
    values = scores(MMMU, questions, by_generator["llava"])
    assert values == pytest.approx(
        {
            "accuracy": 1 / 3,
            "subject/Math": 1 / 2,
            "subject/Art_Theory": 0.0,
            "discipline/Science": 1 / 2,
            "discipline/Art and Design": 0.0,
            "question_type/multiple-choice": 1 / 2,
            "question_type/open": 0.0,
            "subject_mean": 1 / 4,
        }
    )
    assert scores(MMMU, questions, by_generator["total"])["accuracy"] == 1.0


def test_the_hub_form_with_images_inside(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = {"bytes": picture(), "path": None}
    rows = [row | {"options": str(row["options"]), "image_1": image, "image_2": None} for row in mmmu_rows()]
    (tmp_path / "Math").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "Math" / "validation-00000-of-00001.parquet")
    found = read_questions(MMMU, tmp_path / "Math", split="validation", image_folder=tmp_path / "pictures")
    assert [len(question.record.images) for question in found] == [1, 1, 1]
    assert found[2].record.options == ("Manet", "Monet")


def test_vlmevalkit_tables(tmp_path: Path) -> None:
    rows = [
        {"index": 1, "id": "validation_Math_1", "question": "Find it.", "A": "1", "B": "2", "answer": "B"},
        {"index": 2, "id": "validation_Math_2", "question": "How many?", "A": "", "B": "", "answer": "12"},
    ]
    path = table(tmp_path / "MMMU_DEV_VAL.tsv", [row | {"image": encoded()} for row in rows])
    found = read_questions(MMMU, path, images="ignore")
    assert [question.record.options for question in found] == [("1", "2"), ()]
    path = table(
        tmp_path / "M_MMMU_DEV_VAL.xlsx",
        [row | {"prediction": text} for row, text in zip(rows, ("B", "It is 12 in all"), strict=True)],
    )
    assert set(to_candidates(MMMU, found, path).outcomes()["M"].values()) == {1.0}


def test_answers_that_are_not_published_are_refused(tmp_path: Path) -> None:
    for row in (mmmu_rows()[0], mmmu_rows()[1]):
        path = save(tmp_path / "test.json", [row | {"answer": "?"}])
        with pytest.raises(DataError, match="field 'answer': got '\\?'; allowed"):
            read_questions(MMMU, path, images="ignore")


@pytest.mark.parametrize("answer", ["[]", [], " [ ] "])
def test_an_open_question_needs_an_answer_in_its_list(answer: object, tmp_path: Path) -> None:
    rows = [mmmu_rows()[1] | {"answer": answer}]
    with pytest.raises(
        DataError, match="field 'answer': got .*; allowed: an answer, or a list of at least one"
    ):
        read_questions(MMMU, save(tmp_path / "validation.json", rows), images="ignore")


def test_no_judge_is_asked(questions) -> None:
    from scripted_judge import ScriptedJudge

    with pytest.raises(UserError, match="MMMU's own rules use no judge; leave it out, or set rules=stated"):
        MMMU.checker(questions, ScriptedJudge(["x"]))
