"""The AdamW of a level, from its settings."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from dreamprm.config.errors import UserError
from dreamprm.hypergrad import AdamW
from dreamprm.training.level_settings import InnerSettings, UpperSettings
from dreamprm.training.schedules import learning_rate_schedule


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
    names = list(names)
    for pattern in settings.no_decay:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(
                f"{section}.no_decay: {pattern!r} matches no trained parameter; names are such "
                f"as {', '.join(names[:2] + names[-1:])}"
            )

    def decay(name: str) -> float:
        exempt = any(fnmatchcase(name, pattern) for pattern in settings.no_decay)
        return 0.0 if exempt else settings.weight_decay

    first, second = settings.betas
    return AdamW(
        lr=learning_rate_schedule(settings, steps=steps),
        betas=(first, second),
        eps=settings.eps,
        weight_decay=decay if settings.no_decay else settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
    )
