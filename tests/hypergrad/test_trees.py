"""Params and alpha in any structure: losses and results get it back, and the numbers are those of a dict."""

from collections import OrderedDict
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from bilevel_problems import Case, mlp_plain
from estimator_table import ROWS

from dreamprm.hypergrad import SGD, AdamW, Audit, BilevelProblem, build_estimator
from dreamprm.hypergrad.trees import named

SOME = ["none", "unrolled", "adjoint", "adjoint-difference", "first_order", "cg", "finite_difference"]


@dataclass
class Layer:
    w: Any
    b: Any
    name: str = "layer"


@dataclass(frozen=True)
class Net:
    first: Any
    head: Any


class Pair(NamedTuple):
    first: Any
    head: Any


def _dataclasses(p):
    return Net(Pair(p["w1"], p["b1"]), {"w": p["w2"], "rest": [p["unused"]]})


FORMS = {
    "nested dicts": (
        lambda p: {"first": {"w": p["w1"], "b": p["b1"]}, "head": {"w": p["w2"]}, "unused": p["unused"]},
        lambda t: {
            "w1": t["first"]["w"],
            "b1": t["first"]["b"],
            "w2": t["head"]["w"],
            "unused": t["unused"],
        },
        ["first.w", "first.b", "head.w", "unused"],
    ),
    "tuple": (
        lambda p: (p["w1"], p["b1"], p["w2"], p["unused"]),
        lambda t: dict(zip(("w1", "b1", "w2", "unused"), t)),
        ["0", "1", "2", "3"],
    ),
    "lists": (
        lambda p: [[p["w1"], p["b1"]], [p["w2"], p["unused"]]],
        lambda t: {"w1": t[0][0], "b1": t[0][1], "w2": t[1][0], "unused": t[1][1]},
        ["0.0", "0.1", "1.0", "1.1"],
    ),
    "dataclasses": (
        _dataclasses,
        lambda t: {"w1": t.first.first, "b1": t.first.head, "w2": t.head["w"], "unused": t.head["rest"][0]},
        ["first.first", "first.head", "head.w", "head.rest.0"],
    ),
    "integer keys": (
        lambda p: {0: p["w1"], 1: p["b1"], 2: {3: p["w2"]}, 4: p["unused"]},
        lambda t: {"w1": t[0], "b1": t[1], "w2": t[2][3], "unused": t[4]},
        ["0", "1", "2.3", "4"],
    ),
    "ordered": (
        lambda p: OrderedDict(net=OrderedDict(w=p["w1"], b=p["b1"]), rest=(p["w2"], p["unused"])),
        lambda t: {"w1": t["net"]["w"], "b1": t["net"]["b"], "w2": t["rest"][0], "unused": t["rest"][1]},
        ["net.w", "net.b", "rest.0", "rest.1"],
    ),
    "mapping": (
        lambda p: MappingProxyType({"a": {"w": p["w1"]}, "b": p["b1"], "c": p["w2"], "d": p["unused"]}),
        lambda t: {"w1": t["a"]["w"], "b1": t["b"], "w2": t["c"], "unused": t["d"]},
        ["a.w", "b", "c", "d"],
    ),
}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))


def _in_form(case: Case, form) -> Case:
    make, back, _ = form
    inner, outer = case.problem._inner_loss, case.problem._outer_loss
    problem = BilevelProblem(
        lambda p, a, b: inner(back(p), {"raw": a[0]["raw"], "idle": a[1]}, b),
        lambda p, a, b: outer(back(p), {"raw": a[0]["raw"], "idle": a[1]}, b),
    )
    params = make(case.params)
    alpha = ({"raw": case.alpha["raw"]}, case.alpha["idle"])
    made = Case(
        problem,
        params,
        alpha,
        case.batches,
        case.outer_batch,
        state=case.optimizer.init(params),
        warm_steps=0,
    )
    return made


