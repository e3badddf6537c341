"""Weights of single CoTs: the table's and the network's, by hand, their gradients, their logs, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamprm.config.choices import NORMALISATIONS, WEIGHT_FEATURES
from dreamprm.config.errors import UserError
from dreamprm.models.weights import (
    DOMAIN_WEIGHTS,
    INSTANCE_WEIGHTS,
    DomainWeights,
    InstanceNet,
    InstanceTable,
)

ROWS = {"maths": [1, 2], "charts": [0, 3, 4]}
# Four labelled steps of three CoTs; the third has none.
BATCH: dict[str, Any] = {
    "cot": torch.tensor([0, 0, 0, 1]),
    "labels": torch.tensor([0.25, 0.5, 0.75, 1.0]),
    "cots": torch.tensor([3, 1, 3]),
    "cot_domains": torch.tensor([1, 0, 1]),
}
LOSSES = torch.tensor([0.3, 0.1, 0.0], dtype=torch.float64)


def table_alpha(*values: float) -> dict[str, Tensor]:
    return {INSTANCE_WEIGHTS: torch.tensor(values, dtype=torch.float64)}


def net_alpha(net: InstanceNet, seed: int = 1) -> dict[str, Tensor]:
    """Random float64 parameters, none of them 0."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, dtype=torch.float64, generator=generator)
        for name, value in net.init().items()
    }


@pytest.mark.parametrize("form", NORMALISATIONS)
def test_table_weights_start_at_one_and_follow_the_batchs_rows(form: str) -> None:
    table = InstanceTable(ROWS, form)
    start = table.init()
    assert start[INSTANCE_WEIGHTS].shape == (5,) and start[INSTANCE_WEIGHTS].dtype == torch.float32
    torch.testing.assert_close(table.weights(start, BATCH, LOSSES), torch.ones(3), rtol=1e-6, atol=0)
    alpha = table_alpha(0.3, -1.0, 2.0, 0.7, 0.1)
    # five domains of one CoT each are the same function
    every = DomainWeights("vwxyz", form).table({DOMAIN_WEIGHTS: alpha[INSTANCE_WEIGHTS]})
    assert torch.equal(table.by_instance(alpha), every)
    assert torch.equal(table.weights(alpha, BATCH, LOSSES), every[[3, 1, 3]])


@pytest.mark.parametrize("form", NORMALISATIONS)
def test_the_tables_gradients_equal_central_differences(form: str) -> None:
    table = InstanceTable(ROWS, form)
    raw = torch.tensor([-2.0, 0.3, 4.0, 0.1, 1.0], dtype=torch.float64, requires_grad=True)

    def weights(values: Tensor) -> Tensor:
        return table.weights({INSTANCE_WEIGHTS: values}, BATCH, LOSSES)

    assert torch.autograd.gradcheck(weights, (raw,))
    assert torch.autograd.gradgradcheck(weights, (raw,))


def test_the_tables_log_is_the_mean_by_domain() -> None:
    table = InstanceTable(ROWS, "none")
    alpha = {INSTANCE_WEIGHTS: torch.tensor([1.0, 2.0, 4.0, 1.5, 3.5], requires_grad=True)}
    assert table.named(alpha) == {"maths": 3.0, "charts": 2.0}
    assert table.by_instance(alpha).tolist() == [1.0, 2.0, 4.0, 1.5, 3.5]


