"""Hessian-vector products and mixed derivatives against the dense second derivatives, in float64."""

import pytest
import torch
from bilevel_problems import PROBLEMS, domains_mixed, fused_attention, logistic, mlp_plain

from dreamprm.hypergrad import DERIVATIVES, BilevelProblem, DoubleBackward, build_estimator
from dreamprm.hypergrad.gradients import gradients, leaves
from dreamprm.hypergrad.products import Gradient, hvp, hvp_and_mixed

# Central: r^2/6 |L''''/L''| and 1e-16 |g|/(r |H d|) at r = 1e-4; one-sided: r/2 |L'''/L''| and the same
# rounding at r = 1e-7, a hundred times larger where the product is small beside the gradient.
TOLERANCE = {
    "double_backward": 1e-12,
    "forward_mode": 1e-12,
    "central_difference": 1e-6,
    "forward_difference": 1e-4,
}
problems = pytest.mark.parametrize("factory", PROBLEMS.values(), ids=list(PROBLEMS))
kinds = pytest.mark.parametrize("kind", list(DERIVATIVES))


def _direction(params, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in params.items()}


def _at(case):
    """Point, direction, batch, and the losses there."""
    batch = case.batches[4]
    losses = case.problem.inner_losses(case.params, batch) if case.problem.structured else None
    return batch, _direction(case.params), losses


def _dense(case, batch, direction, losses):
    """(H d, d/dalpha <d, grad L>, slopes) by autograd from the definitions, the weights' input held fixed."""
    phi, alpha = leaves(case.params), leaves(case.alpha)
    if losses is None:
        loss = case.problem.inner_loss(phi, alpha, batch)
    else:
        each = case.problem.inner_losses(phi, batch)
        loss = (case.problem.weights(alpha, batch, losses) * each).mean()
        if case.problem.has_unweighted_loss:
            loss = loss + case.problem.unweighted_loss(phi, batch)
    grads = gradients(loss, phi, create_graph=True)
    along = torch.stack([(grads[name] * direction[name]).sum() for name in phi]).sum()
    second = gradients(
        along, {**{("phi", n): p for n, p in phi.items()}, **{("alpha", n): a for n, a in alpha.items()}}
    )
    slopes = (
        None
        if losses is None
        else torch.stack(
            [
                sum(
                    (grad * direction[name]).sum()
                    for name, grad in gradients(case.problem.inner_losses(phi, batch)[i], phi).items()
                )
                for i in range(losses.numel())
            ]
        )
    )
    return ({n: second["phi", n] for n in phi}, {n: second["alpha", n] for n in alpha}, slopes)


def _close(got, want, tolerance):
    scale = torch.cat([w.flatten() for w in want.values()]).norm()
    assert scale > 0
    for name, wanted in want.items():
        assert got[name].shape == wanted.shape and not got[name].requires_grad
        assert float((got[name] - wanted).norm()) <= tolerance * float(scale)


@kinds
@problems
def test_products_equal_the_dense_second_derivatives(factory, kind):
    case = factory()
    batch, direction, losses = _at(case)
    want_hvp, want_alpha, want_slopes = _dense(case, batch, direction, losses)
    got = hvp_and_mixed(
        case.problem,
        case.params,
        case.alpha,
        batch=batch,
        direction=direction,
        derivative=DERIVATIVES[kind](),
        losses=losses,
    )
    _close(got.hvp, want_hvp, TOLERANCE[kind])
    _close(got.alpha, want_alpha, TOLERANCE[kind])
    if want_slopes is None:
        assert got.slopes is None
    else:
        _close({"slopes": got.slopes}, {"slopes": want_slopes}, TOLERANCE[kind])
    # the losses and the gradient at phi save passes and change rounding only
    alone = hvp(
        case.problem,
        case.params,
        case.alpha,
        batch=batch,
        direction=direction,
        derivative=DERIVATIVES[kind](),
    )
    _close(alone, want_hvp, TOLERANCE[kind])


@problems
def test_a_one_sided_difference_takes_one_pass_from_the_gradient_at_hand(factory):
    case, count = factory(), []
    batch, direction, losses = _at(case)
    name = "_inner_losses" if case.problem.structured else "_inner_loss"
    inner = getattr(case.problem, name)
    phi, alpha = leaves(case.params), leaves(case.alpha)
    loss = case.problem.inner_loss(phi, alpha, batch)
    upper = {} if case.problem.structured else alpha
    grads = torch.autograd.grad(loss, [*phi.values(), *upper.values()], materialize_grads=True)
    gradient = Gradient(dict(zip(phi, grads)), dict(zip(upper, grads[len(phi) :])) or None)
    setattr(case.problem, name, lambda *given: (count.append(1), inner(*given))[1])
    got = hvp_and_mixed(
        case.problem,
        case.params,
        case.alpha,
        batch=batch,
        direction=direction,
        derivative=DERIVATIVES["forward_difference"](),
        losses=losses,
        gradient=gradient,
    )
    assert len(count) == 1
    _close(got.hvp, _dense(case, batch, direction, losses)[0], TOLERANCE["forward_difference"])


