"""How well the estimators' alpha gradients agree with the unrolled one, along a finished run's own training.

    python experiments/gradient_agreement.py runs/sandbox [windows]

For each checkpoint that the run kept, and for its start: from that state, every estimator takes the same
windows (the batches that the run saw next), and its gradient is compared with `unrolled`'s. Printed are
medians over windows of the cosine and of the ratio of norms, with the least and the most.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from statistics import median

import torch

from dreamprm.assembly import assemble, make_accelerator
from dreamprm.config import load_config
from dreamprm.hypergrad import build_estimator
from dreamprm.process import prepare_process
from dreamprm.schema import HypergradSettings, TrainConfig
from dreamprm.training import restore

ESTIMATORS = {
    "first_order, double backward": {"name": "first_order", "mixed": "double_backward"},
    "first_order, central difference": {"name": "first_order", "mixed": "finite_difference"},
    "first_order, one-sided": {"name": "first_order", "mixed": "forward_difference"},
}


def compare(config: TrainConfig, checkpoint: str | None, windows: int) -> None:
    """Print the agreement from one state on."""
    run = assemble(config, make_accelerator(config), say=lambda line: None)
    if checkpoint is not None:
        restore(run, checkpoint)
    state, length = run.state, config.inner_steps
    first = state.inner.step // length
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ESTIMATORS}
    for window in range(first, first + windows):
        batches = [run.step_batches[step] for step in range(window * length, (window + 1) * length)]
        arguments = (run.trainer.problem, run.trainer.inner, state.params, state.inner, state.alpha)
        meta = run.meta_batches[window]
        exact = build_estimator("unrolled").run_window(*arguments, inner_batches=batches, outer_batch=meta)
        truth = torch.cat([grad.flatten() for grad in exact.alpha_grad.values()])
        for name, settings in ESTIMATORS.items():
            got = build_estimator(**settings).run_window(*arguments, inner_batches=batches, outer_batch=meta)
            grad = torch.cat([part.flatten() for part in got.alpha_grad.values()])
            cosine = float(torch.nn.functional.cosine_similarity(grad, truth, dim=0))
            found[name].append((cosine, float(grad.norm() / truth.norm())))
        # alpha stays as it is here: the windows differ by their batches and by the steps taken.
        state.params, state.inner = exact.params, exact.state
    print(f"from step {first * length}, {windows} windows")
    for name, pairs in found.items():
        for what, values in zip(("cosine", "norm ratio"), zip(*pairs, strict=True), strict=True):
            print(f"  {name:32} {what:10} {median(values):7.4f}  ({min(values):.4f} to {max(values):.4f})")


def main() -> None:
    folder = Path(sys.argv[1])
    windows = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    config = load_config(TrainConfig, folder / "config.yaml")
    prepare_process(config.threads)
    # Eager attention, which has second-order gradients, for all alike.
    config = dataclasses.replace(
        config, hypergrad=HypergradSettings(name="unrolled"),
        model=dataclasses.replace(config.model, attn_implementation="eager"))
    last = config.steps // config.inner_steps - windows
    for checkpoint in (None, *sorted((folder / "checkpoints").glob("step-*"))):
        if checkpoint is None or int(checkpoint.name.partition("-")[2]) // config.inner_steps <= last:
            compare(config, None if checkpoint is None else str(checkpoint), windows)


if __name__ == "__main__":
    main()
