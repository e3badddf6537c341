"""Other projects' prediction files: which field is the response, bad rows, own flags, steps, old ids."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from published_layouts import images, mathv_rows, mathvista_rows, save, table, wemath_rows

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.data import read_candidate_records
from dreamprm.data.fields import Fields
from dreamprm.evaluation.benchmark import run_benchmark
from dreamprm.evaluation.benchmark_settings import BenchmarkConfig
from dreamprm.formats.benchmarks import build_benchmark, read_questions, to_candidates
from dreamprm.formats.response_fields import response_fields

LONG = "The bar of 2014 is 4 high and that of 2016 is 6 high. " * 6 + "So it is 1.2."


def run(*arguments: str) -> None:
    run_benchmark(load_config(BenchmarkConfig, None, arguments))


@pytest.mark.parametrize(
    ("row", "response", "extracted"),
    [
        ({"response": LONG, "prediction": "1.2", "extraction": "1.2"}, LONG, "1.2"),
        ({"prediction": "1.2", "response": LONG}, LONG, "1.2"),
        ({"prediction": LONG, "res": "B"}, LONG, "B"),
        ({"prediction": LONG}, LONG, None),
        ({"response": LONG, "model_answer": "1.2"}, LONG, "1.2"),
        ({"model_answer": LONG, "extraction": "1.2"}, LONG, "1.2"),
        ({"output": LONG, "pred": "B"}, LONG, "B"),
        ({"full_response": LONG, "response": "B"}, LONG, None),
        ({"response": "B", "prediction": LONG}, LONG, None),
        # An extraction may be longer than the response, but not by far: "(B)" is the option "145 cm".
        ({"response": "(B)", "prediction": "145 cm"}, "(B)", "145 cm"),
        # The script's guess for an empty response is no response.
        ({"response": "", "prediction": "145 cm", "extraction": ""}, "", "145 cm"),
        ({"response": "", "prediction": "an option that is longer than most, " * 4}, "", None),
    ],
)
def test_the_whole_response_is_the_text(row: dict[str, str], response: str, extracted: str | None) -> None:
    options = ("an option that is longer than most, " * 4,)
    found = response_fields(Fields(row, Path("f.json"), line=1), options=options)
    assert found.response == response
    if extracted is not None:
        assert found.extracted == extracted


def test_a_row_of_an_extraction_alone_has_no_response() -> None:
    for row in ({"model_answer": "5"}, {"pred": "5"}, {"extraction": "5"}):
        with pytest.raises(DataError, match="'prediction or response' is missing"):
            response_fields(Fields(row, Path("f.json"), line=1))


def test_mathvistas_result_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`prediction` is the normalised extraction there: it must not be what a PRM scores."""
    rows = mathvista_rows()
    given = {
        "1": ("I look.\n\nStep 1: add. Step 2: halve.\n\nSo it is 1.2.", "1.2", "1.2", True),
        "2": ("It weighs a kilogram, that is 1000 g.", "1000", "1000", False),
        "3": ("The answer is (B).", "B", "145 cm", True),
        "4": ("Between 2014 and 2016.", "[2014, 2016]", "[2014, 2016]", True),
        "5": ("", "", "12", False),
    }
    result = {
        pid: rows[pid]
        | {"response": response, "extraction": extraction, "prediction": prediction, "true_false": flag}
        for pid, (response, extraction, prediction, flag) in given.items()
    }
    source, out = save(tmp_path / "output_m.json", result), tmp_path / "out"
    run(
        "name=mathvista",
        f"questions={save(tmp_path / 'testmini.json', rows)}",
        f"predictions=[{source}]",
        f"output={out}",
        "images=ignore",
        "empty=wrong",
    )
    written = read_candidate_records(out / "candidates.jsonl", allow_no_image=True)
    texts = {record.id: record.candidates[0] for record in written}
    assert [texts[f"mathvista-{pid}"].text for pid in "1234"] == [given[pid][0] for pid in "1234"]
    assert [texts[f"mathvista-{pid}"].final_answer for pid in "1234"] == ["1.2", "1000", "B", "[2014, 2016]"]
    assert texts["mathvista-1"].steps == ("I look.\n\nStep 1: add.", "Step 2: halve.\n\nSo it is 1.2.")
    said = capsys.readouterr().out
    taken = (
        "whole responses: 4 from 'response' (extracted answer: 'extraction'), 1 from 'response' (extracted"
    )
    assert f"{source}: {taken} answer: 'prediction')" in said
    assert (
        f"{source}: steps per response: min 0, median 1, max 2; 3 of 5 responses are one step, 1 have none"
        in said
    )
    # The flag of the second is wrong by the benchmark's own rules.
    assert f"{source}: its own flags and our verdicts: 4 agree, 1 disagree, 0 undecided" in said
    (listed,) = map(json.loads, (out / "disagreements.jsonl").read_text().splitlines())
    assert (listed["id"], listed["published"], listed["ours"]) == ("mathvista-2", "wrong", "right")
    assert json.loads((out / "scores.json").read_text())["own_flags"] == {
        str(source): {"agree": 4, "disagree": 1}
    }


