"""Float32 and bf16 hypergradients against float64 truth, on a finished run's last checkpoint.

    python experiments/precision.py RUN [windows [rate ...]] > experiments/results/precision.md

RUN: a finished run's folder, runs/study/shipped-seed0 for the page. The truth is `unrolled` on the model
entirely in float64 (float64.py). From the checkpoint's state, every estimator takes the same windows, with
the batches that come next, at four inner learning rates, or those named. Each cell is the median over windows
of a relative error |got - truth| / |truth| or a cosine, with the range.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from finished_run import checkpoints, open_run, read_config, windows
from float64 import Float64Inside
from torch import Tensor
from torch.utils._pytree import tree_map_only

from dreamprm.hypergrad import AdamW, AdamWState, BilevelProblem, WindowResult, build_estimator
from dreamprm.hypergrad.audit import agreement
from dreamprm.runtime.process import prepare_process
from dreamprm.training.assembly import Run
from dreamprm.training.prm_problem import prm_problem
from dreamprm.training.settings import TrainConfig

Gradient = Mapping[str, Tensor]
EXACT = {"name": "unrolled"}
RATES = (5e-7, 1e-6, 1e-5, 1e-4)
ESTIMATORS: dict[str, dict[str, Any]] = {
    "unrolled": EXACT,
    "adjoint, double backward": {"name": "adjoint"},
    "adjoint, central difference": {"name": "adjoint", "derivative": "central_difference"},
    "adjoint, central, radius 0.05": {"name": "adjoint", "derivative": "central_difference", "radius": 0.05},
    "adjoint, one-sided": {"name": "adjoint", "derivative": "forward_difference"},
    "first_order, double backward": {"name": "first_order", "derivative": "double_backward"},
    "first_order, central difference": {"name": "first_order", "derivative": "central_difference"},
    "first_order, central, radius 0.003": {"name": "first_order", "radius": 0.003},
    "first_order, central, radius 0.05": {"name": "first_order", "radius": 0.05},
    "first_order, one-sided": {"name": "first_order", "derivative": "forward_difference"},
    "finite_difference": {"name": "finite_difference"},
    "finite_difference, AdamW": {"name": "finite_difference", "preconditioner": "adamw"},
    "neumann": {"name": "neumann"},
    "cg": {"name": "cg"},
}


@dataclasses.dataclass
class Start:
    """The state from which every window begins, in one precision."""

    problem: BilevelProblem
    params: dict[str, Tensor]
    state: AdamWState
    alpha: dict[str, Tensor]

    def run(
        self, settings: Mapping[str, Any], optimizer: AdamW, batches: list[Any], meta: Any
    ) -> WindowResult:
        """One window."""
        return build_estimator(**settings).run_window(
            self.problem,
            optimizer,
            self.params,
            self.state,
            self.alpha,
            inner_batches=batches,
            outer_batch=meta,
        )


def make_start(run: Run, config: TrainConfig, *, precision: str) -> Start:
    """The run's state in float64, or in float32 with a model that works in float32 or under bf16 autocast."""

    def autocast() -> Any:
        return torch.autocast(run.prm.head.weight.device.type, torch.bfloat16, enabled=precision == "bf16")

    problem = prm_problem(
        run.prm,
        run.weights,
        aggregation=config.aggregation,
        temperature=config.temperature,
        meta_loss_kind=config.meta_loss,
        lm_weight=config.lm_weight,
        autocast=autocast,
    )
    start = Start(problem, run.state.params, run.state.inner, run.state.alpha)
    if precision == "float64":
        run.prm.double()
        start = dataclasses.replace(
            start,
            params=double(start.params),
            alpha=double(start.alpha),
            state=dataclasses.replace(
                start.state, exp_avg=double(start.state.exp_avg), exp_avg_sq=double(start.state.exp_avg_sq)
            ),
        )
    return start


def double(tree: Any) -> Any:
    """Every floating-point tensor in float64."""
    return tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, tree)


def spread(values: Iterable[float], form: str) -> str:
    """median (least to most)."""
    values = sorted(values)
    return f"{median(values):{form}} ({values[0]:{form}} to {values[-1]:{form}})"


def measure(config: TrainConfig, checkpoint: Path, *, count: int, rates: Sequence[float] = RATES) -> None:
    """Print one table for each precision."""
    runs = {name: open_run(config, checkpoint) for name in ("float64", "float32", "bf16")}
    starts = {name: make_start(run, config, precision=name) for name, run in runs.items()}
    data = list(windows(runs["float32"], config, count=count))
    exact = [(double(batches), double(meta)) for batches, meta in data]
    optimizers = {lr: dataclasses.replace(runs["float32"].trainer.inner, lr=lr) for lr in rates}
    truths: dict[float, list[Gradient]] = {}
    rounding = []
    for lr, optimizer in optimizers.items():
        with Float64Inside():
            truths[lr] = [starts["float64"].run(EXACT, optimizer, *window).alpha_grad for window in exact]
        rounding += [
            relative_error(starts["float64"].run(EXACT, optimizer, *window).alpha_grad, truth)
            for window, truth in zip(exact, truths[lr], strict=True)
        ]
    print(f"A float64 model as transformers runs it, rounding to float32 inside: {spread(rounding, '.1e')}.")
    for precision in ("float32", "bf16"):
        start = starts[precision]
        rows = {
            label: [
                cells([start.run(settings, optimizer, *window) for window in data], truths[lr])
                for lr, optimizer in optimizers.items()
            ]
            for label, settings in ESTIMATORS.items()
        }
        for column, figure in enumerate(("relative error", "cosine")):
            print(f"\n## {precision}: {figure}\n")
            print("| estimator | " + " | ".join(f"lr {lr:g}" for lr in rates) + " |")
            print("|---" * (1 + len(rates)) + "|")
            for label, row in rows.items():
                print(f"| {label} | " + " | ".join(pair[column] for pair in row) + " |", flush=True)


def cells(ended: list[WindowResult], truths: list[Gradient]) -> tuple[str, str]:
    """Relative error and cosine over the windows, or the statuses if a solver did not succeed."""
    failed = sorted({window.status.value for window in ended} - {"ok"})
    if failed:
        return ", ".join(failed), ", ".join(failed)
    pairs = [(window.alpha_grad, truth) for window, truth in zip(ended, truths, strict=True)]
    return (
        spread((relative_error(got, truth) for got, truth in pairs), ".1e"),
        spread((agreement(got, truth)[0] for got, truth in pairs), ".5f"),
    )


def relative_error(got: Gradient, truth: Gradient) -> float:
    """|got - truth| / |truth| over all entries."""
    difference = torch.cat([(got[name].double() - truth[name]).flatten() for name in truth])
    return float(difference.norm() / torch.cat([part.flatten() for part in truth.values()]).norm())


def main() -> None:
    folder = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    named = sys.argv[3:]
    config = read_config(folder)
    prepare_process(config.threads)
    checkpoint = checkpoints(folder)[-1]
    arguments = " ".join([str(folder), str(count), *named])
    print(
        "# Rounding and the estimators\n\n`python experiments/precision.py "
        f"{arguments}`, {date.today()}, torch {torch.__version__}, one CPU thread: from "
        f"{checkpoint.name}, T = {config.inner_steps}, {count} windows. Relative error and cosine against "
        "`unrolled` in float64; median (least to most).\n"
    )
    measure(config, checkpoint, count=count, rates=[float(rate) for rate in named] or RATES)


if __name__ == "__main__":
    main()
