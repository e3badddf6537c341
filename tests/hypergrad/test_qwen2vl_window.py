"""Windows of a two-layer Qwen2-VL PRM with images: DreamPRM's own two losses, in float64 all through."""

import dataclasses

import pytest
import torch
from bilevel_problems import Case
from estimator_table import ROWS
from experiment_scripts import load_script
from oracles import central_differences, gradient_without_hessian, relative_error, unrolled_gradient
from tiny_models import tiny_cots, tiny_prm

from dreamprm.hypergrad import AdamW, build_estimator
from dreamprm.models.weights import DomainWeights
from dreamprm.training.prm_problem import prm_problem

STEPS = 3
ORACLES = (unrolled_gradient, gradient_without_hessian)
NO_FORMULA = "adjoint-forward_mode"
# Of `forward_gradient`, whose kinds share all else, the cheaper one.
LEFT_OUT = (NO_FORMULA, "forward_gradient-double_backward")
LABELS = [label for label, row in ROWS.items() if row.oracle in ORACLES and label not in LEFT_OUT]


@pytest.fixture(scope="module", autouse=True)
def float64_inside():
    # without it transformers rounds to float32 in norms, rotary embeddings and softmax
    with load_script("float64").Float64Inside():
        yield


def _batch(prm, seed, *, domains, text):
    cots = tiny_cots(2, seed=seed)
    steps = torch.tensor([len(steps) for *_, steps in cots])
    cot = torch.repeat_interleave(torch.arange(2), steps)
    batch = {
        "inputs": prm.processor.collate([prm.processor.encode(*cot) for cot in cots]),
        "labels": torch.rand(len(cot), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)),
        "group": cot % len(domains),
        "domains": torch.tensor(domains),
        "cot": cot,
        "correct": torch.tensor([1.0, 0.0]).double(),
    }
    if text:
        batch["text"] = prm.processor.collate_text([prm.processor.encode_text("two plus three equals", [])])
    return batch


def _case(*, mixed: bool, optimizer: AdamW) -> Case:
    """Two domains a batch, and words that no batch has; or one domain beside a text loss, which reads the
    tied embedding a second time."""
    prm = tiny_prm(dtype=torch.float64, layers=2, vision_layers=1)
    weights = DomainWeights(["a", "b", "c"])
    # the tower is frozen: placing image embeddings that carry tangents has no forward-mode formula
    params = {name: p.detach() for name, p in prm.trainable_params(freeze_vision=True).items()}
    domains = [[0, 2], [1, 2], [0, 1]] if mixed else [[0], [2], [1]]
    return Case(
        prm_problem(prm, weights, lm_weight=0.0 if mixed else 0.3),
        params=params,
        alpha={name: torch.tensor([0.5, -0.5, 0.2], dtype=torch.float64) for name in weights.init()},
        batches=[_batch(prm, seed, domains=domains[seed], text=not mixed) for seed in range(STEPS)],
        outer_batch=_batch(prm, 9, domains=[0], text=False),
        optimizer=optimizer,
    )


@pytest.fixture(scope="module", params=[True, False], ids=["mixed", "single_with_text"])
def case(request):
    return _case(mixed=request.param, optimizer=AdamW(lr=1e-3, max_grad_norm=1.0))


@pytest.fixture(scope="module")
def oracles(case):
    return {oracle: oracle(case, steps=STEPS) for oracle in ORACLES}


def test_unrolled_equals_central_differences(case, oracles):
    unrolled = build_estimator("unrolled")
    want = central_differences(
        lambda alpha: case.run(unrolled, steps=STEPS, alpha=alpha).outer_loss, case.alpha, h=1e-4
    )
    assert relative_error(oracles[unrolled_gradient], want) < 1e-6


@pytest.mark.parametrize("label", LABELS)
def test_every_estimator_equals_its_oracle(case, oracles, label):
    row = ROWS[label]
    got = case.run(row.build(), steps=STEPS)
    error = relative_error(got.alpha_grad, oracles[row.oracle])
    # differences say how far off they are; beside a text loss that is more than in the small table
    assert error < max(row.tolerance, 3 * got.stats.get("error", 0.0)) and error < 1e-3


def test_forward_over_reverse_says_which_operation_stands_in_its_way(case):
    with pytest.raises(NotImplementedError, match="silu_backward.*central_difference"):
        case.run(ROWS[NO_FORMULA].build(), steps=STEPS)


def test_first_order_approaches_unrolled_as_the_learning_rate_falls(case):
    errors = []
    for lr in (1e-6, 1e-7):  # small enough that terms in lr^2 do not show
        small = dataclasses.replace(case, optimizer=AdamW(lr=lr))
        got = small.run(build_estimator("first_order", derivative="double_backward"), steps=STEPS).alpha_grad
        errors.append(relative_error(got, unrolled_gradient(small, steps=STEPS)))
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)
