"""DreamPRM's two losses on a tiny PRM, against the formulas written out by hand (float64)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tiny_models import tiny_cots, tiny_image, tiny_prm
from torch import Tensor
from torch.func import functional_call

from dreamprm.hypergrad import AdamW, build_estimator
from dreamprm.models import PRM
from dreamprm.models.weights import DOMAIN_WEIGHTS, INSTANCE_WEIGHTS, DomainWeights, InstanceTable
from dreamprm.training.prm_problem import prm_problem

# The same float64 operations in another order.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
WEIGHTS = DomainWeights(["a", "b", "c"])
ALPHA = {DOMAIN_WEIGHTS: torch.tensor([0.5, -0.2, 1.0], dtype=torch.float64)}
LM_WEIGHT = 0.25


@pytest.fixture(scope="module")
def prm() -> PRM:
    return tiny_prm(dtype=torch.float64, layers=1, vision_layers=1)


@pytest.fixture(scope="module")
def params(prm: PRM) -> dict[str, Tensor]:
    """Other numbers than the module's own, which must therefore not be read."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: p.detach() + 0.05 * torch.randn(p.shape, dtype=p.dtype, generator=generator)
        for name, p in prm.trainable_params().items()
    }


@pytest.fixture(scope="module")
def training_batch(prm: PRM) -> dict[str, Any]:
    """Domains 0 and 2 of the three; group 0 has the first CoT's steps, group 1 the others'."""
    inputs = prm.processor.collate([prm.processor.encode(*cot) for cot in tiny_cots(3)])
    steps = [len(cot[2]) for cot in tiny_cots(3)]
    labels = torch.rand(sum(steps), generator=torch.Generator().manual_seed(5))
    texts = [("two plus three equals five", []), ("how many bars ?", [tiny_image(1)])]
    return {
        "inputs": inputs,
        "labels": labels,
        "domains": torch.tensor([0, 2]),
        "group": torch.tensor([0] * steps[0] + [1] * (steps[1] + steps[2])),
        "text": prm.processor.collate_text([prm.processor.encode_text(*text) for text in texts]),
    }


@pytest.fixture(scope="module")
def meta_batch(prm: PRM) -> dict[str, Any]:
    cots = tiny_cots(3, seed=7)
    return {
        "inputs": prm.processor.collate([prm.processor.encode(*cot) for cot in cots]),
        "cot": torch.repeat_interleave(torch.arange(3), torch.tensor([len(steps) for *_, steps in cots])),
        "correct": torch.tensor([1.0, 0.0, 1.0]),
    }


def _forward(
    prm: PRM,
    params: dict[str, Tensor],
    batch: dict[str, Tensor],
    output: str = "step_logits",
) -> Tensor:
    """The model with these parameters really loaded; its own are put back."""
    own = {name: p.detach().clone() for name, p in prm.named_parameters()}
    prm.load_params(params)
    try:
        with torch.no_grad():
            return prm(batch, output=output)
    finally:
        prm.load_params(own)


def _domain_losses(prm: PRM, params: dict[str, Tensor], batch: dict[str, Any]) -> list[float]:
    p = torch.sigmoid(_forward(prm, params, batch["inputs"]))
    squares: dict[int, list[float]] = {0: [], 1: []}
    for probability, label, group in zip(p.tolist(), batch["labels"].tolist(), batch["group"].tolist()):
        squares[group].append((probability - label) ** 2)
    return [sum(values) / len(values) for values in squares.values()]


