"""Trackers of a training (tensorboard, wandb, trackio and others), by accelerate's `log_with`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from dreamprm.config.errors import UserError
from dreamprm.training.settings import TrainConfig

# What wandb and its kin call themselves on PyPI, where that is another name.
PACKAGES = {"comet_ml": "comet-ml", "dvclive": "dvclive"}


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker that accelerate would leave out without a word: unknown, or its package missing.

    Raises:
        UserError: naming it.
    """
    known = [str(kind) for kind in LoggerType if kind is not LoggerType.ALL]
    there = {str(kind) for kind in get_available_trackers()}
    for name in names:
        if name not in known:
            raise UserError(f"log.trackers must be some of {', '.join(known)}, got {name!r}")
        if name not in there:
            package = PACKAGES.get(name, name)
            raise UserError(f"log.trackers=[{name}] needs a package that is missing: pip install {package}")


class Trackers:
    """What a run sends to its trackers; a tracker that fails is told of once, and the training goes on.

    Args:
        accelerator: made with `log_with`; None: no tracker.
        config: of the run, which trackers keep beside its figures.
        say: prints a line.
    """

    def __init__(
        self, accelerator: Accelerator | None, config: TrainConfig, say: Callable[[str], None]
    ) -> None:
        self._accelerator, self._say = accelerator if config.log.trackers else None, say
        self._try(lambda to: to.init_trackers(config.name, config=flat(config)))

    def log(self, row: Mapping[str, Any], weights: Mapping[str, float]) -> None:
        """A window's line of metrics.jsonl, and the weights after it."""
        values = {key: value for key, value in row.items() if isinstance(value, int | float)}
        values |= {f"weight/{name}": weight for name, weight in weights.items()}
        step = values.pop("step")
        self._try(lambda to: to.log(values, step=step))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Send what is left."""
        self._try(lambda to: [tracker.finish() for tracker in to.trackers])

    def _try(self, call: Callable[[Accelerator], Any]) -> None:
        if self._accelerator is None:
            return
        try:
            call(self._accelerator)
        except Exception as error:  # whatever a service of others raises: hours of training are worth more
            self._accelerator = None
            self._say(
                f"log.trackers: {type(error).__name__}: {error}. No more figures are sent; metrics.jsonl has "
                "all of them"
            )


def flat(config: Any, prefix: str = "") -> dict[str, bool | int | float | str]:
    """A configuration as names and values, such as "inner.lr": what all trackers can hold."""
    found: dict[str, bool | int | float | str] = {}
    for field in dataclasses.fields(config):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= flat(value, f"{name}.")
        else:
            found[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return found
