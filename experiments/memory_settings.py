"""What the settings that trade time for memory save and cost: peak memory, seconds and alpha's gradient.

    python -m experiments.memory_settings [size=5M] [kind=mixed] [rows=first_order,adjoint] [settings=...]

On the benchmark's random PRM (4 rows of 128 tokens, T = 5, warm moments), one thread, float32. Each line runs
in a process of its own; MiB are the peak above model, params and moments, and everything is compared with the
same estimator without the setting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import torch

from dreamprm.runtime.process import prepare_process
from experiments.benchmarks import memory
from experiments.benchmarks.cases import Case
from experiments.benchmarks.workload import Setting, Workload, build_workload

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
    return {"mib": peak, "seconds": min(seconds), "alpha": [g.tolist() for g in grad.values()]}


def main(
    size: str = "5M", kind: str = "mixed", rows: str = "first_order,adjoint", settings: str = ""
) -> None:
    """Print a table; `settings` are some of them, all if empty."""
    wanted = ["", *settings.split(",")] if settings else list(SETTINGS)
    print("| estimator | setting | MiB | seconds | alpha's gradient off by |\n|---|---|---|---|---|")
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
            print(
                f"| {estimator} | {setting} | {found['mib']:.0f} ({found['mib'] / plain['mib']:.2f}) "
                f"| {found['seconds']:.1f} ({found['seconds'] / plain['seconds']:.2f}) | {off:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--line"]:
        prepare_process(1)
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
