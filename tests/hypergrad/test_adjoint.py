"""`adjoint`: its policies give the same bits, its passes are as few as it says, its settings are checked.

That it equals `unrolled` on every problem and optimizer is in test_exactness.py.
"""

from itertools import product

import pytest
import torch
from bilevel_problems import PROBLEMS, domain_single, domains_mixed_with_rest, logistic, mlp_plain
from oracles import relative_error

from dreamprm.hypergrad import AdamW, build_estimator
from dreamprm.hypergrad.offload import OFFLOADS
from dreamprm.hypergrad.trajectory import CHECKPOINTS

POLICIES = [
    {"checkpoint": checkpoint, "offload": offload} for checkpoint, offload in product(CHECKPOINTS, OFFLOADS)
]
CLIPPED = AdamW(lr=1e-2, max_grad_norm=0.4, weight_decay=lambda name: 0.1 if name.startswith("w") else 0.0)


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("factory", [domain_single, domains_mixed_with_rest, mlp_plain])
@pytest.mark.parametrize("derivative", ["double_backward", "forward_difference"])
def test_every_policy_gives_the_same_bits(factory, derivative, donate):
    def run(**settings):
        case = factory(optimizer=CLIPPED)
        case.batches = case.batches * 2
        return case.run(
            build_estimator("adjoint", derivative=derivative, **settings), steps=11, donate=donate
        )

    want = run()
    for policy in POLICIES:
        got = run(**policy)
        for mine, theirs in (
            (got.alpha_grad, want.alpha_grad),
            (got.params, want.params),
            (got.state.exp_avg, want.state.exp_avg),
            (got.state.exp_avg_sq, want.state.exp_avg_sq),
        ):
            assert all(torch.equal(mine[name], theirs[name]) for name in theirs), policy
        for mine, theirs in zip(got.stats.get("influences", []), want.stats.get("influences", [])):
            assert torch.equal(mine, theirs), policy


@pytest.mark.parametrize("steps", range(1, 21))
def test_equals_unrolled_for_every_length_of_window(steps):
    case = domains_mixed_with_rest()
    case.batches = case.batches * 4
    want = case.run(build_estimator("unrolled"), steps=steps).alpha_grad
    assert relative_error(case.run(build_estimator("adjoint"), steps=steps).alpha_grad, want) < 1e-10


@pytest.mark.parametrize(
    "derivative", ["double_backward", "central_difference", "forward_difference", "forward_mode"]
)
@pytest.mark.parametrize("factory", PROBLEMS.values(), ids=list(PROBLEMS))
def test_counts_the_passes_it_takes(factory, derivative):
    case, count = factory(), []
    name = "_inner_losses" if case.problem.structured else "_inner_loss"
    inner = getattr(case.problem, name)
    setattr(case.problem, name, lambda *given: (count.append(1), inner(*given))[1])
    window = case.run(build_estimator("adjoint", derivative=derivative))
    # a pass in forward mode carries values and tangents, and is counted as two
    dual = 4 + (1 if window.stats["forward"] - 6 > 8 else 0) if derivative == "forward_mode" else 0
    assert window.stats["forward"] == len(count) + 1 + dual
    products = {
        "double_backward": 11,  # of the last step the graph is kept
        "central_difference": 8,
        "forward_difference": 4,
        "forward_mode": 8,
    }[derivative]
    alone = 2 if derivative == "double_backward" and window.stats["backward"] > 17 else 0
    assert window.stats["backward"] == 6 + products + alone


def test_a_single_loss_needs_no_pass_at_the_first_step():
    window = domain_single().run(build_estimator("adjoint"), steps=1)
    assert (window.stats["forward"], window.stats["backward"]) == (2, 2)


def test_influences_are_the_slopes_of_each_loss_in_its_weight():
    case = domains_mixed_with_rest()
    window = case.run(build_estimator("adjoint"))
    assert [influence.shape for influence in window.stats["influences"]] == [(2,)] * 5
    assert "influences" not in mlp_plain().run(build_estimator("adjoint")).stats


@pytest.mark.parametrize("radius, error", [(1e-2, 1e-3), (1e-4, 1e-7)])
def test_the_radius_sets_the_error_of_a_difference(radius, error):
    case = logistic()
    want = case.run(build_estimator("adjoint")).alpha_grad
    got = case.run(build_estimator("adjoint", derivative="central_difference", radius=radius)).alpha_grad
    # truncation r^2/6 |L'''/L'|: below r^2 times ten, and far from 0 at the larger radius
    assert relative_error(got, want) < error
    if radius == 1e-2:
        assert relative_error(got, want) > 1e-8


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"derivative": "exact"}, "unknown derivative 'exact'; known: double_backward, "),
        ({"checkpoint": "some"}, "checkpoint must be one of recompute, keep, got 'some'"),
        ({"offload": "gpu"}, "offload must be one of none, cpu, disk, got 'gpu'"),
        ({"radius": 0.0}, "radius must be > 0, got 0.0; use None"),
        ({"radius": float("nan")}, "radius must be > 0, got nan"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        build_estimator("adjoint", **settings)


def test_an_operation_without_forward_mode_is_named_in_a_window():
    case = mlp_plain()
    inner = case.problem._inner_loss
    case.problem._inner_loss = lambda params, alpha, batch: inner(
        {**params, "w2": torch.nn.functional.silu(params["w2"])}, alpha, batch
    )
    with pytest.raises(NotImplementedError, match="forward_mode takes a derivative.*silu_backward"):
        case.run(build_estimator("adjoint", derivative="forward_mode"))


@pytest.mark.parametrize("keep_graphs", [0, 1, 3, 9])
@pytest.mark.parametrize("factory", PROBLEMS.values(), ids=list(PROBLEMS))
def test_kept_graphs_change_the_passes_and_nothing_else(factory, keep_graphs):
    case = factory()
    for steps in (5, 1):
        want = case.run(build_estimator("unrolled"), steps=steps)
        got = case.run(build_estimator("adjoint", keep_graphs=keep_graphs), steps=steps)
        assert relative_error(got.alpha_grad, want.alpha_grad) < 1e-10
        assert relative_error(got.params, want.params) < 1e-12
    none = case.run(build_estimator("adjoint", keep_graphs=0))
    got = case.run(build_estimator("adjoint", keep_graphs=keep_graphs), donate=False)
    products = min(keep_graphs, 4)  # the first step has none
    assert none.stats["backward"] - got.stats["backward"] == products
    assert none.stats["forward"] - got.stats["forward"] == products


def test_graphs_are_kept_for_double_backward_only():
    with pytest.raises(ValueError, match="keep_graphs=2 is only read with derivative=double_backward"):
        build_estimator("adjoint", derivative="central_difference", keep_graphs=2)
    build_estimator("adjoint", derivative="central_difference")  # its default is ignored there
    with pytest.raises(ValueError, match="keep_graphs must be >= 0, got -1; use 0"):
        build_estimator("adjoint", keep_graphs=-1)
