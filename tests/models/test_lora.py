"""Low-rank adapters: added without changing a score, merged, saved alone, read with the right base model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import FAMILIES, tiny_cots, tiny_prm
from tiny_run import save_tiny_checkpoint
from transformers import AutoModelForImageTextToText

from dreamprm.config.errors import UserError
from dreamprm.files.content import FileDigests
from dreamprm.models import PRM
from dreamprm.models.lora import is_adapter, plain_name
from dreamprm.models.storage import changed_since_saved
from dreamprm.models.trained_part import store_untrained, trained_names

LAYER = "backbone.model.language_model.layers.0.self_attn.q_proj"


def logits(prm: PRM, output: str = "step_logits") -> torch.Tensor:
    with torch.no_grad():
        batch = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(4)])
        return prm(batch, output=output)


def adapted(prm: PRM, **settings: Any) -> PRM:
    """With adapters that change the scores, as those of a trained model do."""
    prm.add_lora(**{"rank": 3, "alpha": 6.0} | settings)
    torch.manual_seed(1)
    for name, parameter in prm.named_parameters():
        if is_adapter(name):
            torch.nn.init.normal_(parameter.data, std=0.2)
    return prm.eval()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The checkpoint of `tiny_prm(layers=1, vision_layers=1)`."""
    return save_tiny_checkpoint(tmp_path / "bases" / "first", layers=1, vision_layers=1)


def tiny_adapted(**settings: Any) -> PRM:
    return adapted(tiny_prm(layers=1, vision_layers=1), **settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_new_adapters_change_no_score(family: str) -> None:
    prm = tiny_prm(family)
    before, own = logits(prm), {name: value.clone() for name, value in prm.named_parameters()}
    prm.add_lora(rank=4)
    assert torch.equal(logits(prm), before)
    after = dict(prm.named_parameters())
    assert {plain_name(name) for name in after if not is_adapter(name)} == own.keys()
    assert all(torch.equal(own[plain_name(n)], value) for n, value in after.items() if not is_adapter(n))
    params = prm.trainable_params()
    assert params.keys() == {n for n in after if is_adapter(n)} | {"head.weight", "head.bias"}
    layers = {
        name: value for name, value in own.items() if name.endswith("_proj.weight") and ".visual." not in name
    }
    assert len(layers) == 14  # q, k, v, o, gate, up and down of two layers
    assert sum(value.numel() for value in params.values()) == 33 + sum(
        4 * sum(w.shape) for w in layers.values()
    )


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapted_layer_is_what_the_formula_says(rslora: bool) -> None:
    prm = tiny_adapted(rslora=rslora)
    layer = prm.get_submodule(LAYER)
    a, b = (prm.get_parameter(f"{LAYER}.lora_{which}.default.weight") for which in "AB")
    x = torch.randn(5, 32)
    wanted = layer.base_layer(x) + 6.0 / (3**0.5 if rslora else 3) * (x @ a.T @ b.T)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-6)


def test_dropout_acts_while_training_only() -> None:
    prm = tiny_prm(layers=1)
    prm.add_lora(dropout=0.5, target_modules=["q_proj"])
    torch.nn.init.normal_(prm.get_parameter(f"{LAYER}.lora_B.default.weight").data)
    assert not torch.equal(logits(prm), logits(prm))
    prm.eval()
    assert torch.equal(logits(prm), logits(prm))


# The float32 rounding of W + s B A against x W^T + s (x A^T) B^T: in eight models, at most 1.5e-5 on logits
# of up to 12, which their adapters moved by 5 to 17.
ROUNDED = {"rtol": 1e-5, "atol": 3e-5}


@pytest.mark.parametrize("head", ["hidden", "vocab_logits"])
@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_what_is_saved_scores_as_what_was_trained(form: str, head: str, tmp_path: Path) -> None:
    sizes = {"layers": 1, "vision_layers": 1, "tie": head == "hidden"}
    base = save_tiny_checkpoint(tmp_path / "base", **sizes)
    targets = ["*_proj", "*visual*", *(["lm_head"] if head == "vocab_logits" else [])]
    prm = adapted(tiny_prm(head=head, **sizes), target_modules=targets)
    prm.save_pretrained(tmp_path / "model", adapter_of=base if form == "adapter" else None)
    assert (tmp_path / "model" / "model.safetensors").exists() == (form == "merged")
    loaded = PRM.from_pretrained(tmp_path / "model", attn_implementation="eager")
    assert not any(is_adapter(name) for name, _ in loaded.named_parameters()) and not loaded.training
    torch.testing.assert_close(logits(loaded), logits(prm), **ROUNDED)
    assert not torch.allclose(logits(loaded), logits(tiny_prm(head=head, **sizes)), atol=1e-2)
    assert changed_since_saved(tmp_path / "model", FileDigests()) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frozen", ["float32", "bf16"])
