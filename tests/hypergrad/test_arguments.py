"""Arguments and settings that would give a wrong number unseen: refused by name, or made right."""

import math

import pytest
import torch
from bilevel_problems import Case, logistic, mlp_plain
from checked_rows import each
from estimator_table import ROWS, every_row

from dreamprm.hypergrad import (
    ESTIMATORS,
    SGD,
    Adam,
    AdamW,
    Adjoint,
    BilevelProblem,
    InnerOptimizer,
    Lion,
    LongWindow,
    Muon,
    build_estimator,
)

TENSORS = [torch.tensor(1e-3), torch.tensor(1e-3, requires_grad=True), torch.nn.Parameter(torch.ones(1))]
OPTIMIZERS = [AdamW, Adam, SGD, Lion, Muon]


@each("value", dict(zip(["plain", "requires_grad", "parameter"], TENSORS)))
@pytest.mark.parametrize("key", ["lr", "weight_decay", "max_grad_norm"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_tensor_as_a_setting_of_an_optimizer_is_refused(kind, key, value):
    with pytest.raises(ValueError, match=f"{key} must be a number, got a tensor of shape"):
        kind(**{key: value})


@pytest.mark.parametrize(
    "settings, name",
    [
        ({"eps": torch.tensor(1e-8)}, "eps"),
        ({"betas": (torch.tensor(0.9), 0.999)}, "betas"),
        ({"betas": (0.9, torch.tensor(0.999, requires_grad=True))}, "betas"),
        ({"betas": torch.tensor([0.9, 0.99])}, "betas"),
    ],
)
@pytest.mark.parametrize("kind", [AdamW, Adam])
def test_tensors_as_eps_or_betas_are_refused(kind, settings, name):
    with pytest.raises(ValueError, match=f"{name} must be a number, got a tensor"):
        kind(**settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"lr": lambda step: torch.tensor(0.1, requires_grad=True)},
            r"lr\(0\) must be a number, got a tensor",
        ),
        ({"lr": lambda step: None}, r"lr\(0\) must be a number, got None"),
        (
            {"weight_decay": lambda name: torch.tensor(0.1)},
            r"weight_decay\('w'\) must be a number, got a tens",
        ),
    ],
)
def test_callables_that_return_no_number_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        logistic(optimizer=AdamW(**settings), warm_steps=0).run(build_estimator("adjoint"))


@pytest.mark.parametrize("lr", ["1e-3", None, True, math.nan, math.inf, -1.0])
def test_what_is_no_learning_rate_is_refused(lr):
    with pytest.raises(ValueError, match="lr must be a finite number >= 0, got"):
        AdamW(lr=lr)


def test_a_tensor_put_into_an_own_optimizer_is_refused_in_the_window():
    class Plain(InnerOptimizer):
        def update(self, param, grad, moments, at):
            return param - at.lr * grad, {}

    case = logistic(optimizer=SGD(lr=0.1))
    assert case.run(build_estimator("adjoint")).status == "ok"
    object.__setattr__(case.optimizer, "lr", torch.tensor(0.1, requires_grad=True))
    with pytest.raises(ValueError, match="lr must be a number, got a tensor"):
        case.run(build_estimator("adjoint"))


def _twice(case: Case, change) -> None:
    change(case)
    case.state = case.optimizer.init(case.params)


def _view(case):
    case.params["head"] = case.params["w1"][0]


def _other_shape(case):
    case.params["head"] = case.params["w1"].view(-1)


def _strided(case):
    case.params["even"], case.params["first"] = case.params["w1"][:, ::2], case.params["w1"][:, :1]
    del case.params["w1"]


def _same(case):
    case.params["tied"] = case.params["w2"]


def _detached(case):
    case.params["tied"] = case.params["w2"].detach()


def _alpha(case):
    case.alpha["start"] = case.params["w1"]


def _alpha_view(case):
    case.alpha["start"] = case.params["w1"][1:, 2]


