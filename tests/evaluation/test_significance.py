"""McNemar against closed forms, sign flips against enumeration, Holm by hand."""

from itertools import product
from math import comb

import numpy as np
import pytest

from dreamprm.evaluation.significance import holm, mcnemar_p, paired_test


@pytest.mark.parametrize(
    "better, worse, p",
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 5, 1.0),
        (6, 0, 2 / 64),  # 2 * C(6,0) / 2^6
        (1, 9, 2 * (1 + 10) / 1024),  # 2 * (C(10,0) + C(10,1)) / 2^10
        (9, 1, 2 * (1 + 10) / 1024),
        (15, 5, 2 * sum(comb(20, k) for k in range(6)) / 2**20),
    ],
)
def test_mcnemar_in_closed_form(better, worse, p):
    assert mcnemar_p(better, worse) == pytest.approx(p, rel=1e-14)


def test_mcnemar_of_many_questions_meets_the_normal_limit():
    # z = (|b - c| - 1) / sqrt(b + c) with the continuity correction: (200 - 1) / sqrt(10000) = 1.99, whose
    # two-sided p is 0.04659; the normal limit's error is O(1 / n) relative, here well below 1 %.
    assert mcnemar_p(5100, 4900) == pytest.approx(0.04659, rel=0.01)
    assert mcnemar_p(9000, 0) == 0.0  # 2^-8999 is below the smallest float


def test_outcomes_of_zero_and_one_take_the_exact_test():
    gaps = np.array([1.0] * 9 + [-1.0] + [0.0] * 40)
    test = paired_test([gaps], seed=0)
    assert (test.better, test.worse, test.method) == (9, 1, "mcnemar")
    assert test.p == pytest.approx(22 / 1024, rel=1e-14)
    assert paired_test([np.zeros(5)], seed=0).p == 1.0
    # Two suites of one size count their questions alike: the test of all of them together.
    assert paired_test([gaps[:25], gaps[25:]], seed=0) == test


def every_flip(gaps):
    parts = np.concatenate([g / len(g) for g in gaps]) / len(gaps)
    means = [abs(np.dot(signs, parts)) for signs in product((1, -1), repeat=len(parts))]
    return np.mean([mean >= abs(parts.sum()) - 1e-12 for mean in means])


@pytest.mark.parametrize(
    "gaps",
    [
        [np.array([1, 1, 0.5, -0.5, 1, 1 / 3, 0, 0.5, 1])],
        [np.array([1, 1, 1, 0, -1, 1]), np.array([1.0, 1, 0, 1])],  # suites of different sizes
        [np.array([0.5, -0.25, 1, 1, 0.75, -0.5, 1, 0.25])],
    ],
)
def test_fractional_outcomes_meet_all_sign_flips(gaps):
    test = paired_test(gaps, seed=1)
    wanted = every_flip(gaps)
    assert test.method == "sign_flip"
    # 99,999 draws: standard error sqrt(p (1 - p) / 1e5) <= 0.0016; 4 of these.
    assert test.p == pytest.approx(wanted, abs=4 * np.sqrt(wanted * (1 - wanted) / 1e5) + 2e-5)
    assert paired_test(gaps, seed=1) == test
    turned = paired_test([-g for g in gaps], seed=1)
    assert (turned.better, turned.worse, turned.p) == (test.worse, test.better, test.p)


def test_the_flips_draws_are_the_binomials_of_mcnemar():
    # One question of another size sends 0/1 outcomes through the draws; its own weight is next to nothing.
    gaps = np.array([1.0] * 9 + [-1.0] + [0.0] * 40 + [1e-6])
    test = paired_test([gaps], seed=0)
    assert test.method == "sign_flip"
    # The small one breaks ties of the sum: |sum| >= 8 + 1e-6 holds for half of the flips with sum +-8.
    assert test.p == pytest.approx((2 + 20 / 2) / 1024, abs=4 * np.sqrt(0.0118 / 1e5))


def test_p_values_are_uniform_where_nothing_differs():
    generator = np.random.default_rng(7)
    p = [
        paired_test([generator.choice([-1, -0.5, 0, 0.5, 1], size=200)], seed=k, draws=999).p
        for k in range(400)
    ]
    # Share below 0.05 and 0.5 of 400: standard errors 0.011 and 0.025; 3 of these, and ties lower the share.
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.033)
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.075)


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04: 4 * .01, max(.04, 3 * .02), max(.06, 2 * .03), max(.06, .04).
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mcnemar_p(-1, 2), "must be >= 0, got -1 and 2"),
        (lambda: paired_test([], seed=0), r"got shapes \[\]"),
        (lambda: paired_test([np.zeros(0)], seed=0), r"got shapes \[\(0,\)\]"),
        (lambda: paired_test([np.array([np.nan])], seed=0), "finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