def test_thinking_in_a_column_of_its_own_is_not_graded(tmp_path: Path) -> None:
    rows = [{"index": 0, "question": "How many?", "choices": "[]", "answer": "6"}]
    benchmark = build_benchmark("mathvision", rules="stated")
    found = read_questions(benchmark, table(tmp_path / "MathVision.tsv", rows), images="ignore")
    more = {"thinking": "Final answer: 6", "prediction": "I cannot see the picture."}
    path = table(tmp_path / "M_MathVision.tsv", [rows[0] | more])
    (candidate,) = to_candidates(benchmark, found, path).records[0].candidates
    assert candidate.correct is None and candidate.final_answer != "6"
    assert candidate.text == "Final answer: 6\n\nI cannot see the picture."


@pytest.fixture
def mathv(tmp_path: Path) -> Path:
    images(tmp_path, "images/4.png", "images/5.png")
    save(tmp_path / "testmini.jsonl", mathv_rows())
    return tmp_path


def test_one_bad_row_is_left_out_and_said(mathv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [{"id": "4", "response": "\\boxed{6}"}, {"id": "5", "response": "\\boxed{B}"}]
    lines = [json.dumps(row) for row in [good[0], {"id": "5", "response": 7.5}]]
    (mathv / "m.jsonl").write_text("\n".join([*lines, '{"id": "5", ', json.dumps(good[1])]))
    given = (
        "name=mathvision",
        f"questions={mathv}/testmini.jsonl",
        f"predictions=[{mathv}/m.jsonl]",
        f"output={mathv}/out",
    )
    with pytest.raises(DataError, match=r"m\.jsonl:3: not a JSON object"):
        run(*given)
    with pytest.raises(DataError, match=r"1 of 4 rows are bad, more than max_bad_fraction=0.01"):
        run(*given, "on_error=skip")
    run(*given, "on_error=skip", "max_bad_fraction=0.3")
    said = capsys.readouterr().out
    assert f"{mathv}/m.jsonl: left out 1 of 4:" in said and "m.jsonl:3: not a JSON object" in said
    assert json.loads((mathv / "out/scores.json").read_text())["left_out"] == 1


def test_a_bad_question_takes_its_answers_with_it(mathv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = mathv_rows()
    save(mathv / "testmini.jsonl", [rows[0], rows[1] | {"answer": "Z"}])
    save(mathv / "m.jsonl", [{"id": "4", "response": "\\boxed{6}"}, {"id": "5", "response": "\\boxed{B}"}])
    run(
        "name=mathvision",
        f"questions={mathv}/testmini.jsonl",
        f"predictions=[{mathv}/m.jsonl]",
        f"output={mathv}/out",
        "on_error=skip",
        "max_bad_fraction=0.5",
    )
    said = capsys.readouterr().out
    assert "left out 1 of 2: an answer to a question that was left out" in said
    assert "m: accuracy 100.0%" in said and "wrote 1 question records" in said


def test_a_problem_of_which_a_part_is_bad_is_left_out_whole(tmp_path: Path) -> None:
    rows = wemath_rows()
    questions = [*rows[:2], rows[2] | {"answer": "Z"}, *rows[3:]]
    run(
        "name=wemath",
        f"questions={save(tmp_path / 'q.json', questions)}",
        "images=ignore",
        f"predictions=[{save(tmp_path / 'm.json', [row | {'response': 'Answer: A'} for row in rows])}]",
        f"output={tmp_path}/out",
        "on_error=skip",
        "max_bad_fraction=0.2",
    )
    content = json.loads((tmp_path / "out/scores.json").read_text())
    assert (content["questions"], content["left_out"]) == (4, 3)
    assert content["generators"]["m"]["figures"]["score_strict"][0] == 1.0


def test_predictions_and_questions_as_csv(mathv: Path) -> None:
    with (mathv / "m.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "response"])
        writer.writeheader()
        writer.writerows([{"id": 4, "response": "Look.\n\n\\boxed{6}"}, {"id": 5, "response": "\\boxed{A}"}])
    (mathv / "preds").mkdir()
    os.rename(mathv / "m.csv", mathv / "preds/m.csv")
    (mathv / "preds/m_acc.csv").write_text("split,Overall\nnone,12\n")  # as VLMEvalKit leaves behind
    run(
        "name=mathvision",
        f"questions={mathv}/testmini.jsonl",
        f"predictions=[{mathv}/preds]",
        f"output={mathv}/out",
    )
    content = json.loads((mathv / "out/scores.json").read_text())
    assert content["generators"]["m"]["figures"]["accuracy"][0] == 0.5


@pytest.mark.parametrize(
    ("old", "new"), [(7, "3steps_7"), ("7", "3steps_7"), ("3stpes_7", "3steps_7"), ("3steps_7", "3steps_7")]
)
def test_wemaths_old_ids(old: object, new: str) -> None:
    row = Fields({"ID": old, "key": "3steps_2"}, Path("q.json"), line=1)
    assert build_benchmark("wemath").published_id(row) == f"{new}:3steps_2"


def test_an_id_of_another_kind_of_problem_is_not_renamed() -> None:
    row = Fields({"ID": "2steps_7", "key": "3steps_2"}, Path("q.json"), line=1)
    assert build_benchmark("wemath").published_id(row) == "2steps_7:3steps_2"


@pytest.mark.parametrize("form", ["twice", "spelling", "link", "hard link", "copy"])
def test_the_same_file_twice(mathv: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": "4", "response": "\\boxed{6}"}, {"id": "5", "response": "\\boxed{B}"}]
    first, second = save(mathv / "a.jsonl", rows), mathv / "b.jsonl"
    if form == "twice":
        second = first
    elif form == "spelling":
        monkeypatch.chdir(mathv)
        second = Path("a.jsonl")
    elif form == "link":
        second.symlink_to(first)
    elif form == "hard link":
        os.link(first, second)
    else:
        second.write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=r"predictions: .* twice"):
        run(
            "name=mathvision",
            f"questions={mathv}/testmini.jsonl",
            f"predictions=[{first},{second}]",
            f"output={mathv}/out",
        )


def test_rows_without_a_flag(mathv: Path) -> None:
    rows = [{"id": "4", "response": "\\boxed{6}", "correct": False}, {"id": "5", "response": "\\boxed{B}"}]
    benchmark = build_benchmark("mathvision")
    questions = read_questions(benchmark, mathv / "testmini.jsonl")
    path = save(mathv / "m.jsonl", rows)
    with pytest.raises(DataError, match="set unflagged=check .* or unflagged=undecided"):
        to_candidates(benchmark, questions, path, outcomes="published")
    checked = to_candidates(benchmark, questions, path, outcomes="published", unflagged="check")
    assert [record.candidates[0].correct for record in checked.records] == [False, True]
    open_ones = to_candidates(benchmark, questions, path, outcomes="published", unflagged="undecided")
    assert [record.candidates[0].correct for record in open_ones.records] == [False, None]
    with pytest.raises(UserError, match="unflagged"):
        load_config(BenchmarkConfig, None, ["name=x", "questions=q", "output=o", "unflagged=check"])


def test_candidates_of_a_question_that_was_left_out(mathv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["name=mathvision", f"questions={mathv}/testmini.jsonl"]
    rows = [{"id": "4", "response": "\\boxed{6}"}, {"id": "5", "response": "\\boxed{B}"}]
    run(*given, f"predictions=[{save(mathv / 'm.jsonl', rows)}]", f"output={mathv}/first")
    questions = mathv_rows()
    save(mathv / "testmini.jsonl", [questions[0], questions[1] | {"answer": "Z"}])
    more = ["on_error=skip", "max_bad_fraction=0.5", f"output={mathv}/second"]
    run(*given, f"candidates={mathv}/first/candidates.jsonl", *more)
    said = capsys.readouterr().out
    assert "left out 1 of 2: an answer to a question that was left out" in said
    assert "wrote 1 candidate records" in said


MATHV = build_benchmark("mathvision")


def test_ursas_rows_hold_a_list_of_responses(tmp_path: Path) -> None:
    """Each sample is a candidate; a single `response` next to the lists is an answer taken from one."""
    images(tmp_path, *(f"images/{row['id']}.png" for row in mathv_rows()))
    questions = read_questions(MATHV, save(tmp_path / "test.jsonl", mathv_rows()))
    said = ["Step 1: Count.\n\u2020Answer: 6", "Step 1: Guess.\n\u2020Answer: 7"]
    row = {"id": "4", "model_answer": said, "extraction": ["6", "7"], "response": "6"}
    other = {"id": "5", "model_answer": said[:1], "extraction": ["x"], "response": "B"}
    path = save(tmp_path / "infer.json", [row, other, other])
    found = to_candidates(MATHV, questions, {"ursa-8b": path})
    assert [one.text for one in found.records[0].candidates] == said
    assert [one.correct for one in found.records[0].candidates] == [True, False]
    assert [one.correct for one in found.records[1].candidates] == [True, True]  # the letter in `response`
    cells = {"id": "4", "model_answer": str(said), "extraction": "['6', '7']", "match": 1}
    csv = table(tmp_path / "infer.csv", [cells])
    found = to_candidates(MATHV, questions, csv, incomplete="keep")
    assert [one.correct for one in found.records[0].candidates] == [True, False]
    assert not found.report.flags.lines()  # one flag for two responses is nobody's


def test_ursas_flag_is_0_where_the_answer_is_right(tmp_path: Path) -> None:
    """Measured on infer_mathvision.csv; its extractions keep the "Answer:" of the response's end."""
    images(tmp_path, *(f"images/{row['id']}.png" for row in mathv_rows()))
    questions = read_questions(MATHV, save(tmp_path / "test.jsonl", mathv_rows()))
    rows = [
        {"id": "4", "model_answer": f"Step 1: Count.\n\u2020Answer: {said}", "extraction": f"Answer: {said}"}
        | {"match": flag}
        for said, flag in (("6", 0), ("7", 1), ("8", 2))
    ]
    found = to_candidates(MATHV, questions, table(tmp_path / "infer.csv", rows), incomplete="keep")
    assert [one.correct for one in found.records[0].candidates] == [True, False, False]
    [line] = found.report.flags.lines()
    assert "2 agree, 0 disagree" in line
