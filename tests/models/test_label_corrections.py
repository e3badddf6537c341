"""Corrections of labels: which label each of them moves, and where it may go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dreamprm.config.errors import UserError
from dreamprm.models.weights import CORRECTIONS, LabelCorrections

NAN = float("nan")
# Three CoTs: (.5, none, 1), (0) and (none, .25, .75, none).
LABELS = [0.5, NAN, 1.0, 0.0, NAN, 0.25, 0.75, NAN]
ROWS = [0, 0, 0, 1, 2, 2, 2, 2]


def corrections(corrected: str = "all") -> LabelCorrections:
    return LabelCorrections(["a", "b"], LABELS, ROWS, count=3, corrected=corrected)


def batch(*cots: int) -> dict[str, Any]:
    """The fields of a batch of these CoTs that labels are read from."""
    known = {row: [y for y, r in zip(LABELS, ROWS) if r == row and y == y] for row in range(3)}
    return {
        "labels": torch.tensor([label for row in cots for label in known[row]]),
        "cot": torch.tensor([place for place, row in enumerate(cots) for _ in known[row]], dtype=torch.long),
        "cots": torch.tensor(cots),
    }


def test_each_correction_moves_its_own_label() -> None:
    weights = corrections()
    assert {name: tuple(value.shape) for name, value in weights.init().items()} == {CORRECTIONS: (5,)}
    alpha = {CORRECTIONS: torch.tensor([0.1, -0.2, 0.3, 0.4, -0.5], dtype=torch.float64)}
    # CoT 2, then CoT 0, then CoT 2 again, which has the same two
    found = weights.labels(alpha, batch(2, 0, 2))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([0.65, 0.25, 0.6, 0.8, 0.65, 0.25])
    assert weights.labels(alpha, batch(1)).tolist() == pytest.approx([0.3])
    assert torch.equal(weights.labels(weights.init(), batch(2, 0)), batch(2, 0)["labels"])


def test_the_slope_is_one_at_labels_of_zero_and_one_too() -> None:
    weights = corrections()
    alpha = {CORRECTIONS: torch.zeros(5, dtype=torch.float64, requires_grad=True)}
    factors = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    (weights.labels(alpha, batch(0, 1, 0)) * factors).sum().backward()
    assert alpha[CORRECTIONS].grad is not None
    assert alpha[CORRECTIONS].grad.tolist() == [1.0 + 8.0, 2.0 + 16.0, 4.0, 0.0, 0.0]


def test_last_labels_stay_unless_all_are_corrected() -> None:
    weights = corrections("intermediate")
    # the last step of CoT 2 has no label: the one before it is not its last
    assert weights.init()[CORRECTIONS].shape == (3,)
    alpha = {CORRECTIONS: torch.tensor([0.125, 0.25, -0.25])}
    assert weights.labels(alpha, batch(0, 1, 2)).tolist() == [0.625, 1.0, 0.0, 0.5, 0.5]
    changes = weights.corrected(alpha)
    np.testing.assert_array_equal(changes, [0.125, NAN, NAN, NAN, NAN, 0.25, -0.25, NAN])


@pytest.mark.parametrize("given", [0.0, 1.0, 0.1, 0.3, 1 / 3, 0.7, 1e-10, 1 - 2**-24])
def test_no_label_leaves_the_unit_interval(given: float) -> None:
    weights = LabelCorrections(["a"], [given], [0], count=1, corrected="all")
    one = {"labels": torch.tensor([given]), "cot": torch.tensor([0]), "cots": torch.tensor([0])}
    for moved in (-3.0, -1e-9, 0.0, 1e-9, 3.0):
        alpha = weights.admissible({CORRECTIONS: torch.tensor([moved])})
        label = float(weights.labels(alpha, one))
        assert 0.0 <= label <= 1.0
        if abs(moved) == 3.0:
            assert label == (moved > 0)


def test_weights_are_one() -> None:
    weights = corrections()
    alpha = {CORRECTIONS: torch.full((5,), 0.5)}
    assert weights.named(alpha) == {"a": 1.0, "b": 1.0}
    assert weights.weights(alpha, batch(0), torch.tensor([3.0, 4.0])).tolist() == [1.0, 1.0]
    assert weights.problem(alpha) == "" and weights.by_instance(alpha) is None and weights.corrects_labels


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="no label to correct"):
        LabelCorrections(["a"], [0.5, NAN, 1.0], [0, 1, 1], count=2)
    with pytest.raises(UserError, match="correct must be one of intermediate, all, got 'last'"):
        corrections("last")
    with pytest.raises(UserError, match="at least one domain"):
        LabelCorrections([], LABELS, ROWS, count=3)
