"""Seconds, peak memory and cosine of one window by estimator, against plain training and other libraries.

    make bench                                  one model size, T = 5: under half an hour
    make bench ARGS=full                        three sizes, T = 1, 2, 5, 10, 20: hours
    make bench ARGS=peers                       T = 5, 20, 100 beside exact peers, 1M: half an hour
    make bench ARGS="smoke cases=[none,unrolled] steps=[1,2]"
    make bench ARGS=--help

or python -m experiments.benchmarks.windows [quick|full|peers|smoke] [key=value ...]. The figures go to
runs/bench/hypergradients.json (of `peers` to peers.json), with tables and plots beside it, and are printed
next to the committed ones of experiments/results, which come from another machine: compare ratios. Points
already in the file are kept, so that an interrupted run resumes; overwrite=true measures them again. To renew
the committed figures: out=experiments/results/hypergradients.json overwrite=true.

Every figure is a ratio to plain training: T inner steps and one outer gradient, a forward and a
backward pass each, with fused attention and updates in place; estimators that need gradients of gradients
pay for eager attention. Ratios to `vanilla`, the T steps alone, are given next to them. Memory is measured in
a separate process for each row (see memory.py), time in one process for all rows in turn (worker.py; CPU
seconds, so that other programs on the machine matter little), agreement against the exact gradient in
float64.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dreamprm.config.errors import UserError
from experiments.benchmarks import memory, report
from experiments.benchmarks.cases import CASES, PLAIN, VANILLA
from experiments.benchmarks.workload import KINDS, Setting, parameters

COMMITTED = Path("experiments/results/hypergradients.json")
RESULTS = Path("runs/bench/hypergradients.json")
PACKAGES = ("torch", "transformers", "torchopt", "betty-ml", "higher", "bergson")


@dataclass
class Plan:
    """What is measured; every combination of sizes, steps and kinds is a point."""

    sizes: list[str] = field(default_factory=lambda: ["5M"])
    steps: list[int] = field(default_factory=lambda: [5])
    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    cases: list[str] = field(default_factory=lambda: list(CASES))
    agreement_lrs: list[float] = field(default_factory=lambda: [5e-7, 1e-4])
    repetitions: int = 3
    threads: int = 1
    device: str = "cpu"
    limit_gib: float | None = None  # of memory, past which a row fails; None: 85 % of what is available
    out: str = str(RESULTS)
    overwrite: bool = False


PRESETS: dict[str, dict[str, Any]] = {
    "quick": {},
    "full": {"sizes": ["1M", "5M", "20M"], "steps": [1, 2, 5, 10, 20]},
    "peers": {
        "sizes": ["1M"],
        "steps": [5, 20, 100],
        "kinds": ["mixed"],
        "cases": [
            "first_order",
            "adjoint",
            "adjoint, central difference",
            "adjoint, on disk",
            "adjoint, 4 micro-batches",
            "adjoint, 4 micro-batches, on disk",
            "unrolled",
            "TorchOpt unroll",
            "bergson",
            "bergson, 4 micro-batches",
        ],
        "agreement_lrs": [1e-4],
        "limit_gib": 8.0,  # the graphs of T = 100 would take 14
        "out": "runs/bench/peers.json",
    },
    "smoke": {"sizes": ["tiny"], "steps": [1, 2], "repetitions": 1},
}


def read_plan(arguments: list[str]) -> Plan:
    """The plan from a command line: a preset's name, if any, then `key=value`.

    Raises:
        UserError: an unknown preset, key, case, size or kind, or a value of the wrong type.
    """
    preset = arguments[0] if arguments and "=" not in arguments[0] else "quick"
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}; use one of {', '.join(PRESETS)}, or key=value")
    overrides = [argument for argument in arguments if argument != preset]
    try:
        merged = OmegaConf.merge(
            OmegaConf.structured(Plan), PRESETS[preset], OmegaConf.from_dotlist(overrides)
        )
        plan = OmegaConf.to_object(merged)
        assert isinstance(plan, Plan)
        for point in points(plan):
            del point  # made only to be checked
    except (OmegaConfBaseException, ValueError) as error:
        keys = ", ".join(name.name for name in dataclasses.fields(Plan))
        raise UserError(f"{str(error).splitlines()[0]}; keys: {keys}") from error
    unknown = [case for case in plan.cases if case not in CASES]
    if unknown:
        raise UserError(f"unknown case {unknown[0]!r}; known: {', '.join(CASES)}")
    plan.cases = [case for case in CASES if case in {PLAIN, VANILLA, *plan.cases}]
    return plan


def points(plan: Plan) -> list[Setting]:
    """Every combination, small and short ones first."""
    return [
        Setting(size=size, steps=steps, kind=kind, device=plan.device)
        for size in plan.sizes
        for steps in plan.steps
        for kind in plan.kinds
    ]


def measure(setting: Setting, plan: Plan) -> dict[str, Any]:
    """All figures of one point, by case: extra_mib, seconds, agreement {lr: ...}, or an error."""
    rows = ask("memory", setting, plan.cases, plan)
    for case, row in rows.items():
        say(setting, case, row)
    usable = [case for case in plan.cases if "error" not in rows[case]]
    if len(plan.agreement_lrs) == 1:  # the same windows serve for both
        at = dataclasses.replace(setting, lr=plan.agreement_lrs[0])
        for case, row in ask("time", at, usable, plan, with_agreement=True).items():
            rows[case] |= row
            say(at, case, row)
        return rows
    for case, row in ask("time", setting, usable, plan).items():
        rows[case] |= row
        say(setting, case, row)
    gradients = [case for case in usable if case not in (PLAIN, VANILLA, "none")]
    for lr in plan.agreement_lrs if gradients else ():
        at = dataclasses.replace(setting, lr=lr)
        for case, row in ask("agreement", at, gradients, plan).items():
            rows[case].setdefault("agreement", {})[f"{lr:g}"] = row
            say(at, case, row)
    return rows


def ask(
    job: str, setting: Setting, cases: list[str], plan: Plan, **options: Any
) -> dict[str, dict[str, Any]]:
    """Run one job in a separate process; one that dies gives an error for each case."""
    order = {
        **options,
        "job": job,
        "cases": cases,
        "setting": dataclasses.asdict(setting),
        "threads": plan.threads,
        "repetitions": plan.repetitions,
    }
    environment = dict(os.environ, OMP_NUM_THREADS=str(plan.threads))
    if setting.device == "cpu":
        limits = [0.85 * memory.available(), *([] if plan.limit_gib is None else [plan.limit_gib * 2**30])]
        order["limit_bytes"] = int(min(limits))
    if job == "memory":
        environment |= memory.ALLOCATOR
    child = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.worker", json.dumps(order)],
        capture_output=True,
        text=True,
        env=environment,
    )
    if child.returncode != 0:
        reason = child.stderr.strip().splitlines()[-1:] or [f"ended with code {child.returncode}"]
        return {case: {"error": reason[0][:160]} for case in cases}
    answer: dict[str, dict[str, Any]] = json.loads(child.stdout.strip().splitlines()[-1])
    return answer


def say(setting: Setting, case: str, row: dict[str, Any]) -> None:
    """One line of progress."""
    figures = ", ".join(f"{name} {report.short(value)}" for name, value in row.items())
    print(f"{key(setting)} lr={setting.lr:g}  {case:30} {figures}", flush=True)


def key(setting: Setting) -> str:
    """A point's name in the results file."""
    return f"{setting.size} T={setting.steps} {setting.kind}"


