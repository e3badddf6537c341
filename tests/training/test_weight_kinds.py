"""Training with weights of every granularity, from files to report."""

from __future__ import annotations

import shutil

import pytest
import torch
from tiny_run import DOMAINS, TinyRun, trained

from dreamprm.models.weights import INSTANCE_WEIGHTS
from dreamprm.training.checkpoint import load_checkpoint

NET = ("weights.kind=instance_net", "weights.features=[loss,steps,label,domain]", "weights.hidden=4")
KINDS = {"domain": (), "instance_table": ("weights.kind=instance_table",), "instance_net": NET}
ALPHA = {
    "domain": {"domain_weights": (2,)},
    "instance_table": {"instance_weights": (10,)},
    "instance_net": {"w1": (4, 5), "b1": (4,), "w2": (4,), "b2": ()},
}


@pytest.mark.parametrize("sampling", ["single", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_learns_weights_of_each_kind(kind: str, sampling: str, tiny: TinyRun) -> None:
    assert tiny.train(*KINDS[kind], f"sampling={sampling}", report=True) == 0
    tensors, _ = load_checkpoint(tiny.output / "checkpoints" / "step-000008")
    alpha = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("alpha/")}
    assert {name: tuple(tensor.shape) for name, tensor in alpha.items()} == ALPHA[kind]

    history = tiny.lines("domain_weights.jsonl")
    assert [row["step"] for row in history] == [2, 4, 6, 8]
    for row in history:
        assert tuple(row["weights"]) == DOMAINS and all(0 < value < 2 for value in row["weights"].values())
    assert any(value != 1 for value in history[-1]["weights"].values())
    assert tiny.summary()["weights"] == history[-1]["weights"]
    assert all(domain in (tiny.output / "report.html").read_text() for domain in DOMAINS)
    assert (tiny.output / "instance_weights.jsonl").exists() == (kind == "instance_table")


def test_the_tables_weights_are_written_with_their_ids(tiny: TinyRun) -> None:
    assert tiny.train(*KINDS["instance_table"]) == 0
    rows = tiny.lines("instance_weights.jsonl")
    assert [row["id"] for row in rows] == [f"{domain}-{i}" for domain in DOMAINS for i in range(5)]
    tensors, _ = load_checkpoint(tiny.output / "checkpoints" / "step-000008")
    positive = torch.nn.functional.softplus(tensors[f"alpha/{INSTANCE_WEIGHTS}"])
    weights = [row["weight"] for row in rows]
    assert weights == (positive / positive.mean()).tolist() and len(set(weights)) > 5
    for domain, mean in tiny.summary()["weights"].items():
        own = [row["weight"] for row in rows if row["domain"] == domain]
        assert sum(own) / 5 == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("kind", ["instance_table", "instance_net"])
def test_a_resumed_run_is_the_same_bit_for_bit(kind: str, tiny: TinyRun) -> None:
    names = [
        "checkpoints/step-000008/tensors.safetensors",
        "checkpoints/step-000008/state.json",
        "domain_weights.jsonl",
        "model/model.safetensors",
    ]
    assert tiny.train(*KINDS[kind]) == 0
    whole = {name: (tiny.output / name).read_bytes() for name in names}
    shutil.rmtree(tiny.output / "checkpoints" / "step-000008")
    (tiny.output / "model" / "model.safetensors").unlink()
    assert tiny.train(*KINDS[kind]) == 0
    for name, content in whole.items():
        assert (tiny.output / name).read_bytes() == content, name


def test_weights_of_cots_start_as_the_vanilla_run_of_cots(tiny: TinyRun) -> None:
    """All weights are 1 in the first window, whichever of the two gives them."""
    table, (of_table, *_), _ = trained(tiny, *KINDS["instance_table"], "hypergrad.name=none")
    _, (of_net, *_), (weights, *_) = trained(tiny, *NET)
    assert of_table["inner_loss"] == of_net["inner_loss"] and of_table["meta_loss"] == of_net["meta_loss"]
    assert set(table.named_weights().values()) == {1.0}
    assert set(weights["weights"].values()) != {1.0}  # logged after the first upper step


def test_the_nets_log_weighs_the_last_batch_of_each_window(tiny: TinyRun) -> None:
    run, _, history = trained(tiny, *NET, "steps=2", "sampling=mixed")
    batch = run.step_batches[1]
    losses = run.trainer.problem.inner_losses(run.state.params, batch).detach()
    weights = run.weights.weights(run.state.alpha, batch, losses).double()
    assert batch["cot_domains"].tolist() == [0, 0, 1, 1]
    wanted = [0.9 + 0.1 * float(part.mean()) for part in (weights[:2], weights[2:])]
    # float32 forward passes with and without a graph
    assert list(history[0]["weights"].values()) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("weights.kind=sample", "weights.kind must be one of domain, instance_table, instance_net"),
        (
            "weights={kind: instance_net, features: []}",
            "weights: features must be some of loss, steps, label, ",
        ),
        (
            "weights={kind: instance_net, features: [loss, length]}",
            "features must be some of loss, steps, label, domain, ",
        ),
        (
            "weights={kind: instance_net, normalisation: softmax}",
            "normalisation is only read with kind=domain or instance_t",
        ),
        ("weights={kind: instance_net, hidden: 0}", "weights.hidden must be >= 1, got 0"),
    ],
)
def test_bad_settings_are_refused(
    setting: str,
    message: str,
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tiny.train(setting) == 2
    assert message in capsys.readouterr().err
    assert not tiny.output.exists()


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_a_run_under_another_inner_optimizer_resumes_bit_for_bit(optimizer: str, tiny: TinyRun) -> None:
    keys = (f"inner.optimizer={optimizer}", "inner.momentum=0.8", "hypergrad.name=adjoint")
    names = ["checkpoints/step-000008/tensors.safetensors", "domain_weights.jsonl", "model/model.safetensors"]
    assert tiny.train(*keys) == 0
    whole = {name: (tiny.output / name).read_bytes() for name in names}
    tensors, _ = load_checkpoint(tiny.output / "checkpoints" / "step-000008")
    groups = {name.partition("/")[0] for name in tensors}
    assert "inner_momentum_buffer" in groups and ("inner_exp_avg" in groups) == (optimizer == "muon")
    shutil.rmtree(tiny.output / "checkpoints" / "step-000008")
    (tiny.output / "model" / "model.safetensors").unlink()
    assert tiny.train(*keys) == 0
    for name, content in whole.items():
        assert (tiny.output / name).read_bytes() == content, name


def test_lion_is_refused_where_alpha_would_never_move(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.train("inner.optimizer=lion") == 2
    assert "inner.optimizer=lion passes no derivative to alpha" in capsys.readouterr().err
