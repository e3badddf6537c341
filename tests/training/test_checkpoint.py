"""Checkpoints: whole or not at all, equal when read back, random streams that go on where they stopped."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dreamprm.training.checkpoint
from dreamprm.config.errors import UserError
from dreamprm.training.checkpoint import (
    capture_random_state,
    latest_checkpoint,
    load_checkpoint,
    restore_random_state,
    save_checkpoint,
)


def save(folder: Path, step: int, value: float = 0.0, *, keep: int = 2) -> Path:
    return save_checkpoint(
        folder, step, tensors={"x": torch.full((3,), value)}, state={"value": value}, keep=keep
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def test_tensors_and_state_come_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {
        "float32": torch.randn(4, 5),
        "float64": torch.randn(3, dtype=torch.float64) * 1e-300,
        "bfloat16": torch.randn(7).to(torch.bfloat16),
        "scalar": torch.tensor(7),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "denormal": torch.tensor([1e-40]),
        "transposed": torch.randn(4, 5).T,
        "parameter": torch.nn.Parameter(torch.randn(2)),
    }
    state = {"alpha": [0.1, 1 / 3], "names": {"a": None, "b": True}, "text": "é"}
    path = save_checkpoint(tmp_path / "checkpoints", 120, tensors=tensors, state=state)
    assert path == tmp_path / "checkpoints" / "step-000120" == latest_checkpoint(tmp_path / "checkpoints")
    assert names(path) == ["state.json", "tensors.safetensors"]
    loaded, loaded_state = load_checkpoint(path)
    assert loaded_state == state
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same(loaded[name], tensor.detach()), name
        assert not loaded[name].requires_grad


def test_tensors_that_share_storage_are_stored_each(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    tensors = {
        "tied": whole,
        "again": whole,
        "head": whole[:2],
        "tail": whole[4:],
        "matrix": whole.view(2, 3),
    }
    loaded, _ = load_checkpoint(save_checkpoint(tmp_path, 1, tensors=tensors, state={}))
    for name, tensor in tensors.items():
        assert same(loaded[name], tensor), name
    # Only the viewed part of a large storage is written.
    small = save_checkpoint(tmp_path, 2, tensors={"x": torch.zeros(1_000_000)[:3]}, state={})
    assert (small / "tensors.safetensors").stat().st_size < 1000


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 1_000_000, 15):
        save(tmp_path, step, keep=3)
    assert names(tmp_path) == ["step-000010", "step-000015", "step-1000000"]
    assert latest_checkpoint(tmp_path) == tmp_path / "step-1000000"
    # What was just written stays, though it has the fewest steps.
    save(tmp_path, 3, keep=1)
    assert names(tmp_path) == ["step-000003"]


def test_the_same_step_again_replaces_the_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 5, 1.0)
    save(tmp_path, 5, 2.0)
    assert names(tmp_path) == ["step-000005"]
    assert load_checkpoint(tmp_path / "step-000005")[1] == {"value": 2.0}


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "missing") is None
    assert latest_checkpoint(tmp_path) is None
    (tmp_path / "step-x").mkdir()
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("stage", ["tensors", "state", "flush", "rename"])
@pytest.mark.parametrize("step", [5, 10])
def test_a_write_cut_short_by_an_error_leaves_the_old_checkpoint(
    stage: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage in turn fails, for a new step and for the replacement of the step that is there."""
    save(tmp_path, 5, 1.0)

    def fail(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    def half_written(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        fail()

    with monkeypatch.context() as patch:
        if stage == "tensors":
            patch.setattr(dreamprm.training.checkpoint, "save_file", half_written)
        elif stage == "state":
            patch.setattr(Path, "write_text", fail)
        elif stage == "flush":
            patch.setattr(os, "fsync", fail)
        else:
            rename = os.rename

            def fail_at_the_last(source: Path, target: Path) -> None:
                if source.suffix == ".partial":
                    fail()
                rename(source, target)

            patch.setattr(os, "rename", fail_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, step, 2.0)
    assert names(tmp_path) == ["step-000005"]
    assert load_checkpoint(tmp_path / "step-000005")[1] == {"value": 1.0}


def test_leftovers_of_a_killed_process_are_never_taken_and_go_with_the_next_write(tmp_path: Path) -> None:
    """A kill runs no clean-up: the folders lie there as they would after SIGKILL at each stage."""
    old = save(tmp_path, 5, 1.0)
    half_written = tmp_path / f".step-000010-{'0' * 32}.partial"
    half_written.mkdir()
    (half_written / "tensors.safetensors").write_bytes(b"half")
    (tmp_path / f".step-000001-{'0' * 32}.partial").mkdir()
    assert latest_checkpoint(tmp_path) == old
    save(tmp_path, 10, 2.0)
    assert names(tmp_path) == ["step-000005", "step-000010"]


def test_a_replacement_killed_between_its_two_renames_puts_the_old_one_back(tmp_path: Path) -> None:
    old = save(tmp_path, 5, 1.0)
    old.rename(tmp_path / f".step-000005-{'0' * 32}.replaced")
    (tmp_path / f".step-000005-{'0' * 32}.partial").mkdir()
    assert latest_checkpoint(tmp_path) == old
    assert load_checkpoint(old)[1] == {"value": 1.0}


def test_a_killed_process_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    """A real kill: a child process dies without any clean-up while it writes its second checkpoint."""
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        save(tmp_path, 5, 1.0)
        os.fsync = lambda descriptor: os._exit(9)
        save(tmp_path, 10, 2.0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    leftover, kept = names(tmp_path)
    assert leftover.startswith(".step-000010-") and kept == "step-000005"
    assert latest_checkpoint(tmp_path) == tmp_path / "step-000005"
    assert load_checkpoint(tmp_path / "step-000005")[1] == {"value": 1.0}


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(tmp_path / "new", 1, tensors={}, state={"x": torch.zeros(1)})
    assert not (tmp_path / "new").exists()


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step must be >= 0, got -1"):
        save(tmp_path, -1)
    with pytest.raises(ValueError, match="keep must be >= 1, got 0"):
        save(tmp_path, 1, keep=0)


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "other"])
def test_a_damaged_checkpoint_is_refused_by_name(name: str, damage: str, tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    file = path / name
    if damage == "missing":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes({"cut": content[:-4], "empty": b"", "other": b"[1, 2]"}[damage])
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    assert name in str(caught.value) and str(path) in str(caught.value) and "resume=" in str(caught.value)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is incomplete: state.json is missing"):
        load_checkpoint(tmp_path / "nowhere")


def draw() -> list[float]:
    """Some numbers of every stream, a normal among them: its cached second half is part of the state."""
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.normal()),
        float(torch.rand(())),
        float(torch.randn(())),
    ]


def test_random_streams_go_on_where_they_stopped_through_the_files(tmp_path: Path) -> None:
    draw()
    tensors, state = capture_random_state()
    path = save_checkpoint(tmp_path, 1, tensors=tensors | {"x": torch.zeros(1)}, state={"random": state})
    expected = [draw() for _ in range(3)]
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    loaded, loaded_state = load_checkpoint(path)
    restore_random_state(loaded, loaded_state["random"])
    assert [draw() for _ in range(3)] == expected
    assert len({value for row in expected for value in row}) == 18


def test_a_missing_random_state_is_refused_and_changes_nothing() -> None:
    tensors, state = capture_random_state()
    before = capture_random_state()[0]
    draw()
    moved = capture_random_state()[0]
    assert not same(before["random.torch"], moved["random.torch"])
    without = {name: tensor for name, tensor in tensors.items() if name != "random.torch"}
    with pytest.raises(UserError, match="holds no random.torch"):
        restore_random_state(without, state)
    with pytest.raises(UserError, match="no state of numpy"):
        restore_random_state(tensors, {"python": state["python"]})
    after = capture_random_state()[0]
    assert all(same(moved[name], after[name]) for name in moved)
