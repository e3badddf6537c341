"""A tiny PRM in a run folder, and candidates for it to score."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import tiny_prm

from dreamprm.models import PRM


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a saved PRM in `model/`."""
    folder = tmp_path_factory.mktemp("runs") / "tiny-run"
    folder.mkdir()
    prm = tiny_prm(layers=1, vision_layers=1, attn_implementation="sdpa")
    prm.save_pretrained(folder / "model", training={"aggregation": "sum_log_odds"})
    return folder


@pytest.fixture(scope="session")
def prm(run_folder: Path) -> PRM:
    """The same model in memory; tests leave it as it is."""
    return PRM.from_pretrained(run_folder / "model")
