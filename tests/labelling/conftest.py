"""A sandbox world of two domains without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamprm.sandbox import generate
from dreamprm.sandbox.domains import DOMAINS
from dreamprm.sandbox.scene_file import SCENES, write_scenes

QUESTIONS = 4


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `dreamprm sandbox` leaves it, of which only the generator's part is there."""
    folder = tmp_path_factory.mktemp("world")
    for name in ("train", "questions", "sealed"):
        (folder / name).mkdir()
    scenes = {}
    for spec in DOMAINS[1:3]:
        _, problems = generate._write_domain(folder, spec, QUESTIONS, 1, 0)
        scenes |= {problem.image: problem.scene for problem in problems}
    write_scenes(folder / SCENES, scenes)
    return folder
