"""What `dreamprm plan` says a window takes, next to what one takes: one line for each way to train.

    python -m experiments.plan_check                        # on a CPU: models 5M and sandbox
    python -m experiments.plan_check models=135M out=experiments/results/plan_135m
    python -m experiments.plan_check device=cuda models=2B

`sandbox` needs `dreamprm sandbox experiments/configs/sandbox/world.yaml`. Each window runs in a process of
its own, after one that does not count. On a CPU the measured figure is the allocator's own: what torch's CPU
allocator has handed out at once, from its log (`torch.profiler`); "resident" is what the kernel saw of the
process above that it had before the window, which includes scratch space of the math libraries and Python.
Of several processes it is the measured figure too: gloo frees what it copied in threads that the log lacks.
On a GPU it is the caching allocator's peak.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from PIL import Image
from transformers import Qwen2VLConfig

from dreamprm.config.loading import load_config
from dreamprm.evaluation.number_text import markdown_table
from dreamprm.hypergrad.replay import habits_of
from dreamprm.models.processing import PRMProcessor
from dreamprm.runtime.process import prepare_process
from dreamprm.sandbox.base_model import base_config, build_processor
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.training.assembly import assemble
from dreamprm.training.plan.abstract_window import (
    IN_THE_MIDDLE,
    PlannedDevice,
    assembled,
    count_window,
    several,
)
from dreamprm.training.plan.counted_memory import CountedMemory
from dreamprm.training.plan.fewer_layers import footprint_of
from dreamprm.training.plan.longest_batches import longest_batches
from dreamprm.training.plan.planning import opened
from dreamprm.training.processes import leave, make_accelerator
from dreamprm.training.settings import TrainConfig
from experiments.benchmarks import memory

MIB = 2**20
WAYS: dict[str, list[str]] = {
    "none": ["hypergrad={name: none}"],
    "first_order": ["hypergrad={name: first_order}"],
    "first_order, offload=disk": ["hypergrad={name: first_order, offload: disk}"],
    "adjoint": ["hypergrad={name: adjoint}"],
    "adjoint, central_difference": ["hypergrad={name: adjoint, derivative: central_difference}"],
    "adjoint, offload=disk": ["hypergrad={name: adjoint, offload: disk}"],
    "unrolled": ["hypergrad={name: unrolled}"],
    "finite_difference": ["hypergrad={name: finite_difference}"],
    "first_order, sharded over 2": ["hypergrad={name: first_order}", "shard=true"],
    "adjoint, central_difference, sharded over 2": [
        "hypergrad={name: adjoint, derivative: central_difference}",
        "shard=true",
    ],
    "adjoint, vision frozen or not": ["hypergrad={name: adjoint}", "model.freeze_vision=${other}"],
}
WORDS = ("one", "two", "three", "plus", "minus", "equals", "red", "blue", "circle", "square")


@dataclass
class Model:
    """A configuration with its overrides, in a folder that holds its files."""

    config: Path
    overrides: list[str]
    vision_frozen: bool = False


def sandbox(folder: Path) -> Model:
    """The sandbox's own configuration, on its generated data."""
    del folder
    root = Path(__file__).resolve().parent / "configs" / "sandbox"
    return Model(root / "train.yaml", ["output=runs/plan_check"], vision_frozen=True)


def five_million(folder: Path) -> Model:
    """The benchmark's 5M PRM (width 256, 8 layers) on batches of 4 CoTs of some 128 tokens."""
    processor = build_processor()
    shapes = base_config(SandboxConfig(hidden_size=256, text_layers=8), processor.tokenizer)
    return _made(folder, shapes, processor, words=22, overrides=["batch_size=1", "meta_batch_size=4"])


def small(folder: Path) -> Model:
    """SmolLM2-135M's shapes (30 layers of width 576) with a small vision tower, two rows a batch."""
    processor = build_processor()
    shapes = base_config(SandboxConfig(), processor.tokenizer).to_dict()
    shapes["text_config"] |= {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "layer_types": ["full_attention"] * 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e5, "mrope_section": [8, 12, 12]},
    }
    shapes["vision_config"] |= {
        "depth": 6,
        "embed_dim": 384,
        "hidden_size": 576,
        "num_heads": 6,
        "mlp_ratio": 4,
    }
    more = ["sampling=single", "batch_size=2", "meta_batch_size=2", "inner_steps=3", "steps=3"]
    return _made(folder, Qwen2VLConfig(**shapes), processor, words=22, overrides=more)


