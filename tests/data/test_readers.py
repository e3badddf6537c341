"""Records are read from both forms, and a bad record is an error that says all that is needed to fix it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import (
    Candidate,
    CandidateRecord,
    MetaRecord,
    ReadReport,
    StepRecord,
    read_candidate_records,
    read_meta_records,
    read_step_records,
    require_steps,
)

STEP = {"question": "q", "image": "i.png", "domain": "d", "steps": ["a", "b"], "labels": [1, None]}
META = {"question": "q", "image": "i.png", "steps": ["a"], "correct": True}
CANDIDATES = {
    "question": "q",
    "image": "i.png",
    "benchmark": "suite",
    "answer": "B",
    "candidates": [{"text": "Step 1: a\nFinal answer: B"}],
}
PUBLIC_STEP = {"input": "q", "add": "Step 1: a", "accuracy": 0.5, "dataset": "d", "image_path": "i.png"}
PUBLIC_META = {"input": "q\n\nStep 1: a\nStep 2: b", "true_false": False, "image_path": "i.png"}
READERS: list[tuple[Callable[..., Iterator[Any]], dict[str, Any]]] = [
    (read_step_records, STEP),
    (read_step_records, PUBLIC_STEP),
    (read_meta_records, META),
    (read_meta_records, PUBLIC_META),
    (read_candidate_records, CANDIDATES),
]


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


# Every form, read.


@pytest.mark.parametrize("array", [False, True])
def test_own_step_form(folder: Path, write_rows: Any, array: bool) -> None:
    rows = [STEP, STEP | {"labels": [0.25, 0], "rollouts": [8, None], "id": 7, "ground_truth": "unused"}]
    image = str(folder / "i.png")
    assert list(read_step_records(write_rows(rows, array=array))) == [
        StepRecord("q", (image,), "d", ("a", "b"), (1.0, None), (None, None), "rows.json:1"),
        StepRecord("q", (image,), "d", ("a", "b"), (0.25, 0.0), (8, None), "7"),
    ]


def test_own_meta_form(folder: Path, write_rows: Any) -> None:
    (record,) = read_meta_records(write_rows([META]))
    assert record == MetaRecord("q", (str(folder / "i.png"),), ("a",), True, "rows.json:1")
    assert record.image == str(folder / "i.png")


def test_public_meta_form(folder: Path, write_rows: Any) -> None:
    rows = [PUBLIC_META | {"id": 2}, PUBLIC_META | {"input": "only a question", "true_false": True}]
    image = str(folder / "i.png")
    assert list(read_meta_records(write_rows(rows, array=True))) == [
        MetaRecord("q", (image,), ("Step 1: a", "Step 2: b"), False, "2"),
        MetaRecord("only a question", (image,), (), True, "rows.json:2"),
    ]


def test_candidates_take_steps_and_answer_from_the_text(folder: Path, write_rows: Any) -> None:
    given = {"text": "x", "steps": ["s"], "final_answer": "C", "correct": False, "generator": "g"}
    joined = {"steps": ["Step 1: a", "Final answer: D"], "correct": None}
    row = CANDIDATES | {"candidates": [*CANDIDATES["candidates"], given, joined]}
    (record,) = read_candidate_records(write_rows([row]))
    assert record == CandidateRecord(
        "q",
        (str(folder / "i.png"),),
        "suite",
        "B",
        (
            Candidate("Step 1: a\nFinal answer: B", ("Step 1: a\nFinal answer: B",), "B", None, None),
            Candidate("x", ("s",), "C", False, "g"),
            Candidate("Step 1: a\n\nFinal answer: D", ("Step 1: a", "Final answer: D"), "D", None, None),
        ),
        "rows.json:1",
    )


def test_domain_overrides_the_file(write_rows: Any) -> None:
    rows = [without(STEP, "domain"), STEP, without(PUBLIC_STEP, "dataset")]
    assert [record.domain for record in read_step_records(write_rows(rows), domain="mine")] == ["mine"] * 3


# Images.


def test_image_paths_start_from_the_file_or_the_image_root(folder: Path, write_rows: Any) -> None:
    (folder / "images").mkdir()
    (folder / "images" / "j.png").write_bytes((folder / "i.png").read_bytes())
    path = write_rows([META | {"image": str(folder / "i.png")}, META | {"image": "j.png"}])
    with pytest.raises(DataError, match=r"rows\.json:1: field 'image'.*set allow_outside=true"):
        list(read_meta_records(path, image_root=folder / "images"))
    records = list(read_meta_records(path, image_root=folder / "images", allow_outside=True))
    assert [record.images for record in records] == [
        (str(folder / "i.png"),),
        (str(folder / "images" / "j.png"),),
    ]


def test_several_images(folder: Path, write_rows: Any) -> None:
    (record,) = read_meta_records(write_rows([without(META, "image") | {"images": ["i.png", "i.png"]}]))
    assert record.images == (str(folder / "i.png"),) * 2 and record.image == record.images[0]


@pytest.mark.parametrize("none", [{}, {"image": None}, {"images": []}])
def test_a_record_without_an_image_needs_permission(write_rows: Any, none: dict[str, Any]) -> None:
    path = write_rows([without(META, "image") | none])
    (record,) = read_meta_records(path, allow_no_image=True)
    assert record.images == () and record.image is None
    with pytest.raises(DataError, match=r"rows\.json:1: field 'image.*set allow_no_image for text-only"):
        list(read_meta_records(path))


@pytest.mark.parametrize(
    ("images", "field"), [({"image": "no.png"}, "image"), ({"images": ["i.png", "no.png"]}, r"images\[1\]")]
)
def test_a_missing_image_is_an_error_or_text_only(
    write_rows: Any, images: dict[str, Any], field: str
) -> None:
    path = write_rows([without(META, "image") | images])
    with pytest.raises(DataError, match=rf"rows\.json:1: field '{field}': got 'no\.png'; .*no such file: "):
        list(read_meta_records(path))
    report = ReadReport()
    (record,) = read_meta_records(path, missing_image="text_only", report=report)
    assert record.images == () and report.text_only == 1
    assert report.lines() == [
        "1 of 1 are used without their images, which are missing or broken",
        f"  {path}:1: {path.parent / 'no.png'}: no such file",
    ]


def test_broken_images_are_found_when_asked_for(folder: Path, write_rows: Any) -> None:
    (folder / "broken.png").write_bytes((folder / "i.png").read_bytes()[:40])
    path = write_rows([META, META | {"image": "broken.png"}])
    assert len(list(read_meta_records(path))) == 2
    with pytest.raises(DataError, match=r"rows\.json:2: field 'image': got 'broken\.png'; .*broken image"):
        list(read_meta_records(path, check_images=True))
    records = list(read_meta_records(path, check_images=True, missing_image="text_only"))
    assert [len(record.images) for record in records] == [1, 0]


# Bad records: file, line, field, value, what is allowed.

LABEL = "a number in [0, 1], or null"
BAD = [
    (STEP, {"labels": [1, 1.5]}, "'labels[1]': got 1.5; allowed: " + LABEL),
    (STEP, {"labels": [-0.1, 1]}, "'labels[0]': got -0.1; allowed: " + LABEL),
    (STEP, {"labels": [float("nan"), 1]}, "'labels[0]': got nan; allowed: " + LABEL),
    (STEP, {"labels": ["1", 1]}, "'labels[0]': got '1'; allowed: " + LABEL),
    (STEP, {"labels": [True, 1]}, "'labels[0]': got True; allowed: " + LABEL),
    (STEP, {"labels": 1}, "'labels': got 1; allowed: a list of 2 numbers in [0, 1] or null, one per step"),
    (STEP, {"labels": [1]}, "'labels': got 1 values for 2 steps; allowed: a list of 2 numbers"),
    (STEP, {"labels": [None, None]}, "'labels': got [None, None]; allowed: at least one step with a label"),
    (STEP, {"rollouts": [8]}, "'rollouts': got 1 values for 2 steps; allowed: a list of 2 whole numbers"),
    (STEP, {"rollouts": [8, 0]}, "'rollouts[1]': got 0; allowed: a whole number >= 1, or null"),
    (STEP, {"rollouts": [8, 1.5]}, "'rollouts[1]': got 1.5; allowed: a whole number >= 1, or null"),
    (STEP, {"steps": "a"}, "'steps': got 'a'; allowed: a list of texts"),
    (STEP, {"steps": ["a", " "]}, "'steps[1]': got ' '; allowed: a text that is not empty"),
    (STEP, {"steps": ["a", 3]}, "'steps[1]': got 3; allowed: a text that is not empty"),
    (STEP, {"steps": [], "labels": []}, "'steps': got []; allowed: at least one step (stepless=skip"),
    (STEP, {"steps": None}, "'steps': got None; allowed: a list of texts"),
    (STEP, {"question": " "}, "'question': got ' '; allowed: a text that is not empty"),
    (STEP, {"question": 5}, "'question': got 5; allowed: a text that is not empty"),
    (STEP, {"domain": ""}, "'domain': got ''; allowed: a text that is not empty"),
    (STEP, {"id": 1.5}, "'id': got 1.5; allowed: a text or a whole number, or null"),
    (STEP, {"image": 3}, "'image': got 3; allowed: a text that is not empty"),
    (PUBLIC_STEP, {"accuracy": 1.5}, "'accuracy': got 1.5; allowed: a number in [0, 1]"),
    (PUBLIC_STEP, {"accuracy": None}, "'accuracy': got None; allowed: a number in [0, 1]"),
    (PUBLIC_STEP, {"add": "###"}, "'add': got '###'; allowed: "),
    (PUBLIC_STEP, {"times": 0}, "'times': got 0; allowed: a whole number >= 1, or null"),
    (META, {"correct": 1}, "'correct': got 1; allowed: true or false"),
    (META, {"correct": "true"}, "'correct': got 'true'; allowed: true or false"),
    (META, {"question": "x" * 500, "correct": None}, "'correct': got None; allowed: true or false"),
    (PUBLIC_META, {"true_false": "yes"}, "'true_false': got 'yes'; allowed: true or false"),
    (PUBLIC_META, {"input": "Step 1: a"}, "'input': got 'Step 1: a'; allowed: a question before"),
    (CANDIDATES, {"candidates": []}, "'candidates': got []; allowed: a list of at least one JSON object"),
    (CANDIDATES, {"candidates": [{"correct": True}]}, "'candidates[0].text' is missing; allowed: a text"),
    (CANDIDATES, {"candidates": [{"text": "a", "correct": 0}]}, "'candidates[0].correct': got 0; allowed: "),
    (CANDIDATES, {"candidates": [{"text": "a", "generator": 0}]}, "'candidates[0].generator': got 0;"),
    (CANDIDATES, {"answer": 4}, "'answer': got 4; allowed: a text that is not empty"),
]  # fmt: skip


def reader_of(row: dict[str, Any]) -> Callable[..., Iterator[Any]]:
    return next(reader for reader, example in READERS if example is row)


@pytest.mark.parametrize(("row", "change", "message"), BAD)
def test_a_bad_field_is_named(
    write_rows: Any, row: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    path = write_rows([row, row | change])
    with pytest.raises(DataError) as caught:
        list(reader_of(row)(path))
    assert str(caught.value).startswith(f"{path}:2: field {message}")


def test_a_long_value_is_cut_in_the_message(write_rows: Any) -> None:
    with pytest.raises(DataError) as caught:
        list(read_meta_records(write_rows([META | {"correct": "x" * 1000}])))
    assert "x" * 60 in str(caught.value) and len(str(caught.value)) < 300


def test_a_candidate_that_is_no_object(write_rows: Any) -> None:
    with pytest.raises(DataError, match=r"rows\.json:1: candidates\[1\]: got 'b'; allowed: a JSON object"):
        list(read_candidate_records(write_rows([CANDIDATES | {"candidates": [{"text": "a"}, "b"]}])))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (row, name)
        for _, row in READERS
        for name in row
        if not (row is PUBLIC_STEP and name in ("input", "add"))
        and not (row is PUBLIC_META and name == "input")
        and not (row is STEP and name == "steps")
    ],
)
def test_a_misspelt_field_is_missing_and_its_nearest_name_is_told(
    write_rows: Any, row: dict[str, Any], name: str
) -> None:
    path = write_rows([{("x" + key if key == name else key): value for key, value in row.items()}])
    with pytest.raises(DataError, match=rf":1: field '\w+' is missing; .*closest field is 'x{name}'"):
        list(reader_of(row)(path))


def test_a_missing_field_without_a_near_name_lists_what_is_there(write_rows: Any) -> None:
    with pytest.raises(DataError, match=r"field 'question' is missing; .*; the record has 'foo', 'bar'$"):
        list(read_meta_records(write_rows([{"foo": 1, "bar": 2}])))


@pytest.mark.parametrize("value", ["[1, 2]", "3", '"text"'])
def test_a_row_that_is_no_object(write_rows: Any, value: str) -> None:
    with pytest.raises(DataError, match=r"rows\.json:2: the record: got .*; allowed: a JSON object"):
        list(read_meta_records(write_rows([META, value], array=True)))


def test_a_file_without_records(write_rows: Any) -> None:
    with pytest.raises(DataError, match=r"rows\.json: holds no record; allowed: at least one"):
        list(read_meta_records(write_rows([], array=True)))


# Leaving bad records out.


@pytest.mark.parametrize(("reader", "row"), READERS)
def test_skipping_counts_and_lists(write_rows: Any, reader: Any, row: dict[str, Any]) -> None:
    good = [row | {"id": k} for k in range(5)]
    path = write_rows([*good[:2], "{broken", *good[2:], {"unrelated": 1}])
    report = ReadReport()
    records = list(reader(path, on_error="skip", max_bad_fraction=0.3, report=report))
    assert [record.id for record in records] == ["0", "1", "2", "3", "4"]
    assert (report.rows, report.bad) == (7, 2)
    lines = report.lines()
    assert lines[0] == "left out 2 of 7:" and len(lines) == 3
    assert lines[1].startswith(f"  {path}:3: not a JSON object") and f"{path}:7: " in lines[2]
    assert ReadReport(**report.to_json()) == report


def test_a_report_shows_the_first_reasons_only(write_rows: Any) -> None:
    report = ReadReport()
    rows = [META, *["{"] * 150]
    list(read_meta_records(write_rows(rows), on_error="skip", max_bad_fraction=1.0, report=report))
    assert report.bad == 150 and len(report.left_out) == 100
    assert (
        report.lines(shown=4)[0] == "left out 150 of 151:" and report.lines(shown=4)[-1] == "  and 146 more"
    )


def test_nothing_left_out_is_nothing_to_say(write_rows: Any) -> None:
    report = ReadReport()
    list(read_meta_records(write_rows([META]), report=report))
    assert report.lines() == [] and report.rows == 1


def test_too_many_bad_records_stop(write_rows: Any) -> None:
    path = write_rows([META] * 98 + ["{"] * 2)
    assert len(list(read_meta_records(path, on_error="skip", max_bad_fraction=0.02))) == 98
    with pytest.raises(DataError, match=r"2 of 100 rows are bad, more than max_bad_fraction=0\.01 allows"):
        list(read_meta_records(path, on_error="skip"))


def test_a_long_file_is_judged_before_its_end(write_rows: Any) -> None:
    report = ReadReport()
    path = write_rows(["{"] * 3000)
    with pytest.raises(DataError, match="1000 of 1000 rows are bad"):
        list(read_meta_records(path, on_error="skip", report=report))


@pytest.mark.parametrize("reader", [read_step_records, read_meta_records, read_candidate_records])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_error": "ignore"}, "on_error must be 'error' or 'skip', got 'ignore'"),
        ({"max_bad_fraction": 1.5}, r"max_bad_fraction must be in \[0, 1\], got 1.5"),
        ({"missing_image": "skip"}, "missing_image must be 'error' or 'text_only', got 'skip'"),
        ({"image_root": "no/such/folder"}, "image_root is not a folder: no/such/folder"),
    ],
)
def test_settings_are_checked_at_once(reader: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        reader("never opened", **settings)


# Records without steps.


def test_stepless_step_records_are_left_out_when_asked(write_rows: Any) -> None:
    path = write_rows([STEP, STEP | {"steps": [], "labels": []}])
    report = ReadReport()
    assert len(list(read_step_records(path, stepless="skip", report=report))) == 1
    assert (report.stepless, report.bad) == (1, 0) and report.lines()[0] == "left out 1 of 2:"
    with pytest.raises(UserError, match="stepless must be 'error' or 'skip', got 'drop'"):
        read_step_records(path, stepless="drop")  # type: ignore[arg-type]


def test_require_steps() -> None:
    records = [MetaRecord("q", (), ("a",), True, "1"), MetaRecord("bare", (), (), False, "2")]
    report = ReadReport()
    assert list(require_steps(records, "skip", report=report)) == records[:1]
    assert report.stepless == 1 and report.left_out == ["record 2 has no steps (question: 'bare')"]
    with pytest.raises(DataError, match=r"record 2 has no steps .*set stepless=skip"):
        list(require_steps(records))
    with pytest.raises(UserError, match="stepless must be 'error' or 'skip', got 'x'"):
        require_steps(records, "x")  # type: ignore[arg-type]


# Reading is lazy.


def test_records_come_while_the_file_is_read(write_rows: Any) -> None:
    report = ReadReport()
    reading = read_meta_records(write_rows([META] * 1000), report=report)
    assert report.rows == 0
    next(reading)
    assert report.rows == 1