def test_a_table_of_a_million() -> None:
    half = 500_000
    order = np.random.default_rng(0).permutation(2 * half)
    table = InstanceTable({"a": order[:half], "b": order[half:]})
    alpha = {name: value.requires_grad_() for name, value in table.init().items()}
    batch = BATCH | {"cots": torch.tensor([999_999, 0, 17])}
    (table.weights(alpha, batch, LOSSES.float()) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    gradient = alpha[INSTANCE_WEIGHTS].grad
    assert gradient is not None
    # d w_i / d a_j = (softplus'/softplus)(0) (delta_ij - w_i / N) with softplus(0) = log 2 and slope 1/2
    rate = 0.5 / math.log(2)
    assert gradient[0].item() == pytest.approx(2 * rate, rel=1e-4)
    assert gradient[5].item() == pytest.approx(-6 * rate / 1e6, rel=1e-4)  # rel: sums of 1e6 float32 numbers
    assert table.named(alpha) == pytest.approx({"a": 1.0, "b": 1.0}, rel=1e-5)


def test_the_net_by_hand() -> None:
    """All features, two hidden units; the numbers are those of BATCH."""
    net = InstanceNet(["maths", "charts"], WEIGHT_FEATURES, hidden=2)
    alpha = net_alpha(net)
    assert {name: tuple(value.shape) for name, value in alpha.items()} == {
        "w1": (2, 5),
        "b1": (2,),
        "w2": (2,),
        "b2": (),
    }
    features = [
        [0.3, math.log(3), 0.5, 0.0, 1.0],
        [0.1, math.log(1), 1.0, 1.0, 0.0],
        [0.0, math.log(1), 0.0, 0.0, 1.0],
    ]
    w1, b1, w2, b2 = (alpha[name].tolist() for name in ("w1", "b1", "w2", "b2"))
    wanted = []
    for x in features:
        hidden = [math.tanh(sum(w * v for w, v in zip(row, x)) + b) for row, b in zip(w1, b1)]
        wanted.append(2 / (1 + math.exp(-sum(w * h for w, h in zip(w2, hidden)) - b2)))
    assert net.weights(alpha, BATCH, LOSSES).tolist() == pytest.approx(wanted, rel=1e-12)
    assert len({round(weight, 6) for weight in wanted}) == 3


def test_the_nets_weights_start_at_one_and_by_its_seed() -> None:
    net = InstanceNet(["maths", "charts"], hidden=4, seed=3)
    start = net.init()
    assert torch.equal(net.weights(start, BATCH, LOSSES), torch.ones(3))
    assert start["w1"].shape == (4, 1) and start["w1"].abs().min() > 0
    assert torch.equal(start["w1"], net.init()["w1"])
    assert not torch.equal(start["w1"], InstanceNet(["a"], hidden=4, seed=4).init()["w1"])


def test_the_nets_gradients_equal_central_differences() -> None:
    net = InstanceNet(["maths", "charts"], WEIGHT_FEATURES, hidden=3)
    alpha = net_alpha(net)

    def weights(*values: Tensor) -> Tensor:
        return net.weights(dict(zip(alpha, values)), BATCH, LOSSES)

    leaves = [value.requires_grad_() for value in alpha.values()]
    assert torch.autograd.gradcheck(weights, leaves)
    assert torch.autograd.gradgradcheck(weights, leaves)


def test_the_nets_log_is_a_running_mean_by_domain() -> None:
    net = InstanceNet(["maths", "charts", "never met"])
    alpha, start = net_alpha(net), net.memory()
    assert net.named(alpha, start) == {"maths": 1.0, "charts": 1.0, "never met": 1.0}
    first, second, third = net.weights(alpha, BATCH, LOSSES).tolist()
    after = net.remember(start, alpha, last=lambda: (BATCH, LOSSES))
    after = net.remember(after, alpha, last=lambda: (BATCH, LOSSES))
    assert start["weight_means"].tolist() == [1.0, 1.0, 1.0]
    assert net.named(alpha, after) == pytest.approx(
        {"maths": 0.81 + 0.19 * second, "charts": 0.81 + 0.19 * (first + third) / 2, "never met": 1.0}
    )


def test_bad_tables_and_nets_are_refused() -> None:
    with pytest.raises(UserError, match="at least one domain"):
        InstanceTable({})
    with pytest.raises(UserError, match="unknown weight normalisation 'soft'"):
        InstanceTable(ROWS, "soft")
    for rows in ({"a": [0, 1], "b": [1]}, {"a": [0, 2]}):
        with pytest.raises(UserError, match=r"rows of an instance table must be 0\.\."):
            InstanceTable(rows)
    with pytest.raises(UserError, match="got a more than once"):
        InstanceNet(["a", "a"])
    for features in ([], ["loss", "length"], ["loss", "loss"]):
        with pytest.raises(UserError, match="features must be some of loss, steps, label, domain, each once"):
            InstanceNet(["a"], features)
    with pytest.raises(UserError, match="hidden must be >= 1, got 0"):
        InstanceNet(["a"], hidden=0)
