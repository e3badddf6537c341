"""States taken from torch.optim objects and given back: one training, whoever takes the steps."""

import copy

import pytest
import torch

from dreamprm.hypergrad import SGD, Adam, AdamW, BilevelProblem, Muon, build_estimator, from_torch, to_torch

MAKE = {
    "adamw": lambda params: torch.optim.AdamW(params, lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1),
    "adam": lambda params: torch.optim.Adam(params, lr=1e-2, weight_decay=0.1, eps=1e-6),
    "adam-amsgrad": lambda params: torch.optim.Adam(params, lr=1e-2, amsgrad=True),
    "sgd": lambda params: torch.optim.SGD(params, lr=1e-2),
    "sgd-momentum": lambda params: torch.optim.SGD(
        params, lr=1e-2, momentum=0.9, dampening=0.3, weight_decay=0.1
    ),
    "sgd-nesterov": lambda params: torch.optim.SGD(params, lr=1e-2, momentum=0.9, nesterov=True),
    "muon": lambda params: torch.optim.Muon(params, lr=1e-2),
}
CLASSES = {"adamw": AdamW, "adam": Adam, "sgd": SGD, "muon": Muon}


def _model(*, bias: bool = False) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 3, bias=bias).double()


def _loss(params, alpha, batch):
    x = batch @ params["weight"].T + params.get("bias", 0.0)
    return (torch.tanh(x) * alpha["scale"]).square().mean()


PROBLEM = BilevelProblem(_loss, _loss)
ALPHA = {"scale": torch.ones((), dtype=torch.float64)}
BATCHES = [
    torch.randn(5, 4, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(9)
]


def _train(model, optimizer, batches):
    for batch in batches:
        optimizer.zero_grad()
        _loss(dict(model.named_parameters()), ALPHA, batch).backward()
        optimizer.step()


@pytest.mark.parametrize("taken", [0, 3])
@pytest.mark.parametrize("name", list(MAKE))
def test_a_window_in_the_middle_of_a_training_by_torch(name, taken):
    whole, parted = _model(), _model()
    reference, optimizer = MAKE[name](whole.parameters()), MAKE[name](parted.parameters())
    _train(whole, reference, BATCHES)

    _train(parted, optimizer, BATCHES[:taken])
    params = dict(parted.named_parameters())
    inner, state = from_torch(optimizer, params)
    assert type(inner) is CLASSES[name.partition("-")[0]]
    assert state.step == (taken if "adam" in name else int(taken > 0 and name != "sgd"))
    window = build_estimator("adjoint").run_window(
        PROBLEM, inner, params, state, ALPHA, inner_batches=BATCHES[taken:6], outer_batch=BATCHES[0]
    )
    to_torch(optimizer, params, state=window.state, values=window.params)
    _train(parted, optimizer, BATCHES[6:])
    torch.testing.assert_close(parted.weight, whole.weight, rtol=1e-9, atol=1e-11)
    for p, q in zip(parted.parameters(), whole.parameters()):
        assert optimizer.state[p].keys() == {
            key for key, value in reference.state[q].items() if value is not None
        }
        if "step" in reference.state[q]:
            assert optimizer.state[p]["step"] == reference.state[q]["step"] == 9


def test_groups_may_differ_in_their_weight_decay():
    model = _model(bias=True)
    params = dict(model.named_parameters())
    groups = [{"params": [params["weight"]], "weight_decay": 0.2}, {"params": [params["bias"]]}]
    inner, _ = from_torch(torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.0), params, max_grad_norm=1.0)
    assert (inner.decay("weight"), inner.decay("bias"), inner.max_grad_norm) == (0.2, 0.0, 1.0)


def test_the_arguments_of_to_torch_stay_whole():
    model = _model()
    params, optimizer = dict(model.named_parameters()), MAKE["adam"](model.parameters())
    _train(model, optimizer, BATCHES[:2])
    _, state = from_torch(optimizer, params)
    before = copy.deepcopy(state.moments)
    to_torch(optimizer, params, state=state)
    _train(model, optimizer, BATCHES[2:4])
    for kind, moments in before.items():
        assert torch.equal(state.moments[kind]["weight"], moments["weight"])


def _groups(**second):
    params = dict(_model(bias=True).named_parameters())
    return params, [{"params": [params["weight"]]}, {"params": [params["bias"]], **second}]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda g: torch.optim.AdamW(g, lr=1.0), r"the groups differ in lr \(1.0, 0.5\)"),
        (
            lambda g: torch.optim.RMSprop(g, lr=0.5),
            "RMSprop has no counterpart here; known: Adam, AdamW, SGD",
        ),
        (lambda g: torch.optim.AdamW(g, lr=0.5, maximize=True), "maximize=True has no counterpart"),
        (lambda g: torch.optim.AdamW(g, lr=0.5, amsgrad=True), "AdamW with amsgrad=True has no counterpart"),
        (
            lambda g: torch.optim.Adam(g[:1], lr=0.5),
            "2 .*, 1 .* are the same|1 are in its groups, 2 were given",
        ),
        (lambda g: torch.optim.SGD(g, lr=torch.tensor(0.5)), "lr is a tensor: give torch.optim the number"),
    ],
)
def test_what_has_no_counterpart_is_refused(make, message):
    params, groups = _groups(lr=0.5)
    with pytest.raises(ValueError, match=message):
        from_torch(make(groups), params)


def test_counts_that_differ_are_refused():
    model = _model(bias=True)
    params = dict(model.named_parameters())
    optimizer = torch.optim.Adam(params.values())
    params["weight"].grad = torch.ones_like(params["weight"])
    optimizer.step()
    with pytest.raises(ValueError, match="stepped different numbers of times: 1, never"):
        from_torch(optimizer, params)
    sgd = torch.optim.SGD(params.values(), lr=0.1, momentum=0.9, dampening=0.2)
    sgd.step()
    with pytest.raises(ValueError, match="some parameters have no momentum yet, and dampening"):
        from_torch(sgd, params)


def test_the_step_is_given_where_torch_keeps_none():
    model = _model()
    params, optimizer = dict(model.named_parameters()), MAKE["sgd-momentum"](model.parameters())
    _train(model, optimizer, BATCHES[:2])
    assert from_torch(optimizer, params, step=2)[1].step == 2
    with pytest.raises(ValueError, match="step must be >= 1, got 0"):
        from_torch(optimizer, params, step=0)
    adam = MAKE["adam"](model.parameters())
    _train(model, adam, BATCHES[:2])
    with pytest.raises(ValueError, match="step must be that of the optimizer, 2, got 3; leave it out"):
        from_torch(adam, params, step=3)


def test_a_state_of_another_kind_is_not_given_back():
    model = _model()
    params = dict(model.named_parameters())
    with pytest.raises(
        ValueError, match="has the moments exp_avg, exp_avg_sq, but torch.optim.SGD keeps mom"
    ):
        to_torch(MAKE["sgd-momentum"](model.parameters()), params, state=AdamW().init(params))
