"""The two forms of a problem: the same inner loss, and what is refused."""

import pytest
import torch
from bilevel_problems import domains_mixed, domains_mixed_with_rest

from dreamprm.hypergrad import BilevelProblem


def _scalar(*arguments):
    return torch.zeros(())


def _vector(*arguments):
    return torch.zeros(2)


def test_structured_inner_loss_is_the_weighted_mean_plus_the_unweighted_term():
    problem = BilevelProblem(
        outer_loss=_scalar,
        inner_losses=lambda params, batch: params["w"] * batch,
        weights=lambda alpha, batch, losses: alpha["a"] + losses,
        unweighted_loss=lambda params, batch: params["w"].sum(),
    )
    params, alpha = {"w": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 5.0])}
    # losses (10, 20), weights (13, 25): (130 + 500) / 2 + 3
    assert problem.structured and problem.has_unweighted_loss
    assert problem.inner_loss(params, alpha, 10.0).item() == 318.0
    assert problem.weighted_loss(params, alpha, 10.0).item() == 315.0


def test_losses_reach_the_weights_detached():
    seen = []

    def weights(alpha, batch, losses):
        seen.append(losses)
        return losses

    problem = BilevelProblem(
        outer_loss=_scalar, inner_losses=lambda params, batch: params["w"], weights=weights
    )
    w = torch.tensor([2.0, 3.0], requires_grad=True)
    problem.inner_loss({"w": w}, {}, None).backward()
    assert not seen[0].requires_grad
    assert torch.equal(w.grad, torch.tensor([1.0, 1.5]))  # w_i / 2, not 2 w_i / 2


def test_both_forms_of_one_problem_agree():
    case = domains_mixed()
    structured = case.problem
    plain = BilevelProblem(structured.inner_loss, structured.outer_loss)
    assert not plain.structured and not plain.has_unweighted_loss
    assert not structured.has_unweighted_loss and domains_mixed_with_rest().problem.has_unweighted_loss
    arguments = (case.params, case.alpha, case.batches[0])
    assert torch.equal(plain.inner_loss(*arguments), structured.inner_loss(*arguments))


@pytest.mark.parametrize(
    "given, message",
    [
        ({"inner_loss": _scalar}, "outer_loss is missing"),
        ({"outer_loss": _scalar}, "incomplete: got nothing; give inner_loss"),
        ({"outer_loss": _scalar, "weights": _vector}, "incomplete: got weights"),
        ({"outer_loss": _scalar, "inner_losses": _vector}, "incomplete: got inner_losses"),
        (
            {"outer_loss": _scalar, "inner_loss": _scalar, "weights": _vector},
            "inner_loss and weights were both",
        ),
        ({"outer_loss": _scalar, "inner_loss": _scalar, "unweighted_loss": _scalar}, "both given"),
        ({"outer_loss": 3.0, "inner_loss": _scalar}, "outer_loss must be callable, got float"),
    ],
)
def test_incomplete_or_contradictory_forms_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        BilevelProblem(**given)


def test_losses_of_the_wrong_shape_are_refused():
    plain = BilevelProblem(_vector, lambda *arguments: 1.0)
    with pytest.raises(ValueError, match=r"inner_loss must return a scalar .* got shape \(2,\); reduce it"):
        plain.inner_loss({}, {}, None)
    with pytest.raises(ValueError, match="outer_loss must return a scalar tensor .* got float"):
        plain.outer_loss({}, {}, None)
    structured = BilevelProblem(
        outer_loss=_scalar,
        inner_losses=_scalar,
        weights=lambda *arguments: torch.ones(3),
        unweighted_loss=_vector,
    )
    with pytest.raises(ValueError, match=r"must return a vector \(n,\) with n >= 1, got shape \(\)"):
        structured.inner_losses({}, None)
    with pytest.raises(ValueError, match=r"one weight per loss, shape \(2,\), got \(3,\)"):
        structured.weights({}, None, torch.zeros(2))
    with pytest.raises(ValueError, match="unweighted_loss must return a scalar"):
        structured.unweighted_loss({}, None)
