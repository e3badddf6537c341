"""Files of other projects with random faults: converted to what our readers accept, or nothing is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import fuzz, outcome
from hypothesis import strategies as st
from mutations import by_seed, changed_files, data_files, json_file
from PIL import Image
from question_layouts import CASES, put_json, put_parquet

from dreamprm.config.errors import UserError
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.read_report import ReadReport
from dreamprm.data.readers import read_candidate_records, read_meta_records, read_step_records
from dreamprm.formats.convert import FORMATS, convert_file
from dreamprm.formats.writers import write_cells

_READERS: dict[str, Callable[..., Any]] = {
    "step": read_step_records,
    "meta": read_meta_records,
    "candidate": read_candidate_records,
    "question": read_question_records,
}
_STEPS = ["Step 1: Add.", "Step 2: So 4."]
STEP = {
    "id": "q/m",
    "question": "Why?",
    "domain": "d",
    "steps": _STEPS,
    "labels": [1, 0],
    "rollouts": [8, None],
}
META = {"id": "q", "question": "Why?", "image": "i.png", "steps": _STEPS, "correct": True}
CANDIDATE: dict[str, Any] = {
    "id": "4",
    "question": "How many?",
    "image": "i.png",
    "benchmark": "B",
    "answer": "6",
    "candidates": [
        {"text": "Step 1: It is \\boxed{6}", "final_answer": "6", "correct": True, "generator": "m"}
    ],
}
_ROWS = {"step": [STEP, {**STEP, "labels": [0.5, None]}], "meta": [META], "candidate": [CANDIDATE]}


@dataclass(frozen=True)
class Source:
    """A valid source of a format, made in a folder, and the options that it needs, by the folder."""

    build: Callable[[Path], Path]
    options: Callable[[Path], dict[str, Any]] = field(default=lambda folder: {})


def _lines(name: str, *rows: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return folder / name

    return build


def _written(format: str, name: str, **options: Any) -> Callable[[Path], Path]:
    """A source that the format's own writer has made of our records."""

    def build(folder: Path) -> Path:
        rows = _ROWS[FORMATS[format].kind][:1]
        own = _lines("own.jsonl", *rows)(folder)
        convert_file(format, own, folder / name, direction="out", **options)
        own.unlink()
        return folder / name

    return build


def _mathv(folder: Path) -> Path:
    _lines("testmini.jsonl", {"id": "4", "question": "How?", "options": [], "answer": "6", "image": "i.png"})(
        folder
    )
    row = {"id": "4", "model": "m", "response": "It is \\boxed{6}.", "model_answer": "6", "correct": True}
    return _lines("outputs.jsonl", row, {"id": "4", "response": "7"})(folder)


