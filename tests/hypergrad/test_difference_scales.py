"""Differences in float32 on problems of every scale: right, or said to be imprecise, with a fair estimate."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from bilevel_problems import Case, Tensors
from checked_rows import each
from oracles import relative_error

from dreamprm.hypergrad import AdamW, BilevelProblem, Status, build_estimator

# What a window that is `ok` may be off by.
BOUND = 3e-2
KINDS = {
    "first_order": ({}, {"derivative": "double_backward"}),
    "first_order-one_sided": ({"derivative": "forward_difference"}, {"derivative": "double_backward"}),
    "adjoint": ({"derivative": "central_difference"}, {}),
    "adjoint-one_sided": ({"derivative": "forward_difference"}, {}),
    "forward_gradient": ({}, {"derivative": "double_backward"}),
}


def _case(
    *,
    plain: bool = False,
    feature: float = 1.0,
    factor: float = 1.0,
    scale: float = 1.0,
    offset: float = 0.0,
    pixels: bool = False,
    rest: bool = False,
    cancel: bool = False,
    warm_steps: int = 3,
) -> Case:
    """Two networks side by side; the second one's inputs are scaled by `feature`, its loss by `factor`, so
    that its gradients are small though AdamW and the outer loss treat it as the first."""
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, noise = draw(60, 8), draw(60)
    y = torch.sin(x.sum(1)) + 0.3 * noise
    params = {
        "w1": draw(8, 6) / 2,
        "b1": draw(6) / 2,
        "w2": draw(6) / 2,
        "u": draw(8, 6) / 2,
        "v": draw(6) / 2,
    }

    def outputs(params: Tensors, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs, targets = (t[rows].to(params["w1"]) for t in (x, y))
        wide = (inputs * 60 + 128).clamp(0, 255) @ params["w1"] + params["b1"]
        hidden = wide.relu() if pixels else torch.tanh(inputs @ params["w1"] + params["b1"])
        return hidden @ params["w2"], torch.tanh((feature * inputs) @ params["u"]) @ params["v"], targets

    def losses(params: Tensors, rows: torch.Tensor) -> torch.Tensor:
        main, side, targets = outputs(params, rows)
        first = (main - targets).square().reshape(2, -1).mean(1)
        second = (side - targets).square().reshape(2, -1).mean(1)
        if cancel:
            first = torch.stack([first.sum(), 3 - first.sum() + 0.05 * first[1]])
        return scale * (first + factor * second) + offset

    def outer(params: Tensors, alpha: Tensors, rows: torch.Tensor) -> torch.Tensor:
        main, side, targets = outputs(params, rows)
        return (main - targets).square().mean() + (side - targets).square().mean()

    def weights(alpha: Tensors, rows: torch.Tensor, losses: torch.Tensor | None) -> torch.Tensor:
        return torch.nn.functional.softplus(alpha["raw"])

    if plain:
        problem = BilevelProblem(lambda p, a, rows: (weights(a, rows, None) * losses(p, rows)).sum(), outer)
    else:
        problem = BilevelProblem(
            outer_loss=outer,
            inner_losses=losses,
            weights=weights,
            unweighted_loss=(lambda p, rows: 0.1 * losses(p, rows).mean()) if rest else None,
        )
    return Case(
        problem,
        params,
        {"raw": torch.tensor([0.4, -0.7], dtype=torch.float64)},
        batches=[torch.arange(8 * t, 8 * t + 8) % 48 for t in range(20)],
        outer_batch=torch.arange(48, 60),
        optimizer=AdamW(lr=1e-2),
        warm_steps=warm_steps,
    )


def _cast(case: Case, dtype: torch.dtype) -> Case:
    def to(tensors: Tensors) -> Tensors:
        return {name: tensor.to(dtype) for name, tensor in tensors.items()}

    assert case.state is not None
    moments = {kind: to(each) for kind, each in case.state.moments.items()}
    state = case.optimizer.make_state(case.state.step, moments)
    return replace(case, params=to(case.params), alpha=to(case.alpha), state=state)


CASES: dict[str, dict[str, Any]] = {
    "plain sizes": {},
    "with a rest": {"rest": True},
    "features 1e-2": {"feature": 1e-2},
    "features 1e-4": {"feature": 1e-4},
    "features 1e-6": {"feature": 1e-6},
    "loss factor 1e-4": {"factor": 1e-4},
    "loss factor 1e-6": {"factor": 1e-6},
    "inputs to 255": {"pixels": True},
    "losses of 1e6": {"scale": 1e6},
    "losses of 1e-6": {"scale": 1e-6},
    "offset 1e5": {"offset": 1e5},
    "slopes cancel": {"cancel": True},
    "cold": {"warm_steps": 0},
    "everything": {"factor": 1e-4, "feature": 1e-3, "rest": True},
}


@each("kind", KINDS.keys())
@pytest.mark.parametrize(
    "plain, label",
    [
        (plain, label)
        for label in CASES
        for plain in (False, True)
        # only structured problems have a term that alpha does not touch
        if not (plain and CASES[label].get("rest"))
    ],
)
def test_right_or_said_to_be_imprecise(label, plain, kind):
    options = CASES[label]
    low = _cast(_case(plain=plain, **options), torch.float32)
    name = kind.partition("-")[0]
    settings, exact = KINDS[kind]
    want = _cast(low, torch.float64).run(build_estimator(name, **exact)).alpha_grad
    window = low.run(build_estimator(name, **settings))
    error = relative_error({"raw": window.alpha_grad["raw"].double()}, want)
    assert window.status in (Status.ok, Status.imprecise)
    if window.status is Status.imprecise:
        assert window.message
    else:
        assert error < BOUND
        # rounding of float32 itself is no difference's error
        assert error < 10 * window.stats["error"] + 2e-2
