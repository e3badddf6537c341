"""Step and meta records of the real files: every row, in and back out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from shared_data import shared_file

from dreamprm.data import StepRecord, read_candidate_records, read_step_records
from dreamprm.formats.convert import convert_file
from dreamprm.formats.registry import FORMATS

bigbench_mistake, dreamprm15, mathv, mr_ben, processbench, vlmevalkit = (
    FORMATS[name]
    for name in ("bigbench_mistake", "dreamprm15", "mathv", "mr_ben", "processbench", "vlmevalkit")
)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON array or a JSON Lines file."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def kept(row: dict[str, Any], *names: str) -> list[Any]:
    return [row[name] for name in names]


@pytest.mark.parametrize(
    ("name", "count", "steps", "all_right"),
    [
        ("gsm8k", 400, 2082, 193),
        ("math", 1000, 6505, 406),
        ("olympiadbench", 1000, 8819, 339),
        ("omnimath", 1000, 8291, 241),
    ],
)
def test_processbench_in_and_out(name: str, count: int, steps: int, all_right: int, tmp_path: Path) -> None:
    source = shared_file(f"processbench/{name}.json")
    assert convert_file("processbench", source, tmp_path / "own.jsonl").records == count
    records = list(read_step_records(tmp_path / "own.jsonl", allow_no_image=True))
    assert sum(len(record.steps) for record in records) == steps
    assert sum(record.labels == (1,) * len(record.labels) for record in records) == all_right
    done = convert_file("processbench", tmp_path / "own.jsonl", tmp_path / "back.json", direction="out")
    assert done.records == count
    names = ("id", "problem", "steps", "label")
    originals, back = rows_of(source), rows_of(tmp_path / "back.json")
    assert [kept(row, *names) for row in back] == [kept(row, *names) for row in originals]
    assert [r.steps for r in processbench.read(tmp_path / "back.json")] == [r.steps for r in records]


@pytest.mark.parametrize(
    ("name", "count", "steps", "all_right"),
    [
        ("dyck_languages", 986, 24177, 336),
        ("logical_deduction", 300, 2497, 6),
        ("multistep_arithmetic", 300, 1506, 62),
        ("tracking_shuffled_objects", 300, 1617, 40),
        ("word_sorting", 300, 3508, 34),
    ],
)
def test_bigbench_mistake_in_and_out(
    name: str, count: int, steps: int, all_right: int, tmp_path: Path
) -> None:
    source = shared_file(f"bigbench_mistake/{name}.jsonl")
    assert convert_file("bigbench_mistake", source, tmp_path / "own.jsonl").records == count
    records = list(read_step_records(tmp_path / "own.jsonl", allow_no_image=True))
    assert records == list(bigbench_mistake.read(source))
    assert sum(len(record.steps) for record in records) == steps
    assert sum(record.labels == (1,) * len(record.labels) for record in records) == all_right
    convert_file("bigbench_mistake", tmp_path / "own.jsonl", tmp_path / "back.jsonl", direction="out")
    names = ("input", "steps", "mistake_index")
    originals, back = rows_of(source), rows_of(tmp_path / "back.jsonl")
    changed = [
        (old, new) for old, new in zip(originals, back, strict=True) if kept(old, *names) != kept(new, *names)
    ]
    if name != "dyck_languages":
        assert not changed
        return
    ((old, new),) = changed  # the one trace with a blank step, behind its mistake
    assert new["steps"] == [step for step in old["steps"] if step]
    assert new["mistake_index"] == old["mistake_index"] == 16


def placed(record: StepRecord) -> str:
    """How much is known of where the record's first error is."""
    if None not in record.labels:
        return "right" if all(record.labels) else "placed"
    return "unknown" if set(record.labels[:-1]) == {None} else "between"