def _alpha_twice(case):
    case.alpha["again"] = case.alpha["raw"].view(2, 1)


@pytest.mark.parametrize(
    "change, names",
    [
        (_view, r"params\['(w1|head)'\] and params\['(w1|head)'\] share memory"),
        (_other_shape, r"params\['(w1|head)'\] and params\['(w1|head)'\] share memory"),
        (_strided, r"params\['(even|first)'\] and params\['(even|first)'\] share memory"),
        (_same, r"params\['w2'\] and params\['tied'\] are one tensor; tied weights are given once"),
        (_detached, r"params\['w2'\] and params\['tied'\] share memory"),
        (_alpha, r"params\['w1'\] and alpha\['start'\] are one tensor"),
        (_alpha_view, r"params\['w1'\] and alpha\['start'\] share memory"),
        (_alpha_twice, r"alpha\['raw'\] and alpha\['again'\] share memory"),
    ],
)
@pytest.mark.parametrize("name", ["none", "first_order", "finite_difference", "unrolled"])
def test_one_tensor_under_two_names_is_refused(name, change, names):
    case = mlp_plain(warm_steps=0)
    _twice(case, change)
    with pytest.raises(ValueError, match=names):
        case.run(build_estimator(name), steps=1)


def test_moments_that_share_memory_are_refused():
    case = logistic()
    case.state.exp_avg_sq["w"] = case.state.exp_avg["w"]
    with pytest.raises(ValueError, match="exp_avg of 'w' in state and the moment exp_avg_sq of 'w'"):
        case.run(build_estimator("adjoint"))


def test_an_expanded_parameter_is_refused():
    case = mlp_plain(warm_steps=0)
    case.params["w2"] = torch.ones(1, dtype=torch.float64).expand(5)
    case.state = case.optimizer.init(case.params)
    with pytest.raises(ValueError, match=r"params\['w2'\] holds one number at several places"):
        case.run(build_estimator("none"))


@pytest.mark.parametrize("flat", [True, False], ids=["slices", "columns"])
def test_views_of_one_storage_that_do_not_overlap_are_two_tensors(flat):
    case, want = mlp_plain(warm_steps=0), mlp_plain(warm_steps=0)
    tensors = {name: case.params[name] for name in ("w2", "b1")}
    joined = torch.stack(list(tensors.values())) if flat else torch.stack(list(tensors.values()), dim=1)
    case.params |= dict(zip(tensors, joined.unbind(0 if flat else 1)))
    case.state = case.optimizer.init(case.params)
    window, expected = (one.run(build_estimator("adjoint")) for one in (case, want))
    assert torch.equal(window.alpha_grad["raw"], expected.alpha_grad["raw"])


@pytest.mark.parametrize(
    "key, dtype",
    [
        *(("params", dtype) for dtype in (torch.float16, torch.float8_e4m3fn, torch.int64, torch.complex64)),
        *(("alpha", dtype) for dtype in (torch.int64, torch.complex64, torch.bool, torch.float8_e4m3fn)),
    ],
)
@each("name", list(ESTIMATORS))
def test_dtypes_without_a_right_gradient_are_refused(name, key, dtype):
    case = mlp_plain()
    held = getattr(case, key)
    held["w2" if key == "params" else "raw"] = torch.ones(5 if key == "params" else 2).to(dtype)
    with pytest.raises(
        ValueError, match=rf"{key}\['(w2|raw)'\] (must be a floating-point tensor|is torch.float)"
    ):
        case.run(build_estimator(name))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_params_and_those_without_values_are_refused():
    case = logistic(warm_steps=0)
    case.params["w"] = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)
    for act in (lambda: case.optimizer.init(case.params), lambda: case.run(build_estimator("none"))):
        with pytest.raises(ValueError, match=r"params\['w'\] is quantised .* adapters"):
            act()
    case.params["w"] = torch.randn(4, device="meta")
    case.state = case.optimizer.init(case.params)
    with pytest.raises(ValueError, match="params are on the meta device and have no values; load them"):
        case.run(build_estimator("none"))


