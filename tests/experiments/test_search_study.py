"""The study of search on the sandbox: what is compared at equal tokens, and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment_scripts import load_script

from dreamprm.data.question_reader import read_question_records
from dreamprm.sandbox.generator import SandboxGenerator


@pytest.fixture(scope="module")
def script() -> Any:
    return load_script("search_sandbox")


def test_a_baseline_is_interpolated_in_the_logarithm_of_tokens(script: Any) -> None:
    points = {n: script.Point(np.array([0.0, n / 4]), 10.0 * n) for n in (1, 2, 4)}
    assert script.at_tokens(points, 20.0).tolist() == [0.0, 0.5]
    assert script.at_tokens(points, 10.0 * 2**0.5) == pytest.approx([0.0, 0.375])
    assert script.at_tokens(points, 9.0) is None and script.at_tokens(points, 41.0) is None


def test_the_table_has_each_search_against_each_baseline(script: Any) -> None:
    """Half of the questions right, against a baseline that is right on a quarter of each: +25 points."""
    right = np.array([1.0, 0.0] * 20)
    measured = {
        seed: {
            **{
                name: {n: script.Point(np.full(40, 0.25), 30.0 * n) for n in script.SIZES}
                for name in script.ANSWERS
            },
            "beam": {8: script.Point(right, 100.0, 50.0), 64: script.Point(right, 9000.0, 50.0)},
        }
        for seed in (0, 1)
    }
    lines = script.tables(measured)
    (row, far) = (line for line in lines if line.startswith("| beam"))
    assert row.startswith("| beam | 8 | 100 | 50 | 50.0 [") and "| 50.0 / 50.0 |" in row
    assert row.count("+25.0 [") == 3 and far.count("outside") == 3
    assert script.plot(measured)[:4] == b"\x89PNG"


def test_its_questions_are_the_reasoner_s(script: Any, tmp_path: Path) -> None:
    script.make_questions(tmp_path / "world", questions=3, seed=0)
    generator = SandboxGenerator(str(tmp_path / "world"), errors="none")
    for one in read_question_records(tmp_path / "world" / "questions.jsonl", image_root=tmp_path / "world"):
        (completion,) = generator.complete(one.question, one.image)
        assert completion.text.endswith(f"Final answer: {one.answer}")
