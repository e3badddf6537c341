"""An evaluation's figures against the per-question functions."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from array_suites import array_suite, evaluated
from scored_candidates import candidate, random_records, record, write

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.evaluation import best_of_n_accuracy, bootstrap_interval, majority_accuracy, paired_bootstrap
from dreamprm.evaluation.settings import EvaluateConfig


def make_arrays(seed, questions=50, total=8):
    generator = np.random.default_rng(seed)
    correct = generator.random((questions, total)) < 0.45
    answers = [["right" if ok else f"wrong{generator.integers(3)}" for ok in row] for row in correct]
    noise = generator.normal(size=(2, questions, total))
    return correct, answers, {"dreamprm": 2 * correct + noise[0], "vanilla": correct + noise[1]}


def make_suite(seed, questions=50, total=8):
    return array_suite(*make_arrays(seed, questions, total))


SEEDS = {"held_out": 0, "styles": 1, "mixed": 2}
SHIFTED = ["styles", "mixed"]


@pytest.fixture(scope="module")
def suites():
    return {name: make_suite(seed) for name, seed in SEEDS.items()}


@pytest.fixture(scope="module")
def entries(suites):
    return evaluated(suites, mean_over=SHIFTED, seed=7)


def difference(entries, baseline, place):
    (row,) = [
        row
        for row in entries["differences"]
        if (row["method"], row["baseline"], row["suite"]) == ("dreamprm", baseline, place)
    ]
    return [row["difference"], *row["interval"]]


def test_accuracies_are_the_means_over_questions(entries):
    assert list(entries["best_of_n"]) == ["random", "first", "majority", "vanilla", "dreamprm", "oracle"]
    for name, seed in SEEDS.items():
        correct, answers, scores = make_arrays(seed)
        for n in (1, 2, 4, 8):
            expected = best_of_n_accuracy(scores["dreamprm"], correct, n).mean()
            assert entries["accuracy_by_n"]["dreamprm"][name][str(n)] == pytest.approx(expected)
        assert entries["best_of_n"]["dreamprm"][name] == pytest.approx(expected)
        assert entries["best_of_n"]["random"][name] == pytest.approx(correct.mean())
        voted = majority_accuracy(answers, correct, 8).mean()
        assert entries["best_of_n"]["majority"][name] == pytest.approx(voted)


def test_the_mean_is_over_the_suites_asked_for_or_all(suites, entries):
    row = entries["best_of_n"]["vanilla"]
    assert list(row) == [*SEEDS, "mean"]
    assert row["mean"] == pytest.approx((row["styles"] + row["mixed"]) / 2)
    row = evaluated(suites, seed=7)["best_of_n"]["vanilla"]
    assert row["mean"] == pytest.approx((row["held_out"] + row["styles"] + row["mixed"]) / 3)


def test_a_selector_has_a_mean_where_all_its_suites_have_the_selector(suites):
    correct, answers, scores = make_arrays(0)
    held_out = array_suite(correct, answers, {"dreamprm": scores["dreamprm"]})
    partial = {"held_out": held_out} | {name: suites[name] for name in SHIFTED}
    compare = [("dreamprm", "vanilla")]
    over_all = evaluated(partial, compare=compare)
    assert "mean" not in over_all["best_of_n"]["vanilla"] and "mean" in over_all["best_of_n"]["dreamprm"]
    over_two = evaluated(partial, mean_over=SHIFTED, compare=compare)
    row = over_two["best_of_n"]["vanilla"]
    assert row["mean"] == pytest.approx((row["styles"] + row["mixed"]) / 2)
    assert [row["suite"] for row in over_two["differences"]] == ["styles", "mixed", "mean"]


def test_intervals_agree_with_the_one_vector_functions(entries):
    vectors = {
        selector: {
            name: best_of_n_accuracy(arrays[2][selector], arrays[0], 8)
            for name, arrays in ((name, make_arrays(seed)) for name, seed in SEEDS.items())
        }
        for selector in ("dreamprm", "vanilla")
    }
    # Other seeds than the evaluation draws with: the ends agree to sampling error, 2,000 draws of standard
    # error 0.06 (50 questions) put 0.06 * sqrt(.025*.975/2000)/.0584 = 0.004 on a quantile; 4 of these
    # allowed.
    low, high = bootstrap_interval(vectors["dreamprm"]["styles"], seed=1)
    assert entries["intervals"]["dreamprm"]["styles"] == pytest.approx([low, high], abs=0.016)
    shifted = {selector: [rows["styles"], rows["mixed"]] for selector, rows in vectors.items()}
    expected = paired_bootstrap(shifted["dreamprm"], shifted["vanilla"], seed=1)
    found = difference(entries, "vanilla", "mean")
    assert found == pytest.approx(list(expected), abs=0.016)
    assert found[0] == pytest.approx(expected[0], abs=1e-12)
    assert {row["baseline"] for row in entries["differences"]} == {"vanilla", "majority"}
    assert entries["intervals_by_n"]["dreamprm"]["styles"]["8"] == entries["intervals"]["dreamprm"]["styles"]


def test_same_seed_same_entries_ready_for_json(suites, entries):
    again = evaluated(suites, mean_over=SHIFTED, seed=7)
    assert json.dumps(again) == json.dumps(entries)


def test_suites_of_different_n_share_the_smaller_ones():
    entries = evaluated({"a": make_suite(0, total=8), "b": make_suite(1, total=4)})
    assert list(entries["accuracy_by_n"]["vanilla"]["a"]) == ["1", "2", "4", "8"]
    assert list(entries["accuracy_by_n"]["vanilla"]["mean"]) == ["1", "2", "4"]
    row = entries["best_of_n"]["vanilla"]
    assert row["mean"] == pytest.approx((row["a"] + row["b"]) / 2)


def test_without_scorers_there_is_nothing_to_compare():
    correct, answers, _ = make_arrays(0)
    entries = evaluated({"a": array_suite(correct, answers, {})}, compare=())
    assert entries["differences"] == []
    assert list(entries["best_of_n"]) == ["random", "first", "majority", "oracle"]


def test_the_sandbox_size_takes_seconds():
    suites = {str(seed): make_suite(seed, questions=800) for seed in range(6)}
    start = time.process_time()
    evaluated(suites)
    assert time.process_time() - start < 10  # about 1 s on one core


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["suites={}"], "suites must name at least one file of scored candidates"),
        (["suites.mean=a.jsonl"], "a suite is named mean, the name of the mean over suites"),
        (["suites.styles=a.jsonl", "mean_over=[style]"], "mean_over names style; the suites are styles"),
        (["suites.a=a.jsonl", "mean_over=[a, a]"], "mean_over must name each suite once, got a, a"),
    ],
)
def test_bad_settings_are_refused(keys: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(EvaluateConfig, None, ["output=nowhere", *keys])


def test_votes_are_counted_by_what_answers_mean(tmp_path: Path) -> None:
    """0.50, 1/2 and .5 are three votes for one answer: two equal wrong ones do not outvote them."""
    answers = [("0.50", True), ("1/2", True), (".5", True), ("3", False), ("3", False)]
    row = record(
        "halves", [candidate(answer, right, dreamprm=[0.0]) for answer, right in answers], answer=".5"
    )
    path = write(tmp_path / "scored.jsonl", [row])
    assert main(["evaluate", f"output={tmp_path / 'out'}", f"suites.halves={path}", "examples.count=0"]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["best_of_n"]
    assert (found["majority"]["halves"], found["random"]["halves"]) == (1.0, 0.6)


def test_the_page_says_what_its_mean_is_over(tmp_path: Path) -> None:
    paths = {
        name: write(tmp_path / f"{name}.jsonl", random_records(seed, name=name))
        for name, seed in SEEDS.items()
    }
    keys = [f"suites.{name}={path}" for name, path in paths.items()]
    for name, chosen in (("all", []), ("two", ["mean_over=[styles, mixed]"])):
        assert main(["evaluate", f"output={tmp_path / name}", "examples.count=0", *keys, *chosen]) == 0
        page = (tmp_path / name / "evaluation.md").read_text()
        assert ("mean: the unweighted mean over styles, mixed." in page) == bool(chosen)
        result = json.loads((tmp_path / name / "evaluation.json").read_text())
        assert result["mean_over"] == (SHIFTED if chosen else list(SEEDS))
