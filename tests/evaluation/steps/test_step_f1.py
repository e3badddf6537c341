"""F1 of right and wrong steps as VisualProcessBench and PRMBench define it, and MR-Ben's score."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scored_records import random_steps, record, steps_of

from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.evaluation.bootstrap import Bootstrap
from dreamprm.evaluation.steps import ScoredSteps, predict_first_errors
from dreamprm.evaluation.steps.development import Parts
from dreamprm.evaluation.steps.evaluate_steps import run_evaluate_steps
from dreamprm.evaluation.steps.mr_score import mr_scores
from dreamprm.evaluation.steps.settings import EvaluateStepsConfig
from dreamprm.evaluation.steps.step_f1 import StepThreshold, best_threshold, step_f1

BOOTSTRAP = Bootstrap(0, 200, 0.95)


def by_hand(labels: list[int], kept: list[bool]) -> tuple[float, float]:
    """F1 of right and of wrong steps by precision and recall, as the authors' scripts compute it."""

    def f1(kind: int) -> float:
        said = [k == kind for k in map(int, kept)]
        hits = sum(s and label == kind for s, label in zip(said, labels, strict=True))
        precision, recall = hits / max(1, sum(said)), hits / labels.count(kind)
        return 0.0 if not hits else 2 * precision * recall / (precision + recall)

    return f1(1), f1(0)


def test_f1_of_both_kinds_over_all_judged_steps() -> None:
    # A right step after the first error counts, a null one does not.
    steps = steps_of(([1, 0, 1, None], [2.0, 1.0, -1.0, -9.0]), ([0, 1], [-3.0, 4.0]))
    found = step_f1(Parts(None, {"a": steps}), {"s": StepThreshold(0.0)}, BOOTSTRAP)["subsets"]["s"]["a"]
    right, wrong = by_hand([1, 0, 1, 0, 1], [True, True, False, False, True])
    assert right == pytest.approx(2 / 3) and wrong == pytest.approx(0.5)
    assert found["f1_right"].value == pytest.approx(right) and found["f1_wrong"].value == pytest.approx(wrong)
    assert found["micro_f1"].value == pytest.approx((right + wrong) / 2)
    assert found["accuracy"].value == pytest.approx(3 / 5)
    equal = step_f1(Parts(None, {"a": steps}), {"s": StepThreshold(1.0)}, BOOTSTRAP)["subsets"]["s"]["a"]
    assert equal["f1"].value == found["f1"].value  # a step at the threshold counts as right


def in_domains(*rows: tuple[str, list[Any], list[float]]) -> ScoredSteps:
    made = [record(labels, scores, question=k) for k, (_, labels, scores) in enumerate(rows)]
    return ScoredSteps.of([one._replace(domain=row[0]) for one, row in zip(made, rows, strict=True)])


def test_micro_pools_steps_and_macro_averages_domains() -> None:
    rows = [("A", [1, 0, 1], [1.0, -1.0, -1.0]), ("B", [0, 1], [1.0, 1.0]), ("M", [1, 1], [1.0, -1.0])]
    parts = Parts(None, {"vpb": in_domains(*rows)})
    found = step_f1(parts, {"s": StepThreshold(0.0)}, BOOTSTRAP)
    a, b = (sum(by_hand(r[1], [x >= 0 for x in r[2]])) / 2 for r in rows[:2])
    all_labels = [label for r in rows for label in r[1]]
    pooled = sum(by_hand(all_labels, [x >= 0 for r in rows for x in r[2]])) / 2
    figures, domains = found["subsets"]["s"]["vpb"], found["domains"]["s"]["vpb"]
    assert figures["micro_f1"].value == pytest.approx(pooled)
    assert figures["macro_f1"].value == pytest.approx((a + b) / 2)  # M has no wrong step, so no f1
    assert math.isnan(domains["M"]["f1"].value) and domains["M"]["accuracy"].value == 0.5
    assert domains["A"]["f1"].value == pytest.approx(a)
    without = step_f1(parts, {"s": StepThreshold(0.0)}, BOOTSTRAP, without=["B"])
    assert without["subsets"]["s"]["vpb"]["macro_f1"].value == pytest.approx(a)
    apart = {name: in_domains(row) for name, row in zip("ABM", rows, strict=True)}
    one_file_each = step_f1(Parts(None, apart), {"s": StepThreshold(0.0)}, BOOTSTRAP)
    assert one_file_each["pooled"]["s"]["f1"].value == pytest.approx(pooled)
    assert one_file_each["domains"] == {}
    kept_apart = step_f1(Parts(None, apart, apart="A"), {"s": StepThreshold(0.0)}, BOOTSTRAP)
    assert kept_apart["pooled"]["s"]["accuracy"].value == pytest.approx(2 / 4)