@pytest.mark.parametrize("lm_weight", [0.0, LM_WEIGHT])
def test_inner_loss_is_the_mean_of_weighted_domain_losses_plus_language_modelling(
    prm: PRM,
    params: dict[str, Tensor],
    training_batch: dict[str, Any],
    lm_weight: float,
) -> None:
    positive = torch.nn.functional.softplus(ALPHA[DOMAIN_WEIGHTS])
    alpha = (positive / positive.mean()).tolist()
    first, second = _domain_losses(prm, params, training_batch)
    wanted = (alpha[0] * first + alpha[2] * second) / 2
    if lm_weight:
        text = training_batch["text"]
        log_p = torch.log_softmax(_forward(prm, params, text, "token_logits"), dim=-1)
        nats = [-log_p[i, target].item() for i, target in enumerate(text["token_targets"].tolist())]
        wanted += lm_weight * sum(nats) / len(nats)

    problem = prm_problem(prm, WEIGHTS, lm_weight=lm_weight)
    assert problem.has_unweighted_loss == bool(lm_weight)
    loss = problem.inner_loss(params, ALPHA, training_batch)
    torch.testing.assert_close(loss.item(), wanted, **ROUNDING)


def test_with_weights_of_cots_it_is_the_mean_of_weighted_cot_losses(
    prm: PRM,
    params: dict[str, Tensor],
    training_batch: dict[str, Any],
) -> None:
    steps = [len(cot[2]) for cot in tiny_cots(3)]
    batch = training_batch | {
        "cot": torch.repeat_interleave(torch.arange(3), torch.tensor(steps)),
        "cots": torch.tensor([4, 0, 2]),
    }
    p = torch.sigmoid(_forward(prm, params, batch["inputs"]))
    losses = [part.mean().item() for part in ((p - batch["labels"]) ** 2).split(steps)]
    alpha = {INSTANCE_WEIGHTS: torch.tensor([0.5, 9.0, 1.5, 9.0, 2.0], dtype=torch.float64)}
    problem = prm_problem(prm, InstanceTable({"a": [0, 1], "b": [2, 3, 4]}, "none"))
    torch.testing.assert_close(problem.inner_losses(params, batch).tolist(), losses, **ROUNDING)
    loss = problem.inner_loss(params, alpha, batch)
    wanted = (2.0 * losses[0] + 0.5 * losses[1] + 1.5 * losses[2]) / 3
    torch.testing.assert_close(loss.item(), wanted, **ROUNDING)


def test_outer_loss_is_the_aggregation_function_loss(
    prm: PRM,
    params: dict[str, Tensor],
    meta_batch: dict[str, Any],
) -> None:
    logits = _forward(prm, params, meta_batch["inputs"])
    by_cot = [logits[meta_batch["cot"] == m] for m in range(3)]
    right = meta_batch["correct"].double()
    sums = torch.stack([z.sum() for z in by_cot])
    means = torch.stack([z.mean() for z in by_cot])
    wanted = {
        (("temperature", 1.0),): ((torch.sigmoid(sums) - right) ** 2).mean(),
        (("temperature", 4.0),): ((torch.sigmoid(sums / 4.0) - right) ** 2).mean(),
        (("aggregation", "mean_log_odds"),): ((torch.sigmoid(means) - right) ** 2).mean(),
        (("meta_loss_kind", "step"),): ((torch.sigmoid(logits) - right[meta_batch["cot"]]) ** 2).mean(),
    }
    for settings, value in wanted.items():
        problem = prm_problem(prm, WEIGHTS, **dict(settings))
        torch.testing.assert_close(problem.outer_loss(params, ALPHA, meta_batch), value, **ROUNDING)


def test_the_inner_losses_gradient_in_a_free_weight_is_its_domain_loss(
    prm: PRM,
    params: dict[str, Tensor],
    training_batch: dict[str, Any],
) -> None:
    problem = prm_problem(prm, DomainWeights(["a", "b", "c"], "none"), lm_weight=LM_WEIGHT)
    alpha = {DOMAIN_WEIGHTS: torch.tensor([0.5, 0.2, 1.0], dtype=torch.float64, requires_grad=True)}
    problem.inner_loss(params, alpha, training_batch).backward()
    first, second = _domain_losses(prm, params, training_batch)
    # d/dalpha_k of (alpha_0 L_0 + alpha_2 L_2) / 2; domain 1 is not in the batch.
    wanted = torch.tensor([first / 2, 0.0, second / 2], dtype=torch.float64)
    torch.testing.assert_close(alpha[DOMAIN_WEIGHTS].grad, wanted, **ROUNDING)


