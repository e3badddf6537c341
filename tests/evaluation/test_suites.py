"""The summary's entries against the per-question functions."""

import json
import time

import numpy as np
import pytest

from dreamprm.evaluation import (
    CandidateScores,
    best_of_n_accuracy,
    bootstrap_interval,
    evaluate_suites,
    paired_bootstrap,
)


def make_suite(seed, questions=50, total=8):
    generator = np.random.default_rng(seed)
    correct = generator.random((questions, total)) < 0.45
    answers = [["right" if ok else f"wrong{generator.integers(3)}" for ok in row] for row in correct]
    noise = generator.normal(size=(2, questions, total))
    scores = {"dreamprm": 2 * correct + noise[0], "vanilla": correct + noise[1]}
    return CandidateScores(correct, answers, scores)


@pytest.fixture(scope="module")
def suites():
    return {"held_out": make_suite(0), "styles": make_suite(1), "mixed": make_suite(2)}


@pytest.fixture(scope="module")
def entries(suites):
    return evaluate_suites(suites, shifted=["styles", "mixed"], seed=7)


def test_accuracies_are_the_means_over_questions(suites, entries):
    assert list(entries["best_of_n"]) == ["random", "majority", "vanilla", "dreamprm", "oracle"]
    for name, suite in suites.items():
        for n in (1, 2, 4, 8):
            expected = best_of_n_accuracy(suite.scores["dreamprm"], suite.correct, n).mean()
            assert entries["accuracy_by_n"]["dreamprm"][name][str(n)] == pytest.approx(expected)
        assert entries["best_of_n"]["dreamprm"][name] == pytest.approx(expected)
        assert entries["best_of_n"]["random"][name] == pytest.approx(suite.correct.mean())


def test_mean_takes_the_shifted_suites_or_all(suites, entries):
    row = entries["best_of_n"]["vanilla"]
    assert row["mean"] == pytest.approx((row["styles"] + row["mixed"]) / 2)
    assert entries["shifted_suites"] == ["styles", "mixed"]
    row = evaluate_suites(suites, seed=7)["best_of_n"]["vanilla"]
    assert row["mean"] == pytest.approx((row["held_out"] + row["styles"] + row["mixed"]) / 3)


def test_intervals_agree_with_the_one_vector_functions(suites, entries):
    vectors = {
        selector: {name: suite.accuracy(selector, 8) for name, suite in suites.items()}
        for selector in ("dreamprm", "vanilla")
    }
    # Other seeds than evaluate_suites draws with: the ends agree to sampling error, 2,000 draws of standard
    # error 0.06 (50 questions) put 0.06 * sqrt(.025*.975/2000)/.0584 = 0.004 on a quantile; 4 of these
    # allowed.
    low, high = bootstrap_interval(vectors["dreamprm"]["styles"], seed=1)
    assert entries["intervals"]["dreamprm"]["styles"] == pytest.approx([low, high], abs=0.016)
    shifted = {selector: [rows["styles"], rows["mixed"]] for selector, rows in vectors.items()}
    expected = paired_bootstrap(shifted["dreamprm"], shifted["vanilla"], seed=1)
    assert entries["differences"]["dreamprm-vanilla"]["mean"] == pytest.approx(list(expected), abs=0.016)
    assert entries["differences"]["dreamprm-vanilla"]["mean"][0] == pytest.approx(expected[0], abs=1e-12)
    assert set(entries["differences"]) == {"dreamprm-vanilla", "dreamprm-majority"}
    assert entries["intervals_by_n"]["dreamprm"]["styles"]["8"] == entries["intervals"]["dreamprm"]["styles"]


def test_same_seed_same_entries_ready_for_json(suites, entries):
    again = evaluate_suites(suites, shifted=["styles", "mixed"], seed=7)
    assert json.dumps(again) == json.dumps(entries)


def test_suites_of_different_n_share_the_smaller_ones():
    entries = evaluate_suites({"a": make_suite(0, total=8), "b": make_suite(1, total=4)})
    assert list(entries["accuracy_by_n"]["vanilla"]["a"]) == ["1", "2", "4", "8"]
    assert list(entries["accuracy_by_n"]["vanilla"]["mean"]) == ["1", "2", "4"]
    row = entries["best_of_n"]["vanilla"]
    assert row["mean"] == pytest.approx((row["a"] + row["b"]) / 2)


def test_no_pair_no_differences(suites):
    plain = {name: CandidateScores(suite.correct, suite.answers) for name, suite in suites.items()}
    assert "differences" not in evaluate_suites(plain)


def test_the_sandbox_size_takes_seconds():
    suites = {str(seed): make_suite(seed, questions=800) for seed in range(6)}
    start = time.process_time()
    evaluate_suites(suites)
    assert time.process_time() - start < 10  # about 1 s on one core


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda s: evaluate_suites({}), "no suite to evaluate"),
        (lambda s: evaluate_suites({"mean": s["styles"]}), "may not be named 'mean'"),
        (
            lambda s: evaluate_suites(s, shifted=["style"]),
            "names style, which is no suite; there are held_out",
        ),
        (
            lambda s: evaluate_suites({**s, "x": CandidateScores(s["mixed"].correct, s["mixed"].answers)}),
            "same selectors: held_out has random, majority, vanilla, dreamprm, oracle, x has random, "
            "majority, oracle",
        ),
    ],
)
def test_bad_input_is_refused(suites, build, message):
    with pytest.raises(ValueError, match=message):
        build(suites)
