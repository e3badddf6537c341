"""Problems as other libraries pose them: the exact kinds against central differences, and each other."""

import pytest
import torch
from bilevel_problems import Case
from oracles import relative_error
from torch.nn import functional as F

from dreamprm.hypergrad import SGD, AdamW, BilevelProblem, Status, build_estimator

ROWS = torch.arange(40)


def _draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, TEACHER = _draw(0, 40, 4), _draw(1, 4, 3)
LABELS = (X @ TEACHER).argmax(1)
Z = _draw(2, 20, 4)
RIGHT = (Z @ TEACHER).argmax(1)


def _judge(params, alpha, batch):
    return F.cross_entropy(Z @ params["w"], RIGHT)


def _case(inner, alpha, *, outer=_judge, params=None, optimizer=None):
    batches = [ROWS[torch.arange(8 * t, 8 * t + 8) % 40] for t in range(50)]
    params = params or {"w": 0.1 * _draw(3, 4, 3)}
    problem = inner if isinstance(inner, BilevelProblem) else BilevelProblem(inner, outer)
    return Case(problem, params, alpha, batches, None, optimizer=optimizer or AdamW(lr=0.03))


def data_cleaning():
    """A weight for each of the samples, some of whose labels are wrong."""
    wrong = torch.where(ROWS % 4 == 0, (LABELS + 1) % 3, LABELS)

    def inner(params, alpha, rows):
        losses = F.cross_entropy(X[rows] @ params["w"], wrong[rows], reduction="none")
        return (alpha["sample"].sigmoid()[rows] * losses).mean() + 1e-3 * params["w"].square().sum()

    return _case(inner, {"sample": 0.3 * _draw(4, 40)})


def feature_penalty():
    """Logistic regression with an L2 penalty for each feature."""

    def inner(params, alpha, rows):
        penalty = (alpha["log"].exp()[:, None] * params["w"].square()).sum()
        return F.cross_entropy(X[rows] @ params["w"], LABELS[rows]) + 0.5 * penalty

    return _case(inner, {"log": _draw(5, 4) - 2.0}, optimizer=SGD(lr=0.1, momentum=0.9))


def distillation():
    """The training inputs themselves are alpha, a matrix."""
    classes = torch.arange(6) % 3

    def inner(params, alpha, rows):
        return F.cross_entropy(alpha["images"] @ params["w"], classes)

    return _case(inner, {"images": _draw(6, 6, 4)})


def meta_net():
    """A net maps each loss to its weight; the inner gradients are clipped.

    In structured form, whose weights see the losses as constants in all estimators alike. Of `detach()` in a
    plain loss differences and autograd make two derivatives.
    """

    def losses(params, rows):
        return F.cross_entropy(X[rows] @ params["w"], LABELS[rows], reduction="none")

    def weights(alpha, rows, losses):
        return (torch.tanh(losses[:, None] * alpha["v"] + alpha["c"]) @ alpha["u"]).sigmoid()

    return _case(
        BilevelProblem(outer_loss=_judge, inner_losses=losses, weights=weights),
        {"v": _draw(7, 5), "c": 0.1 * _draw(8, 5), "u": _draw(9, 5)},
        optimizer=AdamW(lr=0.03, max_grad_norm=0.2),
    )


def maml():
    """alpha is the start, params how far the task has moved from it."""

    def inner(params, alpha, rows):
        return F.cross_entropy(X[rows] @ (alpha["start"] + params["delta"]), LABELS[rows])

    def outer(params, alpha, batch):
        return F.cross_entropy(Z @ (alpha["start"] + params["delta"]), RIGHT)

    start = {"delta": torch.zeros(4, 3, dtype=torch.float64)}
    return _case(inner, {"start": 0.5 * _draw(10, 4, 3)}, outer=outer, params=start, optimizer=SGD(lr=0.2))


def group_lasso():
    """A smooth penalty on the norm of each feature's group."""

    def inner(params, alpha, rows):
        norms = (params["w"].square().sum(1) + 1e-2).sqrt()
        return F.cross_entropy(X[rows] @ params["w"], LABELS[rows]) + (alpha["log"].exp() * norms).sum()

    return _case(inner, {"log": _draw(11, 4) - 3.0})


def elastic_net():
    """Smooth L1 and L2 penalties with a strength each."""

    def inner(params, alpha, rows):
        w = params["w"]
        l1 = (w.square() + 1e-2).sqrt().sum()
        fit = F.cross_entropy(X[rows] @ w, LABELS[rows])
        return fit + alpha["l1"].exp() * l1 + alpha["l2"].exp() * w.square().sum()

    alpha = {"l1": torch.tensor(-3.0).double(), "l2": torch.tensor(-4.0).double()}
    return _case(inner, alpha)


PROBLEMS = [data_cleaning, feature_penalty, distillation, meta_net, maml, group_lasso, elastic_net]


# where the weights read the losses detached, differences of the whole window are no oracle: see meta_net
@pytest.mark.parametrize("steps", [1, 5, 20, 50])
@pytest.mark.parametrize("make", [one for one in PROBLEMS if one is not meta_net])
def test_adjoint_is_the_derivative_of_the_window(make, steps):
    case = make()

    def end(h):
        alpha = {name: a + h * direction[name] for name, a in case.alpha.items()}
        return case.run(build_estimator("none"), steps=steps, alpha=alpha).outer_loss

    window = case.run(build_estimator("adjoint"), steps=steps)
    assert window.status is Status.ok
    direction = {name: grad / grad.norm() for name, grad in window.alpha_grad.items()}
    slope = sum((window.alpha_grad[name] * d).sum() for name, d in direction.items())
    # truncation 1e-10 of third derivatives, which grow with the window
    assert float(slope) == pytest.approx(float(end(1e-5) - end(-1e-5)) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 20, 50])
@pytest.mark.parametrize("make", PROBLEMS)
def test_exact_kinds_and_differences_agree(make, steps):
    case = make()
    want = case.run(build_estimator("unrolled"), steps=steps).alpha_grad
    exact = case.run(build_estimator("adjoint"), steps=steps)
    assert relative_error(exact.alpha_grad, want) < 1e-10
    difference = case.run(build_estimator("adjoint", derivative="central_difference"), steps=steps)
    assert relative_error(difference.alpha_grad, want) < 1e-5
