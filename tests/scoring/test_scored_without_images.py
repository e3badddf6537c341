"""A candidate record with one broken picture loses all of them, and is counted at the end of `score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from candidate_files import candidate_rows, read_rows, score, write_rows
from PIL import Image
from tiny_models import tiny_image

from dreamprm.cli import main
from dreamprm.config.errors import DataError
from dreamprm.models import PRM

TEXT_ONLY = {"missing_image": "text_only", "allow_no_image": True}


def summary(output: Path) -> dict[str, Any]:
    """What summary.json says about the one file."""
    return dict(json.loads((output / "summary.json").read_text())["files"]["suite"])


def test_the_second_picture_does_not_stand_in_for_the_first(
    run_folder: Path, prm: PRM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = candidate_rows(tmp_path)  # questions 2 and 5 have two images
    (tmp_path / "images" / "2-0.png").write_bytes(b"P6 5 five 255\n")  # no OSError
    (tmp_path / "images" / "5-1.png").unlink()
    source = write_rows(tmp_path / "candidates.jsonl", rows)
    score(run_folder, {"suite": source}, tmp_path / "out", data=TEXT_ONLY)
    for row, given in zip(read_rows(tmp_path / "out" / "suite.jsonl"), rows, strict=True):
        lost = given["id"] in ("q2", "q5")
        images = [] if lost else [tmp_path / name for name in given["images"]]
        for candidate in row["candidates"]:
            expected = prm.score(given["question"], images, candidate["steps"])
            assert candidate["scores"]["tiny-run"]["steps"] == pytest.approx(expected, abs=1e-5), given["id"]
    found = summary(tmp_path / "out")
    assert (found["without_images"], found["cut_off_images"]) == (2, 0)
    assert "2-0.png: cannot be opened as an image" in found["without_images_first"][0]
    assert "5-1.png: no such file" in found["without_images_first"][1]
    end = capsys.readouterr().out
    end = end[end.index("records with scores of") :]
    assert "2 of 6 are used without their images, which are missing or broken" in end
    assert "candidates.jsonl:3: " in end and "candidates.jsonl:6: " in end
    # The journal knows, if everything is scored already.
    score(run_folder, {"suite": source}, tmp_path / "out", data=TEXT_ONLY)
    again = summary(tmp_path / "out")
    assert again["scored_now"] == 0
    assert again["without_images_first"] == found["without_images_first"] and again["without_images"] == 2


def test_five_of_five_are_counted(run_folder: Path, tmp_path: Path, capsys: Any) -> None:
    rows = [row for row in candidate_rows(tmp_path, 8) if row["images"]]
    for path in (tmp_path / "images").iterdir():
        path.write_text("gone")
    source = write_rows(tmp_path / "candidates.jsonl", rows)
    score(run_folder, {"suite": source}, tmp_path / "out", data=TEXT_ONLY)
    assert summary(tmp_path / "out")["without_images"] == 5
    assert "5 of 5 are used without their images" in capsys.readouterr().out


def test_a_cut_off_picture_is_scored_only_if_asked_for(
    run_folder: Path, prm: PRM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = candidate_rows(tmp_path, 2)
    path = tmp_path / rows[1]["images"][0]
    noise = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format="JPEG", quality=95)
    whole = prm.score(rows[1]["question"], path, rows[1]["candidates"][0]["steps"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    source = write_rows(tmp_path / "candidates.jsonl", rows)
    with pytest.raises(DataError, match="1-0.png is missing or broken .*image file is truncated"):
        score(run_folder, {"suite": source}, tmp_path / "out")
    read = {"truncated_image": "read", "allow_no_image": True}
    score(run_folder, {"suite": source}, tmp_path / "out", data=read)
    found = summary(tmp_path / "out")
    assert (found["without_images"], found["cut_off_images"]) == (0, 1)
    assert "1-0.png: cannot be opened as an image (OSError)" in found["cut_off_images_first"][0]
    assert "1 of 2 are used with an image that is cut off" in capsys.readouterr().out
    scored = read_rows(tmp_path / "out" / "suite.jsonl")[1]["candidates"][0]["scores"]["tiny-run"]["steps"]
    assert scored != pytest.approx(whole, abs=1e-4)
    # Such scores are not those of a command that refuses the file.
    with pytest.raises(DataError, match="1-0.png is missing or broken"):
        score(run_folder, {"suite": source}, tmp_path / "out")


def test_a_model_with_a_missing_tensor_scores_nothing(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    folder.mkdir()
    for file in (run_folder / "model").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tiny_image().save(tmp_path / "a.png")
    rows = [
        {
            "question": "what ?",
            "image": "a.png",
            "benchmark": "b",
            "answer": "1",
            "candidates": [{"text": "six", "steps": ["six"]}],
        }
    ]
    source = write_rows(tmp_path / "c.jsonl", rows)
    config = tmp_path / "score.yaml"
    config.write_text(
        json.dumps(
            {"model": str(folder), "name": "n", "files": {"s": str(source)}, "output": str(tmp_path / "o")}
        )
    )
    assert main(["score", str(config)]) == 2
    told = capsys.readouterr().err
    assert "1 tensor is missing: model.language_model.layers.0.mlp.up_proj.weight" in told
    assert "Traceback" not in told