@pytest.mark.parametrize("under", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
@every_row
def test_modes_around_a_window_do_not_matter(row, under):
    case, want = mlp_plain(), mlp_plain()
    expected = want.run(row.build(), steps=2)
    with under():
        case.params = {name: p.clone() for name, p in case.params.items()}  # inference tensors
        case.alpha = {name: a.clone() for name, a in case.alpha.items()}
        window = case.run(row.build(), steps=2)
    again = case.run(row.build(), steps=2)
    for one in (window, again):
        assert all(torch.equal(one.params[name], p) for name, p in expected.params.items())
        assert all(torch.equal(one.alpha_grad[name], g) for name, g in expected.alpha_grad.items())
    assert not any(p.is_inference() for p in window.params.values())


@pytest.mark.parametrize(
    "make", [lambda: torch.nn.Linear(2, 1), lambda: torch.nn.ParameterDict({"w": torch.ones(2)})]
)
def test_a_module_is_refused_with_what_to_give(make):
    case = logistic()
    module = make()
    for given in (module, module.named_parameters(), list(module.named_parameters()), {"net": module}):
        with pytest.raises(ValueError, match=r"dict\(module.named_parameters\(\)\)"):
            case.optimizer.init(given)
        case.params = given
        with pytest.raises(ValueError, match=r"dict\(module.named_parameters\(\)\)"):
            case.run(build_estimator("adjoint"))


RADIUS = [
    ("adjoint", {"derivative": "double_backward"}),
    ("adjoint", {"derivative": "forward_mode"}),
    ("first_order", {"derivative": "double_backward"}),
    ("first_order", {"derivative": "forward_mode"}),
    ("cg", {"derivative": "double_backward"}),
    ("neumann", {"derivative": "forward_mode"}),
    ("implicit", {"solver": "cg", "derivative": "double_backward"}),
    ("unrolled", {}),
    ("none", {}),
]


@pytest.mark.parametrize("name, settings", RADIUS)
def test_a_radius_that_nobody_reads_is_refused(name, settings):
    with pytest.raises(ValueError, match="radius"):
        build_estimator(name, radius=1e-3, **settings)


def test_the_status_none_needs_no_gradient():
    case = logistic()
    case.problem = BilevelProblem(lambda p, a, b: p["w"].square().sum(), lambda p, a, b: p["w"].sum())
    assert case.run(ROWS["none"].build()).status == "ok"


class WholeNorm(InnerOptimizer):
    """Steps of one length: not entry by entry."""

    def update(self, param, grad, moments, at):
        return param - at.lr * grad / grad.norm(), {}


class Alone:
    """The `Sharding` of a single process."""

    first = True

    def summed(self, value: torch.Tensor) -> torch.Tensor:
        return value

    def copied(self, value: torch.Tensor) -> torch.Tensor:
        return value


def test_shards_are_refused_where_whole_tensors_are_needed() -> None:
    params, alpha = {"w": torch.ones(2, 2)}, {"a": torch.tensor(1.0)}
    problem = BilevelProblem(
        lambda phi, upper, batch: upper["a"] * (phi["w"] ** 2).sum(),
        lambda phi, upper, batch: phi["w"].sum(),
        sharding=Alone(),
    )
    optimizers = {"Muon": Muon(lr=0.1), "WholeNorm": WholeNorm()}
    for name, optimizer in optimizers.items():
        with pytest.raises(ValueError, match=f"{name} steps whole tensors, and these are shards"):
            Adjoint().run_window(
                problem,
                optimizer,
                params,
                optimizer.init(params),
                alpha,
                inner_batches=[None],
                outer_batch=None,
            )
    adamw = AdamW()
    with pytest.raises(ValueError, match="LongWindow takes whole params"):
        LongWindow().run_window(
            problem,
            adamw,
            params,
            adamw.init(params),
            alpha,
            steps=1,
            batch=lambda step: None,
            outer_batch=None,
        )
