"""Learned labels: their gradient, and a run from files to report."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
import torch
from tiny_models import tiny_cots, tiny_prm
from tiny_run import TinyRun, trained
from torch import Tensor

from dreamprm.data import read_step_records
from dreamprm.hypergrad import SGD, AdamW, build_estimator
from dreamprm.models import PRM
from dreamprm.models.weights import CORRECTIONS, LabelCorrections
from dreamprm.training.checkpoint import load_checkpoint
from dreamprm.training.prm_problem import prm_problem
from experiments.float64 import Float64Inside

KIND = ("weights.kind=labels",)


@pytest.fixture(scope="module")
def prm() -> PRM:
    return tiny_prm(dtype=torch.float64, layers=1, vision_layers=1)


def step_batch(prm: PRM, first: int) -> dict[str, Any]:
    """Three CoTs of two domains; their row numbers in the table start at `first`."""
    cots = tiny_cots(3, seed=first)
    steps = [len(steps) for *_, steps in cots]
    labels = torch.rand(sum(steps), generator=torch.Generator().manual_seed(first), dtype=torch.float64)
    return {
        "inputs": prm.processor.collate([prm.processor.encode(*cot) for cot in cots]),
        "labels": labels,
        "domains": torch.tensor([0, 1]),
        "group": torch.tensor([0] * steps[0] + [1] * (steps[1] + steps[2])),
        "cot": torch.repeat_interleave(torch.arange(3), torch.tensor(steps)),
        "cots": torch.tensor([first, first + 1, first + 2]),
    }


@pytest.fixture(scope="module")
def window(prm: PRM) -> dict[str, Any]:
    """A window of two steps, its problem, and alpha away from 0."""
    batches = [step_batch(prm, 0), step_batch(prm, 3)]
    labels = torch.cat([batch["labels"] for batch in batches])
    rows = torch.cat([batch["cots"][batch["cot"]] for batch in batches])
    weights = LabelCorrections(["a", "b"], labels.numpy(), rows.numpy(), count=6, corrected="all")
    metas = tiny_cots(2, seed=9)
    meta = {
        "inputs": prm.processor.collate([prm.processor.encode(*cot) for cot in metas]),
        "cot": torch.repeat_interleave(torch.arange(2), torch.tensor([len(steps) for *_, steps in metas])),
        "correct": torch.tensor([1.0, 0.0]),
    }
    generator = torch.Generator().manual_seed(3)
    moved = 0.2 * torch.randn(len(labels), generator=generator, dtype=torch.float64)
    return {
        "problem": prm_problem(prm, weights),
        "weights": weights,
        "params": prm.trainable_params(),
        "alpha": {CORRECTIONS: moved},
        "batches": batches,
        "meta": meta,
    }


def run_window(
    window: dict[str, Any], alpha: dict[str, Tensor], name: str, optimizer: Any, **settings: Any
) -> Any:
    with Float64Inside():
        return build_estimator(name, **settings).run_window(
            window["problem"],
            optimizer,
            window["params"],
            optimizer.init(window["params"]),
            alpha,
            inner_batches=window["batches"],
            outer_batch=window["meta"],
        )


def test_the_loss_is_the_squared_error_of_the_corrected_labels(window: dict[str, Any], prm: PRM) -> None:
    batch, alpha = window["batches"][1], window["alpha"]
    with Float64Inside(), torch.no_grad():
        p = torch.sigmoid(prm(batch["inputs"]))
    count = len(window["batches"][0]["labels"])
    errors = (p - batch["labels"] - alpha[CORRECTIONS][count:]) ** 2
    wanted = (errors[batch["group"] == 0].mean() + errors[batch["group"] == 1].mean()) / 2
    with Float64Inside():
        found = window["problem"].inner_loss(window["params"], alpha, batch)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)  # the same operations in another order


def test_the_gradient_is_that_of_central_differences(window: dict[str, Any]) -> None:
    # not AdamW: m / sqrt(v) has kinks where a gradient is 0, at which differences are only precise to h
    optimizer, h = SGD(lr=0.1), 1e-5
    reference = run_window(window, window["alpha"], "unrolled", optimizer).alpha_grad[CORRECTIONS]
    for place in (0, len(reference) - 1):  # a label of the first batch, and one of the last
        losses = []
        for by in (h, -h):
            moved = window["alpha"][CORRECTIONS].clone()
            moved[place] += by
            losses.append(float(run_window(window, {CORRECTIONS: moved}, "none", optimizer).outer_loss))
        # truncation h^2 = 1e-10 times a third derivative of some 1e3, rounding 1e-16 / h = 1e-11
        assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(float(reference[place]), rel=1e-6, abs=1e-9)


# Settings, learning rate, and how far the gradient may be from that of unrolling. adjoint is exact;
# differences stop where rounding and truncation balance, at some eps^(2/3) = 4e-11 of the loss. first_order
# leaves out the Hessian: an error of O(lr T |H|), measured here as .54 at lr 1e-2, so 5e-4 at 1e-5.
ESTIMATORS: dict[str, tuple[dict[str, Any], float, float]] = {
    "adjoint": ({}, 1e-2, 1e-9),
    "adjoint, differences": ({"derivative": "central_difference"}, 1e-2, 1e-6),
    "first_order": ({}, 1e-5, 2e-3),
    "first_order, exact": ({"derivative": "double_backward"}, 1e-5, 2e-3),
}


@pytest.mark.parametrize("case", ESTIMATORS)
def test_every_estimator_carries_corrections(case: str, window: dict[str, Any]) -> None:
    settings, lr, tolerance = ESTIMATORS[case]
    optimizer, alpha = AdamW(lr=lr, eps=1e-2), window["alpha"]
    reference = run_window(window, alpha, "unrolled", optimizer).alpha_grad[CORRECTIONS]
    found = run_window(window, alpha, case.partition(",")[0], optimizer, **settings)
    assert found.status.value == "ok"
    error = float((found.alpha_grad[CORRECTIONS] - reference).norm() / reference.norm())
    assert error <= tolerance


def test_a_run_corrects_labels_and_shows_which(tiny: TinyRun) -> None:
    assert tiny.train(*KIND, report=True) == 0
    summary = tiny.summary()
    assert set(summary["weights"].values()) == {1.0}
    found = summary["corrected_labels"]
    # of each domain's five CoTs (1, 2, 3, 1, 2 steps) all labels but the last
    assert found["labels"] == 8 and {one["labels"] for one in found["domains"].values()} == {4}
    assert 0 < found["changed"] <= 8 and 0 < found["mean_change"] <= 1
    most = found["most"]
    sizes = [abs(one["corrected"] - one["given"]) for one in most]
    assert len(most) == found["changed"] and sizes == sorted(sizes, reverse=True)

    rows = tiny.lines("corrected_labels.jsonl")
    assert len(rows) == 10 and rows[0]["id"] == most[0]["id"]
    given = {
        record.id: record
        for domain in ("charts", "maths")
        for record in read_step_records(tiny.folder / f"{domain}.jsonl")
    }
    tensors, _ = load_checkpoint(tiny.output / "checkpoints" / "step-000008")
    changes = tensors[f"alpha/{CORRECTIONS}"].tolist()
    for row in rows:
        record = given[row["id"]]
        assert row["given_labels"] == list(record.labels) and row["labels"][-1] == record.labels[-1]
        assert row["steps"] == list(record.steps) and row["domain"] == record.domain
    order = [one for record in given.values() for one in zip(record.labels[:-1], [record.id] * 3)]
    assert len(order) == len(changes)
    by_id: dict[str, list[float]] = {}
    for (label, name), change in zip(order, changes):
        by_id.setdefault(name, []).append(label + change)
    for row in rows:
        assert row["labels"][:-1] == pytest.approx(by_id.get(row["id"], []), abs=1e-12)
        assert all(0 <= label <= 1 for label in row["labels"])
    # they are training data again
    again = list(read_step_records(tiny.output / "corrected_labels.jsonl"))
    assert [list(record.labels) for record in again] == [row["labels"] for row in rows]

    page = (tiny.output / "report.html").read_text()
    assert "Corrected labels" in page and most[0]["id"] in page and "learned labels" in page
    assert "Learned domain weights" not in page
    told = json.loads((tiny.output / "model" / "prm.json").read_text())["training"]
    assert told["learned"] == "labels"
    assert "Trained with corrected labels" in (tiny.output / "model" / "README.md").read_text()


@pytest.mark.parametrize("estimator", ["first_order", "adjoint"])
def test_a_resumed_run_is_the_same_bit_for_bit(estimator: str, tiny: TinyRun) -> None:
    names = [
        "checkpoints/step-000008/tensors.safetensors",
        "checkpoints/step-000008/state.json",
        "corrected_labels.jsonl",
        "model/model.safetensors",
    ]
    keys = (*KIND, f"hypergrad.name={estimator}", "sampling=mixed")
    assert tiny.train(*keys) == 0
    whole = {name: (tiny.output / name).read_bytes() for name in names}
    shutil.rmtree(tiny.output / "checkpoints" / "step-000008")
    (tiny.output / "model" / "model.safetensors").unlink()
    assert tiny.train(*keys) == 0
    for name, content in whole.items():
        assert (tiny.output / name).read_bytes() == content, name


def test_without_an_upper_level_nothing_is_corrected_and_it_is_the_vanilla_run(tiny: TinyRun) -> None:
    vanilla, *_ = trained(tiny, "hypergrad.name=none")
    run, *_ = trained(tiny, *KIND, "hypergrad.name=none")
    assert not run.state.alpha[CORRECTIONS].any()
    for name, value in vanilla.state.params.items():
        assert torch.equal(run.state.params[name], value), name


def test_corrections_of_baselines_and_of_nothing_are_refused(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.train(*KIND, "baseline.name=orm") == 2
    assert "set weights.kind=domain" in capsys.readouterr().err
    assert tiny.train("weights.correct=all") == 2
    assert "weights.correct is only read with kind=labels" in capsys.readouterr().err
    assert not tiny.output.exists()
