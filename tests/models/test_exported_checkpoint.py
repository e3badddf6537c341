"""An exported PRM: plain transformers code gives the scores of `PRM.score`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_image, tiny_prm, tiny_text_prm
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForTokenClassification

from dreamprm.config.errors import UserError
from dreamprm.models import PRM
from dreamprm.models.exported_checkpoint import export_prm, head_on_states

QUESTION = "what is the sum of one and two ?"
STEPS = ("one plus two", "equals three", "final answer : 3")


def log_odds(prm: PRM, image: Any = None) -> list[float]:
    p = prm.score(QUESTION, image, STEPS)
    shown = prm.processor.opened([image] if image else [])
    with torch.no_grad():
        batch = prm.processor.collate([prm.processor.encode(QUESTION, shown, STEPS)])
        found: list[float] = prm(batch).tolist()
    assert p == pytest.approx([1 / (1 + math.exp(-value)) for value in found], abs=1e-6)
    return found


def row(prm: PRM, images: Sequence[Any] = ()) -> tuple[dict[str, Any], list[int]]:
    """The tensors that the model takes, and where the steps end."""
    encoded = prm.processor.encode(QUESTION, prm.processor.opened(images), STEPS)
    batch = prm.processor.collate([encoded])
    names = ("input_ids", "mm_token_type_ids", "pixel_values", "image_grid_thw")
    return {name: batch[name] for name in names if name in batch}, list(encoded.rows[0].reads)


@pytest.mark.parametrize("head", ["hidden", "vocab_logits"])
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama", "mistral"])
def test_a_language_model_becomes_a_token_classifier(family: str, head: str, tmp_path: Path) -> None:
    prm = tiny_text_prm(family, head=head)
    torch.nn.init.normal_(prm.head.bias)
    inputs, ends = row(prm)
    wanted = log_odds(prm)
    export_prm(prm, tmp_path / "out", form="hf", training={"estimator": "adjoint"})
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        logits = model.eval()(inputs["input_ids"]).logits
    assert logits.shape[-1] == 1
    assert logits[0, ends, 0].tolist() == pytest.approx(wanted, abs=1e-5)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "vllm serve . --runner pooling --convert classify" in readme
    assert "run by us on a tiny Qwen2" in readme and "not run by us" not in readme
    assert "from the estimator `adjoint`" in readme and "a new line" in readme


def test_a_qwen_vl_keeps_its_weights_and_has_its_head_beside_them(tmp_path: Path) -> None:
    prm = tiny_prm(layers=1, vision_layers=1, attn_implementation="sdpa")
    torch.nn.init.normal_(prm.head.bias)
    image = tiny_image()
    inputs, ends = row(prm, [image])
    wanted = log_odds(prm, image)
    export_prm(prm, tmp_path / "out", form="hf", training={})
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["Qwen2VLForConditionalGeneration"]
    assert list(config["text_config"]["id2label"]) == ["0"]  # vLLM reads the number of classes there
    state = load_file(tmp_path / "out" / "model.safetensors")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states[-1]
    found = states[0, ends] @ state["score.weight"][0] + state["score.bias"]
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)
    assert prm.backbone.config.get_text_config().num_labels == 2  # its own config is untouched


@pytest.mark.parametrize("vision", [False, True])
def test_a_step_token_s_logits_are_the_log_odds(vision: bool, tmp_path: Path) -> None:
    prm = tiny_prm(layers=1, vision_layers=1) if vision else tiny_text_prm()
    torch.nn.init.normal_(prm.head.bias)
    images = [tiny_image()] if vision else []
    inputs, ends = row(prm, images)
    wanted = log_odds(prm, images[0] if images else None)
    facts = export_prm(prm, tmp_path / "out", form="step_token", training={"scores": "response"})
    auto = AutoModelForImageTextToText if vision else AutoModelForCausalLM
    model = auto.from_pretrained(tmp_path / "out").eval()
    used = inputs if vision else {"input_ids": inputs["input_ids"]}
    with torch.no_grad():
        log_p = torch.log_softmax(model(**used).logits[0, ends].double(), dim=-1)
    found = log_p[:, facts.tokens["right"]] - log_p[:, facts.tokens["wrong"]] + facts.bias
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"[{facts.tokens['right']}, {facts.tokens['wrong']}]" in readme
    assert "outcome reward model" in readme
    assert json.loads((tmp_path / "out" / "dreamprm_export.json").read_text())["bias"] == facts.bias


def test_the_vocabulary_s_head_folds_exactly() -> None:
    prm = tiny_text_prm(head="vocab_logits")
    weight, bias = head_on_states(prm)
    states = torch.randn(5, 32)
    with torch.no_grad():
        assert torch.allclose(prm.read(states).double(), states.double() @ weight + bias, atol=1e-5)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an export of a PRM"):
        export_prm(tiny_text_prm(), tmp_path, form="hf", training={})
    with pytest.raises(UserError, match="unknown form 'onnx'; use one of hf, step_token"):
        export_prm(tiny_text_prm(), tmp_path / "a", form="onnx", training={})
    for _ in range(2):  # an earlier export is replaced
        export_prm(tiny_text_prm(), tmp_path / "b", form="hf", training={})
