"""The studies' tables and settings, without their runs."""

import json
from pathlib import Path

import pytest
from experiment_scripts import load_script

from dreamprm.config.loading import load_config
from dreamprm.files.atomic import save_config
from dreamprm.training.settings import TrainConfig

ROOT = Path(__file__).resolve().parents[2]


def test_a_vanilla_variant_has_a_row_of_its_own_accuracy_and_no_rank_correlation() -> None:
    study = load_script("study_sandbox")
    learned = {
        "seed": 0,
        "estimator": "first_order",
        "seconds": 9.0,
        "spearman": 0.5,
        "weight_ratio": 2.0,
        "best_of_n": {"dreamprm": {"heldout": 0.75, "mean": 0.5}, "vanilla": {"heldout": 0.1, "mean": 0.1}},
    }
    vanilla = {
        "seed": 0,
        "estimator": "none",
        "seconds": 8.0,
        "weight_ratio": 1.0,
        "best_of_n": {"vanilla": {"heldout": 0.25, "mean": 0.125}},
    }
    lines = study._variants({("shipped", 0): learned, ("vanilla, equal compute", 0): vanilla})
    assert "| shipped | 0 | 75.0 | 50.0 | 0.50 | 2.0 | 9 |" in lines
    assert "| vanilla, equal compute | 0 | 25.0 | 12.5 |  | 1.0 | 8 |" in lines


@pytest.mark.parametrize(
    "name",
    ["orm", "car", "s1", "meta_only", "with_meta", "random_weights", "doge", "doremi", "vanilla_longer"],
)
def test_baselines_train_with_the_shipped_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = load_script("study_baselines")
    shipped = load_config(TrainConfig, study.ROOT / "experiments/configs/sandbox/train.yaml", [])
    baseline = load_config(TrainConfig, study.ROOT / study.BASELINES, study.baseline_settings(name, 0))
    domains = 1 if name == "meta_only" else 15
    # CoTs a step: those of the meta set that with_meta adds come on top.
    assert baseline.batch_size * domains == shipped.batch_size * 15 == 90
    assert baseline.steps == (2130 if name == "vanilla_longer" else shipped.steps)
    for key in (
        "data",
        "model",
        "inner",
        "sampling",
        "lm_weight",
        "lm_batch_size",
        "aggregation",
        "temperature",
    ):
        assert getattr(baseline, key) == getattr(shipped, key), key


def test_weights_tell_whom_they_favour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_script("study_baselines")
    monkeypatch.setattr(study, "model_folder", lambda name, seed: tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps({"weight_ratio": 0.43, "spearman": -0.38}))
    assert "| random_weights | 0.43 / 0.43 | -0.38 / -0.38 |" in study._weights([0, 1])


def test_a_finished_run_of_other_settings_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = load_script("study_runs")
    configured = tmp_path / runs.CONFIG
    configured.parent.mkdir(parents=True)
    configured.write_text((runs.ROOT / runs.CONFIG).read_text())
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    target = runs.folder("shipped", 0)
    target.mkdir(parents=True)
    finished = [f"output={target.relative_to(tmp_path)}", "log.progress=lines", "steps=20"]
    save_config(target / "config.yaml", load_config(TrainConfig, configured, finished))
    (target / "summary.json").write_text("{}")
    assert runs.train("shipped", 0, ["steps=20"]) == target
    with pytest.raises(SystemExit, match="steps: 20 there, 25 now"):
        runs.train("shipped", 0, ["steps=25"])
