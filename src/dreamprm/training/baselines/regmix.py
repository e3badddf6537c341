"""RegMix: fixed weights that a regression over finished runs with random weights predicts to be best."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.files.append_only import require_fields
from dreamprm.files.json_values import parse_json
from dreamprm.training.baselines.base import UpperLevel, Weighting
from dreamprm.training.baselines.fixed_weights import for_domains, past_weights, staying
from dreamprm.training.baselines.random_weights import of_spread

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RegMix(Weighting):
    """Fixed weights w: the mean of the mixtures with the lowest predicted meta loss, of many drawn at random.

        meta loss ~ a + b . w      least squares over the proxy runs

    Use it as the reference for weights learned in one run: it sees the same meta set, through many short
    runs. Train these first, with the baseline random_weights under as many seeds; give their folders here.

    A regression that predicts runs left out of it no better than their mean does is refused, as its weights
    would be chance.

    Args:
        runs: pattern of the folders of finished runs with the same domains, at least two more than domains.
        tail: share of a run's windows, its last ones, over which its meta loss is the mean.
        samples: mixtures drawn, each of the spread that the runs' weights have on average.
        top: share of them whose mean is taken.

    Raises:
        ValueError: a value that is not allowed.
        UserError: in `upper_level`, too few runs, one that is not finished or has other domains, or a
            regression that predicts nothing.

    Source: Liu et al., arXiv 2407.01492. Departures: it fits gradient-boosted trees, or the linear form used
    here; its target is a validation loss, ours the logged meta loss; it draws proxies and mixtures from a
    Dirichlet distribution around the token counts, ours are those of random_weights, around equal weights.
    """

    runs: str = setting(
        MISSING, "pattern of the folders of finished runs with random weights: 'runs/proxy-*'"
    )
    tail: float = setting(
        0.2, "share of a run's last windows that its meta loss is the mean of", above=0, maximum=1
    )
    samples: int = setting(2000, "mixtures drawn, of which the best are predicted", minimum=1)
    top: float = setting(0.01, "share of these mixtures whose mean is taken", above=0, maximum=1)

    def __post_init__(self) -> None:
        check_settings(self)

    def upper_level(self, domains: Sequence[str], *, seed: int, prm: nn.Module) -> UpperLevel:
        """The predicted weights, which stay fixed."""
        del prm
        folders = proxy_runs(self.runs)
        least = len(domains) + 2
        if len(folders) < least:
            raise UserError(
                f"baseline regmix: runs={self.runs} names {len(folders)} folders; a regression on "
                f"{len(domains)} domains needs at least {least} finished runs of baseline.name=random_weights"
            )
        mixtures = np.array(
            [for_domains(past_weights(run, take="mean"), domains, run=run) for run in folders]
        )
        losses = np.array([last_meta_loss(run, self.tail) for run in folders])
        slopes, explained = fitted(mixtures, losses)
        if not explained > 0:
            raise UserError(
                f"baseline regmix: the regression over {len(folders)} runs predicts a run that was left out "
                f"no better than the mean of the others (R^2 {explained:.2f}), so its weights would be "
                "chance; give more runs, longer ones, or runs with a larger baseline.spread"
            )
        generator, spread = np.random.default_rng(seed), float(mixtures.std(axis=1).mean())
        drawn = np.array(
            [of_spread(generator.standard_normal(len(domains)), spread) for _ in range(self.samples)]
        )
        best = np.argsort(drawn @ slopes, kind="stable")[: max(1, round(self.top * self.samples))]
        return staying(domains, drawn[best].mean(axis=0).tolist())


def proxy_runs(pattern: str) -> list[str]:
    """The run folders that a pattern names, in the order of their names."""
    return [path for path in sorted(glob.glob(pattern)) if (Path(path) / "domain_weights.jsonl").is_file()]


def last_meta_loss(run: str, tail: float) -> float:
    """The mean meta loss of a finished run's last windows.

    Raises:
        UserError: the run is not finished.
        DataError: a damaged line of its metrics.jsonl, or no loss in these windows.
    """
    path = Path(run) / "metrics.jsonl"
    if not (Path(run) / "summary.json").is_file() or not path.is_file():
        raise UserError(f"baseline regmix: {run} is not a finished run; train it to its end, or take it out")
    losses = []
    for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), start=1):
        try:
            row = parse_json(line)
            require_fields(row, {"meta_loss": "a finite number or null"})
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
        losses.append(row["meta_loss"])
    last = [loss for loss in losses[-max(1, round(tail * len(losses))) :] if loss is not None]
    if not last:
        raise DataError(f"{path}: no finite meta_loss in the last {tail:g} of its windows")
    return float(np.mean(last))


def fitted(mixtures: Floats, losses: Floats) -> tuple[Floats, float]:
    """The slopes (K,) of the losses (n,) in the mixtures (n, K), and R^2 over runs left out one at a time.

    Weights sum to K, so that only differences of slopes are determined; the shortest vector is returned.
    """
    design = np.column_stack([np.ones(len(losses)), mixtures - 1.0])
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ losses
    leverage = np.einsum("ij,ji->i", design, inverse)
    left_out = (losses - design @ coefficients) / np.maximum(1.0 - leverage, 1e-12)
    around_mean = (losses - losses.mean()) * len(losses) / (len(losses) - 1)
    total = float((around_mean**2).sum())
    return coefficients[1:], 1.0 - float((left_out**2).sum()) / total if total > 0 else -np.inf