def two_billion(folder: Path) -> Model:
    """Qwen2-VL-2B's shapes, for a GPU."""
    from experiments.benchmarks.gpu_2b import config_2b

    processor = build_processor()
    shapes = config_2b(processor.image_token_id, tiny=False)
    more = ["sampling=single", "batch_size=1", "meta_batch_size=1", "precision=bf16"]
    return _made(folder, shapes, processor, words=150, overrides=more)


MODELS: dict[str, Callable[[Path], Model]] = {
    "5M": five_million,
    "sandbox": sandbox,
    "135M": small,
    "2B": two_billion,
}


def _made(
    folder: Path, shapes: Qwen2VLConfig, processor: PRMProcessor, *, words: int, overrides: list[str]
) -> Model:
    """A configuration on random weights of these shapes and on records of five steps of some words."""
    processor.save_pretrained(folder / "tokenizer")
    (folder / "shapes.json").write_text(json.dumps(shapes.to_dict()))
    Image.new("RGB", (56, 56), "red").save(folder / "image.png")

    def steps(row: int) -> list[str]:
        return [" ".join(WORDS[(row + k + i) % len(WORDS)] for i in range(words)) for k in range(5)]

    for domain in range(4):
        lines = [
            {
                "question": "how many ?",
                "image": "image.png",
                "domain": f"domain-{domain}",
                "steps": steps(row),
                "labels": [0.5] * 5,
                "id": f"{domain}-{row}",
            }
            for row in range(4)
        ]
        (folder / f"{domain}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    meta = [
        {"question": "how many ?", "image": "image.png", "steps": steps(row), "correct": row % 2 == 0}
        for row in range(8)
    ]
    (folder / "meta.jsonl").write_text("\n".join(map(json.dumps, meta)) + "\n")
    files = ",".join(str(folder / f"{domain}.jsonl") for domain in range(4))
    (folder / "config.yaml").write_text("name: plan_check\nsteps: 5\nsampling: mixed\n")
    given = [
        f"output={folder / 'run'}",
        f"data.train=[{files}]",
        f"data.meta={folder / 'meta.jsonl'}",
        f"data.cache_dir={folder / 'cache'}",
        f"model.config={folder / 'shapes.json'}",
        f"model.tokenizer={folder / 'tokenizer'}",
    ]
    return Model(folder / "config.yaml", [*given, *overrides])


@dataclass
class Row:
    """A way's figures in MiB: of the window above what was there before it, and of both together."""

    model: str
    way: str
    before: float
    planned: float
    measured: float
    resident: float | None

    @property
    def of_peak(self) -> float:
        """Planned over measured peak."""
        return (self.before + self.planned) / (self.before + self.measured)

    @property
    def of_window(self) -> float:
        """Planned over measured, of what the window adds."""
        return self.planned / self.measured


def check(name: str, ways: Sequence[str], folder: Path, device: str) -> Iterator[Row]:
    """Plan a window for each of the ways, and take one."""
    model = MODELS[name](folder)
    other = str(not model.vision_frozen).lower()
    configs = [
        load_config(
            TrainConfig,
            model.config,
            [*model.overrides, *(one.replace("${other}", other) for one in WAYS[way])],
        )
        for way in ways
    ]
    every = _apart(_plan, configs, device)
    for way, config, planned in zip(ways, configs, every, strict=True):
        found = _apart(_measure, [config], device, processes=_processes(config))
        yield Row(name, way, planned["before"], planned["window"], found["allocator"], found["resident"])


def _processes(config: TrainConfig) -> int:
    return 2 if config.shard else 1


