"""The ways to take a configured training: estimators with their settings, and what makes each smaller."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from dreamprm.config.checking import settings_read
from dreamprm.config.schema import leaves
from dreamprm.hypergrad import ESTIMATORS, build_estimator
from dreamprm.training.settings import LoraSettings, TrainConfig

T_STEPS, WITHOUT_H = "of the window's steps", "of the window's steps, without the Hessian term"
GRADIENTS = {
    "unrolled": T_STEPS,
    "adjoint": T_STEPS,
    "first_order": WITHOUT_H,
    "cg": "of the minimiser",
    "neumann": "of the minimiser",
    "penalty": "of the minimiser",
    "finite_difference": "of one plain step",
    "forward_gradient": "of the window's steps, along random directions",
    "none": "none",
}
"""What each estimator's number is the gradient of; those of one kind can stand in for each other."""

_VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "adjoint": ({}, {"derivative": "central_difference"}),
    "first_order": ({}, {"derivative": "forward_difference"}),
}
_ALIASES = ("implicit",)  # cg and neumann are it, with their solver


@dataclass(frozen=True)
class Way:
    """A training as it could be run.

    Attributes:
        name: the estimator with its settings, and what was changed.
        changes: the settings to give, as on the command line; empty for the configuration as it is.
    """

    name: str
    config: TrainConfig
    changes: tuple[str, ...] = ()

    @property
    def gradient(self) -> str:
        """What its estimator's number is the gradient of."""
        return GRADIENTS.get(self.config.hypergrad.name, self.config.hypergrad.name)


def configured(config: TrainConfig) -> Way:
    """The training as it is configured."""
    return Way(_named(config), config)


def ways(config: TrainConfig, *, offloads: tuple[str, ...]) -> Iterator[Way]:
    """The configured training first, then every estimator, each also with what it can put away.

    Args:
        offloads: values of `hypergrad.offload` that put something away on the planned device.
    """
    first = configured(config)
    yield first
    seen = {first.name}
    if config.baseline.name != "none":  # it has no estimator
        return
    for name in [first.config.hypergrad.name, *ESTIMATORS]:
        if name in _ALIASES:
            continue
        for variant in _VARIANTS.get(name, ({},)):
            given = {**_kept(config, name), **variant}
            given = {key: value for key, value in given.items() if _reads(name, key, given)}
            for offload in ("none", *offloads) if _reads(name, "offload", given) else ("none",):
                settings = {**given, "offload": offload} if offload != "none" else without(given, "offload")
                way = _with_estimator(config, name, settings)
                if way is not None and way.name not in seen:
                    seen.add(way.name)
                    yield way


def _kept(config: TrainConfig, name: str) -> dict[str, Any]:
    """The settings that are given for the configured estimator, if it is this one, and those that hold for
    all that keep gradients."""
    given = config.hypergrad.settings
    if name == config.hypergrad.name:
        return dict(given)
    return {key: given[key] for key in ("keep",) if key in given and _reads(name, key, {})}


def _with_estimator(config: TrainConfig, name: str, settings: dict[str, Any]) -> Way | None:
    """The training by another estimator; None where the configuration refuses that."""
    hypergrad = dataclasses.replace(config.hypergrad, name=name, settings=settings)
    if name == "none":
        hypergrad = dataclasses.replace(hypergrad, audit_every=0)
    model, told = config.model, [f"hypergrad={{{_pairs({'name': name, **settings})}}}"]
    if build_estimator(name, **settings).needs_second_order and model.attn_implementation not in (
        "auto",
        "eager",
    ):
        model, told = (
            dataclasses.replace(model, attn_implementation="eager"),
            [*told, "model.attn_implementation=eager"],
        )
    changed = dataclasses.replace(config, hypergrad=hypergrad, model=model)
    try:
        changed.check()
    except ValueError:
        return None
    return Way(_named(changed), changed, tuple(told))


def _named(config: TrainConfig) -> str:
    settings = config.hypergrad.settings
    if config.baseline.name != "none":
        return f"baseline {config.baseline.name}"
    shown = [str(settings["derivative"])] if "derivative" in settings else []
    shown += [f"{key}={value}" for key, value in settings.items() if key != "derivative" and value != "none"]
    return ", ".join([config.hypergrad.name, *shown])


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in values.items())


def _reads(name: str, key: str, given: Mapping[str, Any]) -> bool:
    return key in settings_read(ESTIMATORS, name, given)


def without(values: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The mapping without these keys."""
    return {key: value for key, value in values.items() if key not in keys}


@dataclass(frozen=True)
class Change:
    """A setting that makes a training smaller.

    Attributes:
        key: dotted; one that this version does not have is passed over.
        value: what it is set to.
        same: whether the training stays the same to rounding.
        applies: whether it would change something.
    """

    key: str
    value: Any
    same: bool
    applies: Callable[[TrainConfig], bool] = lambda config: True

    @property
    def text(self) -> str:
        """As on the command line."""
        value = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return f"{self.key}={value}"

    def to(self, way: Way) -> Way | None:
        """The way with this change; None where it changes nothing, or is refused."""
        config = way.config
        if self.key.startswith("hypergrad."):
            name, given = self.key.removeprefix("hypergrad."), config.hypergrad.settings
            if not _reads(config.hypergrad.name, name, given) or given.get(name, "none") == self.value:
                return None
            hypergrad = dataclasses.replace(config.hypergrad, settings={**given, name: self.value})
            changed = dataclasses.replace(config, hypergrad=hypergrad)
        else:
            if not self.applies(config):
                return None
            changed = _with(config, self.key.split("."), self.value)
            if changed == config:
                return None
        try:
            build_estimator(changed.hypergrad.name, **changed.hypergrad.settings)
            for part in (changed.model, changed):
                part.check()
        except ValueError:
            return None
        return Way(f"{way.name}, {self.text}", changed, (*way.changes, self.text))


def _with(holder: Any, keys: list[str], value: Any) -> Any:
    """A copy of a section in which the key has the value."""
    name, *rest = keys
    if rest:
        held = getattr(holder, name)
        value = _with(LoraSettings() if held is None else held, rest, value)  # only adapters may be absent
    return dataclasses.replace(holder, **{name: value})


def changes(*, offloads: tuple[str, ...], gpus: int) -> list[Change]:
    """What makes a training smaller, smallest intervention first."""
    found = [
        *(Change("hypergrad.offload", offload, True) for offload in offloads),
        Change("model.checkpoint_activations", True, True),
        *(
            Change("micro_batches", parts, True, partial(_enough_rows, parts=parts * gpus))
            for parts in (2, 4, 8)
        ),
        *([Change("shard", True, True)] if gpus > 1 else []),
        Change("hypergrad.keep", "bf16", True),
        Change("model.frozen_dtype", "bf16", True, _freezes),
        Change("model.freeze_vision", True, False),
        Change("model.lora.rank", 16, False, lambda config: config.model.lora is None),
    ]
    known = {leaf.key for leaf in leaves(TrainConfig)}
    return [one for one in found if one.key in known or one.key.startswith("hypergrad.")]


def _enough_rows(config: TrainConfig, *, parts: int) -> bool:
    """Whether the batches can be divided into this many parts."""
    return config.sampling == "mixed" or max(config.batch_size, config.meta_batch_size) >= parts


def _freezes(config: TrainConfig) -> bool:
    model = config.model
    return model.freeze_vision or bool(model.trainable) or model.lora is not None
