"""From a level's settings to its AdamW."""

from __future__ import annotations

import pytest

from dreamprm.config.errors import UserError
from dreamprm.hypergrad import AdamW
from dreamprm.training.level_settings import InnerSettings, UpperSettings
from dreamprm.training.optimizers import make_optimizer

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
