"""Each switch of the training changes what it should, and only that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from tiny_run import DOMAINS, TinyRun, trained
from torch import Tensor
from torch.func import functional_call

from dreamprm.config.choices import AGGREGATIONS, NORMALISATIONS
from dreamprm.config.loading import load_config
from dreamprm.models import DomainWeights
from dreamprm.models.weights import DOMAIN_WEIGHTS
from dreamprm.training import run_batches
from dreamprm.training.assembly import make_prm
from dreamprm.training.objectives import meta_loss
from dreamprm.training.settings import TrainConfig
from dreamprm.training.throughput import MEASURED
from dreamprm.training.upper_level import BF16_RADIUS


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_without_the_upper_level_the_weights_stay_at_one(tiny: TinyRun) -> None:
    plain, metrics, history = trained(tiny, "hypergrad.name=none")
    assert [row["weights"] for row in history] == [dict.fromkeys(DOMAINS, 1.0)] * 4
    assert [(row["upper_lr"], row["alpha_grad_norm"]) for row in metrics] == [(0.0, 0.0)] * 4
    learned, with_upper, _ = trained(tiny)
    # Weights are 1 in the first window of both, and then part.
    assert metrics[0]["inner_loss"] == with_upper[0]["inner_loss"]
    assert metrics[0]["meta_loss"] == with_upper[0]["meta_loss"]
    assert not same(plain.state.params, learned.state.params)


def test_a_frozen_vision_tower_is_run_once_per_batch_with_the_same_bits(
    tiny: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["model.freeze_vision=true", "hypergrad.derivative=forward_difference", "batch_size=2"]
    settings += ["sampling=mixed"]
    ahead, metrics, history = trained(tiny, *settings)
    assert not any("visual" in name for name in ahead.state.params)
    batch = ahead.trainer.to_device(ahead.step_batches[0])["inputs"]
    assert "image_features" in batch and "pixel_values" not in batch
    monkeypatch.setattr(run_batches, "with_image_features", lambda backbone, batch: batch)
    each_time, expected, expected_history = trained(tiny, *settings)
    assert "pixel_values" in each_time.trainer.to_device(each_time.step_batches[0])["inputs"]
    assert same(ahead.state.params, each_time.state.params)
    for row in (*metrics, *expected):
        for key in MEASURED:
            del row[key]
    assert (metrics, history) == (expected, expected_history)


def test_the_meta_loss_is_the_one_of_the_settings(tiny: TinyRun) -> None:
    settings = [("aggregation", name, 1.0) for name in AGGREGATIONS]
    settings += [("aggregation", "sum_log_odds", 3.0), ("step", "sum_log_odds", 1.0)]
    measured, params = [], []
    for kind, name, temperature in settings:
        run, (row,), _ = trained(
            tiny, "steps=2", f"meta_loss={kind}", f"aggregation={name}", f"temperature={temperature}"
        )
        batch = run.meta_batches[0]
        with torch.no_grad():
            logits = functional_call(run.prm, run.state.params, (batch["inputs"],))
        want = meta_loss(
            logits, batch["cot"], batch["correct"], kind=kind, aggregation=name, temperature=temperature
        )
        # float32, computed once with and once without a graph
        assert row["meta_loss"] == pytest.approx(float(want), rel=1e-5)
        measured.append(row["meta_loss"])
        params.append(run.state.params)
    assert len(set(measured)) == len(settings)
    # The upper level's loss does not touch the first window's inner steps.
    assert all(same(params[0], other) for other in params[1:])


def test_sampling_of_one_domain_or_of_all(tiny: TinyRun) -> None:
    single, _, _ = trained(tiny, "steps=2")
    assert [len(single.step_batches[step]["domains"]) for step in range(4)] == [1, 1, 1, 1]
    mixed, rows, _ = trained(tiny, "sampling=mixed", "steps=2")
    assert [mixed.step_batches[step]["domains"].tolist() for step in range(4)] == [[0, 1]] * 4
    # batch_size CoTs: in all, or of each domain
    assert single.step_batches[0]["inputs"]["input_ids"].shape[0] == 2
    assert mixed.step_batches[0]["inputs"]["input_ids"].shape[0] == 4
    assert rows[0]["status"] == "ok"


def test_the_text_pool_adds_its_weighted_loss(tiny: TinyRun) -> None:
    one_step = ("steps=1", "inner_steps=1")
    _, (without,), _ = trained(tiny, *one_step)
    tiny.config["data"]["lm"] = str(tiny.folder / "pool.jsonl")
    run, (row,), _ = trained(tiny, *one_step, "lm_weight=0.25", "lm_batch_size=2")
    text = run.step_batches[0]["text"]
    start = make_prm(load_config(TrainConfig, tiny.write(), ["lm_weight=0.25"]))
    with torch.no_grad():
        logits = start(text, output="token_logits")
    likelihood = torch.log_softmax(logits, -1)[torch.arange(len(logits)), text["token_targets"]].mean()
    assert row["inner_loss"] == pytest.approx(without["inner_loss"] - 0.25 * float(likelihood), rel=1e-5)


@pytest.mark.parametrize("form", NORMALISATIONS)
def test_the_weights_normalisation(form: str, tiny: TinyRun) -> None:
    run, _, (row,) = trained(tiny, f"weights.normalisation={form}", "steps=2")
    raw = run.state.alpha[DOMAIN_WEIGHTS]
    assert row["weights"] == DomainWeights(DOMAINS, form).named(run.state.alpha)
    # AdamW's first step has length lr whatever the gradient, after the weight decay.
    start = 1 - 0.05 * 1e-3 if form == "none" else 0.0
    assert (raw - start).abs().tolist() == pytest.approx([0.05, 0.05], rel=1e-3)
    assert (sum(row["weights"].values()) == pytest.approx(2, abs=1e-6)) == (form != "none")


def test_unrolled_takes_the_same_inner_steps(tiny: TinyRun) -> None:
    # attn_implementation=auto: fused for the one, eager for the other
    cheap, first_order, _ = trained(tiny, "steps=2")
    exact, unrolled, _ = trained(tiny, "steps=2", "hypergrad.name=unrolled")
    for name, value in exact.state.params.items():
        torch.testing.assert_close(cheap.state.params[name], value, rtol=1e-4, atol=1e-6)
    # first_order leaves out terms of the size lr T |H|
    assert 0 < abs(first_order[0]["alpha_grad_norm"] / unrolled[0]["alpha_grad_norm"] - 1) < 0.5


def test_a_random_start_from_a_config_file(tiny: TinyRun, tiny_checkpoint: Path) -> None:
    tiny.config["model"] = {"config": str(tiny_checkpoint / "config.json"), "tokenizer": str(tiny_checkpoint)}
    run, _, _ = trained(tiny, "steps=2")
    again, _, _ = trained(tiny, "steps=2")
    other, _, _ = trained(tiny, "steps=2", "seed=2")
    assert same(run.state.params, again.state.params) and not same(run.state.params, other.state.params)


def test_the_vanilla_prm_sees_the_same_data_in_the_same_order(tiny: TinyRun) -> None:
    _, ours, _ = trained(tiny)
    _, theirs, history = trained(tiny, "hypergrad={name: none}")
    assert [row["weights"] for row in history] == [dict.fromkeys(DOMAINS, 1.0)] * 4
    # The first window, where all weights are 1, is the same.
    assert (ours[0]["inner_loss"], ours[0]["meta_loss"]) == (theirs[0]["inner_loss"], theirs[0]["meta_loss"])


@pytest.mark.parametrize(
    "estimator", ["{name: adjoint, derivative: forward_mode}", "{name: cg, derivative: forward_mode}"]
)
def test_a_derivative_that_the_model_lacks_is_found_before_the_first_step(
    estimator: str,
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Qwen2-VL's SiLU has no forward-mode formula of its derivative
    assert tiny.train(f"hypergrad={estimator}") == 2
    message = capsys.readouterr().err
    assert "hypergrad: forward_mode takes a derivative that an operation of the model" in message
    assert "derivative=central_difference" in message
    assert not tiny.output.exists()


def test_the_rehearsal_leaves_a_run_as_it_was(tiny: TinyRun) -> None:
    estimator = "hypergrad={name: first_order, derivative: forward_mode}"
    run, rows, _ = trained(tiny, "sampling=mixed", estimator, "steps=2")
    assert [row["step"] for row in rows] == [2] and run.trainer.estimator.needs_forward_mode
    exact, exact_rows, _ = trained(
        tiny, "sampling=mixed", "hypergrad={name: first_order, derivative: double_backward}", "steps=2"
    )
    assert rows[0]["inner_loss"] == exact_rows[0]["inner_loss"]
    assert same(run.state.params, exact.state.params)


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """accelerate keeps the precision of a process's first run."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("fresh_accelerator")
@pytest.mark.parametrize(
    ("settings", "radius"),
    [("precision=fp32", None), ("precision=bf16", BF16_RADIUS), ("precision=bf16 hypergrad.radius=0.2", 0.2)],
)
def test_differences_under_bf16_have_a_radius_that_its_rounding_allows(
    settings: str,
    radius: float | None,
    tiny: TinyRun,
) -> None:
    run, _, _ = trained(tiny, "steps=2", "hypergrad.name=first_order", *settings.split())
    assert run.trainer.estimator.derivative.radius == radius  # type: ignore[attr-defined]


@pytest.mark.usefixtures("fresh_accelerator")
def test_one_sided_differences_under_bf16_are_warned_about(
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        tiny.train(
            "steps=2", "precision=bf16", "hypergrad={name: first_order, derivative: forward_difference}"
        )
        == 0
    )
    assert "use central_difference instead of forward_difference" in capsys.readouterr().out
