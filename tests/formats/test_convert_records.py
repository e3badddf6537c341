"""Step records from and to other projects' files: each layout in small, options and errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import StepRecord
from dreamprm.formats.convert import convert_file
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.records.first_errors import first_error_labels, without_blank
from dreamprm.formats.records.trl import TRLWriter
from dreamprm.formats.registry import FORMATS as KNOWN

N = None


def record(*labels: float | None, **change: Any) -> StepRecord:
    """A text-only record with these labels."""
    steps = tuple(f"Step {k}: text {k}" for k in range(1, len(labels) + 1))
    fields: dict[str, Any] = {
        "question": "why?",
        "images": (),
        "domain": "d",
        "steps": steps,
        "labels": labels,
        "rollouts": (None,) * len(labels),
        "id": "q/m",
    }
    return StepRecord(**fields | change)


@pytest.mark.parametrize(
    ("first", "possible", "labels"),
    [
        (None, None, (1, 1, 1, 1)),
        (0, None, (0, 0, 0, 0)),
        (2, None, (1, 1, 0, 0)),
        (3, None, (1, 1, 1, 0)),
        (None, (3, 1), (1, N, N, 0)),
        (None, (0, 1, 2, 3), (N, N, N, 0)),
    ],
)
def test_labels_say_what_holds_wherever_the_first_error_may_be(
    first: Any, possible: Any, labels: Any
) -> None:
    assert first_error_labels(4, first, possible=possible) == labels


def test_what_is_said_of_a_blank_step_goes_to_the_next_or_else_the_last() -> None:
    assert without_blank(["a", "", " ", "b", "c", ""]) == (("a", "b", "c"), (0, 1, 1, 1, 2, 2))


processbench, bigbench_mistake, mr_ben, trl, visualprm = (
    KNOWN[name] for name in ("processbench", "bigbench_mistake", "mr_ben", "trl", "visualprm")
)
FORMATS = {
    "processbench": (processbench.read, processbench.write),
    "bigbench_mistake": (bigbench_mistake.read, bigbench_mistake.write),
    "mr_ben": (mr_ben.read, mr_ben.write),
    "trl": (trl.read, trl.write),
    "visualprm": (visualprm.read, visualprm.write),
}
Read, Write = Callable[..., Any], Callable[..., None]


@pytest.mark.parametrize(("read", "write"), FORMATS.values(), ids=FORMATS)
def test_records_come_back_as_they_were(read: Read, write: Write, tmp_path: Path) -> None:
    records = [
        record(1, 1, 1, id="q1/m1"),
        record(1, 0, 0, id="q1/m2", question="two\nlines"),
        record(0, id="q2/m1", steps=("no heading, \u00e9",), domain="other"),
        record(0, 0, id="plain", steps=("a\n\nb", "c")),
    ]
    write(records, tmp_path / "out.json")
    assert list(read(tmp_path / "out.json")) == records
    assert {r.domain for r in read(tmp_path / "out.json", domain="told")} == {"told"}


@pytest.mark.parametrize(("read", "write"), FORMATS.values(), ids=FORMATS)
def test_no_record_makes_an_empty_file_of_the_format(read: Read, write: Write, tmp_path: Path) -> None:
    write([], tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text().strip()
    assert text in ("", "[]", "{}") and (not text or len(json.loads(text)) == 0)


@pytest.mark.parametrize(("read", "write"), FORMATS.values(), ids=FORMATS)
def test_bad_rows_may_be_skipped_up_to_a_share(read: Read, write: Write, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write([record(1, 0, id=f"q{k}/m") for k in range(3)], path)
    text = path.read_text()
    for name in ("problem", "input", "Question", "prompt", "question"):
        text = text.replace(f'"{name}": "why?"', f'"{name}": ""', 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"out\.json:\d+: field"):
        list(read(path))
    report = ConvertReport()
    kept = read(path, on_error="skip", max_bad_fraction=0.4, report=report)
    assert [one.id for one in kept] == ["q1/m", "q2/m"]
    assert (report.rows, report.bad, len(report.left_out)) == (3, 1, 1)
    with pytest.raises(DataError, match="1 of 3 rows are bad, more than max_bad_fraction=0.3 allows"):
        list(read(path, on_error="skip", max_bad_fraction=0.3))
    with pytest.raises(UserError, match="domain must be a text or null, got 5"):
        list(read(path, domain=5))


RIGHT_OR_WRONG = {
    **{name: write for name, (_, write) in FORMATS.items() if name != "visualprm"},
    "conversations": lambda records, path, **options: visualprm.write(
        records, path, form="conversations", **options
    ),
}


@pytest.mark.parametrize("write", RIGHT_OR_WRONG.values(), ids=RIGHT_OR_WRONG)
def test_what_a_format_of_right_and_wrong_cannot_hold_names_the_option(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    with pytest.raises(DataError, match=r"record q/m: labels\[1\] is 0\.25, but .* threshold=0"):
        write([record(1, 0.25, 0)], path)
    with pytest.raises(DataError, match=r"record q/m: labels\[1\] is null, but .* unlabelled=skip"):
        write([record(1, N, 0)], path)
    write([record(1, N, 0, id="gone"), record(1, 0)], path, unlabelled="skip")
    assert "q" in path.read_text() and "gone" not in path.read_text()
    for threshold in (-0.1, 1, True, "0"):
        with pytest.raises(UserError, match="threshold must be (a number )?>= 0 and < 1( or null)?, got"):
            write([], path, threshold=threshold)
    with pytest.raises(UserError, match="unlabelled must be one of error, skip, got 'zero'"):
        write([], path, unlabelled="zero")


@pytest.mark.parametrize("name", ["processbench", "bigbench_mistake", "mr_ben"])
def test_formats_of_first_errors(name: str, tmp_path: Path) -> None:
    read, write = FORMATS[name]
    path = tmp_path / "out.json"
    with pytest.raises(DataError, match=r"record q/m: labels\[2\] is 1 after labels\[1\] = 0.* threshold=0"):
        write([record(1, 0, 1)], path)
    write([record(0.75, 0.25, 0.75), record(0.5, 0.5)], path, threshold=0.25)
    assert [r.labels for r in read(path)] == [(1, 0, 0), (1, 1)]
    with pytest.raises(DataError, match=r"record q/m: has images \(i\.png\).* images=drop"):
        write([record(1, images=("i.png",))], path)
    write([record(1, images=("i.png",))], path, images="drop")
    assert [r.images for r in read(path)] == [()]
    with pytest.raises(UserError, match="images must be one of error, drop, got 'keep'"):
        write([], path, images="keep")


@pytest.mark.parametrize(("threshold", "right"), [(0, (True, True, False)), (0.5, (True, False, False))])
def test_a_step_is_right_above_the_threshold(threshold: float, right: tuple[bool, ...]) -> None:
    assert TRLWriter(threshold=threshold).right(record(0.75, 0.5, 0)) == right


def test_what_is_left_out_on_the_way_out_is_counted(write_rows: Any, folder: Path) -> None:
    head = {"question": "q", "domain": "d", "steps": ["a", "b"]}
    rows = [head | {"labels": labels} for labels in ([1, 0], [1, None], [None, 1])]
    source, path = write_rows(rows), folder / "o.jsonl"
    done = convert_file("trl", source, path, direction="out", unlabelled="skip")
    assert done.records == 1 and len(path.read_text().splitlines()) == 1
    assert done.report.lines() == ["left out 2 of 3: a step has no label"]
    source = write_rows(rows[1:])
    with pytest.raises(DataError, match="no records left to write; a step has no label"):
        convert_file("trl", source, path, direction="out", unlabelled="skip")
    assert len(path.read_text().splitlines()) == 1 and not list(folder.glob(".*partial*"))


# The layouts as published, in small.


def test_processbench_rows_as_written(tmp_path: Path) -> None:
    processbench.write([record(1, 0)], tmp_path / "o.json")
    (row,) = json.loads((tmp_path / "o.json").read_text())
    assert row == {
        "id": "q/m",
        "generator": None,
        "problem": "why?",
        "steps": ["Step 1: text 1", "Step 2: text 2"],
        "final_answer_correct": None,
        "label": 1,
        "domain": "d",
    }


TRACE = {"input": "sort", "steps": ["a", "b", "c"], "answer": "x", "target": "y", "mistake_index": 1}


@pytest.mark.parametrize(
    ("change", "steps", "labels"),
    [
        ({}, "abc", (1, 0, 0)),
        ({"mistake_index": None}, "abc", (1, 1, 1)),
        ({"mistake_index": 0}, "abc", (0, 0, 0)),
        ({"steps": ["a", "", "c"]}, "ac", (1, 0)),
        ({"steps": ["a", "b", ""], "mistake_index": 2}, "ab", (1, 0)),
    ],
)
def test_bigbench_mistake(write_rows: Any, change: Any, steps: str, labels: Any) -> None:
    path = write_rows([TRACE | change], name="word_sorting.jsonl")
    assert list(bigbench_mistake.read(path)) == [
        StepRecord(
            "sort", (), "word_sorting", tuple(steps), labels, (None,) * len(steps), "word_sorting.jsonl:1"
        )
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mistake_index": 3}, r"'mistake_index': got 3; allowed: .* in 0\.\.2, or null"),
        ({"mistake_index": -1}, "'mistake_index': got -1"),
        ({"mistake_index": True}, "'mistake_index': got True"),
        ({"steps": []}, r"'steps': got \[\]; allowed: a list of texts, at least one"),
        ({"steps": [" "]}, r"'steps': got \[' '\]"),
        ({"steps": ["a", 1]}, r"'steps': got \['a', 1\]"),
        ({"input": " "}, "'input': got ' '"),
    ],
)
def test_bigbench_mistake_errors(write_rows: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.json:2: field {message}"):
        list(bigbench_mistake.read(write_rows([TRACE, TRACE | change])))


def test_bigbench_mistake_needs_its_index(write_rows: Any) -> None:
    row = {name: value for name, value in TRACE.items() if name != "mistake_index"}
    with pytest.raises(DataError, match=r"rows\.json:1: field 'mistake_index' is missing"):
        list(bigbench_mistake.read(write_rows([row])))


def solution(steps: Any, first: str, *, correct: bool = False, **change: Any) -> dict[str, Any]:
    return {
        "Question_UUID": "u",
        "Question": "which?",
        "Options": "A: 1 \nB: 2",
        "Sampled_Model": "Claude2",
        "Model_Solution_Steps": steps,
        "Model_Solution_Correctness": "correct" if correct else "incorrect",
        "Model_Solution_First_Error_Step": first,
    } | change


LINES = ["Step 1: a", "Step 2: b", "Solution: A"]
PARTS = ["Hm.", "Step 1: a", "- more", "", "Step 2: b", "", "Solution: A"]
AGAIN = ["Step 1: a", "Step 2: b", "Step 1: c", "Step 2: d", "Solution: A"]


@pytest.mark.parametrize(
    ("lines", "first", "steps", "labels"),
    [
        (LINES, "2", LINES, (1, 0, 0)),
        (LINES, "3", LINES, (1, 1, 0)),
        (LINES, "4", LINES, (N, N, 0)),
        (LINES, "", LINES, (N, N, 0)),
        (["a", "b"], "1", ["a", "b"], (0, 0)),
        (["Step 1: a", " ", "Step 3: c"], "2", ["Step 1: a", "Step 3: c"], (1, 0)),
        (PARTS, "1", ["Hm.\nStep 1: a\n- more", "Step 2: b", "Solution: A"], (0, 0, 0)),
        (PARTS, "2", ["Hm.\nStep 1: a\n- more", "Step 2: b", "Solution: A"], (1, 0, 0)),
        (["tep 1: a", "more", "Step 2: b"], "1", ["tep 1: a\nmore", "Step 2: b"], (0, 0)),
        (["Hm.", "more", "Step 4: b"], "4", ["Hm.\nmore", "Step 4: b"], (1, 0)),
        (AGAIN, "2", AGAIN, (1, N, N, 0, 0)),
        ("def f():\n\n    x\n    y\n    x", "    y", ["def f():", "    x", "    y", "    x"], (1, 1, 0, 0)),
        ("def f():\n\n    x\n    y\n    x", "    x", ["def f():", "    x", "    y", "    x"], (1, N, N, 0)),
        ("def f():\n    x", "", ["def f():", "    x"], (N, 0)),
        ("def f():\n    x", "  ", ["def f():", "    x"], (N, 0)),
    ],
)
def test_mr_ben_steps_and_the_place_of_the_first_error(
    folder: Path, lines: Any, first: str, steps: list[str], labels: Any
) -> None:
    path = folder / "math.json"
    rows = [solution(lines, first), solution(lines, "N/A", correct=True)]
    path.write_text(json.dumps({"u": rows}, indent=1))
    wrong, right = mr_ben.read(path)
    question = "which?\nA: 1 \nB: 2"
    assert wrong == StepRecord(question, (), "math", tuple(steps), labels, (None,) * len(steps), "u/Claude2")
    assert right.steps == wrong.steps and right.labels == (1,) * len(steps)


@pytest.mark.parametrize("array", [True, False])
def test_mr_ben_rows(write_rows: Any, array: bool) -> None:
    path = write_rows([solution(LINES, "1"), solution(LINES, "N/A", correct=True, Options=None)], array=array)
    assert [(r.question, r.labels) for r in mr_ben.read(path)] == [
        ("which?\nA: 1 \nB: 2", (0, 0, 0)),
        ("which?", (1, 1, 1)),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            solution(LINES, "two"),
            "Model_Solution_First_Error_Step': got 'two'; allowed: the number of a step",
        ),
        (solution(LINES, "0"), "Model_Solution_First_Error_Step': got '0'"),
        (solution(LINES, 2), "Model_Solution_First_Error_Step': got 2;"),  # type: ignore[arg-type]
        (solution("x", None), "First_Error_Step': got None; allowed: a line"),  # type: ignore[arg-type]
        (
            solution(LINES, "N/A"),
            "First_Error_Step': got 'N/A'; allowed: 'N/A' for a correct solution, and only",
        ),
        (solution(LINES, "1", correct=True), "Model_Solution_First_Error_Step': got '1'; allowed: 'N/A'"),
        (solution([], "1"), r"Model_Solution_Steps': got \[\]; allowed: a non-empty list of texts"),
        (solution(" \n", "1"), "Model_Solution_Steps': got"),
        (solution(["a", None], "1"), "Model_Solution_Steps': got"),
        (solution(LINES, "1", Question=""), "Question': got ''"),
        (solution(LINES, "1", Model_Solution_Correctness="yes"), "'correct' or 'incorrect'"),
    ],
)
def test_mr_ben_errors(folder: Path, row: Any, message: str) -> None:
    path = folder / "math.json"
    path.write_text(json.dumps({"t": [solution(LINES, "1")], "u": [solution(LINES, "1"), row]}, indent=0))
    line = path.read_text().splitlines().index('"u": [') + 1
    with pytest.raises(DataError, match=rf"math\.json:{line}: field 'u\[1\]\..*{message}"):
        list(mr_ben.read(path))


def test_a_member_of_an_mr_ben_file_that_is_no_list(folder: Path) -> None:
    (folder / "math.json").write_text('{"t": [],\n"u": 3}')
    with pytest.raises(DataError, match=r"math\.json:2: member 'u': got 3; allowed: a list of solutions"):
        list(mr_ben.read(folder / "math.json"))


def test_mr_ben_as_written(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    mr_ben.write([record(1, 0, id="u/x"), record(N, N, 0, id="u/y"), record(1, id="v")], path)
    content = json.loads(path.read_text())
    assert {key: [row["Sampled_Model"] for row in rows] for key, rows in content.items()} == {
        "u": ["x", "y"],
        "v": [""],
    }
    assert [row["Model_Solution_First_Error_Step"] for row in content["u"]] == ["2", ""]
    assert [r.labels for r in mr_ben.read(path)] == [(1, 0), (N, N, 0), (1,)]
    message = "question u appears again after other questions.* sort the records by id"
    with pytest.raises(DataError, match=message):
        mr_ben.write([record(1, id="u/x"), record(1, id="v"), record(1, id="u/y")], path)
    with pytest.raises(DataError, match="record q/m: its steps have 'Step k' headings that do not"):
        mr_ben.write([record(1, 0, steps=("Step 2: a", "Step 3: b"))], path)


def test_trl(write_rows: Any) -> None:
    row = {"prompt": "9.8 or 9.11?", "completions": ["a", "b"], "labels": [True, False]}
    rows = [row, row | {"labels": [0.25, 1], "images": ["i.png", "j.png"], "domain": "x", "id": 7}]
    assert list(trl.read(write_rows(rows))) == [
        StepRecord("9.8 or 9.11?", (), "rows", ("a", "b"), (1, 0), (N, N), "rows.json:1"),
        StepRecord("9.8 or 9.11?", ("i.png", "j.png"), "x", ("a", "b"), (0.25, 1), (N, N), "7"),
    ]


def test_trl_parquet_as_the_hub_has_it(tmp_path: Path) -> None:
    row = {"prompt": "p", "completions": ["a", "b"], "labels": [True, False]}
    for split in ("train", "test"):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"{split}-00000-of-00001.parquet")
    (read,) = trl.read(tmp_path, split="test")
    name = "test-00000-of-00001"
    assert read == StepRecord("p", (), name, ("a", "b"), (1, 0), (N, N), f"{name}.parquet:1")
    assert list(trl.read(tmp_path / f"{name}.parquet")) == [read]
    with pytest.raises(UserError, match="set split to one of its splits: test, train"):
        list(trl.read(tmp_path))


def test_trl_as_written(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    trl.write([record(0.5, 0, images=("i.png",), rollouts=(4, 4))], path, threshold=0)
    (line,) = path.read_text().splitlines()
    row = json.loads(line)
    assert row.pop("completions") == ["Step 1: text 1", "Step 2: text 2"]
    assert row == {"id": "q/m", "domain": "d", "prompt": "why?", "labels": [True, False], "images": ["i.png"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [True]}, "'labels': got '1 labels'; allowed: a list of 2 values true or false"),
        ({"labels": "yes"}, "'labels': got 'yes'"),
        ({"labels": [True, None]}, r"'labels\[1\]': got None; allowed: true or false"),
        ({"labels": [True, 2]}, r"'labels\[1\]': got 2"),
        ({"completions": []}, r"'completions': got \[\]; allowed: at least one step"),
        ({"prompt": [{"role": "user"}]}, "'prompt': got"),
    ],
)
def test_trl_errors(write_rows: Any, change: dict[str, Any], message: str) -> None:
    row = {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]}
    with pytest.raises(DataError, match=rf"rows\.json:1: field {message}"):
        list(trl.read(write_rows([row | change])))


def scored(step: str, score: float, correct: int | None, total: int | None) -> dict[str, Any]:
    return {"step": step, "score": score, "num_mc_correct": correct, "num_mc_total": total}


DIAGRAM = "VisualPRM400K-v1.1-Raw/Geometry3K/train/1471/img_diagram.png"
RAW: dict[str, Any] = {
    "image": DIAGRAM,
    "question": "<image>\nFind x.",
    "answer": "52",
    "response": "a\n\nb\n\nc",
    "steps_with_score": [scored("a", 0.125, 2, 16), scored("b", 0.0, 0, 16), scored("c", 0.0, 0, 0)],
    "num_mc_sequences": 16,
}


def test_visualprm_raw(write_rows: Any) -> None:
    two = RAW | {"image": ["i.png", "j.png"], "question": "<image>\n<image>\nq", "id": -1}
    bare = {"image": None, "question": "q", "steps_with_score": [{"step": "a", "score": 1}]}
    rows = [RAW, two, bare, bare | {"num_mc_sequences": 8}]
    path = write_rows(rows, name="geo.jsonl")
    labels, rollouts = (0.125, 0, N), (16, 16, N)
    assert list(visualprm.read(path)) == [
        StepRecord("Find x.", (DIAGRAM,), "geo", ("a", "b", "c"), labels, rollouts, "geo.jsonl:1"),
        StepRecord("q", ("i.png", "j.png"), "geo", ("a", "b", "c"), labels, rollouts, "geo.jsonl:2"),
        StepRecord("q", (), "geo", ("a",), (1,), (N,), "geo.jsonl:3"),
        StepRecord("q", (), "geo", ("a",), (1,), (8,), "geo.jsonl:4"),
    ]
    assert next(visualprm.read(path, unsampled="zero")).labels == (0.125, 0, 0)


def test_visualprm_takes_the_question_without_the_instruction(write_rows: Any) -> None:
    prompt = "<image>\nGive step by step reasoning before you answer.\nQuestion: Find x."
    row = RAW | {"question": prompt, "question_orig": "<image>\nFind x."}
    assert [one.question for one in visualprm.read(write_rows([row]))] == ["Find x."]


def test_visualprm_steps_without_text_are_left_out(write_rows: Any) -> None:
    """Responses are split at blank lines, of which two may follow one another."""
    blank = [scored("", 0.25, 4, 16), scored("\n", 0.25, 4, 16)]
    steps = [scored("a", 0.5, 8, 16), *blank, scored("b", 1, 16, 16)]
    rows: list[Any] = [RAW | {"steps_with_score": steps}]
    said = turns(FIRST.removesuffix("a"), "+", "a", "+", " ", "-", "b", "-")
    rows.append({"image": "i.png", "conversations": said})
    raw, judged = visualprm.read(write_rows(rows))
    assert (raw.steps, raw.labels, raw.rollouts) == (("a", "b"), (0.5, 1), (16, 16))
    assert (judged.question, judged.steps, judged.labels) == ("Find x.", ("a", "b"), (1, 0))


def test_visualprm_raw_rows_come_back(write_rows: Any, tmp_path: Path) -> None:
    visualprm.write(visualprm.read(write_rows([RAW], name="geo.jsonl")), tmp_path / "o.jsonl")
    row = json.loads((tmp_path / "o.jsonl").read_text())
    kept = ("image", "question", "response", "steps_with_score")
    assert {name: row[name] for name in kept} == {name: RAW[name] for name in kept}
    assert row["answer"] is None and (row["id"], row["domain"]) == ("geo.jsonl:1", "geo")


def test_visualprm_raw_holds_shares_and_what_is_not_sampled(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    records = [
        record(1 / 3, 0.3, rollouts=(3, 4)),
        record(0.5, 0, N, N, rollouts=(2, N, N, N), images=("i.png",), question="see <image> here"),
    ]
    visualprm.write(records, path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [step["num_mc_correct"] for step in rows[0]["steps_with_score"]] == [1, None]
    assert rows[1]["question"] == "see <image> here" and "num_mc_total" not in rows[1]["steps_with_score"][1]
    assert list(visualprm.read(path)) == records
    for labels in [(0.5, N), (N, 0), (0, N, 1)]:
        with pytest.raises(DataError, match=r"labels\[\d\] is null.* unlabelled=skip"):
            visualprm.write([record(*labels)], path)
        visualprm.write([record(*labels)], path, unlabelled="skip")
        assert path.read_text() == ""
    with pytest.raises(UserError, match="threshold is only for form=conversations"):
        visualprm.write([], path, threshold=0)
    with pytest.raises(UserError, match="form must be one of raw, conversations, got 'x'"):
        visualprm.write([], path, form="x")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unsampled must be one of null, zero, got 'skip'"):
        list(visualprm.read(path, unsampled="skip"))  # type: ignore[arg-type]


def turns(*values: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


FIRST = "### Question:\n<image>\nFind x.\n\n### Solution Process:\na"


def test_visualprm_conversations(write_rows: Any, tmp_path: Path) -> None:
    system = {"from": "system", "value": "Judge."}
    row = {"id": -1, "image": "i.png", "conversations": [system, *turns(FIRST, "+", "b", "-")]}
    path = write_rows([row], name="geo.jsonl")
    (read,) = visualprm.read(path)
    assert read == StepRecord("Find x.", ("i.png",), "geo", ("a", "b"), (1, 0), (N, N), "geo.jsonl:1")
    visualprm.write([read], tmp_path / "o.jsonl", form="conversations")
    (line,) = (tmp_path / "o.jsonl").read_text().splitlines()
    assert json.loads(line)["conversations"][1:] == row["conversations"][1:]  # type: ignore[index]
    assert list(visualprm.read(tmp_path / "o.jsonl")) == [read]
    visualprm.write([record(0.5, 0.25)], tmp_path / "o.jsonl", form="conversations", threshold=0.25)
    assert next(visualprm.read(tmp_path / "o.jsonl")).labels == (1, 0)
    with pytest.raises(DataError, match="the question contains .*Solution Process"):
        visualprm.write(
            [record(1, question="a\n\n### Solution Process:\nb")], tmp_path / "o.jsonl", form="conversations"
        )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            RAW | {"steps_with_score": [scored("a", 0.5, 0, 0)]},
            r"steps_with_score\[0\]\.score': got 0\.5; allowed: 0",
        ),
        (RAW | {"steps_with_score": []}, "steps_with_score': got"),
        (RAW | {"steps_with_score": [scored("a", 0, 0, 0)]}, "at least one step with rollouts"),
        (
            RAW | {"steps_with_score": [scored("a", 1.5, 1, 1)]},
            r"score': got 1\.5; allowed: a number in \[0, 1\]",
        ),
        (
            {"conversations": turns(FIRST, "yes")},
            r"conversations\[1\]\.value': got 'yes'; allowed: '\+' or '-'",
        ),
        (
            {"conversations": turns(FIRST)},
            r"conversations': .* a gpt turn with \+ or - after every human turn",
        ),
        (
            {"conversations": turns("Find x.", "+")},
            "conversations': got 'Find x.'; allowed: a first human turn",
        ),
        (
            {"conversations": turns(FIRST, "+")[::-1]},
            r"conversations\[0\]\.from': got 'gpt'; allowed: 'human'",
        ),
    ],
)
def test_visualprm_errors(write_rows: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.json:1: field '.*{message}"):
        list(visualprm.read(write_rows([row])))