def conditions(plan: Plan) -> dict[str, Any]:
    """The machine and versions with which the figures were measured."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": date.today().isoformat(),
        "machine": machine(plan.device),
        "threads": plan.threads,
        "repetitions": plan.repetitions,
        "load": round(os.getloadavg()[2], 1),
        "clock": "CPU seconds" if plan.device == "cpu" else "seconds",
        "python": platform.python_version(),
        "versions": versions,
        "command": "python -m experiments.benchmarks.windows " + " ".join(sys.argv[1:]),
    }


def machine(device: str) -> str:
    """The processor or GPU, in words."""
    if device != "cpu":
        return str(torch.cuda.get_device_name())
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} logical cores"


def help_text() -> str:
    """How to call this, with every key and its default."""
    lines = [f"  {name}={value}" for name, value in dataclasses.asdict(Plan()).items()]
    presets = [
        f"  {name}: {', '.join(f'{k}={v}' for k, v in keys.items()) or 'the defaults'}"
        for name, keys in PRESETS.items()
    ]
    return "\n".join([__doc__ or "", "Keys and defaults:", *lines, "Presets:", *presets])


def main(arguments: list[str]) -> int:
    """Measure every point of the plan that is not in the results file; write tables and plots next to it."""
    if {"--help", "-h", "help"} & set(arguments):
        print(help_text())
        return 0
    try:
        plan = read_plan(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    out = Path(plan.out)
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"points": {}}
    kept = 0
    for setting in points(plan):
        if key(setting) in results["points"] and not plan.overwrite:
            kept += 1
            continue
        rows = measure(setting, plan)
        results["points"][key(setting)] = {
            **dataclasses.asdict(setting),
            "parameters": parameters(setting.size),
            "rows": rows,
            "conditions": conditions(plan),
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")
    for path in report.write(results, out):
        print(f"wrote {path}")
    same = COMMITTED.with_name(out.name)
    committed = same if same.exists() else COMMITTED
    if committed.exists() and out.resolve() != committed.resolve():
        chosen = [key(setting) for setting in points(plan)]
        print("\n" + report.beside(results, json.loads(committed.read_text()), chosen))
    if kept:
        print(
            f"{kept} of {len(points(plan))} points were not measured now, as they are in {out}; "
            "overwrite=true measures them again"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