@kinds
def test_the_point_is_left_as_it_was(kind):
    case = mlp_plain()
    batch, direction, losses = _at(case)
    before = {name: p.clone() for name, p in case.params.items()}
    hvp(
        case.problem,
        case.params,
        case.alpha,
        batch=batch,
        direction=direction,
        derivative=DERIVATIVES[kind](),
        losses=losses,
    )
    assert all(torch.equal(before[name], p) and not p.requires_grad for name, p in case.params.items())


@kinds
def test_along_nothing_there_is_nothing(kind):
    case = PROBLEMS["domains_mixed"]()
    batch, direction, losses = _at(case)
    zeros = {name: torch.zeros_like(d) for name, d in direction.items()}
    got = hvp_and_mixed(
        case.problem,
        case.params,
        case.alpha,
        batch=batch,
        direction=zeros,
        derivative=DERIVATIVES[kind](),
        losses=losses,
    )
    assert all(torch.equal(h, zeros[name]) for name, h in got.hvp.items())
    assert torch.equal(got.slopes, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["central_difference", "forward_difference"])
def test_entries_without_gradient_do_not_shrink_the_perturbation(kind):
    case = mlp_plain()  # `unused` is in no loss
    batch, direction, _ = _at(case)
    direction["unused"] = torch.full((3,), 1e9, dtype=torch.float64)
    phi = leaves(case.params)
    gradient = Gradient(gradients(case.problem.inner_loss(phi, case.alpha, batch), phi))
    got = hvp(
        case.problem,
        case.params,
        case.alpha,
        batch=batch,
        direction=direction,
        derivative=DERIVATIVES[kind](),
        gradient=gradient,
    )
    # with the norm of 1e9 the perturbation would be below the params' rounding
    _close(got, _dense(case, batch, direction, None)[0], TOLERANCE[kind])


@pytest.mark.parametrize("kind", [name for name, kind in DERIVATIVES.items() if kind.needs_second_order])
def test_a_derivative_that_an_operation_lacks_is_named_with_the_setting_that_works(kind):
    def losses(params, batch):
        w = params["w"].reshape(1, 1, 2, 2).float()
        if kind == "forward_mode":
            return torch.nn.functional.silu(w).sum().reshape(1)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            return torch.nn.functional.scaled_dot_product_attention(w, w, w).sum().reshape(1)

    case = logistic()
    problem = BilevelProblem(
        outer_loss=lambda *given: None,
        inner_losses=losses,
        weights=lambda alpha, batch, losses: alpha["penalty"].reshape(1),
    )
    with pytest.raises(NotImplementedError, match="derivative=central_difference.*the math backend"):
        hvp(
            problem,
            case.params,
            case.alpha,
            batch=None,
            direction=_direction(case.params),
            derivative=DERIVATIVES[kind](),
        )


def test_other_errors_pass_through():
    def broken(params, alpha, batch):
        raise RuntimeError("out of luck")

    case = logistic()
    with pytest.raises(RuntimeError, match="^out of luck$"):
        hvp(
            BilevelProblem(broken, broken),
            case.params,
            case.alpha,
            batch=None,
            direction=_direction(case.params),
            derivative=DoubleBackward(),
        )


def test_unrolled_names_the_estimator_that_works_on_fused_attention():
    with pytest.raises(NotImplementedError, match="^unrolled takes .*adjoint with it in place of unrolled"):
        fused_attention().run(build_estimator("unrolled"))
    assert fused_attention().run(build_estimator("adjoint", derivative="central_difference")).status == "ok"


@pytest.mark.parametrize(
    "name, settings",
    [
        ("first_order", {}),
        ("first_order", {"derivative": "forward_difference", "radius": 0.1}),
        ("adjoint", {"derivative": "central_difference"}),
        ("finite_difference", {}),
    ],
)
def test_differences_of_half_precision_params_are_refused(name, settings):
    case = domains_mixed()
    case.params["unused"] = case.params["unused"].bfloat16()  # the narrowest decides
    case.state = case.optimizer.init(case.params)
    with pytest.raises(ValueError, match="float32 or float64, got torch.bfloat16.*autocast.*double_backward"):
        case.run(build_estimator(name, **settings))


@pytest.mark.parametrize("kind", ["central_difference", "forward_difference"])
def test_a_direction_too_small_for_a_difference_counts_as_none(kind):
    case = fused_attention()
    direction = {"w": torch.full((16,), 1e-42)}  # radius / norm is beyond float32
    got = hvp_and_mixed(
        case.problem,
        case.params,
        case.alpha,
        batch=case.batches[0],
        direction=direction,
        derivative=DERIVATIVES[kind](),
    )
    assert torch.equal(got.hvp["w"], torch.zeros(16))
    assert torch.equal(got.alpha["raw"], torch.zeros(2))
