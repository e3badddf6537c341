"""Questions of published datasets: every layout through the same tests, then what is special to one."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from question_layouts import (
    CASES,
    Case,
    ai2d_hub,
    ai2d_release,
    aokvqa_release,
    chartqa_hub,
    colour_of,
    dvqa_release,
    figureqa_release,
    geos_folders,
    iconqa_release,
    mmmu_hub,
    plotqa_release,
    put_json,
    put_parquet,
    put_picture,
    scienceqa_release,
    tabmwp_release,
    unigeo_pickle,
)

from dreamprm.answers import build_checker
from dreamprm.config.errors import DataError, UserError
from dreamprm.data import QuestionRecord, read_question_records
from dreamprm.formats.convert import FORMATS, convert_file


def with_colours(record: QuestionRecord) -> QuestionRecord:
    return dataclasses.replace(record, images=tuple(colour_of(path) for path in record.images))


def converted(format: str, source: Path, **options: Any) -> list[QuestionRecord]:
    """What our reader finds in the converted file."""
    destination = source.parent / "converted" / "questions.jsonl"
    done = convert_file(format, source, destination, **options)
    records = list(read_question_records(destination, allow_no_image=True, check_images=True))
    assert (done.kind, done.records) == ("question", len(records))
    return records


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_layout_becomes_the_questions_it_holds(case: Case, tmp_path: Path) -> None:
    records = converted(case.format, case.build(tmp_path), **case.options)
    assert [with_colours(record) for record in records] == case.expected


def test_the_checkers_take_the_answers_as_they_are_written() -> None:
    """A response with the reference answer is right, and one with another option or word is wrong."""
    checker = build_checker("auto")
    try:
        for record in (record for case in CASES for record in case.expected):
            # In brackets, since a bare B may be a letter or an option's text; the checker leaves that open.
            right = f"({record.answer})" if record.options else record.answer
            said = checker.check(f"Final answer: {right}", record)
            assert (record.id, said.verdict) == (record.id, "right")
            other = next((f"({letter})" for letter in record.letters if letter != record.answer), "17.25")
            said = checker.check(f"Final answer: {other}", record)
            assert (record.id, said.verdict) == (record.id, "wrong")
    finally:
        checker.close()


def test_every_format_has_a_layout_here() -> None:
    questions = {name for name, form in FORMATS.items() if form.kind == "question"}
    assert {case.format for case in CASES} | {"table"} == questions


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_images_are_written_once_and_named_relative_to_the_file(case: Case, tmp_path: Path) -> None:
    source = case.build(tmp_path)
    destination = tmp_path / "questions.jsonl"
    convert_file(case.format, source, destination, **case.options)
    folder = tmp_path / "questions_images"
    lines = [json.loads(line) for line in destination.read_text(encoding="utf-8").splitlines()]
    paths = {path for line in lines for path in line.get("images", [line.get("image")])}
    assert not any(os.path.isabs(path) for path in paths)
    written = sorted(folder.iterdir()) if folder.exists() else []
    # Every file that was written is named, and equal images are one file.
    assert {f"questions_images/{path.name}" for path in written} == {
        path for path in paths if path.startswith("questions_images/")
    }
    assert len({path.read_bytes() for path in written}) == len(written)
    times = [path.stat().st_mtime_ns for path in written]
    before = destination.read_bytes()
    convert_file(case.format, source, destination, **case.options)
    assert [path.stat().st_mtime_ns for path in written] == times and destination.read_bytes() == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_limit_takes_the_first_questions(case: Case, tmp_path: Path) -> None:
    records = converted(case.format, case.build(tmp_path), limit=1, **case.options)
    assert [with_colours(record) for record in records] == case.expected[:1]


def refusal(format: str, source: Path, **options: Any) -> str:
    """The message of a conversion that fails; nothing may stay behind."""
    destination = source.parent / "out.jsonl"
    with pytest.raises(UserError) as caught:
        convert_file(format, source, destination, **options)
    assert not destination.exists() and not (source.parent / "out_images").exists()
    return str(caught.value)


def changed(path: Path, change: Any) -> Path:
    """A JSON file with `change` applied to its value."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    return put_json(path, value)


