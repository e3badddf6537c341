"""Questions of a small sandbox world, and a tiny PRM, for the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import tiny_prm

from dreamprm.data.record_table import write_records
from dreamprm.data.records import QuestionRecord
from dreamprm.sandbox.scene_file import SCENES, write_scenes
from dreamprm.sandbox.scenes import draw
from dreamprm.sandbox.suites import SuiteSpec, generate_suite


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six questions with their images and scenes."""
    folder = tmp_path_factory.mktemp("world")
    problems, _ = generate_suite(SuiteSpec("small"), questions=6, candidates=1, seed=0)
    for part in ("sealed", "images/small"):
        (folder / part).mkdir(parents=True)
    for problem in problems:
        draw(problem.scene).save(folder / problem.image)
    write_scenes(folder / SCENES, {problem.image: problem.scene for problem in problems})
    questions = [
        QuestionRecord(
            *(problem.question.text, (problem.image,), str(problem.answer), (), "small", "integer"),
            *(None, None, f"q{number}"),
        )
        for number, problem in enumerate(problems)
    ]
    write_records(folder / "questions.jsonl", questions)
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a saved PRM."""
    folder = tmp_path_factory.mktemp("runs") / "tiny-run"
    tiny_prm(layers=1, vision_layers=1, attn_implementation="sdpa").save_pretrained(folder / "model")
    return folder