def _predictions(ending: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        row = {
            "index": 1,
            "question": "How many?",
            "answer": "B",
            "A": "3",
            "B": "4",
            "prediction": "It is B.",
        }
        rows = [{**row, "hit": 1, "hint": "Count."}, {**row, "index": 2, "A": None, "B": None, "answer": "4"}]
        columns = [*rows[0]]
        write_cells(folder / f"m_Bench{ending}", columns, rows)
        return folder / f"m_Bench{ending}"

    return build


_VISUALPRM = {
    "id": -1,
    "image": "i.png",
    "question": "<image>\nHow many?",
    "question_orig": "How many?",
    "steps_with_score": [
        {"step": "Add.", "score": 0.5, "num_mc_correct": 4, "num_mc_total": 8},
        {"step": "So 4.", "score": 0.0, "num_mc_correct": 0, "num_mc_total": 0},
    ],
    "num_mc_sequences": 8,
}
_SHEPHERD = {
    "input": "Why? Step 1: Add. \u043a\u0438\nStep 2: So 4. \u043a\u0438",
    "label": "Why? Step 1: Add. +\nStep 2: So 4. -",
    "task": "GSM8K",
}
_SEPARATED = {"question": "Why?", "process": "a<prm>\n\nb<prm>", "labels": [1.0, "-"], "image_path": "i.png"}
_RATED = {"completions": [{"text": "a", "rating": 1}, {"text": "b", "rating": 0}], "chosen_completion": 0}
_LAST = {"completions": [{"text": "c", "rating": -1}], "human_completion": None, "chosen_completion": None}
_PRM800K = {
    "labeler": "l",
    "question": {"problem": "Why?"},
    "label": {"steps": [_RATED, _LAST], "finish_reason": "found_error"},
}
_DATA = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"  # one pixel
_VISUAL = {
    "image": ["i.png"],
    "question": "Why?",
    "response": {"steps": _STEPS, "process_correctness": [0, -1]},
    "policy_model": "m",
    "data_source": "MMMU",
}
_PRMBENCH = {
    "original_question": "Why?",
    "modified_question": "Why?",
    "original_process": _STEPS,
    "modified_process": _STEPS,
    "error_steps": [2],
    "idx": "i",
    "classification": "redundency",
}
_TABLE = {"q": "How many?", "o": ["3", "4"], "a": 1, "pic": "i.png", "m": {"s": "math", "p": 2, "t": None}}
_MAP = {
    "question": "q",
    "options": "o",
    "answer": "a",
    "answer_index": 0,
    "image": "pic",
    "domain_field": "m.s",
}

_CELLS = {"question": "q", "options": ["A", "B"], "answer": "a", "image": "pic", "precision": "p", "id": "id"}


def _cells(ending: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        row = {"q": "How,\n many?", "A": "3", "B": "4", "a": "B", "pic": "i.png", "p": None, "id": 1}
        write_cells(
            folder / f"c{ending}", [*row], [row, {**row, "id": 2, "B": None, "A": None, "a": "1.50", "p": 2}]
        )
        return folder / f"c{ending}"

    return build


SOURCES: dict[str, list[Source]] = {
    "processbench": [Source(_written("processbench", "p.jsonl"))],
    "mr_ben": [Source(_written("mr_ben", "m.json"))],
    "bigbench_mistake": [Source(_written("bigbench_mistake", "b.jsonl"))],
    "trl": [Source(_written("trl", "t.jsonl"))],
    "steps": [Source(_lines("s.jsonl", STEP, {**STEP, "image": _DATA}))],
    "steps_to_meta": [
        Source(_lines("s.jsonl", {**STEP, "final_answer_correct": True})),
        Source(_lines("s.jsonl", STEP), lambda folder: {"truth": "all_steps", "unknown": "skip"}),
    ],
    "math_shepherd": [Source(_lines("m.jsonl", _SHEPHERD)), Source(_written("math_shepherd", "w.jsonl"))],
    "separated": [
        Source(_lines("s.jsonl", _SEPARATED, {**_SEPARATED, "process": "a\n\nb"})),
        Source(_written("separated", "w.jsonl", separator="<extra_0>")),
    ],
    "prm800k": [
        Source(_lines("p.jsonl", _PRM800K, _PRM800K), lambda folder: {"alternatives": True}),
        Source(_written("prm800k", "w.jsonl")),
    ],
    "ursa": [Source(_written("ursa", "u.jsonl"))],
    "visualprocessbench": [Source(_lines("test.jsonl", _VISUAL, {**_VISUAL, "image": _DATA}))],
    "prmbench": [Source(_lines("p.jsonl", _PRMBENCH)), Source(_written("prmbench", "w.jsonl"))],
    "visualprm": [
        Source(_lines("v.jsonl", _VISUALPRM, {**_VISUALPRM, "id": 3})),
        Source(_written("visualprm", "c.jsonl", form="conversations")),
    ],
    "dreamprm15": [Source(_written("dreamprm15", "d.json"))],
    "mathv": [Source(_mathv, lambda folder: {"questions": str(folder / "testmini.jsonl")})],
    "vlmevalkit": [
        Source(_predictions(ending), lambda folder: {"benchmark": "Bench"})
        for ending in (".tsv", ".csv", ".json", ".xlsx")
    ],
    "table": [  # by a map of its fields
        Source(_lines("t.jsonl", _TABLE, _TABLE), lambda folder: {**_MAP, "precision": "m.p"}),
        Source(lambda folder: put_parquet(folder / "t.parquet", [_TABLE, _TABLE]), lambda folder: _MAP),
        Source(
            lambda folder: put_json(folder / "t.json", {"n": 1, "rows": [_TABLE]}),
            lambda folder: {**_MAP, "member": "rows", "where": {"m.s": ["math", 1]}},
        ),
        *(Source(_cells(ending), lambda folder: _CELLS) for ending in (".csv", ".tsv", ".xlsx")),
    ],
}  # fmt: skip
for case in CASES:
    SOURCES.setdefault(case.format, []).append(Source(case.build, lambda folder, case=case: case.options))  # type: ignore[misc]


def _built(format: str, folder: Path) -> list[tuple[Path, dict[str, Any], dict[str, bytes]]]:
    """For each source of a format: its path, its options, and its files of data by name."""
    built = []
    for number, source in enumerate(SOURCES[format]):
        inside = folder / str(number)
        inside.mkdir()
        Image.new("RGB", (2, 2)).save(inside / "i.png")
        built.append((source.build(inside), source.options(inside), data_files(inside)))
    return built


def _blank_domain(built: Any) -> list[tuple[int, str, bytes]]:
    return [(0, name, content.replace(b'"d"', b'"\\r"')) for name, content in built[0][2].items()]


def _broken_text(built: Any) -> list[tuple[int, str, bytes]]:
    """Parquet files with a text that is not UTF-8."""
    return [
        (number, name, content.replace(b"Which", b"\xf9hich"))
        for number, (_, _, files) in enumerate(built)
        for name, content in files.items()
        if name.endswith(".parquet")
    ]


def _list_as_flag(built: Any) -> list[tuple[int, str, bytes]]:
    name = "m_Bench.json"
    return [(2, name, built[2][2][name].replace(b'"hit": 1', b'"hit": [null]'))]


_FAILED: dict[str, Callable[[Any], list[tuple[int, str, bytes]]]] = {
    "processbench": _blank_domain,
    "bigbench_mistake": _blank_domain,
    "ai2d": _broken_text,
    "m3cot": _broken_text,
    "vlmevalkit": _list_as_flag,
}
"""What once ended in a traceback, or in what our reader refuses: number of the source, file, content."""


@pytest.mark.parametrize("format", FORMATS)
def test_converted_in(format: str, tmp_path: Path) -> None:
    """A source is converted to what our reader accepts, as many records as reported; or nothing is left."""
    built = _built(format, tmp_path)
    destination = tmp_path / "out" / "o.jsonl"
    skips = "on_error" in FORMATS[format].options()

    def check(changes: tuple[int, dict[str, bytes]], skip: bool) -> None:
        number, files = changes
        source, options, valid = built[number]
        if skip and skips:
            options = {**options, "on_error": "skip", "max_bad_fraction": 1.0}
        try:
            for name, content in files.items():
                (tmp_path / str(number) / name).write_bytes(content)
            done = outcome(lambda: convert_file(format, source, destination, **options))
        finally:
            for name in files:
                (tmp_path / str(number) / name).write_bytes(valid[name])
        left = sorted(
            str(path.relative_to(tmp_path)) for path in destination.parent.rglob("*") if path.is_file()
        )
        if isinstance(done, UserError):
            assert not left, (done, left)
            return
        try:
            report = ReadReport()
            # Image paths of other formats than those of questions are copied as they are.
            accepted = {"allow_no_image": True, "missing_image": "text_only"}
            accepted["allow_outside"] = done.kind != "question"
            read = list(_READERS[done.kind](destination, **accepted, report=report))
            assert len(read) == done.records > 0
            assert done.kind != "question" or not report.text_only, report
            assert not any("partial" in name for name in left)
        finally:
            for name in left:
                (tmp_path / name).unlink()

    def changes(chance: Random) -> tuple[int, dict[str, bytes]]:
        number = chance.randrange(len(built))
        return number, changed_files(chance, built[number][2])

    known = [
        {"changes": (number, {name: content}), "skip": False}
        for number, name, content in _FAILED.get(format, lambda built: [])(built)
    ]
    fuzz(check, few=8, changes=by_seed(changes), skip=st.booleans(), known=known)


WRITABLE = [name for name, format in FORMATS.items() if format.writer is not None]


@pytest.mark.parametrize("format", WRITABLE)
def test_converted_out(format: str, tmp_path: Path) -> None:
    """Our records become a file that the format reads, and that is the same once read and written again."""
    kind, known = FORMATS[format].kind, FORMATS[format].options("out")
    source, destination, own, again = (tmp_path / n for n in ("in.jsonl", "o.json", "own.jsonl", "a.json"))
    questions = tmp_path / "questions.jsonl"
    Image.new("RGB", (2, 2)).save(tmp_path / "i.png")
    values = {
        "unlabelled": st.sampled_from(["error", "skip"]),
        "threshold": st.sampled_from([None, 0.0, 0.5]),
        "images": st.sampled_from(["error", "drop"]),
    }
    options = {name: values[name] for name in values if name in known}
    reading = {"mathv": {"questions": str(questions)}, "vlmevalkit": {"benchmark": "B"}}.get(format, {})

    def check(content: bytes, chosen: dict[str, Any]) -> None:
        source.write_bytes(content)
        for path in (destination, own, again):
            path.unlink(missing_ok=True)
        done = outcome(lambda: convert_file(format, source, destination, direction="out", **chosen))
        if isinstance(done, UserError):
            assert not destination.exists()
            return
        count = done.records
        if kind == "candidate":  # rows of one id are answers to one question
            records = read_candidate_records(source, allow_no_image=True, missing_image="keep")
            answers = {record.id: record.answer for record in records}
            rows = [{"id": id, "question": "q", "options": [], "answer": answers[id]} for id in answers]
            questions.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
            count = len(answers)
        back = outcome(lambda: convert_file(format, destination, own, **reading))
        assert not isinstance(back, UserError), back
        assert back.records == count
        if kind == "step":
            convert_file(format, own, again, direction="out", **{**chosen, "unlabelled": "error"})
            assert again.read_text() == destination.read_text()

    content = by_seed(lambda chance: json_file(chance, _ROWS[kind]))
    known = [{"content": json.dumps({**_ROWS[kind][0], "id": ""}).encode(), "chosen": {}}]
    fuzz(check, few=8, content=content, chosen=st.fixed_dictionaries(options), known=known)
