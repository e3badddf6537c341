"""Step loss, aggregations and meta loss against numbers worked by hand, and their gradients in float64."""

import math

import pytest
import torch
from torch import Tensor

from dreamprm.config.choices import AGGREGATIONS, META_LOSSES
from dreamprm.config.errors import UserError
from dreamprm.models.aggregation import aggregate, aggregate_logit
from dreamprm.models.backbone import language_model_loss, sequence_log_likelihood
from dreamprm.training.objectives import meta_loss, step_loss_by_group


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Two CoTs, steps interleaved: CoT 0 has p = .8, .5, .6 and CoT 1 has p = .2, .9.
PROBABILITIES = (0.8, 0.2, 0.5, 0.9, 0.6)
COT = torch.tensor([0, 1, 0, 1, 0])
LOGITS = tensor(*(logit(p) for p in PROBABILITIES))

# P of each CoT for the probability forms; A for the log-odds forms: odds 4 * 1 * 1.5 = 6 and .25 * 9 = 2.25.
BY_HAND = {
    "sum_log_odds": (math.log(6), math.log(2.25)),
    "mean_log_odds": (math.log(6) / 3, math.log(2.25) / 2),
    "mean": (logit(1.9 / 3), logit(0.55)),
    "min": (logit(0.5), logit(0.2)),
    "max": (logit(0.8), logit(0.9)),
    "prod": (logit(0.24), logit(0.18)),
    "last": (logit(0.6), logit(0.9)),
}


