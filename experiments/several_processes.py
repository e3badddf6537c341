"""What processes divide: memory of each, and seconds of a window, of one process and of several.

    python -m experiments.several_processes [size=20M] [steps=5] [repetitions=3] [out=FILE.md]

For 1, 2 and 4 processes on this machine (gloo, a thread each), with replicated and with sharded parameters:
the peak of resident memory in a window above an idle process, beside what a count says of parameters, moments
and kept gradients; and the seconds of the same window. Memory of more processes than cores is right, seconds
are not, and are left out.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import OmegaConf

from dreamprm.hypergrad import AdamW, build_estimator
from dreamprm.models.collation import Share
from dreamprm.models.weights import DomainWeights
from dreamprm.training.prm_problem import prm_problem
from dreamprm.training.processes import Processes
from dreamprm.training.shards import Shards
from experiments.benchmarks import memory
from experiments.benchmarks.workload import (
    DOMAINS,
    ROWS,
    domains_of,
    random_batch,
    random_prm,
    some_rows,
    trained_params,
)

ESTIMATORS: dict[str, dict[str, Any]] = {
    "first_order": {"name": "first_order"},
    "adjoint": {"name": "adjoint", "derivative": "central_difference"},
}
# Copies of the parameters that a process holds at the peak of a window of T steps, one loss in a batch, in
# place: params and two moments, and what docs/hypergradients.md says of each.
COUNTS = {"first_order": lambda steps: 3 + steps + 2 + 1, "adjoint": lambda steps: 3 + 3 + 3 + 3 + 3 + steps}
MIB = 2**20


@dataclass
class Settings:
    """What is measured."""

    size: str = "20M"
    steps: int = 5
    repetitions: int = 3
    out: str = ""


def own_share(batch: dict[str, Any], share: Share) -> dict[str, Any]:
    """The batch with the inputs of this process's rows alone, and the positions of their step ends."""
    rows = torch.arange(ROWS).chunk(share.count)[share.rank]
    where = torch.isin(batch["inputs"]["step_rows"], rows)
    return {**batch, "inputs": some_rows(batch, rows)["inputs"], "own": where.nonzero()[:, 0]}


def windows(settings: Settings, estimator: str, *, size: str, sharded: bool) -> Iterator[None]:
    """A training of random batches, window by window; the first `next` makes the model."""
    share = Share(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Share()
    processes = Processes(share)
    torch.manual_seed(0)
    prm = random_prm(size, attention="sdpa")
    vocabulary = len(prm.processor.tokenizer)
    params = trained_params(prm)
    for name, parameter in prm.named_parameters():
        if name in params:
            parameter.data = params[name]
    shards = Shards.of(params, processes) if sharded else None
    if shards is not None:
        shards.empty(prm)
        params = {name: shards.own(name, params.pop(name)) for name in list(params)}
    weights = DomainWeights([f"domain-{i}" for i in range(DOMAINS)])
    problem = prm_problem(prm, weights, processes=processes, shards=shards)
    optimizer, alpha = AdamW(lr=1e-5), weights.init()
    state = optimizer.init(params)
    how = build_estimator(**ESTIMATORS[estimator])
    generator = torch.Generator().manual_seed(0)

    def batch(step: int) -> dict[str, Any]:
        whole = random_batch(domains_of("single", step), vocabulary=vocabulary, generator=generator)
        return own_share(whole, share) if processes.several else whole

    yield
    while True:
        window = how.run_window(
            problem,
            optimizer,
            params,
            state,
            alpha,
            inner_batches=[batch(step) for step in range(settings.steps)],
            outer_batch=batch(0),
            donate=True,
        )
        params, state = window.params, window.state  # type: ignore[assignment]
        del window
        yield


def measure(settings: Settings, estimator: str, *, sharded: bool) -> dict[str, float]:
    """MiB at a window's peak above an idle process, and the seconds of windows, in this process."""
    tiny = windows(settings, estimator, size="tiny", sharded=sharded)
    for _ in range(2):
        next(tiny)
    del tiny
    idle = memory.resident()
    training = windows(settings, estimator, size=settings.size, sharded=sharded)
    next(training)
    next(training)  # what libraries allocate on first use
    memory.resident()
    next(training)
    peak = memory.peak() - idle
    seconds = []
    for _ in range(settings.repetitions):
        begun = time.monotonic()
        next(training)
        seconds.append(time.monotonic() - begun)
    return {"mib": peak, "seconds": statistics.median(seconds)}


def started(settings: Settings, estimator: str, count: int, *, sharded: bool) -> dict[str, float]:
    """`measure` in `count` processes that found each other; the largest memory, and the first's seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        *(sys.executable, "-m", __spec__.name),
        *(f"size={settings.size}", f"steps={settings.steps}", f"repetitions={settings.repetitions}"),
        *(f"estimator={estimator}", f"sharded={sharded}"),
    ]
    common = {**os.environ, **memory.ALLOCATOR, "OMP_NUM_THREADS": "1"}
    common |= {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        subprocess.Popen(command, env={**common, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(count)
    ]
    found = []
    for process in running:
        told, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"a process of {count} ended with code {process.returncode}")
        mib, seconds = map(float, told.split()[-2:])
        found.append({"mib": mib, "seconds": seconds})
    return {"mib": max(one["mib"] for one in found), "seconds": found[0]["seconds"]}


def table(settings: Settings) -> str:
    """The figures in Markdown."""
    with torch.device("meta"):
        count = sum(p.numel() for p in trained_params(random_prm(settings.size, attention="sdpa")).values())
    copy = 4 * count / MIB
    cores = len(os.sched_getaffinity(0))
    lines = [
        f"`python -m experiments.several_processes size={settings.size} steps={settings.steps}`: "
        f"{count / 1e6:.1f}M parameters (a float32 copy: {copy:.0f} MiB), T = {settings.steps}, a batch of "
        f"{ROWS} rows in all; {cores} cores, a thread for each process.",
        "",
        "| estimator | processes | parameters | count, MiB | peak, MiB | of one process | seconds a window |"
        " efficiency |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for estimator in ESTIMATORS:
        alone: dict[str, float] = {}
        for processes, sharded in [(1, False), (2, False), (2, True), (4, True)]:
            row = started(settings, estimator, processes, sharded=sharded)
            alone = alone or row
            held = COUNTS[estimator](settings.steps) * copy / (processes if sharded else 1)
            timed = processes <= cores
            share = alone["seconds"] / (processes * row["seconds"])
            lines.append(
                f"| {estimator} | {processes} | {'sharded' if sharded else 'replicated'} | {held:.0f} | "
                f"{row['mib']:.0f} | {row['mib'] / alone['mib']:.2f} | "
                + (f"{row['seconds']:.2f} | {share:.0%} |" if timed else "| |")
            )
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """The table; or one process's figures, where another one has started it."""
    given = OmegaConf.to_container(OmegaConf.from_dotlist(list(arguments)))
    assert isinstance(given, dict)
    estimator, sharded = given.pop("estimator", None), given.pop("sharded", False)
    settings = Settings(**{str(key): value for key, value in given.items()})
    if estimator is None:
        text = table(settings)
        print(text)
        if settings.out:
            Path(settings.out).write_text(text, encoding="utf-8")
        return
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if int(os.environ["WORLD_SIZE"]) > 1:
        dist.init_process_group("gloo")
    row = measure(settings, estimator, sharded=sharded)
    print(row["mib"], row["seconds"])
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
