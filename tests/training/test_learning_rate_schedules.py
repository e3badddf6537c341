"""Both levels' learning rates, step by step."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dreamprm.training.level_settings import InnerSettings, UpperSettings
from dreamprm.training.optimizers import learning_rate_schedule

STEPS = 10
COSINE = [0.5 * (1 - math.cos(math.pi * left)) for left in (1.0, 0.8, 0.6, 0.4, 0.2)]


@pytest.mark.parametrize(
    "settings, factors",
    [
        ({"schedule": "constant"}, [1] * 10),
        ({"schedule": "step", "step_size": 4, "gamma": 0.5}, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ({"schedule": "linear_decay", "decay_start": 0.5}, [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]),
        ({"schedule": "linear_decay", "decay_start": 0.0}, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ({"schedule": "cosine", "decay_start": 0.5}, [1] * 5 + COSINE),
        ({"schedule": "constant", "warmup": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        # Warm-up scales the schedule, it does not delay it.
        (
            {"schedule": "step", "step_size": 2, "gamma": 0.5, "warmup": 4},
            [0.25, 0.5, 0.375, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625],
        ),
    ],
)
def test_the_rate_of_every_step(settings: dict[str, Any], factors: list[float]) -> None:
    rate = learning_rate_schedule(InnerSettings(lr=0.02, **settings), steps=STEPS)
    assert [rate(step) for step in range(STEPS)] == pytest.approx([0.02 * factor for factor in factors])


@pytest.mark.parametrize("schedule", ["linear_decay", "cosine"])
def test_decay_ends_at_zero_and_stays_there(schedule: str) -> None:
    rate = learning_rate_schedule(InnerSettings(lr=0.02, schedule=schedule), steps=STEPS)
    assert [rate(step) for step in (STEPS, STEPS + 5)] == [0.0, 0.0]


def test_the_default_is_the_public_codes() -> None:
    rate = learning_rate_schedule(InnerSettings(), steps=10_000)
    assert [rate(step) for step in (0, 4_999, 5_000, 9_999)] == [5e-7, 5e-7, 2.5e-7, 2.5e-7]


def test_the_upper_rate_grows_linearly_over_its_warmup_and_stays() -> None:
    rate = learning_rate_schedule(UpperSettings(lr=0.2, warmup=4), steps=6)
    assert [rate(windows) for windows in range(6)] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])


def test_the_upper_rate_has_the_same_schedules_over_windows() -> None:
    rate = learning_rate_schedule(UpperSettings(lr=0.2, schedule="linear_decay", decay_start=0.5), steps=4)
    assert [rate(windows) for windows in range(4)] == pytest.approx([0.2, 0.2, 0.2, 0.1])
