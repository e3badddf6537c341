"""A saved PRM equals the loaded one, is written whole or not at all, and says what it is."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES, tiny_config, tiny_cots, tiny_image, tiny_prm, tiny_processor
from transformers import AutoModelForImageTextToText

from dreamprm.config.choices import HEADS
from dreamprm.config.errors import UserError
from dreamprm.files.content import FileDigests
from dreamprm.models import PRM
from dreamprm.models.public_checkpoint import load_public_checkpoint, read_public_head
from dreamprm.models.storage import changed_since_saved


def logits(prm: PRM) -> torch.Tensor:
    with torch.no_grad():
        return prm(prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(4)]))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_saved_equals_loaded(family: str, head: str, tie: bool, tmp_path: Path) -> None:
    prm = tiny_prm(
        family, head=head, tie=tie, readout="chat_suffix" if head == "vocab_logits" else "step_end"
    )
    prm.save_pretrained(tmp_path / "model")
    loaded = PRM.from_pretrained(tmp_path / "model", attn_implementation="eager")
    assert loaded.head_kind == head and loaded.processor.settings == prm.processor.settings
    assert not loaded.training
    assert torch.equal(logits(loaded), logits(prm))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]  # no scratch folder stays


def test_the_folder_is_also_a_plain_checkpoint(tmp_path: Path) -> None:
    prm = tiny_prm()
    prm.save_pretrained(tmp_path / "model")
    backbone = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert torch.equal(backbone.lm_head.weight, prm.backbone.lm_head.weight)
    again = PRM.from_backbone(tmp_path / "model", readout="chat_suffix", head="vocab_logits")
    assert again.processor.readout == "chat_suffix" and again.head_kind == "vocab_logits"
    assert not list((tmp_path / "model").glob("*.bin")) and not list((tmp_path / "model").glob("*.pt"))


def test_saving_again_replaces_and_the_card_states_the_facts(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_prm(seed=1).save_pretrained(folder)
    prm = tiny_prm(seed=2)
    prm.save_pretrained(folder, training={"aggregation": "sum_log_odds", "data": "a|b\nc"})
    assert torch.equal(logits(PRM.from_pretrained(folder, attn_implementation="eager")), logits(prm))
    card = (folder / "README.md").read_text()
    for fact in (
        "| Backbone | qwen2_vl, hidden 32, 2 layers",
        "| Readout | step_end |",
        "| data | a\\|b c |",
    ):
        assert fact in card
    assert "| aggregation | sum_log_odds |" in card
    assert json.loads((folder / "prm.json").read_text())["training"]["aggregation"] == "sum_log_odds"


def test_a_failing_save_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    prm = tiny_prm(seed=1)
    prm.save_pretrained(folder)

    def fail(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr("dreamprm.models.storage.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        tiny_prm(seed=2).save_pretrained(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert torch.equal(logits(PRM.from_pretrained(folder, attn_implementation="eager")), logits(prm))


def test_foreign_folders_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="exists and is not a saved PRM; give a new folder"):
        tiny_prm().save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no saved PRM .*use PRM.from_backbone"):
        PRM.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="cannot read a backbone from"):
        PRM.from_backbone(tmp_path, processor=tiny_processor())
    folder = tmp_path / "model"
    tiny_prm().save_pretrained(folder)
    with pytest.raises(UserError, match="head is 'vocab_logits', but the model .* was trained with 'hidden'"):
        PRM.from_pretrained(folder, head="vocab_logits")
    with pytest.raises(
        UserError, match="readout is 'chat_suffix', but the model .* was trained with 'step_end'"
    ):
        PRM.from_pretrained(folder, readout="chat_suffix")
    assert PRM.from_pretrained(folder, head="hidden", readout="step_end").head_kind == "hidden"
    (folder / "head.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="cannot read the head from"):
        PRM.from_pretrained(folder)
    (folder / "prm.json").write_text('{"format": 2}')
    with pytest.raises(UserError, match="has format 2, but this version reads 1"):
        PRM.from_pretrained(folder)
    (folder / "prm.json").write_text("{")
    with pytest.raises(UserError, match="prm.json is not the settings file of a saved PRM"):
        PRM.from_pretrained(folder)


def test_score_gives_probabilities_from_images_and_paths(tmp_path: Path) -> None:
    prm = tiny_prm().train()
    image, steps = tiny_image(), ["one plus two", "equals three"]
    image.save(tmp_path / "image.png")
    with torch.no_grad():
        expected = torch.sigmoid(
            prm.eval()(prm.processor.collate([prm.processor.encode("what", [image], steps)]))
        )
    prm.train()
    assert prm.score("what", image, steps) == expected.tolist()
    assert prm.score("what", tmp_path / "image.png", steps) == expected.tolist()
    assert prm.score("what", str(tmp_path / "image.png"), steps=steps) == expected.tolist()
    assert prm.score("what", [image], steps) == expected.tolist()
    assert prm.training
    assert len(prm.score("what", None, steps)) == 2
    assert prm.score("what", steps=steps) != expected.tolist()
    with pytest.raises(UserError, match="cannot open the image .*absent.png"):
        prm.score("what", tmp_path / "absent.png", steps)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match="cannot open the image .*broken.png"):
        prm.score("what", tmp_path / "broken.png", steps)
    with pytest.raises(UserError, match="at least one step"):
        prm.score("what", image)


@pytest.mark.parametrize("prefix", ["", "LN."])
def test_public_checkpoints_load(prefix: str, tmp_path: Path) -> None:
    trained = tiny_prm(head="vocab_logits", readout="chat_suffix")
    trained.backbone.save_pretrained(tmp_path / "base_model")
    head = {prefix + name: value for name, value in trained.head.state_dict().items()}
    torch.save(head, tmp_path / "LN_weights.pt")
    loaded = load_public_checkpoint(tmp_path, processor=trained.processor, attn_implementation="eager")
    assert torch.equal(logits(loaded), logits(trained))
    trained.processor.save_pretrained(tmp_path / "processor")
    assert (
        load_public_checkpoint(tmp_path, processor=tmp_path / "processor").processor.readout == "chat_suffix"
    )


def test_other_files_are_not_taken_for_public_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="read with chat_suffix, but the processor has 'step_end'"):
        load_public_checkpoint(tmp_path, processor=tiny_processor())
    with pytest.raises(UserError, match="cannot read .*LN_weights.pt"):
        read_public_head(tmp_path / "LN_weights.pt")
    torch.save({"LN.weight": torch.zeros(1, 3)}, tmp_path / "LN_weights.pt")
    with pytest.raises(UserError, match="holds LN.weight; a head has weight and bias"):
        read_public_head(tmp_path / "LN_weights.pt")
    torch.save({"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}, tmp_path / "LN_weights.pt")
    PRM.from_backbone(tiny_config(), processor=tiny_processor()).backbone.save_pretrained(
        tmp_path / "base_model"
    )
    with pytest.raises(UserError, match=r"weight of shape \(1, 3\), this backbone's vocabulary needs"):
        load_public_checkpoint(tmp_path, processor=tiny_processor(readout="chat_suffix"))


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors", "tokenizer.json", "config.json"])
def test_files_that_are_not_those_that_were_saved_are_named(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_prm(layers=1, vision_layers=1).save_pretrained(folder)
    digests = FileDigests()
    assert changed_since_saved(folder, digests) is None
    (folder / "README.md").write_text("a card of one's own")
    assert changed_since_saved(folder, digests) is None
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    told = changed_since_saved(folder, FileDigests())
    assert told is not None and f"is not the model that was saved there: {name} has other content." in told
    (folder / name).unlink()
    assert f"{name} is missing" in str(changed_since_saved(folder, FileDigests()))
    (folder / name).write_bytes(content)
    assert changed_since_saved(folder, FileDigests()) is None


def test_settings_that_were_edited_are_named_and_may_be_on_purpose(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_prm(layers=1, vision_layers=1).save_pretrained(folder, training={"scores": "step"})
    settings = json.loads((folder / "prm.json").read_text())
    settings["training"]["scores"] = "response"
    (folder / "prm.json").write_text(json.dumps(settings))
    assert "prm.json was changed" in str(changed_since_saved(folder, FileDigests()))
    del settings["files"]
    (folder / "prm.json").write_text(json.dumps(settings))
    assert changed_since_saved(folder, FileDigests()) is None
