"""Fixed weights: those of an earlier run, used from the first step to the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path

import torch
from torch import nn

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.files.append_only import require_fields
from dreamprm.files.json_values import parse_json
from dreamprm.hypergrad import build_estimator
from dreamprm.models.weights import DOMAIN_WEIGHTS, DomainWeights
from dreamprm.training.baselines.base import UpperLevel, Weighting
from dreamprm.training.baselines.exponentiated import ExponentiatedGradient

TAKES = ("last", "mean")


def past_weights(run: str, *, take: str) -> dict[str, float]:
    """A run's weights by domain, from its domain_weights.jsonl: the last line, or the mean over all lines.

    Args:
        run: the run's folder.
        take: one of `TAKES`.

    Raises:
        UserError: no such file.
        DataError: a line without weights (the file was cut short), or with other domains than the first line.
    """
    path = Path(run) / "domain_weights.jsonl"
    if not path.is_file():
        raise UserError(f"no weights of a run in {path}; give the folder that `dreamprm train` wrote")
    rows: list[dict[str, float]] = []
    # Not `splitlines`, which also divides at characters that names of domains may hold (U+2028, ...).
    content = path.read_bytes()
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else (), start=1):
        try:
            row = parse_json(line)
            require_fields(row, {"weights": "an object of finite numbers"})
        except ValueError as error:
            raise DataError(
                f"{path}:{number}: must be an object with 'weights' by domain, got "
                f"{line[:60].decode(errors='replace')!r}; finish that run (resume=auto) first"
            ) from error
        rows.append({name: float(value) for name, value in row["weights"].items()})
        if rows[-1].keys() != rows[0].keys():
            raise DataError(f"{path}:{number}: has other domains than the first line")
    if not rows:
        raise UserError(f"{path} is empty: the run has made no upper step yet")
    if take == "last":
        return rows[-1]
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def for_domains(weights: Mapping[str, float], domains: Sequence[str], *, run: str) -> list[float]:
    """The weights in the order of `domains`, scaled to mean 1.

    Raises:
        UserError: the run had other domains, or weights that do not add up to a positive number.
    """
    if set(weights) != set(domains):
        different = ", ".join(sorted(set(weights) ^ set(domains)))
        raise UserError(
            f"{run} has weights of other domains than this run's data; only in one of them: {different}"
        )
    mean = sum(weights.values()) / len(weights)
    if not mean > 0:
        raise UserError(f"the weights of {run} have mean {mean}; it must be positive to be scaled to 1")
    return [weights[name] / mean for name in domains]


@dataclass(frozen=True)
class FixedWeights(Weighting):
    """A PRM trained with the weights that another run ended with, or their average, scaled to mean 1.

    Use it for the second stage of DoReMi and DoGE (take=mean), or to see whether learned weights are worth as
    much when used from the start.

    Args:
        run: folder of a finished run with the same domains.
        take: `last` or `mean` (over its upper steps).

    Raises:
        ValueError: another take.
        UserError: in `upper_level`, no such run, or one with other domains.
    """

    run: str = setting(MISSING, "folder of a finished run with the same domains")
    take: str = setting(
        "last", "the weights that the run ended with, or their mean over its upper steps", choices=TAKES
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def upper_level(self, domains: Sequence[str], *, seed: int, prm: nn.Module) -> UpperLevel:
        """The earlier run's weights, which stay fixed."""
        del seed, prm
        return staying(domains, for_domains(past_weights(self.run, take=self.take), domains, run=self.run))


def staying(domains: Sequence[str], values: Sequence[float]) -> UpperLevel:
    """Weights that stay fixed: alpha is the weights themselves, and no step moves it."""
    alpha = {DOMAIN_WEIGHTS: torch.tensor(values, dtype=torch.float32)}
    return UpperLevel(
        DomainWeights(domains, "none"),
        alpha,
        build_estimator("none"),
        ExponentiatedGradient(lr=1.0),
        moves=False,
    )
