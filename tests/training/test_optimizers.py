"""From a level's settings to its optimizer."""

from __future__ import annotations

import pytest
import torch

from dreamprm.config.errors import UserError
from dreamprm.hypergrad import SGD, Adam, AdamW, Lion, Muon
from dreamprm.training.level_settings import HypergradSettings, InnerSettings, UpperSettings
from dreamprm.training.optimizers import make_inner_optimizer, make_optimizer
from dreamprm.training.settings import DataSettings, TrainConfig

NAMES = ["layers.0.weight", "layers.0.bias", "norm.weight"]


def test_every_setting_arrives() -> None:
    settings = InnerSettings(
        lr=0.02,
        betas=[0.8, 0.95],
        eps=1e-6,
        weight_decay=0.3,
        max_grad_norm=2.0,
        schedule="linear_decay",
        decay_start=0.0,
    )
    optimizer = make_optimizer(settings, steps=4, names=NAMES, section="inner")
    assert [optimizer.learning_rate(step) for step in range(4)] == pytest.approx([0.02, 0.015, 0.01, 0.005])
    assert (optimizer.betas, optimizer.eps, optimizer.max_grad_norm) == ((0.8, 0.95), 1e-6, 2.0)
    assert [optimizer.decay(name) for name in NAMES] == [0.3, 0.3, 0.3]


def test_parameters_named_in_no_decay_have_none() -> None:
    settings = InnerSettings(weight_decay=0.3, no_decay=["*.bias", "*norm*"])
    optimizer = make_optimizer(settings, steps=4, names=NAMES, section="inner")
    assert [optimizer.decay(name) for name in NAMES] == [0.3, 0.0, 0.0]


def test_the_defaults_are_the_public_codes() -> None:
    inner = make_optimizer(InnerSettings(), steps=10_000, names=NAMES, section="inner")
    upper = make_optimizer(UpperSettings(), steps=2_000, names=["raw"], section="upper")
    assert (inner.learning_rate(0), inner.weight_decay, inner.max_grad_norm) == (5e-7, 0.01, None)
    assert (upper.learning_rate(0), upper.weight_decay, upper.max_grad_norm) == (0.01, 1e-3, None)
    assert (inner.betas, inner.eps) == (AdamW().betas, AdamW().eps)


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"upper.no_decay: '\*bias' matches no trained parameter; .* as raw"):
        make_optimizer(UpperSettings(no_decay=["*bias"]), steps=4, names=["raw"], section="upper")


def test_every_inner_optimizer_gets_its_settings() -> None:
    made = {
        name: make_inner_optimizer(InnerSettings(optimizer=name, lr=0.02, **own), steps=4, names=NAMES)
        for name, own in {
            "adamw": {"betas": [0.8, 0.95]},
            "adam": {"betas": [0.8, 0.95], "eps": 1e-6, "amsgrad": True},
            "sgd": {"momentum": 0.7, "nesterov": True},
            "lion": {"betas": [0.9, 0.99], "max_grad_norm": 2.0},
            "muon": {"momentum": 0.95, "nesterov": True, "no_muon": ["norm*"], "no_decay": ["*.bias"]},
        }.items()
    }
    adamw, adam, sgd, lion, muon = made.values()
    assert isinstance(adamw, AdamW) and adamw.betas == (0.8, 0.95)
    assert isinstance(adam, Adam) and (adam.betas, adam.eps, adam.amsgrad) == ((0.8, 0.95), 1e-6, True)
    assert isinstance(sgd, SGD) and (sgd.momentum, sgd.dampening, sgd.nesterov) == (0.7, 0.0, True)
    assert isinstance(lion, Lion) and (lion.betas, lion.max_grad_norm) == ((0.9, 0.99), 2.0)
    assert isinstance(muon, Muon) and (muon.momentum, muon.nesterov) == (0.95, True)
    assert [muon.decay(name) for name in NAMES] == [0.01, 0.0, 0.01]
    matrix = torch.zeros(2, 2)
    assert muon.kinds_of("layers.0.weight", matrix) == ("momentum_buffer",)
    assert muon.kinds_of("norm.weight", matrix) == ("exp_avg", "exp_avg_sq")
    assert all(optimizer.learning_rate(0) == 0.02 for optimizer in made.values())


def test_a_pattern_of_no_muon_that_matches_nothing_is_refused() -> None:
    settings = InnerSettings(optimizer="muon", no_muon=["*embed*"])
    with pytest.raises(UserError, match=r"inner.no_muon: '\*embed\*' matches no trained parameter"):
        make_inner_optimizer(settings, steps=4, names=NAMES)


def test_settings_that_cannot_go_together_are_refused() -> None:
    with pytest.raises(
        ValueError, match="nesterov=true takes momentum > 0 and dampening=0, got momentum=0.0"
    ):
        InnerSettings(optimizer="sgd", nesterov=True, momentum=0.0).check()
    lion, adam = InnerSettings(optimizer="lion"), InnerSettings(optimizer="adam")
    neumann = HypergradSettings(name="neumann", settings={"preconditioner": "adamw"})
    data = DataSettings(train="train.jsonl", meta="meta.jsonl")
    for name in ("unrolled", "forward_gradient"):
        through = HypergradSettings(name=name)
        with pytest.raises(ValueError, match="inner.optimizer=lion passes no derivative to alpha"):
            TrainConfig(data=data, inner=lion, hypergrad=through, steps=10).check()
    TrainConfig(data=data, inner=lion, hypergrad=HypergradSettings(name="cg"), steps=10).check()
    with pytest.raises(ValueError, match="takes AdamW's second moments, and inner.optimizer is adam"):
        TrainConfig(data=data, inner=adam, hypergrad=neumann, steps=10).check()
