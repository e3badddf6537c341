"""A model is known by the files that it is loaded from: not by its folder, not by what else lies there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from replaced_files import flip_last_bit, touch

from dreamprm.files.content import FileDigests
from dreamprm.models.checkpoint_files import checkpoint_contents


def contents(folder: Path | str) -> dict[str, str | None]:
    return checkpoint_contents(folder, FileDigests())


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "elsewhere" / "copy"))


def test_a_copy_is_the_same_model(tiny_checkpoint: Path, copy: Path) -> None:
    wanted = contents(tiny_checkpoint)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= wanted.keys()
    touch(copy / "model.safetensors")
    for name in ("README.md", "optimizer.pt", "rng_state_0.pth", "trainer_state.json", "picture.png"):
        (copy / name).write_text("a by-product")
    (copy / "scores").mkdir()
    (copy / "scores" / "summary.json").write_text("{}")
    assert contents(copy) == wanted


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_one_bit_anywhere_makes_another_model(name: str, tiny_checkpoint: Path, copy: Path) -> None:
    flip_last_bit(copy / name)
    changed, wanted = contents(copy), contents(tiny_checkpoint)
    assert {key for key in wanted if changed[key] != wanted[key]} == {name}


def test_a_file_more_makes_another_model(tiny_checkpoint: Path, copy: Path) -> None:
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert contents(copy).keys() - contents(tiny_checkpoint).keys() == {"chat_template.jinja"}


def test_the_public_codes_folder_counts_with_its_backbone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "base_model")
    (tmp_path / "LN_weights.pt").write_bytes(b"head")
    before = contents(tmp_path)
    assert {"LN_weights.pt", "base_model/model.safetensors"} <= before.keys()
    flip_last_bit(tmp_path / "base_model" / "model.safetensors")
    assert contents(tmp_path) != before


def test_a_hub_name_is_known_by_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--some--model" / "snapshots" / commit / "config.json"
    monkeypatch.setattr("transformers.utils.hub.cached_file", lambda name, file: str(snapshot))
    assert contents("some/model") == {"some/model": commit}
    for path in ("nowhere/at/all", "/nowhere", "./nowhere"):
        assert contents(path) == {path: None}
