"""A level's learning-rate schedule over its steps, and its optimizer, from its settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.hypergrad import SGD, Adam, AdamW, InnerOptimizer, Lion, Muon
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


def make_inner_optimizer(settings: InnerSettings, *, steps: int, names: Iterable[str]) -> InnerOptimizer:
    """The lower level's optimizer, with its schedule over `steps`, its decay groups and its clipping.

    Args:
        names: the names of the parameters that the level trains.

    Raises:
        UserError: a pattern of `no_decay` or `no_muon` that matches no parameter.
    """
    names = list(names)
    if settings.optimizer == "adamw":
        return make_optimizer(settings, steps=steps, names=names, section="inner")
    common = _common(settings, steps=steps, names=names, section="inner")
    match settings.optimizer:
        case "adam":
            return Adam(betas=_betas(settings), eps=settings.eps, amsgrad=settings.amsgrad, **common)
        case "sgd":
            return SGD(
                momentum=settings.momentum,
                dampening=settings.dampening,
                nesterov=settings.nesterov,
                **common,
            )
        case "lion":
            return Lion(betas=_betas(settings), **common)
        case _:
            _check_patterns(settings.no_muon, names, key="inner.no_muon")
            return Muon(
                momentum=settings.momentum,
                nesterov=settings.nesterov,
                matrices=lambda name: not _matches(name, settings.no_muon),
                betas=_betas(settings),
                adamw_eps=settings.eps,
                **common,
            )


def make_optimizer(
    settings: InnerSettings | UpperSettings, *, steps: int, names: Iterable[str], section: str
) -> AdamW:
    """AdamW with the level's schedule over `steps`, its decay groups and its clipping.

    Args:
        names: the names of the parameters that the level trains.
        section: the settings' name in the configuration, for messages.

    Raises:
        UserError: a pattern of `no_decay` that matches no parameter.
    """
    common = _common(settings, steps=steps, names=list(names), section=section)
    return AdamW(betas=_betas(settings), eps=settings.eps, **common)


def _common(
    settings: InnerSettings | UpperSettings, *, steps: int, names: list[str], section: str
) -> dict[str, Any]:
    """The settings that all optimizers have."""
    _check_patterns(settings.no_decay, names, key=f"{section}.no_decay")

    def decay(name: str) -> float:
        return 0.0 if _matches(name, settings.no_decay) else settings.weight_decay

    return {
        "lr": learning_rate_schedule(settings, steps=steps),
        "weight_decay": decay if settings.no_decay else settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
    }


def _betas(settings: InnerSettings | UpperSettings) -> tuple[float, float]:
    first, second = settings.betas
    return first, second


def _check_patterns(patterns: list[str], names: list[str], *, key: str) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(
                f"{key}: {pattern!r} matches no trained parameter; names are such "
                f"as {', '.join(names[:2] + names[-1:])}"
            )


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