def test_a_published_split_without_answers_says_so(tmp_path: Path) -> None:
    source = figureqa_release(tmp_path)
    changed(source / "qa_pairs.json", lambda value: value["qa_pairs"][1].pop("answer"))
    message = refusal("figureqa", source)
    assert (
        "qa_pairs.json: element 2: field 'answer' is missing; allowed: 1 for yes or 0 for no (the test"
        in message
    )
    source = aokvqa_release(tmp_path)
    changed(source, lambda value: value[0].pop("correct_choice_idx"))
    assert "'correct_choice_idx' is missing" in refusal("aokvqa", source)
    message = refusal("mmmu", mmmu_hub(tmp_path), split="test")
    assert "field 'answer': got '?'; allowed: an answer (those of the test split are not" in message


@pytest.mark.parametrize(
    ("format", "build", "change", "message"),
    [
        (
            "dvqa",
            dvqa_release,
            {"answer": True},
            "train_qa.json: element 1: field 'answer': got True; allowed: a text",
        ),
        (
            "dvqa",
            dvqa_release,
            {"image": "x.png"},
            "field 'image': got 'x.png'; allowed: an existing image",
        ),
        ("dvqa", dvqa_release, {"question": " "}, "field 'question': got ' '; allowed: a text"),
        ("dvqa", dvqa_release, {"question_id": 7}, "a second question has the id dvqa-7"),
        (
            "aokvqa",
            aokvqa_release,
            {"correct_choice_idx": 2},
            "got 2; allowed: the number of an option, 0 to 1",
        ),
        ("aokvqa", aokvqa_release, {"correct_choice_idx": 0.5}, "got 0.5; allowed: the number"),
        ("aokvqa", aokvqa_release, {"image_id": "7"}, "'image_id': got '7'; allowed: the number of a COCO"),
        (
            "aokvqa",
            aokvqa_release,
            {"choices": ["a", ""]},
            "'choices[1]': got ''; allowed: a text that is not",
        ),
    ],
)
def test_bad_rows_are_named(
    format: str, build: Any, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    source = changed(build(tmp_path), lambda rows: rows[0].update(change))
    assert message in refusal(format, source)


@pytest.mark.parametrize(
    ("format", "build", "change", "message"),
    [
        (
            "scienceqa",
            scienceqa_release,
            {"answer": -1},
            "problems.json: member '1': field 'answer': got -1; allowed",
        ),
        (
            "scienceqa",
            scienceqa_release,
            {"choices": "push"},
            "'choices': got 'push'; allowed: a list of options",
        ),
        ("tabmwp", tabmwp_release, {"answer": " "}, "field 'answer': got ' '"),
        (
            "tabmwp",
            tabmwp_release,
            {"choices": ["x"], "answer": "y"},
            "got 'y'; allowed: the text of one option",
        ),
        ("tabmwp", tabmwp_release, {"ans_type": None}, "field 'ans_type': got None"),
    ],
)
def test_bad_problems_are_named(
    format: str, build: Any, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    source = changed(build(tmp_path), lambda problems: problems["1"].update(change))
    assert message in refusal(format, source)


def test_a_bad_problem_of_iconqa(tmp_path: Path) -> None:
    source = iconqa_release(tmp_path)
    changed(source / "problems.json", lambda problems: problems["12"].update(ques_type="draw"))
    assert "'ques_type': got 'draw'; allowed: one of choose_txt, choose_img, fill" in refusal(
        "iconqa", source
    )
    records = converted("iconqa", source, task="fill_in_blank", on_error="skip", max_bad_fraction=0.5)
    assert [record.id for record in records] == ["iconqa-13"]


def test_a_question_without_an_image_needs_a_decision(tmp_path: Path) -> None:
    source = scienceqa_release(tmp_path)
    message = refusal("scienceqa", source, split="train")
    assert "question scienceqa-2 has no image; set without_image=skip" in message


def test_what_is_left_out_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = scienceqa_release(tmp_path)
    done = convert_file("scienceqa", source, tmp_path / "o.jsonl", split="train", without_image="skip")
    assert done.report.lines() == [
        "left out 1 of 3: without an image (without_image=skip)",
        "left out 1 of 3: split is not train",
    ]
    done = convert_file("unigeo", unigeo_pickle(tmp_path), tmp_path / "u.jsonl")
    assert done.report.lines() == ["left out 1 of 3: a proof has no final answer"]
    done = convert_file("chartqa", chartqa_hub(tmp_path), tmp_path / "c.jsonl", author="machine")
    assert done.report.lines() == ["left out 1 of 2: the question is not by machine (author)"]


def test_bad_rows_may_be_skipped_up_to_a_share(tmp_path: Path) -> None:
    source = changed(dvqa_release(tmp_path), lambda rows: rows[0].update(answer=""))
    done = convert_file("dvqa", source, tmp_path / "o.jsonl", on_error="skip", max_bad_fraction=0.5)
    assert (done.records, done.report.bad) == (1, 1)
    assert "train_qa.json: element 1: field 'answer': got ''" in done.report.lines()[1]
    assert "1 of 2 rows are bad" in refusal("dvqa", source, on_error="skip", max_bad_fraction=0.4)


def test_the_table_before_the_question(tmp_path: Path) -> None:
    records = converted("tabmwp", tabmwp_release(tmp_path), table_text=True)
    assert records[0].question == "Sold\nday | n\nMon | 1,200\n\nHow many?"
    assert records[2].question == "day | n\nMon | 1,200\n\nHow many?"  # without a title


def test_digits_of_computed_answers(tmp_path: Path) -> None:
    records = converted("plotqa", plotqa_release(tmp_path), significant=1)
    assert [record.precision for record in records] == [0, 3, None, None, 0]
    message = refusal("plotqa", plotqa_release(tmp_path), significant=0)
    assert message == "significant must be >= 1, got 0"


def test_digits_of_ratios_in_charts(tmp_path: Path) -> None:
    put_picture(tmp_path / "png/a.png", "red")
    answers = ["1.216666667", "0.33333333", "93.45", "2013", "0.08", "Yes"]
    rows = [{"imgname": "a.png", "query": "q", "label": answer} for answer in answers]
    records = converted("chartqa", put_json(tmp_path / "test_human.json", rows))
    assert [record.precision for record in records] == [2, 3, 1, None, 2, None]
    checker = build_checker("auto")
    try:
        for record, text in zip(records, ["1.22", "0.333", "93.4", "2013", "0.08", "yes"], strict=True):
            assert checker.check(f"Final answer: {text}", record).verdict == "right", record
        assert checker.check("Final answer: 1.3", records[0]).verdict == "wrong"
    finally:
        checker.close()


def test_ai2d_without_the_lettered_images_takes_the_plain_ones(tmp_path: Path) -> None:
    source = ai2d_release(tmp_path)
    (source / "abc_images" / "0.png").unlink()
    assert [colour_of(*record.images) for record in converted("ai2d", source)] == ["red", "red", "blue"]


def test_an_open_question_needs_an_answer_in_its_list(tmp_path: Path) -> None:
    source = mmmu_hub(tmp_path)
    file = source / "Math" / "validation-00000-of-00001.parquet"
    put_parquet(file, [row | {"answer": "[]"} for row in pyarrow.parquet.read_table(file).to_pylist()])
    message = refusal("mmmu", source, split="validation")
    assert "field 'answer': got '[]'; allowed: an answer, or a list of at least one" in message


def test_a_folder_of_several_splits_needs_one(tmp_path: Path) -> None:
    source = mmmu_hub(tmp_path)
    assert "set split to one of its splits: validation, test" in refusal("mmmu", source)
    assert "split=dev is not among its splits: validation, test" in refusal("mmmu", source, split="dev")


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        (
            "dvqa",
            {"template": "dat"},
            "template must be one of structure, data, reasoning or null, got 'dat'",
        ),
        ("chartqa", {"author": "people"}, "author must be one of human, machine or null"),
        ("iconqa", {"split": "valid"}, "split must be one of train, val, test or null, got 'valid', did you"),
        ("mmmu", {"question_type": 1}, "question_type must be one of multiple-choice, open or null, got 1"),
        ("scienceqa", {"hint": "no"}, "hint must be true or false, got 'no'"),
        ("m3cot", {"context": "no"}, "context must be true or false, got 'no'"),
        ("tabmwp", {"table_text": 1}, "table_text must be true or false, got 1"),
        ("ai2d", {"split": ""}, "split must be a non-empty text, got ''"),
        ("geoqa_plus", {"text": 3}, "text must be a text, got 3"),
        ("dvqa", {"limit": 0}, "limit must be >= 1, got 0"),
        ("dvqa", {"domain": " "}, "domain must be a non-empty text, got ' '"),
        ("dvqa", {"without_image": "drop"}, "without_image must be one of error, skip, keep, got 'drop'"),
        ("dvqa", {"image_root": "/nowhere"}, "image_root is not a folder: /nowhere"),
        ("dvqa", {"on_error": "pass"}, "on_error must be one of error, skip, got 'pass'"),
        (
            "dvqa",
            {"templates": "data"},
            "format 'dvqa' (direction=in) has no setting 'templates', did you mean 'template'?",
        ),
    ],
)
def test_bad_options(format: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert refusal(format, dvqa_release(tmp_path), **options).startswith(message)


def test_a_missing_source(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal("ai2d", tmp_path / "absent")


def test_images_under_another_root(tmp_path: Path) -> None:
    source = dvqa_release(tmp_path / "questions")
    os.rename(tmp_path / "questions/images", tmp_path / "pictures")
    assert "no such file" in refusal("dvqa", source)
    records = converted("dvqa", source, image_root=tmp_path / "pictures")
    assert [colour_of(*record.images) for record in records] == ["red", "red"]


def test_a_failed_conversion_removes_the_images_that_it_wrote(tmp_path: Path) -> None:
    source = ai2d_hub(tmp_path)
    bad = {"question": "Q?", "options": ["a", "b"], "answer": "9", "image": None}
    put_parquet(source / "data/test-00002-of-00002.parquet", [bad])
    assert "test-00002-of-00002.parquet:1: field 'answer': got '9'" in refusal("ai2d", source)
    kept = tmp_path / "kept"
    convert_file("ai2d", ai2d_hub(tmp_path / "good"), tmp_path / "o.jsonl", image_folder=kept)
    names = sorted(kept.iterdir())
    with pytest.raises(DataError, match="got '9'"):
        convert_file("ai2d", source, tmp_path / "o2.jsonl", image_folder=kept)
    assert sorted(kept.iterdir()) == names and len(names) == 1  # an older conversion's images stay


def test_broken_pages_of_ai2d_may_be_skipped(tmp_path: Path) -> None:
    source = ai2d_release(tmp_path)
    put_json(source / "questions/2.png.json", {"imageName": "2.png", "questions": ["Which?"]})
    assert "2.png.json:1: field 'questions': got ['Which?']; allowed: an object that maps" in refusal(
        "ai2d", source
    )
    (source / "questions/3.png.json").write_text("{", encoding="utf-8")
    done = convert_file("ai2d", source, tmp_path / "o.jsonl", on_error="skip", max_bad_fraction=0.4)
    assert (done.records, done.report.rows, done.report.bad) == (3, 5, 2)


def test_broken_problem_files_are_named(tmp_path: Path) -> None:
    source = geos_folders(tmp_path)
    (source / "968/question.json").write_text('{"key": 968,', encoding="utf-8")
    assert "968/question.json:1: not JSON" in refusal("geos", source)
    changed(source / "1018/question.json", lambda value: value.update(choices={"1": "a", "3": "b"}))
    (source / "968/question.json").unlink()
    assert "field 'choices': got {'1': 'a', '3': 'b'}; allowed: options by their numbers" in refusal(
        "geos", source
    )
    (source / "1018/question.json").unlink()
    assert "holds no question.json" in refusal("geos", source)


def test_a_multiple_choice_question_of_mmmu_has_options(tmp_path: Path) -> None:
    row = {"id": "v_1", "question": "q", "answer": "B", "options": "[]", "question_type": "multiple-choice"}
    message = refusal("mmmu", put_parquet(tmp_path / "dev.parquet", [row]), without_image="keep")
    assert "field 'options': got '[]'; allowed: at least one option" in message