def test_the_meta_losses_gradient_reaches_alpha_through_the_window(
    prm: PRM,
    training_batch: dict[str, Any],
    meta_batch: dict[str, Any],
) -> None:
    lr, eps = 1e-2, 1e-2
    # One AdamW step from zero moments, phi' = phi - lr g / (|g| + eps), written out and differentiated.
    phi = prm.trainable_params()
    alpha = ALPHA[DOMAIN_WEIGHTS].clone().requires_grad_()
    z = functional_call(prm, phi, (training_batch["inputs"],))
    squares = (torch.sigmoid(z) - training_batch["labels"]) ** 2
    in_first = training_batch["group"] == 0
    weights = torch.nn.functional.softplus(alpha) / torch.nn.functional.softplus(alpha).mean()
    inner = (weights[0] * squares[in_first].mean() + weights[2] * squares[~in_first].mean()) / 2
    grads = torch.autograd.grad(inner, list(phi.values()), create_graph=True, materialize_grads=True)
    moved = {name: p - lr * g / (g.abs() + eps) for (name, p), g in zip(phi.items(), grads)}
    z = functional_call(prm, moved, (meta_batch["inputs"],))
    sums = torch.zeros(3, dtype=z.dtype).index_add(0, meta_batch["cot"], z)
    meta = ((torch.sigmoid(sums / 2.0) - meta_batch["correct"]) ** 2).mean()
    (wanted,) = torch.autograd.grad(meta, alpha)

    optimizer = AdamW(lr=lr, eps=eps, weight_decay=0.0)
    window = build_estimator("unrolled").run_window(
        prm_problem(prm, WEIGHTS, temperature=2.0),
        optimizer,
        phi,
        optimizer.init(phi),
        ALPHA,
        inner_batches=[training_batch],
        outer_batch=meta_batch,
    )
    assert wanted.abs().min() > 1e-6
    # The backbone's norms and rotary angles are float32 inside, so two orders of operations differ by 1e-7.
    torch.testing.assert_close(window.alpha_grad[DOMAIN_WEIGHTS], wanted, rtol=1e-5, atol=1e-9)


def test_parameters_left_out_are_the_modules_own_and_stay(
    prm: PRM,
    training_batch: dict[str, Any],
    meta_batch: dict[str, Any],
) -> None:
    problem = prm_problem(prm, WEIGHTS)
    frozen = prm.trainable_params(freeze_vision=True)
    everything = prm.trainable_params()
    assert 0 < len(frozen) < len(everything)
    whole = problem.inner_loss(everything, ALPHA, training_batch)
    torch.testing.assert_close(problem.inner_loss(frozen, ALPHA, training_batch), whole, **ROUNDING)

    before = {name: p.detach().clone() for name, p in prm.named_parameters()}
    optimizer = AdamW(lr=1e-2)
    window = build_estimator("first_order").run_window(
        problem,
        optimizer,
        frozen,
        optimizer.init(frozen),
        ALPHA,
        inner_batches=[training_batch],
        outer_batch=meta_batch,
    )
    assert set(window.params) == set(frozen)
    # Nothing in the module moves, trained or frozen: training is a function of `params`.
    assert all(torch.equal(p, before[name]) for name, p in prm.named_parameters())


def test_the_model_runs_in_the_autocast_context(
    prm: PRM,
    params: dict[str, Tensor],
    training_batch: dict[str, Any],
    meta_batch: dict[str, Any],
) -> None:
    entered = []

    @contextmanager
    def autocast() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    problem = prm_problem(prm, WEIGHTS, lm_weight=LM_WEIGHT, autocast=autocast)
    problem.inner_loss(params, ALPHA, training_batch)
    assert entered == ["in", "out"] * 2  # steps, texts
    problem.outer_loss(params, ALPHA, meta_batch)
    assert entered == ["in", "out"] * 3
