"""What torch refuses in a loss, and what the message then says to change."""

import pytest
import torch
from bilevel_problems import Case, logistic
from estimator_table import ROWS
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dreamprm.hypergrad import AdamW, BilevelProblem, build_estimator

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(16) % 3
LABELLED = ["none", "unrolled", "adjoint", "adjoint-difference", "first_order", "finite_difference", "cg"]


def _case(inner) -> Case:
    return Case(
        BilevelProblem(inner, lambda params, alpha, batch: F.cross_entropy(X @ params["w"], LABELS)),
        {"w": torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)},
        {"a": torch.zeros(16, dtype=torch.float64)},
        [0] * 3,
        None,
        optimizer=AdamW(lr=1e-2),
        warm_steps=0,
    )


def _weighted(logits, alpha):
    return (alpha["a"].exp() * F.cross_entropy(logits, LABELS, reduction="none")).mean()


@pytest.mark.parametrize("label", LABELLED)
def test_reentrant_checkpoints_name_the_flag(label):
    def inner(params, alpha, batch, reentrant=True):
        return _weighted(checkpoint(lambda w: (X @ w).tanh(), params["w"], use_reentrant=reentrant), alpha)

    with pytest.raises(NotImplementedError, match="^reentrant .* set use_reentrant=False"):
        _case(inner).run(ROWS[label].build())
    other = _case(lambda *given: inner(*given, reentrant=False)).run(ROWS[label].build())
    whole = _case(lambda p, a, b: _weighted((X @ p["w"]).tanh(), a)).run(ROWS[label].build())
    torch.testing.assert_close(other.alpha_grad, whole.alpha_grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("label", LABELLED)
def test_sparse_embeddings_name_the_flag(label):
    tokens = torch.arange(16) % 4

    def inner(params, alpha, batch):
        return _weighted(F.embedding(tokens, params["w"], sparse=True), alpha)

    with pytest.raises(NotImplementedError, match=r"shape \(4, 3\) is sparse; set sparse=False"):
        _case(inner).run(ROWS[label].build())


@pytest.mark.parametrize("label", LABELLED)
def test_data_made_under_inference_mode_is_named(label):
    with torch.inference_mode():
        x = X.clone()
    with pytest.raises(ValueError, match=r"made under torch.inference_mode\(\): clone\(\) it outside"):
        _case(lambda p, a, b: _weighted(x @ p["w"], a)).run(ROWS[label].build())


@pytest.mark.parametrize("label", ["adjoint-forward_mode", "first_order-forward_mode"])
def test_forward_mode_at_log_softmax_names_another_kind(label):
    case = _case(lambda p, a, b: F.cross_entropy(X @ p["w"] * a["a"].exp().mean(), LABELS))
    with pytest.raises(NotImplementedError, match="log_softmax and cross_entropy .* take double_backward"):
        case.run(ROWS[label].build())
    other = {"adjoint-forward_mode": "adjoint", "first_order-forward_mode": "first_order"}[label]
    assert case.run(ROWS[other].build()).status == "ok"


@pytest.mark.parametrize("label", LABELLED)
def test_in_place_operations_on_what_a_derivative_needs_are_named(label):
    def inner(params, alpha, batch):
        z = (X @ params["w"]).exp()
        y = z * alpha["a"].exp()[:, None]
        z.add_(1.0)
        return _weighted(y * z, alpha)

    with pytest.raises(NotImplementedError, match="overwrites in place .* write it out of place"):
        _case(inner).run(ROWS[label].build())


@pytest.mark.parametrize("label", LABELLED)
def test_a_batch_on_another_device_is_named(label):
    with pytest.raises(ValueError, match="different devices: move the batches"):
        _case(lambda p, a, b: _weighted(X.to("meta") @ p["w"], a)).run(ROWS[label].build())


@pytest.mark.parametrize("label", ["none", "adjoint", "first_order"])
def test_a_graph_used_twice_is_named(label):
    a = torch.ones(4, dtype=torch.float64, requires_grad=True)
    shared = (a * 2.0).exp()
    case = _case(lambda p, alpha, b: _weighted((X * shared) @ p["w"], alpha))
    case.alpha = {"a": case.alpha["a"]}
    try:
        window = case.run(ROWS[label].build())
    except ValueError as error:
        assert "anew in each call, or detach it" in str(error)
    else:
        assert window.status == "ok"


def test_other_errors_of_a_loss_come_through():
    case = logistic()
    case.problem = BilevelProblem(lambda p, a, b: p["w"].reshape(3, 9).sum(), lambda p, a, b: p["w"].sum())
    with pytest.raises(RuntimeError, match="shape '\\[3, 9\\]' is invalid"):
        case.run(build_estimator("adjoint"))
