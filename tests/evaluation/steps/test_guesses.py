"""What guesses reach: closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scored_records import steps_of

from dreamprm.evaluation.steps import f1_of
from dreamprm.evaluation.steps.first_errors import GUESSES, guess_hits, hedge, most_common

STEPS = steps_of(([1, 0, 0], [0] * 3), ([0], [0]), ([1, 0], [0] * 2), ([1, 1, 1, 1], [0] * 4), ([1], [0]))
DEVELOPMENT = steps_of(
    ([1, 0], [0] * 2),
    ([1, 0, 0], [0] * 3),
    ([0, 0], [0] * 2),
    ([1, 1, 0], [0] * 3),
    ([1], [0]),
    ([1, None, 0], [0] * 3),
)


def test_what_each_guess_is_right_about() -> None:
    got = guess_hits(STEPS, DEVELOPMENT)
    assert tuple(got) == tuple(GUESSES)
    assert got["always_correct"].tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(got["random"], [1 / 4, 1 / 2, 1 / 3, 1 / 5, 1 / 2])
    # Of the development set's known answers 1, 1, 0, 2, -1 the commonest is 1.
    assert got["majority"].tolist() == [1, 0, 1, 0, 0]
    # Half of its erroneous records have their first error there: q = sqrt(.5) / (1 + sqrt(.5)).
    q = 0.5**0.5 / (1 + 0.5**0.5)
    np.testing.assert_allclose(got["blind"], [1 - q, 0, 1 - q, q, q], rtol=1e-15)


def test_without_a_development_set_nothing_is_learnt() -> None:
    assert list(guess_hits(STEPS, None)) == ["always_correct", "random"]


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_the_hedge_gives_the_highest_f1(share: float) -> None:
    q = np.linspace(0, 1, 100_001)
    best = float(f1_of((1 - q) * share, q).max())
    mixed = float(f1_of((1 - hedge(share)) * share, hedge(share)))
    assert mixed == pytest.approx(2 * share / (1 + share**0.5) ** 2, rel=1e-14)
    assert mixed == pytest.approx(best, rel=1e-8) and mixed >= best


def test_of_equally_common_answers_the_least() -> None:
    assert most_common(np.array([3, 2, 3, 2, -1])) == 2
