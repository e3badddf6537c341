"""Real candidates with real images, and real step records: scored equal to one at a time, fields kept."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from candidate_files import read_rows, score, write_rows
from shared_data import shared_file
from tiny_models import save_byte_level_checkpoint

from dreamprm.formats.convert import convert_file
from dreamprm.models import PRM


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PRM whose tokens are bytes, so that it takes any text; images of 56 x 56 pixels at most."""
    folder = tmp_path_factory.mktemp("bytes")
    save_byte_level_checkpoint(folder / "checkpoint", hidden=16)
    prm = PRM.from_backbone(folder / "checkpoint")
    prm.processor.image_processor.size = {"shortest_edge": 784, "longest_edge": 3136}
    prm.save_pretrained(folder / "byte-prm")
    return folder / "byte-prm"


def test_five_models_on_mathvision(byte_model: Path, tmp_path: Path) -> None:
    outputs, questions = shared_file("mathvision/outputs"), shared_file("mathvision/testmini.jsonl")
    source = tmp_path / "all.jsonl"
    convert_file("mathv", outputs, source, questions=str(questions))
    rows = [row for row in read_rows(source) if len(row["candidates"]) == 5][:3]
    for row in rows:  # texts of free form, cut to keep the test short
        for candidate in row["candidates"]:
            candidate["text"], candidate["steps"] = candidate["text"][:300], []
    write_rows(source, rows)
    data = {"stepless": "whole", "allow_outside": True}  # the images stand where they were converted from
    score(byte_model, {"mathvision": source}, tmp_path / "out", data=data)
    prm = PRM.from_pretrained(byte_model)
    scored = read_rows(tmp_path / "out/mathvision.jsonl")
    assert len(scored) == 3
    values = set()
    for out in scored:
        images = [out["image"]] if "image" in out else out["images"]
        assert images and all(Path(image).is_file() for image in images)
        for candidate in out["candidates"]:
            steps = candidate["steps"] or [candidate["text"]]
            fields = candidate["scores"]["byte-prm"]
            assert fields["steps"] == pytest.approx(prm.score(out["question"], images, steps), abs=1e-5)
            values.update(fields["log_odds"])
    assert len(values) >= 15


def test_processbench_through_convert(byte_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "gsm8k.jsonl"
    convert_file("processbench", shared_file("processbench/gsm8k.json"), source)
    with source.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in itertools.islice(file, 4)]
    write_rows(source, [line | {"split": "dev"} for line in lines])
    score(byte_model, {"gsm8k": source}, tmp_path / "out", kind="step")
    prm = PRM.from_pretrained(byte_model)
    for row, out in zip(lines, read_rows(tmp_path / "out/gsm8k.jsonl"), strict=True):
        assert (out["labels"], out["split"]) == (row["labels"], "dev")
        assert out["scores"]["byte-prm"]["steps"] == pytest.approx(
            prm.score(row["question"], None, row["steps"]), abs=1e-5
        )