def _apart(work: Callable[..., Any], configs: list[TrainConfig], device: str, *, processes: int = 1) -> Any:
    """The result of the work in processes of its own, forked before anything is computed; the last one's."""
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def run(to: Connection, rank: int) -> None:
        if processes > 1:  # as torchrun starts them
            os.environ |= {"WORLD_SIZE": str(processes), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        prepare_process(configs[0].threads or 1)
        to.send(work(configs, device))
        leave()

    pipes = [context.Pipe(duplex=False) for _ in range(processes)]
    children = [context.Process(target=run, args=(pipes[rank][1], rank)) for rank in range(processes)]
    for child, (_, sender) in zip(children, pipes, strict=True):
        child.start()
        sender.close()
    try:
        return [receiver.recv() for receiver, _ in pipes][-1]
    except EOFError:
        raise SystemExit(f"{configs[0].hypergrad}: the process ended without a result") from None
    finally:
        for child in children:
            child.join()


def _plan(configs: list[TrainConfig], device: str) -> list[dict[str, float]]:
    counting, found = CountedMemory(gloo=device == "cpu"), []
    away = ("disk",) if device == "cpu" else ("cpu", "disk")
    for config in configs:
        data, count = opened(config), _processes(config)
        with counting.counting():
            run = assembled(config, PlannedDevice(), data)
        # of the last process, which `_apart` asks
        longest = replace(longest_batches(run, data.texts, processes=count), rank=count - 1)
        with several(count, count - 1):
            one = footprint_of(
                data.backbone,
                list(run.state.params),
                lambda backbone, config=config, data=data, longest=longest, count=count: count_window(
                    config,
                    replace(data, backbone=backbone),
                    longest,
                    processes=count,
                    puts_away=away,
                    memory=counting,
                ),
            )
        before = one.start.total + one.batches
        found.append({"before": before / MIB, "window": (one.total - before) / MIB})
    return found


def _measure(configs: list[TrainConfig], device: str) -> dict[str, float | None]:
    (config,) = configs
    run = assemble(config, make_accelerator(config), say=lambda line: None)
    data, share = opened(config), run.processes.share
    longest = longest_batches(run, data.texts, processes=share.count)
    data, here = replace(data, samplers=longest.samplers), PlannedDevice(share.count, share.rank)
    batches = assemble(config, cast(Accelerator, here), say=lambda line: None, planned=data)
    inner, outer = [batches.step_batches[0]] * config.inner_steps, batches.meta_batches[0]
    del batches
    habits = habits_of(run.trainer.problem)

    def window() -> None:
        habits.windows = habits.checked = IN_THE_MIDDLE  # few windows watch their losses
        for _ in run.trainer.run(
            run.state, inner_batches=iter(inner), outer_batches=iter([outer]), windows=1
        ):
            pass

    def begin() -> None:
        """Back to zero moments: a run's first step is differentiated in float64."""
        for moments in run.state.inner.moments.values():
            for moment in moments.values():
                moment.zero_()
        run.state.inner = run.trainer.inner.make_state(0, run.state.inner.moments)

    window()
    begin()
    if device != "cpu":
        return {"allocator": memory.extra_peak(window, device=device), "resident": None}
    resident = memory.extra_peak(window)
    if share.count > 1:  # gloo frees in threads of its own, of which the allocator's log does not know
        return {"allocator": resident, "resident": resident}
    begin()
    return {"allocator": _allocated(window), "resident": resident}


def _allocated(work: Callable[[], None]) -> float:
    """MiB that torch's CPU allocator had handed out at the most, above what it had before."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, record_shapes=False
    ) as profile:
        work()
    found: list[tuple[int, int]] = []
    stack = list(profile.profiler.kineto_results.experimental_event_tree())
    while stack:
        event = stack.pop()
        stack += event.children
        if event.tag == torch._C._profiler._EventType.Allocation:
            found.append((event.start_time_ns, event.extra_fields.alloc_size))
    live = most = 0
    for _, size in sorted(found, key=lambda one: one[0]):
        live += size
        most = max(most, live)
    return most / MIB


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    head = (
        "model", "way", "before, MiB", "window, planned", "measured", "planned / measured",
        "peak, planned / measured", "resident",
    )  # fmt: skip
    cells = [
        (
            row.model, row.way, f"{row.before:.1f}", f"{row.planned:.1f}", f"{row.measured:.1f}",
            f"{row.of_window:.3f}", f"{row.of_peak:.3f}",
            "-" if row.resident is None else f"{row.resident:.1f}",
        )
        for row in rows
    ]  # fmt: skip
    return "\n".join(markdown_table(head, cells))


def main(arguments: list[str]) -> int:
    """Check the models and ways that `key=value` arguments name."""
    given = dict(argument.split("=", 1) for argument in arguments)
    device = given.get("device", "cpu")
    names = given.get("models", "5M,sandbox").split(",")
    ways = given["ways"].split(";") if "ways" in given else list(WAYS)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            place = Path(folder) / name
            place.mkdir()
            for row in check(name, ways, place, device):
                rows.append(row)
                print(asdict(row), flush=True)
    print(table(rows))
    if "out" in given:
        Path(given["out"]).with_suffix(".json").write_text(
            json.dumps([asdict(row) for row in rows], indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    if os.environ.get("MALLOC_MMAP_THRESHOLD_") != memory.ALLOCATOR["MALLOC_MMAP_THRESHOLD_"]:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "experiments.plan_check", *sys.argv[1:]],
            os.environ | memory.ALLOCATOR,
        )
    sys.exit(main(sys.argv[1:]))
