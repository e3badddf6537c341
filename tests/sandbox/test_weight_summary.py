"""Learned weights against planted quality."""

import pytest

from dreamprm.sandbox.targets import weight_summary


def test_weight_summary():
    quality = {"clean": 1.0, "fair": 0.5, "noisy": 0.4, "flipped": 0.1}
    weights = {"clean": 2.0, "fair": 1.0, "noisy": 0.6, "flipped": 0.4}
    assert weight_summary(weights, quality) == {"spearman": 1.0, "weight_ratio": pytest.approx(3.0)}


def test_undefined_figures_are_absent():
    assert weight_summary({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 0.0}) == {"weight_ratio": 1.0}
    assert weight_summary({"a": 1.0, "b": 2.0}, {"a": 0.7, "b": 0.9}) == {"spearman": 1.0}
    assert weight_summary({"a": 1.0, "b": 0.0}, {"a": 0.9, "b": 0.1}) == {"spearman": 1.0}
    assert weight_summary({"a": 1.0}, {"a": 0.9}) == {}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: weight_summary({"a": 1.0, "b": 1.0}, {"a": 1.0}), "only in one of them: b"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
