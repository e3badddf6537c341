"""A run on a language model: trained, saved, scored; records with images are refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_text_config, tiny_text_tokenizer
from tiny_run import DOMAINS, TinyRun, write_lines
from transformers import AutoModelForCausalLM

from dreamprm.cli import main
from dreamprm.models import PRM


@pytest.fixture
def text_run(tiny: TinyRun) -> TinyRun:
    """The tiny run with a language model in place of its checkpoint."""
    checkpoint = tiny.folder / "language-model"
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(tiny_text_config("llama", layers=1)).save_pretrained(checkpoint)
    tiny_text_tokenizer().save_pretrained(checkpoint)
    tiny.config["model"]["path"] = str(checkpoint)
    return tiny


def without_images(run: TinyRun) -> None:
    """Take the images out of the records."""
    for name in (*DOMAINS, "meta"):
        path = run.folder / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        write_lines(path, [{k: v for k, v in row.items() if k != "image"} for row in rows])


def test_a_language_model_is_trained_and_scores(text_run: TinyRun, tmp_path: Path) -> None:
    without_images(text_run)
    assert text_run.train("data.allow_no_image=true") == 0
    prm = PRM.from_pretrained(text_run.output / "model")
    assert prm.processor.text_only and prm.backbone.config.model_type == "llama"
    row = {"id": "q", "question": "what is one ?", "benchmark": "b", "answer": "1"}
    source = write_lines(
        tmp_path / "c.jsonl", [row | {"candidates": [{"text": "one", "steps": ["one", "two"]}]}]
    )
    command = ["score", f"model={text_run.output}", f"files.a={source}", f"output={tmp_path}/scored"]
    assert main([*command, "name=p", "data.allow_no_image=true", "log.progress=none"]) == 0
    (scored,) = [json.loads(line) for line in (tmp_path / "scored" / "a.jsonl").read_text().splitlines()]
    found = scored["candidates"][0]["scores"]["p"]["steps"]
    assert found == pytest.approx(prm.score("what is one ?", None, ["one", "two"]), abs=1e-5)


def test_records_with_images_are_refused(text_run: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert text_run.train() == 2
    told = capsys.readouterr().err
    assert "reads text only" in told and "shows 1 image; use a Qwen-VL backbone" in told
    assert "Traceback" not in told
