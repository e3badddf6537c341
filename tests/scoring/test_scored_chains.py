"""The stream of chains: windows, sharing between records, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_image

from dreamprm.config.errors import UserError
from dreamprm.models import PRM
from dreamprm.models.candidate_scoring import PassLimits
from dreamprm.models.images import ImageStore
from dreamprm.scoring import chain_scores as module
from dreamprm.scoring.chain_scores import Chain, scored_chains

LIMITS = PassLimits(2, 1000)


def _score(prm: PRM, chains: list[Chain[int]]) -> dict[int, list[float]]:
    return dict(scored_chains(prm, chains, images=ImageStore(), limits=LIMITS))


def test_chains_of_one_question_share_it_whatever_record_they_come_from(
    prm: PRM,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = str(tmp_path / "image.png")
    tiny_image(0).save(path)
    chains = [Chain("what ?", (path,) * (n % 2), (f"{n % 6 + 1}", "two"), n) for n in range(8)]
    chains.append(Chain("what ?", (), ("1", "two"), 8))  # equal to the first
    resized: list[int] = []
    resize = prm.processor.patcher.resized

    def watched(image: object) -> object:
        if not isinstance(image, np.ndarray):  # an array is a resized image and passes through
            resized.append(1)
        return resize(image)  # type: ignore[arg-type]

    monkeypatch.setattr(prm.processor.patcher, "resized", watched)
    scores = _score(prm, chains)
    assert len(resized) == 1  # opened and resized once for four chains
    assert sorted(scores) == list(range(9)) and scores[8] == scores[0]
    for chain in chains:
        alone = _score(prm, [chain])[chain.place]
        assert scores[chain.place] == pytest.approx(alone, abs=1e-5)


def test_windows_end_between_questions_and_are_bounded() -> None:
    def lengths(names: str) -> list[int]:
        chains = [Chain(name, (), ("one",), 0) for name in names]
        return [len(window) for window in module._windows(chains, 3)]

    assert lengths("") == []
    assert lengths("abcdefg") == [3, 3, 1]
    assert lengths("aabbbbcc") == [6, 2]
    assert lengths("a" * 30) == [12, 12, 6]  # four times the size, where there is but one question


def test_a_refused_chain_is_told_and_the_others_are_scored(prm: PRM) -> None:
    chains = [
        Chain("what ?", (), ("one",), 0),
        Chain("what ?", (), ("<|image_pad|>",), 1),
        Chain("what ?", ("/absent.png",), ("one",), 2),
        Chain("what ?", (), ("two",), 3),
    ]
    told: list[tuple[int, str]] = []
    scores = dict(
        scored_chains(
            prm,
            chains,
            images=ImageStore(),
            limits=LIMITS,
            refused=lambda chain, error: told.append((chain.place, str(error))),
        )
    )
    assert sorted(scores) == [0, 3]
    assert [place for place, _ in told] == [1, 2]
    assert "<|image_pad|>" in told[0][1] and "absent.png" in told[1][1]
    prm.train()
    try:
        with pytest.raises(UserError, match=r"<\|image_pad\|>"):
            _score(prm, chains)
        assert prm.training
    finally:
        prm.eval()
