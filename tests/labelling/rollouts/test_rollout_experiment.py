"""The measures of experiments/rollout_methods.py on chains whose figures are known by hand."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from experiment_scripts import load_script

from dreamprm.labelling.rollouts import build_method
from dreamprm.sandbox.domains import DOMAINS

chains = load_script("rollout_chains")
measures = load_script("rollout_figures")
page = load_script("rollout_page")


def _chain(
    number: int,
    values: tuple[float, ...],
    right: tuple[int, ...],
    *,
    start: float = 0.5,
    correct: bool = False,
):
    """Prefix i ends right in its first `right[i]` of 32 rollouts; a rollout costs 10 tokens."""
    ends = np.arange(32) < np.array(right)[:, None]
    tokens = np.full((4, 32), 10)
    return chains.Chain((0, "x", number), "clean", start, np.array(values), correct, ends, tokens)


def test_figures_of_two_questions() -> None:
    own = [_chain(0, (0.5, 0.5, 0.25, 0.0), (2, 3, 1, 0)), _chain(1, (0.75, 1.0, 1.0, 1.0), (3, 4, 4, 2))]
    found = measures.figures(build_method("full", rollouts=4), own)
    # Labels .5 .75 .25 0 and .75 1 1 .5: two are off, by +.25 and -.5; one at .5 and the truth at 1.
    assert (found.cost, found.tokens, found.labelled) == (4.0, 40.0, 1.0)
    assert found.error[0] == pytest.approx(0.75 / 8) and found.bias[0] == pytest.approx(-0.25 / 8)
    # Two questions: a bootstrap mean is that of one of them or of both.
    assert found.error[1:] == pytest.approx((0.25 / 4, 0.5 / 4))
    # Wrong sides: .75 beside a truth of .5 (not above it), and half for the label .5, whichever its truth.
    assert found.wrong_side == pytest.approx((0.5 + 1 + 0.5) / 8)


def test_steps_without_a_label_count_in_the_cost_alone() -> None:
    own = [_chain(0, (0.5, 0.5, 0.5, 0.5), (32, 32, 32, 0), correct=False)]
    found = measures.figures(build_method("first_error", rollouts=8), own)
    # Visited: 2, 3, 4.
    assert (found.cost, found.labelled) == (8.0, 0.75)
    assert found.error[0] == pytest.approx(0.5)


def test_the_first_error_found_is_held_against_two_truths() -> None:
    own = [
        _chain(0, (0.6, 0.2, 0.2, 0.0), (32, 32, 32, 0)),  # found 4: the first 0; 2 more than halves
        _chain(1, (0.6, 0.2, 0.2, 0.0), (32, 0, 0, 0)),  # found 2
        _chain(2, (0.6, 0.5, 0.4, 0.3), (32, 32, 32, 32)),  # found 5, the end: both
        _chain(3, (0.6, 0.5, 0.4, 0.3), (0, 0, 0, 0), correct=True),
    ]  # not searched
    dead, fell, visited, count = measures.first_errors(own, 8)
    assert (dead, fell, count) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    assert visited == pytest.approx((3 + 2 + 3) / 3)


def test_the_cost_of_an_error_is_read_between_points() -> None:
    assert page.cost_at([1, 2, 4], [0.4, 0.3, 0.2], 0.25) == pytest.approx(exp((log(2) + log(4)) / 2))


def test_the_expected_error_of_shares() -> None:
    # p = 1/2, n = 2: |k/2 - 1/2| is 1/2 in half of the draws. p = 1: 0.
    assert page.expected_error(np.array([[0.5, 1.0]]), rollouts=2) == pytest.approx(0.125)


def test_chains_of_a_domain_carry_their_truth() -> None:
    spec = next(spec for spec in DOMAINS if spec.fault == "easy")
    own = list(chains.domain_chains(spec, questions=2, seed=0))
    assert len(own) == 4 and all(chain.correct and chain.start == 1 for chain in own)
    assert all(chain.values.tolist() == [1.0] * 4 and chain.right.all() for chain in own)