def test_both_forms_are_the_same_model_to_the_bit(
    frozen: str, dtype: torch.dtype, base: Path, tmp_path: Path
) -> None:
    prm = tiny_adapted()
    # What else is trained: a norm and a matrix of the vision tower's merger.
    names = trained_names(prm, patterns=["*language_model.norm.*", "*merger.mlp.0.weight"])
    if frozen == "bf16":
        assert store_untrained(prm, names)
    for name, parameter in prm.named_parameters():
        parameter.requires_grad_(name in names)
        if name in names:
            parameter.data += 0.01
    prm.save_pretrained(tmp_path / "merged")
    prm.save_pretrained(tmp_path / "adapter", adapter_of=base)
    assert load_file(tmp_path / "adapter" / "trained.safetensors").keys() == {
        "model.language_model.norm.weight",
        "model.visual.merger.mlp.0.weight",
    }
    merged, alone = (PRM.from_pretrained(tmp_path / form, dtype=dtype) for form in ("merged", "adapter"))
    states = [dict(one.state_dict()) for one in (merged, alone)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert torch.equal(logits(merged), logits(alone))
    buffers = [dict(one.named_buffers()) for one in (merged, alone)]
    assert all(buffers[1][name].dtype == value.dtype for name, value in buffers[0].items())
    stored = load_file(tmp_path / "merged" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float32}


def test_saving_again_what_was_read_merges_it(base: Path, tmp_path: Path) -> None:
    tiny_adapted().save_pretrained(tmp_path / "adapter", adapter_of=base)
    prm = PRM.from_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="the model has no adapters that could be saved alone"):
        prm.save_pretrained(tmp_path / "again", adapter_of=base)
    with pytest.raises(UserError, match=r"merge it into its base model \(PRM.from_pretrained"):
        PRM.from_backbone(tmp_path / "adapter", processor=prm.processor)
    prm.save_pretrained(tmp_path / "whole")
    shutil.rmtree(base)
    assert torch.equal(logits(PRM.from_pretrained(tmp_path / "whole")), logits(prm))


# Of transformers, to which peft gives the name of an earlier version.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_reads_what_was_saved_alone(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    prm = tiny_adapted()
    prm.save_pretrained(tmp_path / "adapter", adapter_of=base)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"]) and len(config["target_modules"]) == 7
    assert config["base_model_name_or_path"] == "../bases/first"
    theirs = AutoModelForImageTextToText.from_pretrained(
        base, dtype=torch.float32, attn_implementation="eager"
    )
    model = PeftModel.from_pretrained(theirs, str(tmp_path / "adapter")).eval()
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        one, other = (each(input_ids=ids).logits for each in (model, prm.backbone))
    torch.testing.assert_close(one, other, **ROUNDED)


def test_the_base_is_found_where_it_was_or_where_it_is_said_to_be(base: Path, tmp_path: Path) -> None:
    prm = tiny_adapted()
    prm.save_pretrained(tmp_path / "runs" / "model", adapter_of=base)
    moved = tmp_path / "elsewhere"
    for name in ("runs", "bases"):
        shutil.copytree(tmp_path / name, moved / name)
    shutil.rmtree(tmp_path / "bases")
    wanted = logits(PRM.from_pretrained(moved / "runs" / "model"))
    with pytest.raises(UserError, match=r"adapters of a base model that cannot be read.*give its folder"):
        PRM.from_pretrained(tmp_path / "runs" / "model")
    other_place = moved / "bases" / "first"
    assert torch.equal(logits(PRM.from_pretrained(tmp_path / "runs" / "model", base=other_place)), wanted)


