"""Files of candidates as other programs might write them: fields beside ours, images beside the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tiny_models import tiny_image

from dreamprm.config.loading import load_config
from dreamprm.scoring.score import run_score
from dreamprm.scoring.settings import ScoreConfig

TEXTS = (
    ("one plus two", "equals three", "final answer : three"),
    ("how many bars", "two and four"),
    ("one plus two", "equals four", "final answer : four"),
    ("six",),
)


def candidate_rows(folder: Path, n: int = 6) -> list[dict[str, Any]]:
    """Questions 0..n-1 with 0 to 2 images and four candidates, of which some are equal."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(n):
        names = [f"images/{number}-{k}.png" for k in range(number % 3)]
        for k, name in enumerate(names):
            tiny_image(10 * number + k, size=(56, 28 * (k + 1))).save(folder / name)
        steps = [TEXTS[(number + k) % 4] for k in (0, 1, 2, 0)]
        rows.append(
            {
                "id": f"q{number}",
                "question": f"how many bars ? {number % 6 + 1}",
                "benchmark": "b",
                "answer": "3",
                "images": names,
                "split": "testmini",
                "candidates": [
                    {
                        "text": "\n".join(one),
                        "steps": list(one),
                        "final_answer": "3",
                        "correct": bool(k % 2),
                        "generator": "g",
                        "malformed": False,
                    }
                    for k, one in enumerate(steps)
                ],
            }
        )
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def score(model: Path, files: Mapping[str, Path], output: Path, /, **settings: Any) -> None:
    """`dreamprm score` with a configuration of these settings."""
    content = {
        "model": str(model),
        "files": {name: str(path) for name, path in files.items()},
        "output": str(output),
        "batch_size": 4,
        "log": {"progress": "none"},
        "data": {"allow_no_image": True, "allow_outside": True},
        **settings,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    config = output.parent / "score.yaml"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    run_score(load_config(ScoreConfig, config))
