"""Step data of other projects: each published layout in small, both ways, options and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import DataError, UserError
from dreamprm.data import StepRecord, read_step_records
from dreamprm.formats.convert import convert_file
from dreamprm.formats.format import ConvertReport
from dreamprm.formats.registry import FORMATS

N = None
NAMES = ("math_shepherd", "separated", "prm800k", "ursa", "visualprocessbench", "prmbench")


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def read(format: str, path: Path, **options: Any) -> list[StepRecord]:
    return list(FORMATS[format].read(path, **options))  # type: ignore[arg-type]


def judged(format: str, path: Path, **options: Any) -> list[tuple[tuple[str, ...], tuple[float | None, ...]]]:
    return [(record.steps, record.labels) for record in read(format, path, **options)]


def record(*labels: float | None, **change: Any) -> StepRecord:
    steps = tuple(f"Step {k}: text {k}" for k in range(1, len(labels) + 1))
    fields = {"question": "why?", "images": (), "domain": "d", "steps": steps, "labels": labels}
    return StepRecord(**{**fields, "rollouts": (N,) * len(labels), "id": "q/m"} | change)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_records_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    records = [
        record(1, 1, 1, id="q1/m1"),
        record(1, 0, 1, id="q1/m2", question="two\nlines"),
        record(0, id="q2/m1", steps=("no heading, \u00e9",), domain="other"),
        record(0, 0, id="plain", steps=("a\n\nb", "c")),
    ]
    path = tmp_path / "out.jsonl"
    FORMATS[name].write(records, path)
    assert read(name, path) == records
    assert {one.domain for one in read(name, path, domain="told")} == {"told"}
    if name in ("math_shepherd", "prm800k", "prmbench"):
        with pytest.raises(DataError, match="record q/m: has images .i.png.*set images=drop"):
            FORMATS[name].write([record(1, images=("i.png",))], path)
        FORMATS[name].write([record(1, images=("i.png",))], path, images="drop")
        assert read(name, path) == [record(1)]
    else:
        FORMATS[name].write([record(1, images=("i.png", "j.png")), record(0, images=("i.png",))], path)
        assert [one.images for one in read(name, path)] == [("i.png", "j.png"), ("i.png",)]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_format_cannot_hold_names_the_option(name: str, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    options = {"form": "signs"} if name == "separated" else {}
    with pytest.raises(DataError, match=r"record q/m: labels\[1\] is 0\.25, but .* threshold=0"):
        FORMATS[name].write([record(1, 0.25, 0)], path, **options)
    FORMATS[name].write([record(1, 0.25, 0)], path, threshold=0.25, **options)
    assert read(name, path)[0].labels == (1, 0, 0)
    if name == "visualprocessbench":
        FORMATS[name].write([record(1, N, 0)], path)
        assert read(name, path)[0].labels == (1, N, 0)
        return
    with pytest.raises(DataError, match=r"record q/m: labels\[1\] is null, but .* unlabelled=skip"):
        FORMATS[name].write([record(1, N, 0)], path, **options)


SHEPHERD = {
    "input": "How much is 2 + 3? Step 1: Add them. \u043a\u0438\nStep 2: It is 6. The answer is: 6 "
    "\u043a\u0438",
    "label": "How much is 2 + 3? Step 1: Add them. +\nStep 2: It is 6. The answer is: 6 -",
    "task": "GSM8K",
}


def test_math_shepherd(tmp_path: Path) -> None:
    path = lines(tmp_path / "m.jsonl", SHEPHERD)
    assert read("math_shepherd", path) == [
        StepRecord(
            "How much is 2 + 3?",
            (),
            "GSM8K",
            ("Step 1: Add them.", "Step 2: It is 6. The answer is: 6"),
            (1, 0),
            (N, N),
            "m.jsonl:1",
        )
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": "no tag"}, "'input': got 'no tag'; allowed: a text with the tag"),
        ({"label": SHEPHERD["label"].replace("+\n", "?\n")}, "it is another one at the tag 1"),
        ({"label": SHEPHERD["label"].replace("them", "it")}, "it is another one at the tag 1"),
        ({"label": SHEPHERD["label"] + " more"}, "it ends otherwise"),
        (
            {key: SHEPHERD[key].replace("Step 1:", "First") for key in ("input", "label")},
            "a question, then 'Step 1:'",
        ),
    ],
)
def test_math_shepherd_errors(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "m.jsonl", SHEPHERD, SHEPHERD | change)
    with pytest.raises(DataError, match=rf"m\.jsonl:2: field .*{message}"):
        read("math_shepherd", path)


@pytest.mark.parametrize(
    ("row", "steps", "labels"),
    [  # MM-PRM, as its pipeline writes it and as it trains on it; OpenR; OpenRLHF; Qwen; paragraphs
        ({"process": "a\n\nb<prm>\n\nc<prm>", "labels": [1.0, 0.25]}, ("a\n\nb", "c"), (1, 0.25)),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Question: why?\nProcess: a<prm>\n\nc<prm>"},
                    {"from": "gpt", "value": [0.5, 0]},
                ]
            },
            ("a", "c"),
            (0.5, 0),
        ),
        ({"process": "a \n\n\n\n\nb\n\nc \n\n\n\n\n", "label": ["+", "-"]}, ("a", "b\n\nc"), (1, 0)),
        ({"process": "a \u043a\u0438\nb \u043a\u0438", "labels": [1, 0]}, ("a", "b"), (1, 0)),
        (
            {
                "question": N,
                "input": "why? Step 1: a \u043a\u0438\nStep 2: b \u043a\u0438",
                "value": ["-", "+"],
            },
            ("Step 1: a", "Step 2: b"),
            (0, 1),
        ),
        ({"response": "a<extra_0>b<extra_0>", "labels": [True, False]}, ("a", "b"), (1, 0)),
        ({"solution": "a\n\nb\n\nc", "labels": [1, N, 0]}, ("a", "b", "c"), (1, N, 0)),
        ({"process": "only", "labels": "[1]"}, ("only",), (1,)),
        ({"process": "a<prm> <prm>b<prm>", "labels": [1, 0, 1]}, ("a", "b"), (1, 1)),
    ],
)
def test_a_text_with_marks_and_a_list_of_labels(
    row: dict[str, Any], steps: tuple[str, ...], labels: tuple[float, ...], tmp_path: Path
) -> None:
    path = lines(tmp_path / "s.jsonl", {"question": "why?", "image_path": "i.png"} | row)
    (found,) = read("separated", path)
    assert (found.question, found.steps, found.labels) == ("why?", steps, labels)
    assert found.images == ("i.png",)


def test_separators_and_fields_may_be_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.jsonl", {"q": "why?", "t": "a; b\n\nc", "l": [1, 0]})
    named = {"question_field": "q", "text_field": "t", "labels_field": "l"}
    assert judged("separated", path, **named, separator=";") == [(("a", "b\n\nc"), (1, 0))]
    assert judged("separated", path, **named, separator="\\n\\n") == [(("a; b", "c"), (1, 0))]
    assert judged("separated", path, **named, separator="\n\n") == [(("a; b", "c"), (1, 0))]
    with pytest.raises(DataError, match="2 steps, one per label .it gives no separator"):
        read("separated", path, **named, separator="<prm>")
    three = lines(tmp_path / "s.jsonl", {"question": "q", "process": "a<prm>b<prm>", "labels": [1, 0, 1]})
    with pytest.raises(DataError, match="into 3 steps, one per label .it gives 2 by '<prm>'"):
        read("separated", three)
    with pytest.raises(UserError, match="separator must be a non-empty text, got ''"):
        read("separated", path, separator="")
    with pytest.raises(DataError, match="a step contains '<prm>', the separator; choose another"):
        FORMATS["separated"].write([record(1, steps=("a<prm>b",))], path)
    FORMATS["separated"].write([record(1, 0.5, N)], path, separator="<extra_0>")
    assert read("separated", path) == [record(1, 0.5, N)]


def rated(*steps: Any, finish: str = "solution", **change: Any) -> dict[str, Any]:
    """A row of PRM800K; a step is a list of (text, rating), the first of which is chosen, or a whole step."""
    made = [
        step
        if isinstance(step, dict)
        else {
            "completions": [{"text": text, "rating": rating, "flagged": N} for text, rating in step],
            "human_completion": N,
            "chosen_completion": 0,
        }
        for step in steps
    ]
    label = {"steps": made, "total_time": 1, "finish_reason": finish}
    return {"labeler": "l", "question": {"problem": "why?"}, "label": label, "id": "p"} | change


def test_prm800k_ratings_alternatives_and_outcomes(tmp_path: Path) -> None:
    wrong = {"text": "bad", "rating": -1, "flagged": N}
    human = {"completions": [wrong], "human_completion": {"text": "mine"}, "chosen_completion": N}
    end = {"completions": [wrong, {**wrong, "text": "good", "rating": 1}], "chosen_completion": N}
    path = lines(
        tmp_path / "p.jsonl",
        rated([("a", 1), ("x", -1), ("y", N)], human, [("c", 0)]),
        rated([("a", 1)], end, finish="found_error", id="q"),
        rated([("a", 1)], finish="give_up", id="r"),
    )
    report = ConvertReport()
    first, second = FORMATS["prm800k"].read(path, report=report)
    assert (first.steps, first.labels) == (("a", "mine", "c"), (1, 1, 1))
    assert (second.steps, second.labels) == (("a", "bad"), (1, 0))
    assert (first.final_answer_correct, second.final_answer_correct) == (True, None)
    assert report.lines() == ["left out 1 of 3: finish_reason is give_up (broken=skip)"]
    assert [one.labels for one in read("prm800k", path, neutral="null", broken="keep")] == [
        (1, 1, N),
        (1, 0),
        (1,),
    ]
    assert judged("prm800k", path, neutral="wrong", alternatives=True) == [
        (("a", "mine", "c"), (1, 1, 0)),
        (("x",), (0,)),
        (("a", "bad"), (1, 0)),
        (("a", "bad"), (1, 0)),
        (("a", "good"), (1, 1)),
    ]
    names = [one.id for one in read("prm800k", path, alternatives=True)]
    assert names == ["p", "p/alternative-1", "p/alternative-2", "q", "q/alternative-1"]
    with pytest.raises(
        DataError, match=r"label\.steps\[0\]\.completions\[0\]\.rating': got 2; allowed: -1, 0"
    ):
        read("prm800k", lines(path, rated([("a", 2)])))


def test_ursa(tmp_path: Path) -> None:
    row = {
        "image_url": "Geo170K/1.png",
        "instruction": "You are given a problem.\nQuestion:Find x.",
        "output": "Step 1: x + 1 = 2. +\nStep 2: So 5 -\n 4 is 1. -\n\u2020Answer: 1",
    }
    with pytest.raises(DataError, match="a mark . or - after each of its 2 'Step k:' headings .it has 3"):
        read("ursa", lines(tmp_path / "u.jsonl", row))
    row["output"] = row["output"].replace("5 -\n 4", "5 - 4")
    (found,) = read("ursa", lines(tmp_path / "u.jsonl", row))
    assert (found.question, found.images, found.labels) == ("Find x.", ("Geo170K/1.png",), (1, 0))
    assert found.steps == ("Step 1: x + 1 = 2.", "Step 2: So 5 - 4 is 1.\n\u2020Answer: 1")
    with pytest.raises(DataError, match="holds a mark . or - of its own"):
        FORMATS["ursa"].write([record(1, steps=("a +\nb",))], tmp_path / "u.jsonl")
    with pytest.raises(DataError, match="has 1 'Step k:' headings for 2 steps"):
        FORMATS["ursa"].write([record(1, 1, steps=("Step 1: a", "b"))], tmp_path / "u.jsonl")


VISUAL = {
    "image": ["images/1.png", "images/2.png"],
    "question": "What do <image 1> and <image 2> show?",
    "answer": "A",
    "response": {"steps": ["a", "", "b", "c"], "process_correctness": [1, 0, -1, 1]},
    "policy_model": "gpt-4o",
    "data_source": "MMMU",
}


def test_visualprocessbench(tmp_path: Path) -> None:
    neutral = VISUAL | {"response": {"steps": ["a", "b"], "process_correctness": [0, 0]}}
    as_text = VISUAL | {"response": "{'steps': ['a', 'b'], 'process_correctness': [0, -1]}"}
    path = lines(tmp_path / "test.jsonl", VISUAL, neutral, as_text)
    report = ConvertReport()
    first, second = FORMATS["visualprocessbench"].read(path, report=report)
    assert (first.steps, first.labels) == (("a", "b", "c"), (1, 0, 1))
    assert (first.domain, first.id, first.images) == (
        "MMMU",
        "gpt-4o/test.jsonl:1",
        ("images/1.png", "images/2.png"),
    )
    assert second.labels == (N, 0) and report.not_chosen == {"no step is judged right or wrong": 1}
    assert [one.labels for one in read("visualprocessbench", path, neutral="right")][1:] == [(1, 1), (1, 0)]
    bad = VISUAL | {"response": {"steps": ["a"], "process_correctness": [2]}}
    with pytest.raises(DataError, match=r"'response\.process_correctness\[0\]': got 2; allowed: 1, 0 or -1"):
        read("visualprocessbench", lines(path, bad))
    bad["response"] = {"steps": ["a"], "process_correctness": [1, 1]}
    with pytest.raises(DataError, match="got '2 values'; allowed: a list of 1 values 1, 0 or -1"):
        read("visualprocessbench", lines(path, bad))


def test_prmbench_keeps_errors_that_are_not_contiguous(tmp_path: Path) -> None:
    row = {
        "original_question": "q",
        "modified_question": "q'",
        "original_process": ["1. a", "2. b"],
        "modified_process": ["1. a", "2. x", "3. c", "4. y"],
        "error_steps": [2, 4, 5],  # past the last step, as in the published file: names none
        "idx": "prm_test_p1_0",
        "classification": "redundency",
    }
    circular = row | {"classification": "circular", "error_steps": []}  # kinds share their idx
    path = lines(tmp_path / "p.jsonl", row, row, circular)
    report = ConvertReport()
    found = list(FORMATS["prmbench"].read(path, report=report))
    assert [(one.domain, one.id, one.labels) for one in found] == [
        ("correct", "correct_prm_test_p1_0", (1, 1)),
        ("redundency", "redundency_prm_test_p1_0", (1, 0, 1, 0)),
        ("circular", "circular_prm_test_p1_0", (1, 1, 1, 1)),
    ]
    assert report.not_chosen == {"a second solution with the same idx and kind": 2}
    with pytest.raises(DataError, match=r"'error_steps\[0\]': got 0; allowed: the number of a step, 1 to 4"):
        read("prmbench", lines(path, row | {"error_steps": [0]}))


def test_outcomes_are_kept_where_a_format_has_them(tmp_path: Path) -> None:
    bench = {"id": "s", "problem": "q", "steps": ["a", "b"], "label": 1, "final_answer_correct": True}
    source, own = (
        lines(tmp_path / "p.jsonl", bench, bench | {"final_answer_correct": N}),
        tmp_path / "o.jsonl",
    )
    convert_file("processbench", source, own)
    outcomes = [one.final_answer_correct for one in read_step_records(own, allow_no_image=True)]
    assert outcomes == [True, None]
    assert [json.loads(line).get("final_answer_correct") for line in own.read_text().splitlines()] == outcomes
    convert_file("processbench", own, tmp_path / "back.json", direction="out")
    back = json.loads((tmp_path / "back.json").read_text())
    assert [row["final_answer_correct"] for row in back] == outcomes
    trace = {"input": "q", "steps": ["a"], "mistake_index": N, "answer": "(A)", "target": "(B)"}
    path = lines(tmp_path / "b.jsonl", trace, trace | {"answer": "(B) "}, trace | {"target": N})
    assert [one.final_answer_correct for one in read("bigbench_mistake", path)] == [False, True, None]
    with pytest.raises(DataError, match="'final_answer_correct': got 'yes'; allowed: true or false"):
        read("processbench", lines(source, bench | {"final_answer_correct": "yes"}))
