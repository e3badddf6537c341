"""A checkpoint holds exactly the model's tensors, or is refused by their names, wherever one is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, tiny_config, tiny_prm, tiny_processor, tiny_tokenizer
from torch import Tensor
from transformers import AutoModelForImageTextToText

from dreamprm.config.errors import UserError
from dreamprm.generators import build_generator
from dreamprm.models import PRM
from dreamprm.models.public_checkpoint import load_public_checkpoint
from dreamprm.models.strict_loading import load_strictly

Tensors = dict[str, Tensor]
VOCABULARY = len(tiny_tokenizer())
STEPS = ["one plus two", "three"]


def change(folder: Path, how: Callable[[Tensors], None], name: str = "model.safetensors") -> None:
    """Rewrite a file of tensors."""
    tensors = load_file(folder / name)
    how(tensors)
    save_file(tensors, folder / name, metadata={"format": "pt"})


def named(tensors: Tensors, part: str) -> str:
    """The one tensor whose name contains a text."""
    return next(name for name in sorted(tensors) if part in name)


def drop(part: str) -> Callable[[Tensors], None]:
    def how(tensors: Tensors) -> None:
        del tensors[named(tensors, part)]

    return how


def drop_all(part: str) -> Callable[[Tensors], None]:
    def how(tensors: Tensors) -> None:
        for name in [name for name in tensors if part in name]:
            del tensors[name]

    return how


def add(name: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: torch.zeros(3)})


def rename(part: str, to: str) -> Callable[[Tensors], None]:
    def how(tensors: Tensors) -> None:
        name = named(tensors, part)
        tensors[name.replace(part, to)] = tensors.pop(name)

    return how


def reshape(part: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({named(tensors, part): torch.zeros(5, 7)})


FAULTS: dict[str, tuple[Callable[[Tensors], None], str]] = {
    "one missing": (
        drop("layers.0.mlp.up_proj"),
        r"1 tensor is missing: .*layers\.0\.mlp\.up_proj\.weight\.",
    ),
    "a bias missing": (drop("layers.0.self_attn.q_proj.bias"), r"1 tensor is missing: .*q_proj\.bias"),
    "embedding missing": (drop("embed_tokens"), "missing: .*embed_tokens"),
    "vision missing": (drop_all("visual."), r"\d+ tensors are missing: .*visual.*, and \d+ more"),
    "final norm missing": (drop("model.norm"), r"1 tensor is missing: .*norm\.weight"),
    "one surplus": (add("extra.weight"), r"1 tensor is surplus: extra\.weight"),
    "a layer surplus": (add("model.layers.7.mlp.up_proj.weight"), r"1 tensor is surplus: .*layers\.7\.mlp"),
    "one renamed": (
        rename("post_attention_layernorm", "after_attention"),
        r"missing: .*post_attention_layernorm\.weight; 1 tensor is surplus: .*after_attention",
    ),
    "one reshaped": (
        reshape("input_layernorm"),
        r"1 tensor has another shape: .*input_layernorm\.weight \(5x7 in the files, 32 in the model\)",
    ),
    "all prefixed": (
        lambda tensors: [
            tensors.update({f"module.{name}": tensors.pop(name)}) for name in list(tensors)
        ].clear(),
        r"\d\d tensors are missing: .*, and \d+ more; \d\d tensors are surplus: module\.",
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved PRM, which is a plain checkpoint too."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_prm(layers=1, vision_layers=1).save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_a_prm_with_other_tensors_is_refused_by_their_names(
    fault: str, copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    how, message = FAULTS[fault]
    change(copied, how)
    for load in (PRM.from_pretrained, PRM.from_backbone):
        with pytest.raises(UserError, match=message) as caught:
            load(copied)
        assert str(copied) in str(caught.value) and "save the checkpoint again" in str(caught.value)
    assert "MISSING" not in capfd.readouterr().err  # the library's own table


@pytest.mark.parametrize("fault", ["one missing", "one surplus", "one reshaped", "vision missing"])
def test_generators_and_public_checkpoints_refuse_them_too(fault: str, copied: Path, tmp_path: Path) -> None:
    how, message = FAULTS[fault]
    change(copied, how)
    (copied / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(UserError, match=message):
        build_generator("transformers", model=str(copied), device="cpu").complete("what ?")
    public = tmp_path / "public"
    public.mkdir()
    copied.rename(public / "base_model")
    torch.save({"LN.weight": torch.zeros(1, VOCABULARY), "LN.bias": torch.zeros(1)}, public / "LN_weights.pt")
    with pytest.raises(UserError, match=message):
        load_public_checkpoint(public, processor=tiny_processor(readout="chat_suffix"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tie", [True, False])
def test_tied_weights_and_the_layouts_of_both_sides_are_accepted(
    family: str, tie: bool, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    made = AutoModelForImageTextToText.from_config(tiny_config(family, layers=1, vision_layers=1, tie=tie))
    made.save_pretrained(tmp_path / "saved")
    tensors = load_file(tmp_path / "saved" / "model.safetensors")
    assert ("lm_head.weight" in tensors) is not tie  # a tied weight is stored once
    save_file(
        {name: value.detach().clone() for name, value in made.state_dict().items()},
        tmp_path / "saved" / "model.safetensors",
        metadata={"format": "pt"},
    )  # the names of today's modules, with the tied weight under both of its names
    for _ in range(2):
        loaded = load_strictly(AutoModelForImageTextToText, tmp_path / "saved", dtype=torch.float32)
        own = dict(made.named_parameters())
        assert all(torch.equal(value, own[name]) for name, value in loaded.named_parameters())
        save_file(tensors, tmp_path / "saved" / "model.safetensors", metadata={"format": "pt"})


def test_an_untied_head_is_missed_where_the_config_says_so(tmp_path: Path) -> None:
    made = AutoModelForImageTextToText.from_config(tiny_config(layers=1, vision_layers=1, tie=False))
    made.save_pretrained(tmp_path)
    change(tmp_path, drop("lm_head"))
    with pytest.raises(UserError, match=r"1 tensor is missing: lm_head\.weight"):
        load_strictly(AutoModelForImageTextToText, tmp_path)


def test_computed_buffers_of_older_files_are_no_surplus(copied: Path) -> None:
    expected = PRM.from_pretrained(copied).score("what is one ?", None, STEPS)
    change(copied, add("model.layers.0.self_attn.rotary_emb.inv_freq"))
    assert PRM.from_pretrained(copied).score("what is one ?", None, STEPS) == expected


def test_a_shard_without_its_tensors_is_refused(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    index = {name: file for file, held in shards.items() for name in held}
    (copied / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, copied / file, metadata={"format": "pt"})
    PRM.from_pretrained(copied)
    change(
        copied,
        drop("mlp.up_proj"),
        next(file for file, held in shards.items() if any("up_proj" in n for n in held)),
    )
    with pytest.raises(UserError, match="1 tensor is missing: .*up_proj"):
        PRM.from_pretrained(copied)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (drop("bias"), "bias is missing"),
        (add("more"), "more is surplus"),
        (rename("weight", "w"), "w is surplus; weight is missing"),
        (reshape("weight"), r"weight has the shape \(5, 7\), the model needs \(1, 32\)"),
    ],
)
def test_the_heads_file_is_checked_alike(how: Callable[[Tensors], None], message: str, copied: Path) -> None:
    change(copied, how, "head.safetensors")
    with pytest.raises(UserError, match=rf"cannot read the head from .*head\.safetensors: {message}; save"):
        PRM.from_pretrained(copied)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"LN.weight": torch.zeros(1, VOCABULARY), "LN.bias": torch.zeros(3)}, r"has a bias of shape \(3,\)"),
        ({"LN.weight": torch.zeros(1, VOCABULARY)}, "a head has weight and bias"),
        ([torch.zeros(1)], "holds no tensors by name"),
        ({"LN.weight": 1, "LN.bias": 2}, "holds no tensors by name"),
    ],
)
def test_the_public_codes_head_is_checked_alike(content: Any, message: str, tmp_path: Path) -> None:
    prm = tiny_prm(layers=1, vision_layers=1)
    prm.backbone.save_pretrained(tmp_path / "base_model")
    torch.save(content, tmp_path / "LN_weights.pt")
    with pytest.raises(UserError, match=message):
        load_public_checkpoint(tmp_path, processor=tiny_processor(readout="chat_suffix"))


def test_an_adapter_is_not_left_out_in_silence(copied: Path) -> None:
    (copied / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="holds an adapter .*merge it into its base model"):
        PRM.from_backbone(copied)


def test_params_of_another_shape_are_not_spread(saved: Path) -> None:
    prm = PRM.from_pretrained(saved)
    before = prm.head.bias.detach().clone()
    with pytest.raises(UserError, match=r"head\.weight has the shape \(1,\), the model needs \(1, 32\)"):
        prm.load_params({"head.bias": torch.ones(1), "head.weight": torch.ones(1)})
    assert torch.equal(prm.head.bias, before)  # nothing is changed


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("prm.json", '{"format": 1}', "names the head None; use one of hidden"),
        ("prm_processor.json", "{", "is not the settings file of a saved PRM's processor"),
        ("prm_processor.json", "[1]", "is not the settings file of a saved PRM's processor"),
        ("prm_processor.json", '{"colour": 1}', "holds colour, which this version does not know"),
        ("prm.json", '[["format", 1], ["head", "hidden"]]', "is not the settings file of a saved PRM: got"),
        ("prm.json", '{"format": 1, "a": "\\u0000"}', "is not the settings file of a saved PRM: field 'a'"),
        ("prm_processor.json", '{"step_separator": 3}', "step_separator must be a text, got 3"),
        ("prm_processor.json", '{"max_length": "9"}', "max_length must be a whole number, or null, got '9'"),
        ("tokenizer.json", '{"model": {}}', "cannot read a tokenizer and an image processor from"),
        ("preprocessor_config.json", "[]", "cannot read a tokenizer and an image processor from"),
        ("preprocessor_config.json", '{"patch_size": "14"}', r"cannot be used: patch_size must be a whole"),
        ("preprocessor_config.json", '{"image_std": [0, 1, 1]}', "give values that are not finite"),
        ("preprocessor_config.json", '{"image_mean": [1]}', r"preprocessor_config.json\) cannot be used: "),
        ("config.json", '{"model_type": ["qwen2_vl"]}', "cannot read a .* from .*model"),
        ("config.json", '{"model_type": "qwen2_vl", "text_config": 1}', "cannot read a .* from .*model"),
        ("prm_processor.json", '{"image_ground": "wite"}', "image_ground must be a colour"),
    ],
)
def test_settings_files_that_were_changed(name: str, content: str, message: str, copied: Path) -> None:
    (copied / name).write_text(content)
    with pytest.raises(UserError, match=message):
        PRM.from_pretrained(copied)


def test_a_processor_without_a_ground_is_that_of_an_earlier_version(copied: Path) -> None:
    settings = json.loads((copied / "prm_processor.json").read_text())
    assert settings.pop("image_ground") == "white"
    (copied / "prm_processor.json").write_text(json.dumps(settings))
    assert PRM.from_pretrained(copied).processor.settings.image_ground == "white"
