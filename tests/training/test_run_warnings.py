"""Warnings are given once, for what may make a result worthless although every number is finite."""

from __future__ import annotations

from typing import Any

import pytest

from dreamprm.data.record_table import LabelRange
from dreamprm.training.run_warnings import WindowWarnings, data_warnings, loss_warnings


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [one["kind"] for one in found]


def after(weights: dict[str, float], *, norm: float | None = 1.0, learns: bool = True) -> list[str]:
    warnings = WindowWarnings(0.9, 0.01, learns=learns)
    row = {"step": 5, "alpha_grad_norm": norm}
    found = warnings.of(row, weights)
    assert warnings.of(row, weights) == []
    assert all(one["step"] == 5 for one in found)
    return kinds(found)


def test_windows_that_say_nothing_or_collapse() -> None:
    assert after({"a": 1.7, "b": 0.3}) == []
    assert after({"a": 1.81, "b": 0.19}) == ["one_domain_has_all"]
    assert after({"a": -9.5, "b": 0.5}) == ["one_domain_has_all"]  # weights may be negative without a norm
    assert after({"a": 0.009, "b": 0.008}) == ["all_weights_low"]
    assert after({"a": 0.009, "b": 0.0101}) == []
    assert after({"a": 0.0, "b": 0.0}) == ["all_weights_low"]
    assert after({"a": 1.0}) == []
    assert after({"a": 1.0, "b": 1.0}, norm=0.0) == ["zero_gradient"]
    assert after({"a": 1.0, "b": 1.0}, norm=None) == []  # of a window that was not finite
    assert after({"a": 2.0, "b": 0.0}, norm=0.0, learns=False) == []


def test_messages_give_the_figures_and_what_to_do() -> None:
    warnings = WindowWarnings(0.75, 0.01, learns=True)
    (found,) = warnings.of({"step": 3, "alpha_grad_norm": 1.0}, {"charts": 1.6, "maths": 0.4})
    assert found["message"].startswith(
        "domain 'charts' has 80.0% of all weights, more than log.collapse_share=0.75"
    )
    assert "lower upper.lr" in found["message"]


def test_data_that_teaches_nothing() -> None:
    same, different, one = LabelRange(4, 1.0, 1.0), LabelRange(4, 0.0, 1.0), LabelRange(1, 1.0, 1.0)
    assert data_warnings({"a": different, "b": one}) == []
    (found,) = data_warnings({"a": different, "b": same})
    assert found["kind"] == "labels_all_equal" and "domain 'b': all 4 labels are 1," in found["message"]
    assert kinds(data_warnings({"a": same})) == ["labels_all_equal", "one_domain"]


@pytest.mark.parametrize(
    ("inner", "meta", "expected"),
    [
        ([3.0] * 10 + [2.0] * 10, [1.0] * 10 + [0.9] * 10, []),
        ([2.0] * 20, [1.0] * 10 + [0.9] * 10, ["inner_loss_does_not_fall"]),
        ([3.0] * 10 + [2.0] * 10, [0.9] * 10 + [1.0] * 10, ["meta_loss_does_not_fall"]),
        ([2.0] * 19, [1.0] * 19, []),
        ([3.0] * 10 + [2.0] * 9 + [None], [None] * 20, []),
    ],
)
def test_losses_that_do_not_fall(inner: list[Any], meta: list[Any], expected: list[str]) -> None:
    rows = [{"inner_loss": one, "meta_loss": other} for one, other in zip(inner, meta, strict=True)]
    assert kinds(loss_warnings(rows)) == expected