def test_the_threshold_is_the_best_of_all_on_the_development_set() -> None:
    for seed in range(5):
        steps = random_steps(seed, 25)
        scores, labels = steps.log_odds["s"], [int(label) for label in steps.right]
        ends = np.unique(scores)
        tried = [*ends, np.nextafter(ends[-1], np.inf)]
        best = max(sum(by_hand(labels, (scores >= one).tolist())) / 2 for one in tried)
        found = best_threshold(steps, "s")
        assert found.development == pytest.approx(best) and found.tried == len(tried)
        kept = (scores >= found.log_odds).tolist()
        assert sum(by_hand(labels, kept)) / 2 == pytest.approx(best)
    with pytest.raises(UserError, match="holds 2 right and 0 wrong steps; a threshold needs both"):
        best_threshold(steps_of(([1, 1], [1.0, 2.0])), "s")


def test_intervals_resample_questions() -> None:
    steps = dataclasses.replace(random_steps(3, 60), domains=("A", "B") * 30)
    found = step_f1(Parts(None, {"a": steps}), {"s": StepThreshold(0.4)}, BOOTSTRAP)["subsets"]["s"]["a"]
    for name in ("micro_f1", "macro_f1", "accuracy"):
        low, high = found[name].interval(0.95)
        assert low < found[name].value < high and high - low < 0.4


def test_mr_score_without_its_reasons() -> None:
    rows = [
        ([1, 1], [1.0, 1.0]),  # right, said right
        ([1, 1], [1.0, -1.0]),  # right, said wrong
        ([1, 0], [1.0, -1.0]),  # wrong, found
        ([0, 0], [1.0, -1.0]),  # wrong, found at another step
        ([0, 0], [1.0, 1.0]),  # wrong, said right
    ]
    steps = steps_of(*rows)
    draws = BOOTSTRAP.draws(steps.question_numbers[1])
    found = mr_scores(predict_first_errors(steps, "s", 0.0), steps, draws)
    tp, fp, tn, fn = 1, 1, 2, 1
    mcc = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert found["mcc"].value == pytest.approx(mcc)
    assert found["acc_step"].value == pytest.approx(1 / 3)
    assert found["mr_score_without_reason"].value == pytest.approx(0.2 * mcc + 0.3 / 3)
    always = mr_scores(predict_first_errors(steps, "s", -9.0), steps, draws)
    assert always["mcc"].value == 0 == always["mr_score_without_reason"].value


def test_the_command_writes_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamprm.evaluation.steps.evaluate_steps._plot", lambda *arguments: None)
    rows = []
    for k in range(40):
        labels = [1, 0, 1] if k % 2 else [1, 1, 1]
        scores = [4.0 if label else -4.0 for label in labels]
        kind = "correct" if k % 10 == 0 else "AB"[k % 4 // 2]
        rows.append(
            {"id": f"r{k}", "question": f"q{k}", "steps": ["s"] * 3, "labels": labels, "domain": kind}
        )
        rows[-1]["scores"] = {"oracle": {"log_odds": scores}, "flat": {"log_odds": [1.0] * 3}}
    path = tmp_path / "scored.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    settings = [f"files={{vpb: {path}}}", "resamples=100", "step_f1_without=[correct]", "baseline=flat"]
    run_evaluate_steps(load_config(EvaluateStepsConfig, None, [*settings, f"output={tmp_path / 'out'}"]))
    result = json.loads((tmp_path / "out" / "steps.json").read_text())
    held = result["step_f1"]
    assert held["figures"]["micro_f1"]["oracle"]["vpb"]["value"] == 1
    assert held["figures"]["macro_f1"]["oracle"]["vpb"]["value"] == 1
    assert set(held["domains"]["oracle"]["vpb"]) == {"A", "B"} and held["without"] == ["correct"]
    assert held["figures"]["f1_wrong"]["flat"]["vpb"]["value"] < 0.5
    assert held["thresholds"]["oracle"]["development"]["f1"] == 1
    assert result["mr_score"]["mr_score_without_reason"]["oracle"]["vpb"]["value"] == pytest.approx(0.5)
    page = (tmp_path / "out" / "steps.md").read_text()
    assert "## Step F1 (VisualProcessBench, PRMBench)" in page and "Without the domains correct." in page
    assert "| oracle, macro F1 over domains | 100.0" in page and "## Whole solutions (MR-Ben)" in page
    given = [*settings, "threshold.chosen_on=nothing", "threshold.value=0.85", f"output={tmp_path / 'given'}"]
    run_evaluate_steps(load_config(EvaluateStepsConfig, None, given))
    held = json.loads((tmp_path / "given" / "steps.json").read_text())["step_f1"]
    assert held["thresholds"]["flat"] == {
        "probability": 0.85,
        "log_odds": pytest.approx(math.log(0.85 / 0.15)),
    }
    assert held["figures"]["f1_right"]["flat"]["vpb"]["value"] == 0  # sigmoid(1) = .73 is below .85
