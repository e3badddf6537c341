"""PRMs on language models: scores as plain transformers has them, saving, parts, images refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_models import (
    TEXT_FAMILIES,
    tiny_image,
    tiny_prm,
    tiny_text_config,
    tiny_text_prm,
    tiny_text_tokenizer,
)
from transformers import AutoModelForCausalLM

from dreamprm.config.errors import UserError
from dreamprm.models import PRM, PRMProcessor
from dreamprm.models.backbone import text_model, with_image_features
from dreamprm.models.chat import TextOnlyModel
from dreamprm.models.trunk import Trunk

QUESTION = "what is the sum of one and two ?"
STEPS = ("one plus two", "equals three", "final answer : 3")
OTHER = ("one plus two", "minus four five six", "four")


def plain_scores(prm: PRM, steps: tuple[str, ...]) -> list[float]:
    """By transformers alone: a row of tokens, the model, the head at each step's last token."""
    encode = prm.processor.tokenizer.encode
    before = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    ids = encode(before + QUESTION + "<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)
    ends = []
    for step in steps:
        ids = ids + encode(step + "\n", add_special_tokens=False)
        ends.append(len(ids) - 1)
    with torch.no_grad():
        states = prm.backbone(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, ends]
        return torch.sigmoid(states @ prm.head.weight[0] + prm.head.bias).tolist()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_the_scores_are_those_of_plain_transformers(family: str, attention: str) -> None:
    prm = tiny_text_prm(family, attn_implementation=attention)
    assert prm.score(QUESTION, None, STEPS) == pytest.approx(plain_scores(prm, STEPS), abs=1e-6)
    # A batch of rows of unequal lengths, and candidates that continue a shared prefix.
    together = prm.score_candidates(QUESTION, None, [STEPS, OTHER, STEPS[:1]])
    for steps, scores in zip((STEPS, OTHER, STEPS[:1]), together, strict=True):
        assert scores == pytest.approx(plain_scores(prm, steps), abs=1e-6)
    encoded = [prm.processor.encode(QUESTION, (), steps) for steps in (STEPS, OTHER, STEPS[:1])]
    batch = prm.processor.collate(encoded)
    by_row = torch.sigmoid(prm(with_image_features(prm.backbone, batch))).tolist()
    assert by_row == pytest.approx([value for scores in together for value in scores], abs=1e-6)


def test_every_step_can_be_read_after_the_chat_template() -> None:
    prm = tiny_text_prm()
    prm.processor = PRMProcessor(prm.processor.tokenizer, settings=prm.processor.settings, text_only=True)
    rows = [prm.processor.encode(QUESTION, (), steps, readout="chat_suffix") for steps in (STEPS, OTHER)]
    alone = torch.cat([prm(prm.processor.collate([row])) for row in rows])
    together = prm(prm.processor.collate(rows))
    assert torch.allclose(alone, together, atol=1e-6)


def test_a_sliding_window_is_respected_and_shares_no_prefix() -> None:
    torch.manual_seed(0)
    config = tiny_text_config("mistral")
    config.sliding_window = 8
    prm = PRM.from_backbone(config, processor=PRMProcessor(tiny_text_tokenizer(), text_only=True)).eval()
    for steps, scores in zip(
        (STEPS, OTHER), prm.score_candidates(QUESTION, None, [STEPS, OTHER]), strict=True
    ):
        assert scores == pytest.approx(plain_scores(prm, steps), abs=1e-6)


def test_it_is_saved_and_read_as_a_plain_checkpoint(tmp_path: Path) -> None:
    prm = tiny_text_prm("qwen3")
    prm.save_pretrained(tmp_path / "prm")
    again = PRM.from_pretrained(tmp_path / "prm")
    assert again.processor.text_only and again.score(QUESTION, None, STEPS) == prm.score(
        QUESTION, None, STEPS
    )
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "prm")
    assert torch.equal(plain.lm_head.weight, prm.backbone.lm_head.weight)
    card = (tmp_path / "prm" / "README.md").read_text()
    assert "reads text only" in card and "image.png" not in card and "# Process reward model" in card
    # A checkpoint that other software wrote says by its config that it reads no images.
    (tmp_path / "prm" / "prm_processor.json").unlink()
    fresh = PRM.from_backbone(tmp_path / "prm")
    assert fresh.processor.text_only and not (tmp_path / "prm" / "preprocessor_config.json").exists()


def test_a_folder_of_the_tokenizer_alone_remembers_too(tmp_path: Path) -> None:
    prm = tiny_text_prm()
    prm.processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "prm_processor.json").read_text())["text_only"] is True
    assert PRMProcessor.from_pretrained(tmp_path).text_only


def test_an_image_is_refused_in_one_sentence() -> None:
    prm = tiny_text_prm()
    for refused in (
        lambda: prm.score(QUESTION, tiny_image(), STEPS),
        lambda: prm.processor.encode(QUESTION, [tiny_image()], STEPS),
        lambda: prm.processor.frame(1),
    ):
        with pytest.raises(TextOnlyModel, match="reads text only .* shows 1 image; use a Qwen-VL backbone"):
            refused()


def test_parts_that_do_not_match_are_refused() -> None:
    both = tiny_prm(layers=1, vision_layers=1)
    text = tiny_text_prm()
    with pytest.raises(UserError, match="qwen2_vl.* reads images, and the processor is for text only"):
        PRM(both.backbone, text.processor)
    with pytest.raises(UserError, match="qwen2.* reads text only, and the processor is for images too"):
        PRM(text.backbone, both.processor)


def test_adapters_and_the_trunk_find_its_layers() -> None:
    prm = tiny_text_prm()
    trunk = Trunk.below(prm, ["head.weight", "backbone.model.layers.1.mlp.up_proj.weight"])
    assert trunk.first == 1 and "visual" not in trunk.modules()
    batch = prm.processor.collate([prm.processor.encode(QUESTION, (), STEPS)])
    states = trunk.states(batch)
    fed = {name: value for name, value in batch.items() if name != "input_ids"}
    cached = fed | {"trunk_states": states, "first_layer": 1}
    assert torch.allclose(prm(cached), prm(batch), atol=1e-6)
    pytest.importorskip("peft")
    prm.add_lora(rank=2)
    adapted = [name for name, _ in prm.named_parameters() if "lora_A" in name]
    assert len(adapted) == 7 * len(text_model(prm.backbone).layers)
