"""What the settings that trade time for memory save and cost: peak memory, seconds and alpha's gradient.

    python -m experiments.memory_settings [size=5M] [kind=mixed] [rows=first_order,adjoint] [settings=...]

On the benchmark's random PRM (4 rows of 128 tokens, T = 5, warm moments), one thread, float32. Each line runs
in a process of its own. MiB: "activations" are what the graph of one inner loss keeps, of its largest part;
the peak is that of the window, above model, params and moments. Ratios are to the line without the setting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from dreamprm.runtime.process import prepare_process
from experiments.benchmarks import memory
from experiments.benchmarks.cases import Case
from experiments.benchmarks.workload import Setting, Workload, build_workload, in_micro_batches

SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "": ({}, {}),
    "keep=bf16": ({"keep": "bf16"}, {}),
    "checkpoint_activations": ({}, {"checkpointed": True}),
    "micro_batches=2": ({}, {"micro_batches": 2}),
    "micro_batches=4": ({}, {"micro_batches": 4}),
    "checkpoint_activations + micro_batches=4": ({}, {"checkpointed": True, "micro_batches": 4}),
}
ESTIMATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "first_order": ("first_order", {}),
    "adjoint": ("adjoint", {}),
    "adjoint, differences": ("adjoint", {"derivative": "central_difference"}),
    "unrolled": ("unrolled", {}),
}
REPETITIONS = 1


def measure(size: str, kind: str, estimator: str, setting: str) -> dict[str, Any]:
    """One line, in this process."""
    name, given = ESTIMATORS[estimator]
    more, options = SETTINGS[setting]
    case = Case(name, {**given, **more}, micro_batches=options.get("micro_batches", 1))

    def workload(steps: int) -> Workload:
        point = Setting(size=size, steps=steps, kind=kind, lr=1e-5)
        return build_workload(point, model=case.model, checkpointed=options.get("checkpointed", False))

    case.prepare(workload(1))()  # what libraries allocate on first use
    window = workload(5)
    peak, seconds, grad = memory.extra_peak(case.prepare(window)), [], {}
    for _ in range(REPETITIONS):
        run = case.prepare(window)
        started = time.process_time()
        grad = run().alpha_grad
        seconds.append(time.process_time() - started)
    return {
        "activations": activations(case, window),
        "mib": peak,
        "seconds": min(seconds),
        "alpha": [g.tolist() for g in grad.values()],
    }


def activations(case: Case, workload: Workload) -> float:
    """MiB that the graph of the first inner loss keeps, params left out; of the largest part of the batch."""
    problem = workload.problem
    if case.micro_batches > 1:
        problem = in_micro_batches(problem, case.micro_batches)
    params = {name: p.detach().requires_grad_() for name, p in workload.params.items()}
    own = {p.data_ptr() for p in params.values()}
    sizes = []
    for part in problem.parts(workload.inner_batches[0]):
        kept: dict[int, int] = {}

        def pack(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            if tensor.data_ptr() not in own:
                kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = problem.inner_losses(params, part.batch)
        del losses
        sizes.append(sum(kept.values()) / memory.MIB)
    return max(sizes)


def main(
    size: str = "5M", kind: str = "mixed", rows: str = "first_order,adjoint", settings: str = ""
) -> None:
    """Print a table; `settings` are some of them, all if empty."""
    wanted = ["", *settings.split(",")] if settings else list(SETTINGS)
    print("| estimator | setting | activations | peak | seconds | alpha's gradient off by |")
    print("|---|---|---|---|---|---|")
    for estimator in rows.split(","):
        plain: dict[str, Any] = {}
        for setting, (more, _) in SETTINGS.items():
            if setting not in wanted:
                continue
            if "keep" in more and ESTIMATORS[estimator][0] not in ("first_order", "adjoint"):
                continue
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "experiments.memory_settings",
                    "--line",
                    size,
                    kind,
                    estimator,
                    setting,
                ],
                env={**os.environ, **memory.ALLOCATOR},
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            found = json.loads(done.stdout.splitlines()[-1])
            plain = plain or found
            one, other = (torch.tensor(line["alpha"]).double() for line in (found, plain))
            off = float((one - other).norm() / other.norm()) if one.numel() and float(other.norm()) else 0.0
            figures = [f"{found['activations']:.1f}"]
            figures += [f"{found[key]:.1f} ({found[key] / plain[key]:.2f})" for key in ("mib", "seconds")]
            print("|", " | ".join([estimator, setting, *figures, f"{off:.0e}"]), "|", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--line"]:
        prepare_process(1)
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
