"""MMMU-Pro: its three settings, marks of images, and the rule of its script."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from published_layouts import mmmu_pro_rows, picture, save

from dreamprm.formats.benchmarks import build_benchmark, read_questions, to_candidates
from dreamprm.formats.benchmarks.mmmu_pro import named_option
from dreamprm.formats.benchmarks.scores import scores

PRO = build_benchmark("mmmu_pro")
OPTIONS = dict(zip("ABCDEFGHIJ", ["red", "blue", "green", "pink", *"123456"], strict=True))


def test_standard_questions_and_pictures_of_them(tmp_path: Path) -> None:
    found = read_questions(PRO, save(tmp_path / "q.json", mmmu_pro_rows()), images="ignore")
    standard, vision = (question.record for question in found)
    assert standard.question == "Which is like <image 2>?" and standard.answer == "C"
    assert standard.options == ("<image 1>", "none", "<image 2>", "both")
    assert vision.question == "The question and its options are shown in the image."
    assert found[0].groups == {"subject": ("Math",), "discipline": ("Science",)}
    values = scores(PRO, found, {"test_Math_1": 1.0, "test_Art_2": 0.0})
    assert values["accuracy"] == 0.5 == values["subject_mean"] and values["discipline/Science"] == 1


def test_images_of_the_hub_keep_their_order(tmp_path: Path) -> None:
    rows = [
        {**row, name: {"bytes": picture(colour), "path": name}}
        for row, name, colour in zip(mmmu_pro_rows(), ("image_1", "image"), ("red", "blue"), strict=True)
    ]
    rows[0]["image_3"] = {"bytes": picture("green"), "path": "image_3"}
    rows = [{name: row.get(name) for name in rows[0] | rows[1]} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    found = read_questions(PRO, tmp_path / "test.parquet", image_folder=tmp_path / "images")
    contents = [[Path(path).read_bytes() for path in one.record.images] for one in found]
    assert contents == [[picture("red"), picture("green")], [picture("blue")]]


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("So it is C.\n\nAnswer: B", "B"),
        ("Answer: A\nAnswer: D.", "D"),
        ("Answer: neither A nor B. I take (C)", "C"),
        ("(A) or (B)? (A)", "A"),
        ("I choose B here", "B"),
        ("It is D.", "D"),
        ("the thing in the picture looks blue, not red", "A"),
        ("looks blue", None),
        ("Answer: J", "J"),
    ],
)
def test_the_own_rule(response: str, letter: str | None) -> None:
    assert named_option(response, OPTIONS) == letter


def test_published_predictions_bring_flags(tmp_path: Path) -> None:
    questions = read_questions(PRO, save(tmp_path / "q.json", mmmu_pro_rows()), images="ignore")
    rows = [
        {"id": "test_Math_1", "response": "Answer: C", "pred_indexs": "C", "if_right": True},
        {"id": "test_Art_2", "response": "I do not know.", "pred_indexs": "B", "if_right": True},
    ]
    path = save(tmp_path / "gpt-4o_vision_cot.jsonl", rows)
    found = to_candidates(PRO, questions, path)
    assert found.outcomes() == {
        "gpt-4o_vision_cot": {"mmmu_pro-test_Math_1": 1.0, "mmmu_pro-test_Art_2": 0.0}
    }
    assert found.report.flags.disagreements == 1  # the script guessed, and was lucky
    flags = to_candidates(PRO, questions, path, outcomes="published").outcomes()
    assert flags["gpt-4o_vision_cot"]["mmmu_pro-test_Art_2"] == 1.0
