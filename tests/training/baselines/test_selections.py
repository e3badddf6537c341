"""Which records each selection keeps, of records made by hand."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from step_records import cot, meta, selection_data

from dreamprm.config.errors import UserError
from dreamprm.data.records import StepRecord
from dreamprm.training.baselines import build_baseline
from dreamprm.training.baselines.base import KEPT, Selected, Selection
from dreamprm.training.baselines.bis import BalancedInformation
from dreamprm.training.baselines.car import NOT_CHOSEN, certainty, cluster_and_rank, clustered, reduced, tfidf
from dreamprm.training.baselines.s1 import NOT_SAMPLED, TOO_EASY, diverse_sample


def selection(name: str, **settings: Any) -> Selection:
    baseline = build_baseline(name, **settings)
    assert isinstance(baseline, Selection)
    return baseline


def test_an_orm_has_the_last_label_alone() -> None:
    records = [
        cot("s", "t", "u", labels=[0.25, None, 0.75]),
        cot("s", "t", labels=[1.0, None]),
        cot("s", labels=[0.0], domain="b"),
    ]
    chosen = selection("orm").select(selection_data(records))
    assert chosen.fates == [KEPT, "last step not labelled", KEPT]
    assert [record.labels for record in chosen.records(records)] == [(None, None, 0.75), (0.0,)]
    assert [record.steps for record in chosen.records(records)] == [("s", "t", "u"), ("s",)]
    assert chosen.report(records) == {
        "of": 3,
        "kept": 2,
        "added": 0,
        "domains": {"a": {KEPT: 1, "last step not labelled": 1}, "b": {KEPT: 1}},
    }


# Labels and (p (1 - p) + .05) R, by hand.
SCORES: dict[str, tuple[list[float | None], float]] = {
    "mixed, certain": ([1.0, 0.0], 0.3),
    "mixed, uncertain": ([0.25, 0.0, None, 0.5, 0.0], 0.3 * 0.375),
    "all right": ([0.5, 0.75], 0.05 * 0.625),
    "all wrong": ([0.0, 0.0], 0.05),
    "no labels": ([None, None], 0.0),
}


@pytest.mark.parametrize("case", SCORES)
def test_the_balanced_information_score(case: str) -> None:
    labels, wanted = SCORES[case]
    bis = BalancedInformation()
    assert bis.score(cot(*"stuvw"[: len(labels)], labels=labels)) == pytest.approx(wanted, rel=1e-12)


def test_bis_keeps_the_top_share_of_each_domain() -> None:
    every = [cot("s", "t", "u", "v", labels=(labels + [0.0] * 4)[:4]) for labels, _ in SCORES.values()]
    records = [
        cot("s", "t", labels=[1.0, 1.0]),
        cot("s", "t", labels=[0.5, 0.0]),  # 0.15
        cot("s", "t", labels=[1.0, 0.0]),  # 0.3
        cot("s", "t", labels=[1.0, 0.0]),  # 0.3: the same, later
        cot("s", labels=[0.5], domain="b"),
    ]
    chosen = selection("bis", keep=0.5).select(selection_data(records))
    assert [fate == KEPT for fate in chosen.fates] == [False, False, True, True, True]
    report = chosen.report(records)
    assert report["scores"]["a"] == pytest.approx({"kept_from": 0.3, "left_out_to": 0.15})
    assert report["scores"]["b"] == pytest.approx({"kept_from": 0.05 * 0.5})
    one = selection("bis", keep=0.25).select(selection_data(records))
    assert [fate == KEPT for fate in one.fates] == [False, False, True, False, True]
    strict = selection("bis", keep=0.25, threshold=0.5).select(selection_data(every))
    assert strict.fates.count(KEPT) == 1


def test_bis_says_what_labels_of_two_values_leave_of_it() -> None:
    said: list[str] = []
    data = dataclasses.replace(selection_data([cot("s", "t", labels=[1.0, 0.0])]), say=said.append)
    selection("bis").select(data)
    assert len(said) == 1 and "all labels are 0 or 1" in said[0]


def test_a_random_share_is_as_large_as_that_of_bis_and_drawn_by_the_seed() -> None:
    records = [
        cot("s", labels=[0.5], domain=name) for name, count in (("a", 100), ("b", 3)) for _ in range(count)
    ]
    for keep, wanted in ((0.29, (29, 1)), (0.25, (25, 1)), (1.0, (100, 3))):
        kept = {}
        for name in ("bis", "random_share"):
            fates = selection(name, keep=keep).select(selection_data(records, seed=1)).fates
            kept[name] = (fates[:100].count(KEPT), fates[100:].count(KEPT))
        assert kept == {"bis": wanted, "random_share": wanted}
    first, again, other = (
        selection("random_share").select(selection_data(records, seed=seed)).fates for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("labels", "right", "wrong"),
    [("all", (1.0, 1.0), (0.0, 0.0, 0.0)), ("last", (None, 1.0), (None, None, 0.0))],
)
def test_the_meta_set_alone_and_beside_the_rest(labels: str, right: Any, wrong: Any) -> None:
    records = [cot("s"), cot("t", domain="b")]
    metas = [meta("s", "t", correct=True), meta("s", "t", "u", correct=False)]
    alone = selection("meta_only", labels=labels).select(selection_data(records, metas))
    only = list(alone.records(records))
    assert [(one.domain, one.labels, one.steps, one.images) for one in only] == [
        ("meta", right, ("s", "t"), ("m.png",)),
        ("meta", wrong, ("s", "t", "u"), ("m.png",)),
    ]
    beside = selection("with_meta", labels=labels).select(selection_data(records, metas))
    assert list(beside.records(records)) == [*records, *only]
    assert beside.report(records)["domains"] == {
        "a": {KEPT: 1},
        "b": {KEPT: 1},
        "meta": {KEPT: 0, "added": 2},
    }


def test_a_training_domain_with_the_meta_sets_name_is_refused() -> None:
    with pytest.raises(UserError, match="a training domain is named 'meta'"):
        selection("with_meta").select(selection_data([cot("s", domain="meta")], [meta("s", correct=True)]))


def test_cluster_and_rank_keeps_the_best_of_all_and_of_each_cluster() -> None:
    quality = np.array([0.9, 0.1, 0.8, 0.3, 0.2, 0.7])
    clusters = np.array([0, 1, 0, 1, 2, 0])
    # the best two are 0 and 2; the best of cluster 1 is 3, of cluster 2 is 4
    assert cluster_and_rank(quality, clusters, top=2, per_cluster=1).tolist() == [0, 2, 3, 4]
    assert cluster_and_rank(quality, clusters, top=0, per_cluster=1).tolist() == [0, 3, 4]
    assert cluster_and_rank(quality, clusters, top=2, per_cluster=0).tolist() == [0, 2]
    assert cluster_and_rank(quality, clusters, top=0, per_cluster=2).tolist() == [0, 1, 2, 3, 4]
    # equal quality: by row
    assert cluster_and_rank(np.zeros(3), np.zeros(3, dtype=np.int64), top=1, per_cluster=2).tolist() == [0, 1]


def test_clusters_are_those_of_the_points() -> None:
    points = np.array([[0.0, 0], [9, 9], [0.1, 0], [9, 9.1], [0, 9]])
    assert clustered(points, count=3, seed=0).tolist() == [0, 1, 0, 1, 2]
    # no more clusters than different points, and no warning
    assert clustered(np.ones((4, 2)), count=3, seed=0).tolist() == [0, 0, 0, 0]


def test_components_hold_the_share_of_the_variance() -> None:
    generator = np.random.default_rng(0)
    # independent columns with variances 16, 4, 1: shares .76, .95, 1
    points = generator.standard_normal((400, 3)) * [4.0, 2.0, 1.0]
    for variance, dimensions in ((0.7, 1), (0.9, 2), (0.99, 3)):
        kept = reduced(points, variance=variance, seed=0)
        assert kept.shape == (400, dimensions)
        share = kept.var(axis=0).sum() / points.var(axis=0).sum()
        assert share >= variance
    assert reduced(np.ones((4, 3)), variance=0.9, seed=0).tolist() == [[0.0]] * 4


def test_words_of_equal_texts_are_equal() -> None:
    vectors = tfidf(["two plus 3", "two plus 3", "two plus 4"], seed=0)
    assert np.array_equal(vectors[0], vectors[1]) and not np.array_equal(vectors[0], vectors[2])
    many = tfidf([f"word{i} is {i}" for i in range(150)], seed=0)
    assert many.shape == (150, 100)


def test_certainty_is_zero_at_one_half() -> None:
    assert certainty(cot("s", "t", labels=[0.5, None])) == 0.0
    assert certainty(cot("s", "t", "u", labels=[0.0, 0.75, None])) == pytest.approx((1 + 0.5) / 2)


def test_car_without_a_model() -> None:
    # three kinds of texts, each with CoTs of different certainty
    texts = ["red fox runs", "blue sea waves", "nine plus six"]
    records = [cot(texts[i % 3], labels=[0.5 + i / 20]) for i in range(9)]
    chosen = selection("car", quality="certainty", embedding="tfidf", top=0.2, clusters=3).select(
        selection_data(records)
    )
    # certainty grows with i: 7 and 8 are the best 20 %; 6, 7, 8 the best of their texts
    assert [row for row, fate in enumerate(chosen.fates) if fate == KEPT] == [6, 7, 8]
    assert set(chosen.fates) == {KEPT, NOT_CHOSEN}
    assert chosen.facts["clusters"] == 3
    assert chosen.facts["mean_quality"] == pytest.approx({"all": 0.4, "kept": 0.7})


def test_cars_number_of_clusters_is_the_papers() -> None:
    records = [cot(f"word{i} and word{i + 1}") for i in range(18)]
    chosen = selection("car", quality="certainty", embedding="tfidf", top=0.0).select(selection_data(records))
    assert chosen.facts["clusters"] == 3  # sqrt(18 / 2)
    assert chosen.fates.count(KEPT) == 3


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (cot("Step 1: look", "Step 2: so\nFinal answer: 2"), None),
        (cot("look", "look ", "Final answer: 2"), "a step twice"),
        (cot("Step 1: look", "Step 3: so\nFinal answer: 2"), "headings out of order"),
        (cot("Step 1: look", "so\nFinal answer: 2"), "headings out of order"),
        (cot("look at the figure", "Final answer: 2", images=()), "names an image, has none"),
        (cot("look", "Final answer: 2", images=()), None),
        (cot("look", "so it is"), "no final answer"),
    ],
)
def test_s1_leaves_out_faults_of_form(record: StepRecord, fault: str | None) -> None:
    chosen = selection("s1", keep=1.0, max_solved=1.0).select(selection_data([record]))
    assert chosen.fates == [fault or KEPT]


def test_s1s_number_of_steps_and_final_answer_are_settings() -> None:
    record = cot("look", "so it is")
    for steps, fate in ((None, KEPT), (3, "not of 3 steps")):
        baseline = selection("s1", keep=1.0, max_solved=1.0, final_answer=False, steps=steps)
        chosen = baseline.select(selection_data([record]))
        assert chosen.fates == [fate]


def test_s1_leaves_out_questions_that_are_solved_too_often() -> None:
    def answered(question: str, *outcomes: float | None, image: str = "i.png") -> list[StepRecord]:
        return [
            cot("look", "Final answer: 2", labels=[0.5, outcome], question=question, images=(image,))
            for outcome in outcomes
        ]

    # solved: 1, 1/2, 0; unknown; and the first question with another image, which is another question
    records = [
        *answered("always", 1.0, 0.5),
        *answered("half", 1.0, 0.25),
        *answered("never", 0.0),
        *answered("unknown", None),
        *answered("always", 0.0, image="j.png"),
    ]
    easy, kept = [TOO_EASY] * 2, [KEPT] * 5
    data = selection_data(records)
    assert selection("s1", keep=1.0).select(data).fates == easy + kept
    assert selection("s1", keep=1.0, max_solved=1.0).select(data).fates == [KEPT] * 7
    assert selection("s1", keep=1.0, max_solved=0.4).select(data).fates == easy * 2 + kept[:3]


def test_s1_draws_the_share_that_is_asked_for() -> None:
    records = [cot("look " * i, "Final answer: 2", domain="ab"[i % 2], labels=[0, 0]) for i in range(1, 11)]
    chosen = selection("s1", keep=0.25).select(selection_data(records))
    assert Counter(chosen.fates) == {KEPT: 3, NOT_SAMPLED: 7}  # 2.5 rounded up
    again = selection("s1", keep=0.25).select(selection_data(records))
    assert again.fates == chosen.fates
    others = [
        tuple(selection("s1", keep=0.25).select(selection_data(records, seed=seed)).fates)
        for seed in range(10)
    ]
    assert len(set(others)) > 1


def test_the_diverse_sample_draws_domains_evenly_and_ranks_by_powers_of_two() -> None:
    ranked = {"large": list(range(100)), "small": [100, 101, 102]}
    firsts = Counter(diverse_sample(ranked, 1, seed=seed)[0] for seed in range(4000))
    # Shares of 4,000 draws; three standard deviations of a share of 1/2 are 0.024.
    large = {row: count / 4000 for row, count in firsts.items() if row < 100}
    assert sum(large.values()) == pytest.approx(0.5, abs=0.024)
    assert [large[rank] for rank in range(3)] == pytest.approx([1 / 4, 1 / 8, 1 / 16], abs=0.024)
    # three rows: 4/7, 2/7, 1/7 of the other half
    assert [firsts[row] / 4000 for row in (100, 101, 102)] == pytest.approx([2 / 7, 1 / 7, 1 / 14], abs=0.024)


def test_the_diverse_sample_ends_with_the_rows() -> None:
    ranked = {"a": [4, 2], "b": [3], "c": []}
    assert sorted(diverse_sample(ranked, 9, seed=0)) == [2, 3, 4]
    assert len(diverse_sample(ranked, 2, seed=0)) == 2
    # ranks beyond the range of a float's exponent
    assert len(set(diverse_sample({"a": range(3000)}, 50, seed=0))) == 50


@pytest.mark.parametrize("name", ["car", "s1"])
def test_a_reports_counts_add_up(name: str) -> None:
    settings = {"quality": "certainty", "embedding": "tfidf"} if name == "car" else {}
    records = [cot(f"look {i}", "Final answer: 2", domain="ab"[i % 2], labels=[0, 0]) for i in range(10)]
    chosen: Selected = selection(name, **settings).select(selection_data(records))
    report = chosen.report(records)
    counts = [sum(fates.values()) for fates in report["domains"].values()]
    assert counts == [5, 5] and report["of"] == 10 and report["kept"] == len(list(chosen.records(records)))
    json.dumps(report, allow_nan=False)


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "car quality": (lambda: build_baseline("car", quality="iqs"), "quality must be one of likelihood"),
    "car embedding": (lambda: build_baseline("car", embedding="bert"), "embedding must be one of backbone"),
    "car top": (lambda: build_baseline("car", top=1.5), "top must be >= 0 and <= 1, got 1.5"),
    "car per cluster": (lambda: build_baseline("car", per_cluster=-1), "per_cluster must be >= 0, got -1"),
    "car clusters": (lambda: build_baseline("car", clusters=0), "clusters must be >= 1, got 0"),
    "car variance": (lambda: build_baseline("car", variance=1), "variance must be > 0 and < 1, got 1"),
    "car nothing": (lambda: build_baseline("car", top=0, per_cluster=0), "keep nothing"),
    "s1 steps": (lambda: build_baseline("s1", steps=0), "steps must be >= 1, got 0"),
    "s1 keep": (
        lambda: build_baseline("s1", keep=0),
        "keep must be > 0 and <= 1, got 0; 0 would leave nothing",
    ),
    "s1 solved": (lambda: build_baseline("s1", max_solved="x"), "max_solved must be a number"),
    "s1 answer": (lambda: build_baseline("s1", final_answer="no"), "final_answer must be true or false"),
    "meta labels": (lambda: build_baseline("meta_only", labels="first"), "labels must be one of all, last"),
    "doremi lr": (lambda: build_baseline("doremi", lr=0), "lr must be > 0, got 0"),
    "doremi batches": (lambda: build_baseline("doremi", batches="first"), "batches must be one of last, all"),
    "doge slopes": (lambda: build_baseline("doge", slopes="none"), "slopes must be one of finite_difference"),
    "doge normalise": (lambda: build_baseline("doge", normalise=1), "normalise must be true or false"),
    "doge smoothing": (lambda: build_baseline("doge", smoothing=2), "smoothing must be >= 0 and <= 1, got 2"),
    "random spread": (lambda: build_baseline("random_weights", spread=0), "spread must be > 0, got 0"),
    "fixed take": (lambda: build_baseline("fixed_weights", run="r", take="best"), "take must be one of last"),
    "fixed run": (lambda: build_baseline("fixed_weights"), "baseline 'fixed_weights' needs "),
    "unknown": (lambda: build_baseline("card"), "unknown baseline 'card', did you mean 'car'"),
    "setting": (lambda: build_baseline("s1", keeps=1), "'s1' has no setting 'keeps', did you mean 'keep'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_refused(case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(UserError, match=message):
        make()


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(place: str) -> Any:
        raise ImportError(f"No module named {place}")

    monkeypatch.setattr("dreamprm.training.baselines.car.load", missing)
    with pytest.raises(UserError, match=r"not installed; pip install 'dreamprm\[cluster\]'"):
        clustered(np.ones((2, 1)), count=1, seed=0)
