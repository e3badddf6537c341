"""Which model scores: its name."""

from __future__ import annotations

import pytest

from dreamprm.scoring.scorer import scorer_name
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
