"""Which model scores: its name."""

from __future__ import annotations

import pytest

from dreamprm.scorers.opening import scorer_name
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
    config = ScoreConfig(model=model, name=name, files={"a": "a.jsonl"}, output="out")
    assert scorer_name(config, config.name) == wanted
