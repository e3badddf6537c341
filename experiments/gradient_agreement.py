"""How well the estimators' alpha gradients agree with the unrolled one, along a finished run's own training.

    python experiments/gradient_agreement.py runs/sandbox [windows]

For the run's start and each checkpoint it kept, every estimator takes the same windows from that state (with
the batches that the run saw next), and its gradient is compared with `unrolled`'s. Prints the median, the
least and the greatest cosine and ratio of norms over windows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

from finished_run import checkpoints, open_run, read_config, windows

from dreamprm.hypergrad import build_estimator
from dreamprm.hypergrad.audit import agreement
from dreamprm.runtime.process import prepare_process
from dreamprm.training.settings import TrainConfig

ESTIMATORS = {
    "first_order, double backward": {"name": "first_order", "derivative": "double_backward"},
    "first_order, central difference": {"name": "first_order", "derivative": "central_difference"},
    "first_order, one-sided": {"name": "first_order", "derivative": "forward_difference"},
}


def compare(config: TrainConfig, checkpoint: Path | None, count: int) -> None:
    """Print the agreement over the windows that follow one state."""
    run = open_run(config, checkpoint)
    state, first = run.state, run.state.inner.step
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ESTIMATORS}
    for batches, meta in windows(run, config, count=count):
        arguments = (run.trainer.problem, run.trainer.inner, state.params, state.inner, state.alpha)
        exact = build_estimator("unrolled").run_window(*arguments, inner_batches=batches, outer_batch=meta)
        for name, settings in ESTIMATORS.items():
            got = build_estimator(**settings).run_window(*arguments, inner_batches=batches, outer_batch=meta)
            found[name].append(agreement(got.alpha_grad, exact.alpha_grad))
        # alpha stays fixed here: the windows differ in their batches and in the steps taken before.
        state.params, state.inner = exact.params, exact.state
    print(f"from step {first}, {count} windows")
    for name, pairs in found.items():
        for what, values in zip(("cosine", "norm ratio"), zip(*pairs, strict=True), strict=True):
            print(f"  {name:32} {what:10} {median(values):7.4f}  ({min(values):.4f} to {max(values):.4f})")


def main() -> None:
    folder = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    config = read_config(folder)
    prepare_process(config.threads)
    last = config.steps // config.inner_steps - count
    for checkpoint in (None, *checkpoints(folder)):
        if checkpoint is None or int(checkpoint.name.partition("-")[2]) // config.inner_steps <= last:
            compare(config, checkpoint, count)


if __name__ == "__main__":
    main()
