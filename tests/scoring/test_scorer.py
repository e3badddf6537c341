"""Which model scores: its name, its fingerprint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dreamprm.scoring import scorer as module
from dreamprm.scoring.scorer import fingerprint, scorer_name
from dreamprm.scoring.settings import ScoreConfig


@pytest.mark.parametrize(
    "model, name, wanted",
    [
        ("runs/big/model", None, "big"),
        ("runs/big", None, "big"),
        ("runs/big/", None, "big"),
        ("checkpoints/public", None, "public"),
        ("runs/big/model", "mine", "mine"),
    ],
)
def test_the_scores_are_named_for_the_run(model: str, name: str | None, wanted: str) -> None:
    assert scorer_name(ScoreConfig(model=model, name=name, files={"a": "a.jsonl"}, output="out")) == wanted


def test_a_fingerprint_is_of_the_weights_and_settings_not_of_the_place(
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder / "model", copy)
    assert fingerprint(copy) == fingerprint(run_folder / "model")
    (copy / "README.md").write_text("other")
    assert fingerprint(copy) == fingerprint(run_folder / "model")
    head = copy / "head.safetensors"
    content = head.read_bytes()
    head.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert fingerprint(copy) != fingerprint(run_folder / "model")
    # Of a large file blocks from its beginning to its end are read.
    monkeypatch.setattr(module, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 16)
    large = fingerprint(copy)
    head.write_bytes(content)
    assert fingerprint(copy) != large
