"""One measurement in a separate process; `windows.py` starts it and reads the one line it prints.

python -m experiments.benchmarks.worker '{"job": "memory", "cases": ["unrolled"], "setting": {...}}'
"""

from __future__ import annotations

import gc
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from dreamprm.hypergrad import ESTIMATORS, build_estimator
from dreamprm.runtime.process import prepare_process
from experiments.benchmarks import memory
from experiments.benchmarks.cases import CASES, Run
from experiments.benchmarks.workload import Setting, Workload, build_workload

Outcome = dict[str, Any]
WARM_UP = 5  # steps of a window before the first that is timed


class Models:
    """The workload of a setting in each model variant, built when first asked for."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._built: dict[str, Workload] = {}

    def prepare(self, case: str) -> Run:
        """The case's window, ready to run once."""
        row = CASES[case]
        if row.model not in self._built:
            self._built[row.model] = build_workload(self.setting, model=row.model)
        return row.prepare(self._built[row.model])


def measure_memory(setting: Setting, cases: Sequence[str]) -> dict[str, Outcome]:
    """{"extra_mib"} of each case: peak memory above model, params and moments.

    Each case runs in a separate process, forked from this one, which has done the slow imports but no
    computation; there a window of one step is run first as a warm-up.
    """
    context = multiprocessing.get_context("fork")
    found: dict[str, Outcome] = {}
    for case in cases:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_measure_memory_here, args=(setting, case, sender))
        child.start()
        sender.close()
        try:
            found[case] = receiver.recv()
        except EOFError:  # killed: it would have sent any error of its own
            child.join()
            found[case] = {"error": f"ended with code {child.exitcode}"}
        child.join()
    return found


def _measure_memory_here(setting: Setting, case: str, sender: Connection) -> None:
    try:
        Models(replace(setting, steps=1)).prepare(case)()
        run = Models(setting).prepare(case)
        sender.send({"extra_mib": memory.extra_peak(run, device=setting.device)})
    except Exception as error:
        sender.send({"error": describe(error)})


def measure_seconds(
    setting: Setting, cases: Sequence[str], repetitions: int, *, with_agreement: bool = False
) -> dict[str, Outcome]:
    """{"seconds": one number per repetition} for each case: CPU seconds, or on a GPU those of the clock.

    `with_agreement` adds {"agreement": {lr: ...}} of the windows that were timed, as `measure_agreement`
    gives it: for long windows, which would otherwise run twice.

    Every repetition runs all cases in turn, so that a drift in the machine's speed affects all of them alike;
    the first round is a warm-up by windows of a few steps and does not count. A case that fails drops out
    with its "error".
    """
    models = Models(replace(setting, steps=min(setting.steps, WARM_UP)))
    found = {case: Outcome(seconds=[]) for case in cases}
    grads: dict[str, dict[str, Tensor]] = {}
    for repetition in range(repetitions + 1):
        if repetition == 1:
            models = Models(setting)
        for case in cases:
            if "error" in found[case]:
                continue
            try:
                run = models.prepare(case)
                gc.collect()
                started = _now(setting)
                taken = run()
                seconds = _now(setting) - started
            except Exception as error:
                found[case] = {"error": describe(error)}
                continue
            if taken.note:
                found[case]["note"] = taken.note
            if repetition:
                found[case]["seconds"].append(seconds)
            grads[case] = taken.alpha_grad
    if with_agreement:
        truth = flat(exact_gradient(setting))
        for case, grad in grads.items():
            if grad and "error" not in found[case] and CASES[case].estimator != "none":
                found[case]["agreement"] = {f"{setting.lr:g}": agreement(flat(grad), truth)}
    return found


def measure_agreement(setting: Setting, cases: Sequence[str]) -> dict[str, Outcome]:
    """{"cosine", "relative_error"} of alpha's gradient to the exact one, which is computed in float64."""
    truth = flat(exact_gradient(setting))
    models, found = Models(setting), {}
    for case in cases:
        try:
            found[case] = agreement(flat(models.prepare(case)().alpha_grad), truth)
        except Exception as error:
            found[case] = {"error": describe(error)}
    return found


def exact_gradient(setting: Setting) -> dict[str, Tensor]:
    """alpha's gradient in float64, by `adjoint` with exact products (constant memory), else by `unrolled`."""
    workload = build_workload(setting, model="eager", dtype=torch.float64)
    estimator = build_estimator("adjoint" if "adjoint" in ESTIMATORS else "unrolled")
    return estimator.run_window(
        workload.problem,
        workload.optimizer,
        workload.params,
        workload.state,
        workload.alpha,
        inner_batches=workload.inner_batches,
        outer_batch=workload.outer_batch,
        on_failure="raise",
    ).alpha_grad


def agreement(found: Tensor, truth: Tensor) -> Outcome:
    """Cosine and |found - truth| / |truth|; the cosine is None if the gradient found is zero."""
    norms = float(found.norm() * truth.norm())
    return {
        "cosine": float(found @ truth) / norms if norms else None,
        "relative_error": float((found - truth).norm() / truth.norm()),
    }


def flat(grads: dict[str, Tensor]) -> Tensor:
    """One float64 vector on the CPU."""
    return torch.cat([grad.detach().double().cpu().flatten() for grad in grads.values()])


def describe(error: BaseException) -> str:
    """An error in one line of at most 160 characters."""
    if isinstance(error, ImportError):
        return f"not installed: {error}"[:160]
    text = " ".join(str(error).split())
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        return "out of memory"
    return f"{type(error).__name__}: {text}"[:160]


def _now(setting: Setting) -> float:
    if setting.device == "cpu":
        return time.process_time()  # of all threads; waiting for other programs does not count
    torch.cuda.synchronize()
    return time.perf_counter()


JOBS: dict[str, Callable[[Setting, dict[str, Any]], dict[str, Outcome]]] = {
    "time": lambda setting, order: measure_seconds(
        setting, order["cases"], order["repetitions"], with_agreement=order.get("with_agreement", False)
    ),
    "agreement": lambda setting, order: measure_agreement(setting, order["cases"]),
    "memory": lambda setting, order: measure_memory(setting, order["cases"]),
}


def main() -> None:
    """Run the job given on the command line and print its result as JSON."""
    order = json.loads(sys.argv[1])
    prepare_process(order.get("threads", 1))
    if order.get("limit_bytes"):
        memory.limit(order["limit_bytes"])
    setting = Setting(**order["setting"])
    try:
        outcome = JOBS[order["job"]](setting, order)
    except Exception as error:
        outcome = {case: {"error": describe(error)} for case in order["cases"]}
    print(json.dumps(_finite(outcome)))


def _finite(value: Any) -> Any:
    """Non-finite numbers as None, which JSON can represent."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main()
