"""A checkpoint knows what it holds and which run it is of: every kind of damage is found and passed over."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_damage import DAMAGE

from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.files.content import FileDigests
from dreamprm.training.checkpoint import load_checkpoint, save_checkpoint
from dreamprm.training.continuation import Continuation, deciding_settings
from dreamprm.training.settings import TrainConfig

INPUTS = {"files": {"data.meta": {"": "1"}, "model.path": {"model.safetensors": "2"}}, "images": "a" * 16}
STEPS = (4, 8)


def config(**settings: Any) -> TrainConfig:
    given = ["name=x", "data.train=[t.jsonl]", "data.meta=m.jsonl", "model.path=m", "seed=1"]
    return load_config(TrainConfig, None, [*given, *(f"{key}={value}" for key, value in settings.items())])


def save(folder: Path, step: int, *, inputs: Any = INPUTS, seed: int = 1, **fields: Any) -> Path:
    state = {"inner_step": step, "upper_step": step // 2, "inputs": inputs} | fields
    tensors = {"params/w": torch.arange(50.0) + step, "alpha/w": torch.ones(2)}
    run = {"settings": deciding_settings(config(seed=seed))}
    return save_checkpoint(folder, step, tensors=tensors, state=state, run=run, keep=9)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of one run, and one of another run."""
    folder = tmp_path_factory.mktemp("saved")
    for step in STEPS:
        save(folder / "checkpoints", step)
    save(folder / "other", 8, seed=2)
    save(folder / "other data", 8, inputs=INPUTS | {"files": {"data.meta": {"": "9"}}})
    return folder


def continued(folder: Path, said: list[str] | None = None, *, resume: Path | None = None) -> Path:
    """The checkpoint that a run would continue from."""
    checkpoints = [folder / f"step-{step:06d}" for step in STEPS[::-1]] if resume is None else [resume]
    settings = {} if resume is None else {"resume": resume}
    say = print if said is None else said.append
    found = Continuation(config(**settings), checkpoints, say, FileDigests())
    found.check_files(INPUTS["files"])  # type: ignore[arg-type]
    found.check_images(["0.png"], INPUTS["images"])  # type: ignore[arg-type]
    return found.checkpoint


def test_what_is_whole_is_taken_without_a_word(saved: Path) -> None:
    said: list[str] = []
    assert continued(saved / "checkpoints", said).name == "step-000008" and said == []
    tensors, state = load_checkpoint(saved / "checkpoints" / "step-000008")
    assert tensors["params/w"][0] == 8 and state["inner_step"] == 8


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_passed_over_with_one_line_and_refused_where_nothing_else_is_whole(
    name: str, saved: Path, tmp_path: Path
) -> None:
    damage, told = DAMAGE[name]
    folder = Path(shutil.copytree(saved / "checkpoints", tmp_path / "checkpoints"))
    damage(newest := folder / "step-000008", saved)
    said: list[str] = []
    assert continued(folder, said) == folder / "step-000004"
    (line,) = said
    assert line.startswith("passed over step-000008: ") and told in line and "\n" not in line

    (folder / "step-000004" / "state.json").unlink()
    with pytest.raises(UserError) as caught:
        continued(folder)
    assert told in str(caught.value) and "The older ones cannot be used either" in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == ["step-000004", "step-000008"]
    # Another run's is whole; one that is given by its path may have other settings, and nothing replaces it.
    if name not in ("of other settings",):
        with pytest.raises(UserError, match="."):
            continued(folder, resume=newest)


def test_of_another_version_it_says_so(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("dreamprm.training.checkpoint.FORMAT", 3)
        path = save(tmp_path, 8)
    with pytest.raises(UserError, match="has format 3, but this version reads 2"):
        load_checkpoint(path)


def test_what_cannot_be_read_is_passed_over(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(self: FileDigests, path: Any) -> str:
        if "step-000008" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return of(self, path)

    of = FileDigests.of
    monkeypatch.setattr(FileDigests, "of", unreadable)
    said: list[str] = []
    assert continued(saved / "checkpoints", said).name == "step-000004"
    assert "cannot be read ([Errno 13] Permission denied" in said[0]


def test_other_images_are_passed_over_too(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved / "checkpoints", tmp_path / "checkpoints"))
    save(folder, 8, inputs=INPUTS | {"images": "b" * 16})
    said: list[str] = []
    assert continued(folder, said).name == "step-000004"
    assert "image 0.png has other content" in said[0]


def test_only_what_is_of_this_run_is_removed(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved / "checkpoints", tmp_path / "checkpoints"))
    shutil.copytree(saved / "other" / "step-000008", folder / "step-000002", dirs_exist_ok=True)
    shutil.copytree(saved / "other" / "step-000008", folder / "step-000012")
    found = Continuation(config(), [folder / "step-000008"], print, FileDigests())
    assert found.is_ours(folder / "step-000004")
    assert not found.is_ours(folder / "step-000002") and not found.is_ours(folder / "step-000012")
    tensors = {"x": torch.zeros(1)}
    save_checkpoint(folder, 10, tensors=tensors, state={}, keep=1, removable=found.is_ours)
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == ["step-000002", "step-000010", "step-000012"]


def test_settings_that_do_not_decide_the_result_may_change(saved: Path) -> None:
    own = deciding_settings(config())
    beside = {"output": "elsewhere", "threads": 3, "log.every": 2, "checkpoint.keep": 5}
    beside |= {"data.num_workers": 2, "data.cache_dir": "c", "data.image_root": "i", "model.path": "moved"}
    assert deciding_settings(config(**beside)) == own
    for key, value in {"steps": 20, "inner.lr": 1e-3, "data.max_pixels": 4000, "precision": "bf16"}.items():
        assert deciding_settings(config(**{key: value})) != own, key
