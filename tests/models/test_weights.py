"""Domain weights: values by hand, gradients in float64, refusals."""

import math

import pytest
import torch

from dreamprm.config.choices import NORMALISATIONS
from dreamprm.config.errors import UserError
from dreamprm.models.weights import DOMAIN_WEIGHTS, DomainWeights, InstanceNet, InstanceTable, Weights
from dreamprm.models.weights.base import normalised


def alpha(*values: float) -> dict[str, torch.Tensor]:
    return {DOMAIN_WEIGHTS: torch.tensor(values, dtype=torch.float64)}


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_weights_start_at_one(normalisation: str) -> None:
    table = DomainWeights(["a", "b", "c"], normalisation)
    torch.testing.assert_close(table.table(table.init()), torch.ones(3), rtol=1e-6, atol=0)


def test_weights_by_hand() -> None:
    # softplus(log(e - 1)) = 1 and softplus(log(e^3 - 1)) = 3: their mean is 2.
    raw = alpha(math.log(math.e - 1), math.log(math.e**3 - 1))
    softplus = DomainWeights(["a", "b"]).table(raw)
    torch.testing.assert_close(softplus, torch.tensor([0.5, 1.5], dtype=torch.float64), rtol=1e-12, atol=0)
    softmax = DomainWeights(["a", "b"], "softmax").table(alpha(0.0, math.log(3)))
    torch.testing.assert_close(softmax, torch.tensor([0.5, 1.5], dtype=torch.float64), rtol=1e-12, atol=0)
    plain = DomainWeights(["a", "b"], "none").table(alpha(-0.25, 2.0))
    assert plain.tolist() == [-0.25, 2.0]


def test_a_batch_gets_the_weights_of_its_domains() -> None:
    table = DomainWeights(["a", "b", "c"], "none")
    weights = table.weights(alpha(0.5, 1.0, 2.0), {"domains": torch.tensor([2, 0])}, torch.zeros(2))
    assert weights.tolist() == [2.0, 0.5]
    assert table.by_instance(alpha(0.5, 1.0, 2.0)) is None and table.memory() == {}


def test_named_weights_keep_their_order_and_values() -> None:
    table = DomainWeights(["z", "a"], "none")
    assert table.named({DOMAIN_WEIGHTS: torch.tensor([0.5, 2.0], requires_grad=True)}) == {"z": 0.5, "a": 2.0}
    assert list(table.named(alpha(1.0, 1.0))) == ["z", "a"]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_gradients_equal_central_differences(normalisation: str) -> None:
    table = DomainWeights(["a", "b", "c"], normalisation)
    raw = torch.tensor([-2.0, 0.3, 4.0], dtype=torch.float64, requires_grad=True)

    def weights(values: torch.Tensor) -> torch.Tensor:
        return table.table({DOMAIN_WEIGHTS: values})

    assert torch.autograd.gradcheck(weights, (raw,))
    assert torch.autograd.gradgradcheck(weights, (raw,))


def test_bad_tables_are_refused() -> None:
    with pytest.raises(UserError, match="at least one domain"):
        DomainWeights([])
    with pytest.raises(UserError, match="got ai2d more than once"):
        DomainWeights(["ai2d", "iconqa", "ai2d"])
    with pytest.raises(UserError, match="unknown weight normalisation 'soft'; use one of softplus"):
        DomainWeights(["a"], "soft")


@pytest.mark.parametrize(
    ("weights", "fixed"),
    [
        (DomainWeights(["a", "b"]), True),
        (DomainWeights(["a", "b"], "softmax"), True),
        (InstanceTable({"a": [0], "b": [1]}), True),
        (InstanceNet(["a", "b"]), True),
        (DomainWeights(["a", "b"], "none"), False),  # alpha is the weight
        (InstanceTable({"a": [0], "b": [1]}, "none"), False),
    ],
)
def test_alpha_beyond_all_gradients_cannot_be_used(weights: Weights, fixed: bool) -> None:
    """Where AdamW's second moment of the weights' slopes is exactly 0; below it, whatever it is, goes on."""
    start = weights.init()
    for size, refused in ((1e21, False), (2e21, fixed), (-1e29, fixed)):
        moved = {name: one + size for name, one in start.items()}
        assert bool(weights.problem(moved)) == refused, size
        assert size < 2e21 or not refused or "as large as 2e+21, where" in weights.problem(moved)
    if fixed and isinstance(weights, DomainWeights | InstanceTable):
        (raw,) = start.values()
        raw = (raw + torch.tensor([2e21, 1.0])).requires_grad_()
        (slopes,) = torch.autograd.grad(normalised(raw, weights.normalisation)[0], raw)
        assert float((slopes**2).abs().max()) < torch.finfo(torch.float32).tiny