def test_every_aggregation_is_worked_by_hand() -> None:
    assert set(BY_HAND) == set(AGGREGATIONS)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_aggregate_equals_hand_worked_numbers(aggregation: str, temperature: float) -> None:
    expected = tensor(*BY_HAND[aggregation]) / temperature
    value = aggregate_logit(LOGITS, COT, 2, aggregation=aggregation, temperature=temperature)
    score = aggregate(LOGITS, COT, 2, aggregation=aggregation, temperature=temperature)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(score, torch.sigmoid(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("aggregation", ["mean", "min", "max", "prod", "last"])
def test_probability_forms_are_the_probability_at_temperature_one(aggregation: str) -> None:
    p = torch.sigmoid(LOGITS[COT == 0])
    plain = {"mean": p.mean(), "min": p.min(), "max": p.max(), "prod": p.prod(), "last": p[-1]}[aggregation]
    torch.testing.assert_close(
        aggregate(LOGITS, COT, 2, aggregation=aggregation)[0], plain, rtol=1e-12, atol=0
    )


def test_step_loss_is_the_mean_square_of_each_domain() -> None:
    logits, labels = tensor(logit(0.8), logit(0.5), logit(0.1), 0.0), tensor(1.0, 0.25, 0.0, 1.0)
    group = torch.tensor([1, 1, 0, 2])
    # domain 0: .1^2; domain 1: (.2^2 + .25^2) / 2; domain 2: .5^2; domain 3 has no step
    expected = tensor(0.01, 0.05125, 0.25, 0.0)
    torch.testing.assert_close(step_loss_by_group(logits, labels, group, 4), expected, rtol=1e-12, atol=1e-15)


def test_step_loss_takes_float32_labels_in_float64() -> None:
    loss = step_loss_by_group(tensor(0.0), torch.tensor([1.0]), torch.tensor([0]), 1)
    assert loss.dtype == torch.float64 and loss.item() == 0.25


def test_meta_losses_by_hand() -> None:
    correct = tensor(1.0, 0.0)
    # Scores of the sum form are 6/7 and 2.25/3.25.
    by_cot = ((1 / 7) ** 2 + (2.25 / 3.25) ** 2) / 2
    by_step = (0.2**2 + 0.2**2 + 0.5**2 + 0.9**2 + 0.4**2) / 5
    assert meta_loss(LOGITS, COT, correct).item() == pytest.approx(by_cot, rel=1e-12)
    assert meta_loss(LOGITS, COT, correct, kind="step").item() == pytest.approx(by_step, rel=1e-12)
    # Temperature 2 takes the square root of the odds.
    odds = math.sqrt(6), math.sqrt(2.25)
    warm = ((1 / (1 + odds[0])) ** 2 + (odds[1] / (1 + odds[1])) ** 2) / 2
    assert meta_loss(LOGITS, COT, correct, temperature=2.0).item() == pytest.approx(warm, rel=1e-12)


def central_difference(function: object, x: Tensor, step: float = 1e-6) -> Tensor:
    gradient = torch.empty_like(x)
    for index in range(x.numel()):
        shift = torch.zeros_like(x)
        shift[index] = step
        gradient[index] = (function(x + shift) - function(x - shift)) / (2 * step)  # type: ignore[operator]
    return gradient


@pytest.mark.parametrize("kind", META_LOSSES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_meta_loss_gradients_equal_central_differences(kind: str, aggregation: str) -> None:
    correct = tensor(1.0, 0.0)

    def loss(z: Tensor) -> Tensor:
        return meta_loss(z, COT, correct, kind=kind, aggregation=aggregation, temperature=1.7)

    z = LOGITS.clone().requires_grad_()
    gradient = torch.autograd.grad(loss(z), z)[0]
    # The difference's own error is about step^2 + eps / step = 1e-12 + 2e-10.
    torch.testing.assert_close(gradient, central_difference(loss, LOGITS), rtol=1e-7, atol=1e-9)
    assert torch.autograd.gradgradcheck(loss, (z,))


def test_step_loss_gradient_equals_central_differences() -> None:
    group, labels = torch.tensor([0, 1, 1, 0, 2]), tensor(0.1, 0.9, 0.5, 0.0, 1.0)
    weights = tensor(0.3, 1.0, 2.0)

    def loss(z: Tensor) -> Tensor:
        return step_loss_by_group(z, labels, group, 3) @ weights

    z = LOGITS.clone().requires_grad_()
    gradient = torch.autograd.grad(loss(z), z)[0]
    torch.testing.assert_close(gradient, central_difference(loss, LOGITS), rtol=1e-7, atol=1e-9)
    assert torch.autograd.gradgradcheck(loss, (z,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(
    "values", [(50.0, 50.0), (-50.0, -50.0), (50.0, -50.0), (300.0, 800.0), (-300.0, -800.0)], ids=str
)
def test_extreme_logits_keep_finite_values_and_gradients(
    dtype: torch.dtype, aggregation: str, values: tuple[float, float]
) -> None:
    z = torch.tensor(values, dtype=dtype, requires_grad=True)
    value = aggregate_logit(z, torch.tensor([0, 0]), 1, aggregation=aggregation)
    loss = meta_loss(z, torch.tensor([0, 0]), torch.tensor([0.0]), aggregation=aggregation)
    # The square makes the linear forms twice differentiable too.
    first = torch.autograd.grad((value**2).sum() + loss, z, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), z)[0]
    assert torch.isfinite(value).all() and torch.isfinite(loss)
    assert torch.isfinite(first).all() and torch.isfinite(second).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prod_and_mean_keep_their_digits_at_50(dtype: torch.dtype) -> None:
    cot = torch.tensor([0, 0])
    high, low = torch.tensor([50.0, 50.0], dtype=dtype), torch.tensor([-50.0, -50.0], dtype=dtype)

    def value(z: Tensor, aggregation: str) -> float:
        return aggregate_logit(z, cot, 1, aggregation=aggregation).item()

    # prod of two (1 - e^-50): 1 - P = 2 e^-50. prod of two e^-50 is e^-100. Means are e^50 and e^-50 in odds.
    precision = 4 * torch.finfo(dtype).eps
    assert value(high, "prod") == pytest.approx(50 - math.log(2), rel=precision)
    assert value(low, "prod") == pytest.approx(-100.0, rel=precision)
    assert value(high, "mean") == pytest.approx(50.0, rel=precision)
    assert value(low, "mean") == pytest.approx(-50.0, rel=precision)


def test_prod_is_continuous_where_its_two_forms_meet() -> None:
    # log P = -0.5 at this logit; the true derivative of A there is 1.
    meeting = logit(math.exp(-0.5))
    z = tensor(meeting - 1e-9, meeting + 1e-9)
    values = aggregate_logit(z, torch.tensor([0, 1]), 2, aggregation="prod")
    torch.testing.assert_close(values, z, rtol=1e-12, atol=1e-14)


def test_language_model_loss_and_likelihood_by_hand() -> None:
    logits = torch.log(tensor(1, 3, 4, 8, 1, 7).reshape(3, 2)).requires_grad_()
    targets, rows = torch.tensor([1, 0, 1]), torch.tensor([1, 0, 1])
    # Probabilities of the targets: 3/4, 4/12, 7/8.
    by_row = tensor(math.log(1 / 3), math.log(21 / 32), 0.0)
    torch.testing.assert_close(
        sequence_log_likelihood(logits, targets, rows, 3), by_row, rtol=1e-12, atol=1e-12
    )
    assert language_model_loss(logits, targets).item() == pytest.approx(-by_row.sum().item() / 3, rel=1e-12)
    assert language_model_loss(logits.bfloat16(), targets).dtype == torch.float32


def test_unknown_names_and_temperatures_are_refused() -> None:
    with pytest.raises(UserError, match="unknown aggregation 'sum'; use one of sum_log_odds, mean_log_odds"):
        aggregate_logit(LOGITS, COT, 2, aggregation="sum")
    with pytest.raises(UserError, match="temperature must be > 0, got 0"):
        aggregate(LOGITS, COT, 2, temperature=0.0)
    with pytest.raises(UserError, match="temperature must be > 0, got nan"):
        aggregate(LOGITS, COT, 2, temperature=math.nan)
    with pytest.raises(UserError, match="unknown meta_loss 'steps'; use one of aggregation, step"):
        meta_loss(LOGITS, COT, tensor(1.0, 0.0), kind="steps")