@forms
@pytest.mark.parametrize("label", SOME)
def test_the_numbers_are_those_of_a_dict_and_the_structure_is_kept(label, form):
    make, back, names = form
    plain = mlp_plain(warm_steps=0)
    case = _in_form(mlp_plain(warm_steps=0), form)
    want, got = plain.run(ROWS[label].build()), case.run(ROWS[label].build())
    assert list(named(case.params, kind="params")) == names
    assert type(got.params) is type(case.params if form[0] is not FORMS["mapping"][0] else {})
    assert all(torch.equal(p, want.params[name]) for name, p in back(got.params).items())
    assert type(got.alpha_grad) is tuple and got.status is want.status
    assert torch.equal(got.alpha_grad[0]["raw"], want.alpha_grad["raw"])
    assert torch.equal(got.alpha_grad[1], want.alpha_grad["idle"])
    again = (
        ROWS[label]
        .build()
        .run_window(  # the window's state goes on
            case.problem,
            case.optimizer,
            got.params,
            got.state,
            case.alpha,
            inner_batches=case.batches[5:7],
            outer_batch=case.outer_batch,
        )
    )
    assert again.state.step == 7


def test_one_tensor_is_a_structure():
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    problem = BilevelProblem(
        lambda w, a, b: (a.exp() * (x @ w - 1).square()).mean(), lambda w, a, b: (x @ w).square().mean()
    )
    w, a, optimizer = torch.ones(3, dtype=torch.float64), torch.zeros(6, dtype=torch.float64), AdamW()
    window = build_estimator("adjoint").run_window(
        problem, optimizer, w, optimizer.init(w), a, inner_batches=[0, 0], outer_batch=None
    )
    assert window.params.shape == (3,) and window.alpha_grad.shape == (6,)
    upper = AdamW(lr=0.1)
    new, state = upper.step(a, window.alpha_grad, state=upper.init(a))
    assert new.shape == (6,) and state.step == 1 and not torch.equal(new, a)


@forms
@pytest.mark.parametrize("optimizer", [AdamW(lr=0.1), SGD(lr=0.1, momentum=0.9)], ids=["adamw", "sgd"])
def test_an_optimizers_step_keeps_the_structure(optimizer, form):
    make, back, _ = form
    params = {name: p.clone() for name, p in mlp_plain(warm_steps=0).params.items()}
    grads = {name: torch.full_like(p, 0.5) for name, p in params.items()}
    want, _ = optimizer.step(params, grads, state=optimizer.init(params))
    tree = make(params)
    got, state = optimizer.step(tree, make(grads), state=optimizer.init(tree))
    assert state.step == 1 and all(torch.equal(p, want[name]) for name, p in back(got).items())


def test_a_dict_of_tensors_is_passed_through():
    params = {"w": torch.ones(2), "b.c": torch.ones(1)}
    assert named(params, kind="params") == params
    problem = mlp_plain().problem
    assert problem.rebuilding(None, None) is problem


def test_names_in_messages_are_paths():
    case = _in_form(mlp_plain(warm_steps=0), FORMS["dataclasses"])
    net: Any = case.params
    tree: Any = Net(Pair(torch.ones(2, dtype=torch.long), net.first.head), net.head)
    case.params = tree
    with pytest.raises(
        ValueError, match=r"params\['first.first'\] must be a floating-point tensor, got torch"
    ):
        case.run(build_estimator("none"))
    with pytest.raises(ValueError, match="two tensors of the path 'a.b'"):
        named({"a": {"b": torch.ones(1)}, "a.b": torch.ones(1)}, kind="params")
    with pytest.raises(
        ValueError, match=r"params\['layers.0.name'\] must be a floating-point tensor, got str"
    ):
        params = {"layers": [Layer(torch.ones(1), torch.ones(1))]}
        build_estimator("none").run_window(
            case.problem, AdamW(), params, case.state, {}, inner_batches=[0], outer_batch=None
        )


def test_an_audit_takes_structures_and_patterns_of_paths():
    case = _in_form(mlp_plain(warm_steps=0), FORMS["nested dicts"])
    result = Audit(every=1, params=("first.*",)).compare(
        build_estimator("first_order"),
        case.problem,
        case.optimizer,
        case.params,
        case.state,
        case.alpha,
        inner_batches=case.batches[:2],
        outer_batch=case.outer_batch,
    )
    assert result.cosine > 0.9 and 0 < result.share < 1
