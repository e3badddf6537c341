"""Learning-rate schedules over the steps of the lower level and the windows of the upper level."""

from __future__ import annotations

import math
from collections.abc import Callable

from dreamprm.training.level_settings import InnerSettings, UpperSettings


def learning_rate_schedule(settings: InnerSettings | UpperSettings, *, steps: int) -> Callable[[int], float]:
    """A level's learning rate as a function of the number of its steps already taken.

        warmup:        lr * (step + 1) / warmup, up to lr
        constant:      lr
        step:          lr * gamma^(step // step_size)                    (the public code's StepLR)
        linear_decay:  lr until decay_start * steps, then linearly to 0 at `steps`
        cosine:        lr until decay_start * steps, then a half cosine to 0 at `steps`

    Steps are counted over the whole run: the schedule carries over from window to window.

    Args:
        settings: the level's optimizer settings.
        steps: the level's steps in the whole run; the upper level has one per window.
    """
    decay_from = settings.decay_start * steps

    def factor(step: int) -> float:
        if settings.schedule == "step":
            return settings.gamma ** (step // settings.step_size)
        if settings.schedule == "constant" or step < decay_from:
            return 1.0
        left = max(0.0, (steps - step) / (steps - decay_from))
        return left if settings.schedule == "linear_decay" else 0.5 * (1 - math.cos(math.pi * left))

    def learning_rate(step: int) -> float:
        warmup = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
        return settings.lr * warmup * factor(step)

    return learning_rate