@pytest.mark.parametrize(
    ("name", "known", "steps"),
    [
        ("biology", {"right": 617, "placed": 417, "between": 1}, 6316),
        ("chemistry", {"right": 382, "placed": 466}, 5551),
        ("coding", {"right": 74, "placed": 145, "between": 6, "unknown": 13}, 6080),
        ("math", {"right": 149, "placed": 768, "between": 1}, 7199),
        ("medicine", {"right": 257, "placed": 570, "unknown": 1}, 5209),
        ("physics", {"right": 319, "placed": 345, "between": 3}, 4495),
    ],
)
def test_mr_ben_in_and_out(name: str, known: dict[str, int], steps: int, tmp_path: Path) -> None:
    source = shared_file(f"mr_ben/{name}.json")
    convert_file("mr_ben", source, tmp_path / "own.jsonl")
    records = list(read_step_records(tmp_path / "own.jsonl", allow_no_image=True))
    assert records == list(mr_ben.read(source))
    assert Counter(map(placed, records)) == known
    assert sum(len(record.steps) for record in records) == steps
    originals = [row for rows in json.loads(source.read_text()).values() for row in rows]
    assert len(records) == len(originals)
    for record, row in zip(records, originals, strict=True):
        lines = row["Model_Solution_Steps"]
        lines = lines.split("\n") if isinstance(lines, str) else lines
        joined = "\n".join(record.steps).split("\n")
        assert [line.strip() for line in joined if line.strip()] == [
            line.strip() for text in lines for line in text.split("\n") if line.strip()
        ]
    if name == "coding":
        return  # programs: their lines are no numbered steps, and ids come twice
    writable = [record for record in records if placed(record) != "between"]
    mr_ben.write(writable, tmp_path / "back.json")
    assert list(mr_ben.read(tmp_path / "back.json", domain=name)) == writable
    back = {
        (row["Question_UUID"], row["Sampled_Model"]): row
        for rows in json.loads((tmp_path / "back.json").read_text()).values()
        for row in rows
    }
    for record, row in zip(records, originals, strict=True):
        written = back.get((row["Question_UUID"], row["Sampled_Model"]))
        if written is None:
            assert placed(record) == "between"
            continue
        assert written["Model_Solution_Correctness"] == row["Model_Solution_Correctness"]
        assert written["Question"] == f"{row['Question']}\n{row['Options']}"
        number = row["Model_Solution_First_Error_Step"] if placed(record) != "unknown" else ""
        assert written["Model_Solution_First_Error_Step"] == number


def test_mr_ben_has_4534_solutions() -> None:
    folder = shared_file("mr_ben")
    assert sum(1 for path in folder.glob("*.json") for _ in mr_ben.read(path)) == 4534


def test_dreamprm15_in_and_out(tmp_path: Path) -> None:
    source = shared_file("dreamprm15/meta_MMMU_Pro.json")
    records = list(dreamprm15.read(source))
    dreamprm15.write(records, tmp_path / "back.json")
    assert list(dreamprm15.read(tmp_path / "back.json")) == records and len(records) == 1656
    originals, back = rows_of(source), rows_of(tmp_path / "back.json")
    names = ("id", "true_false", "image")
    assert [kept(row, *names) for row in back] == [kept(row, *names) for row in originals]
    for old, new in zip(originals, back, strict=True):
        spoken = [
            [(turn["from"], turn["value"].strip()) for turn in row["conversations"][1:]] for row in (old, new)
        ]
        assert spoken[0] == spoken[1]


def test_mathv_in_and_out(tmp_path: Path) -> None:
    outputs, questions = shared_file("mathvision/outputs"), shared_file("mathvision/testmini.jsonl")
    done = convert_file("mathv", outputs, tmp_path / "own.jsonl", questions=str(questions))
    assert done.records == 304
    records = list(read_candidate_records(tmp_path / "own.jsonl", check_images=True))
    assert records == list(mathv.read(outputs, questions=questions))
    assert {len(record.candidates) for record in records} == {5}
    right = Counter(one.generator for record in records for one in record.candidates if one.correct)
    assert right == {
        "gpt-3.5-turbo-0125": 31,
        "gpt-4-0125-preview": 14,
        "gemini-pro-vision": 44,
        "InternLM-XComposer2-VL": 45,
        "qwen-vl-max": 42,
    }
    assert all(one.steps and "".join(one.steps) for record in records for one in record.candidates)
    assert not any("<image" in record.question for record in records)
    for path in outputs.glob("*.jsonl"):
        original = rows_of(path)
        generator = original[0]["model"]
        convert_file(
            "mathv", tmp_path / "own.jsonl", tmp_path / "back.jsonl", direction="out", generator=generator
        )
        assert rows_of(tmp_path / "back.jsonl") == original


@pytest.mark.parametrize("ending", [".xlsx", ".tsv", ".json"])
def test_mathv_candidates_as_vlmevalkit_files(ending: str, tmp_path: Path) -> None:
    outputs, questions = shared_file("mathvision/outputs"), shared_file("mathvision/testmini.jsonl")
    records = list(mathv.read(outputs, questions=questions))
    for generator in ("qwen-vl-max", "gemini-pro-vision"):
        vlmevalkit.write(records, tmp_path / f"{generator}_MATH-V{ending}", generator=generator)
    back = list(vlmevalkit.read(tmp_path, benchmark="MATH-V"))
    assert len(back) == 304
    for new, old in zip(back, records, strict=True):
        by_name = {one.generator: one for one in old.candidates}
        assert (new.id, new.images, new.answer) == (old.id, old.images, old.answer)
        assert new.question == old.question
        assert new.candidates == (by_name["gemini-pro-vision"], by_name["qwen-vl-max"])