def test_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    tiny_adapted().save_pretrained(tmp_path / "model", adapter_of=base)
    other = save_tiny_checkpoint(tmp_path / "other", layers=1, vision_layers=1, seed=5)
    with pytest.raises(
        UserError, match=r"other is not the base model that the adapters in .*model.safetensors has other"
    ):
        PRM.from_pretrained(tmp_path / "model", base=other)
    (base / "README.md").write_text("a card")
    PRM.from_pretrained(tmp_path / "model")
    tiny_prm().save_pretrained(tmp_path / "whole")
    with pytest.raises(UserError, match="is for saved adapters; the model in .*whole is whole"):
        PRM.from_pretrained(tmp_path / "whole", base=base)
    with pytest.raises(UserError, match="nowhere is no checkpoint"):
        tiny_adapted().save_pretrained(tmp_path / "second", adapter_of="nowhere")
    assert not (tmp_path / "second").exists()


def test_a_base_of_the_hub_is_known_by_its_files(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.utils.hub.cached_file", lambda name, file: str(base / file))
    tiny_adapted().save_pretrained(tmp_path / "model", adapter_of="some/model")
    told = json.loads((tmp_path / "model" / "prm.json").read_text())["adapter"]
    assert told["base"] == "some/model" and "model.safetensors" in told["base_files"]
    assert json.loads((tmp_path / "model" / "adapter_config.json").read_text())["base_model_name_or_path"]
    PRM.from_pretrained(tmp_path / "model", base=base)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("adapter_model.safetensors", b"half", "cannot read the adapters in"),
        ("adapter_model.safetensors", None, "cannot read the adapters in"),
        ("adapter_config.json", b"{", "cannot read the adapters in"),
        ("adapter_config.json", None, "adapter_config.json is missing"),
        ("trained.safetensors", b"half", "cannot read what was trained from"),
        ("trained.safetensors", None, "cannot read what was trained from"),
        (
            "prm.json",
            b'{"format": 1, "head": "hidden", "adapter": {"base": 3}}',
            "does not say of which base",
        ),
    ],
)
def test_damaged_adapters_are_refused(
    file: str, content: bytes | None, message: str, base: Path, tmp_path: Path
) -> None:
    prm = tiny_adapted()
    prm.get_parameter("backbone.model.language_model.norm.weight").requires_grad_()
    prm.save_pretrained(tmp_path / "model", adapter_of=base)
    (tmp_path / "model" / file).unlink()
    if content is not None:
        (tmp_path / "model" / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        PRM.from_pretrained(tmp_path / "model")


def test_files_of_other_adapters_are_refused(base: Path, tmp_path: Path) -> None:
    for name, targets in (("one", ["q_proj"]), ("two", ["q_proj", "v_proj"])):
        tiny_adapted(target_modules=targets).save_pretrained(tmp_path / name, adapter_of=base)
    weights = "adapter_model.safetensors"
    shutil.copy(tmp_path / "one" / weights, tmp_path / "two" / weights)
    with pytest.raises(UserError, match="1 are missing|2 are missing"):
        PRM.from_pretrained(tmp_path / "two")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"target_modules": ["x_proj"]},
            r"'x_proj' matches no linear layer; names are such as backbone\.model",
        ),
        ({"target_modules": ["*norm*"]}, "matches no linear layer"),
        ({"target_modules": []}, r"must name at least one layer, got \[\]"),
        ({"target_modules": ["lm_head"]}, "backbone.lm_head shares its weight with the embedding"),
    ],
)
def test_layers_that_cannot_be_adapted_are_refused(settings: dict[str, Any], message: str) -> None:
    prm = tiny_prm(layers=1)
    with pytest.raises(UserError, match=message):
        prm.add_lora(**settings)
    assert not any(is_adapter(name) for name, _ in prm.named_parameters())


def test_adapters_are_added_once() -> None:
    with pytest.raises(UserError, match="has adapters already"):
        tiny_adapted().add_lora()


def test_without_peft_it_says_how_to_install_it(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_adapted().save_pretrained(tmp_path / "model", adapter_of=base)
    monkeypatch.setitem(sys.modules, "peft", None)
    for call in (tiny_prm(layers=1).add_lora, lambda: PRM.from_pretrained(tmp_path / "model")):
        with pytest.raises(UserError, match=r"pip install 'dreamprm\[peft\]'"):
            call()


def test_the_card_says_what_was_adapted(base: Path, tmp_path: Path) -> None:
    prm = tiny_adapted(rslora=True, dropout=0.1)
    prm.save_pretrained(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "rank 3, alpha 6 (scale alpha / sqrt(rank)), dropout 0.1, 7 layers" in card
    whole = sum(value.numel() for value in tiny_prm(layers=1, vision_layers=1).parameters())
    assert f"| Parameters | {whole:,} |" in card
