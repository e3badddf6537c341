"""`dreamprm export`: a run's PRM in the two forms; what cannot be exported, or read back, is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_text_prm
from transformers import AutoModelForTokenClassification

from dreamprm.cli import main
from dreamprm.models import PRM


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    # Of a Qwen2, transformers would read the tokenizer as a byte-level BPE, whatever it was.
    tiny_text_prm("mistral").save_pretrained(folder / "model", training={"estimator": "adjoint"})
    return folder


@pytest.mark.parametrize("form", ["hf", "step_token"])
def test_a_run_is_exported(form: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["export", f"model={run}", f"to={out}", f"form={form}"]) == 0
    assert f"a PRM in the form {form}" in capsys.readouterr().out
    assert json.loads((out / "dreamprm_export.json").read_text())["form"] == form
    assert "from the estimator `adjoint`" in (out / "README.md").read_text()
    if form == "hf":
        prm = PRM.from_pretrained(run / "model")
        encoded = prm.processor.encode("what is one ?", (), ["one"])
        batch = prm.processor.collate([encoded])
        model = AutoModelForTokenClassification.from_pretrained(out).eval()
        with torch.no_grad():
            found = model(batch["input_ids"]).logits[0, list(encoded.rows[0].reads), 0]
            assert found.tolist() == pytest.approx(prm(batch).tolist(), abs=1e-5)
    # It is no PRM of ours any more, though a layout could be mistaken for its own.
    command = ["score", f"model={out}", f"files.a={tmp_path}/a.jsonl", f"output={tmp_path}/scored"]
    row = {"id": "q", "question": "q", "benchmark": "b", "answer": "1"}
    (tmp_path / "a.jsonl").write_text(
        json.dumps(row | {"candidates": [{"text": "a", "steps": ["a"]}]}) + "\n"
    )
    assert main([*command, "data.allow_no_image=true"]) == 2
    assert "was exported for other software" in capsys.readouterr().err


def test_a_folder_that_holds_the_model_is_left_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", f"model={run}", f"to={run}"]) == 2
    assert "holds the model; choose another folder" in capsys.readouterr().err
    assert main(["export", f"model={run}/nothing", f"to={run}/x"]) == 2
    assert (run / "model" / "prm.json").is_file()
