"""What `model.cache_trunk` saves: seconds (of a core) per window, what it costs once, and how far it is off.

    python experiments/cached_trunk.py [SIZE [ESTIMATOR]] >> experiments/results/trunk.md

SIZE: one of `SIZES`; ESTIMATOR: `first_order` (the default) or `adjoint`. The backbone is random, which
changes neither time nor room; the records are random words, in four domains, with an image each. Prints a
table.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
import torch
import yaml
from PIL import Image

from dreamprm.config.loading import load_config
from dreamprm.models.batch_loading import WindowBatches, window_batches
from dreamprm.runtime.process import prepare_process
from dreamprm.sandbox.base_model import base_config, build_processor
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.training.assembly import Run, assemble
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig

SIZES = {"tiny": (32, 2), "5M": (256, 8), "85M": (768, 16)}  # width, text layers
DOMAINS, COTS, META = 4, 16, 16  # CoTs of each domain
STEPS, WORDS = 5, 24  # of a CoT, and of each step
WINDOWS = 3  # the first of them is not timed


@dataclass
class Measured:
    """What one training took.

    Attributes:
        trained: number of parameters.
        seconds: of a core, in a window, the median.
        once: seconds of a core, at the start, in which states are computed.
        bytes: of the cached states.
        losses: of all windows, both levels.
    """

    trained: int
    seconds: float
    once: float
    bytes: int
    losses: torch.Tensor


def world(folder: Path, size: str) -> Path:
    """Records, images, tokenizer and configuration of a training; returns the configuration's path."""
    width, layers = SIZES[size]
    draw, processor = random.Random(0), build_processor()
    words = [word for word in processor.tokenizer.get_vocab() if word.isalpha()]
    sizes = SandboxConfig(hidden_size=width, text_layers=layers, vision_layers=2)
    processor.save_pretrained(folder / "tokenizer")
    config = base_config(sizes, processor.tokenizer).to_json_string()
    (folder / "model.json").write_text(config, encoding="utf-8")
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")

    def cot() -> dict[str, object]:
        steps = [" ".join(draw.choices(words, k=draw.randint(WORDS // 2, WORDS))) for _ in range(STEPS)]
        return {"question": " ".join(draw.choices(words, k=WORDS)), "image": "image.png", "steps": steps}

    def write(name: str, records: Sequence[dict[str, object]]) -> str:
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return str(path)

    train = [
        write(f"domain-{k}", [cot() | {"domain": f"domain-{k}", "labels": labels(draw)} for _ in range(COTS)])
        for k in range(DOMAINS)
    ]
    settings = {
        "name": "trunk",
        "output": str(folder / "run"),
        "steps": 5 * WINDOWS,
        "batch_size": 4,
        "meta_batch_size": 4,
        "threads": 1,
        "data": {
            "train": train,
            "meta": write("meta", [cot() | {"correct": i % 2 == 0} for i in range(META)]),
            "cache_dir": str(folder / "cache"),
            "audit_bound": 1.0,
        },
        "model": {"config": str(folder / "model.json"), "tokenizer": str(folder / "tokenizer")},
        "inner": {"lr": 1e-4},
        "log": {"progress": "none"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def labels(draw: random.Random) -> list[float]:
    """Labels of a CoT's steps."""
    return [draw.randint(0, 8) / 8 for _ in range(STEPS)]


def trained_from(first: int, layers: int) -> str:
    """The override that trains the layers from `first` on, the final norm and the head."""
    upper = [f"*language_model.layers.{number}.*" for number in range(first, layers)]
    patterns = ["head.*", "*language_model.norm.*", *upper] if upper else ["head.*"]
    return f"model.trainable={json.dumps(patterns)}"


def measure(config: Path, overrides: Sequence[str]) -> Measured:
    """A training of a few windows."""
    settings = load_config(TrainConfig, config, overrides)
    begun = time.process_time()
    run = assemble(settings, make_accelerator(settings), say=lambda line: None)
    once = time.process_time() - begun
    inner, outer = window_batches(
        WindowBatches(run.step_batches, run.meta_batches, inner_steps=settings.inner_steps),
        first=0,
        last=WINDOWS,
    )
    ends, losses = [time.process_time()], []
    for window in run.trainer.run(run.state, inner_batches=inner, outer_batches=outer, windows=WINDOWS):
        ends.append(time.process_time())
        losses += [window.inner_losses.detach().flatten(), window.outer_loss.detach().flatten()]
    states = Path(settings.data.cache_dir) / "trunk"
    return Measured(
        sum(value.numel() for value in run.state.params.values()),
        median(np.diff(ends)[1:].tolist()),
        once,
        sum(path.stat().st_size for path in states.rglob("*.arrow")),
        torch.cat(losses),
    )


def tokens(run: Run) -> int:
    """Tokens of all step and meta records."""
    records = [*run.records, *run.meta]
    opened = [run.images.open_all(record.images) for record in records]
    encoded = [
        run.prm.processor.encode(record.question, images, record.steps)
        for record, images in zip(records, opened, strict=True)
    ]
    return sum(len(row.input_ids) for one in encoded for row in one.rows)


def rows(folder: Path, size: str, estimator: str) -> list[str]:
    """The lines of the table."""
    config, (_, layers) = world(folder, size), SIZES[size]
    settings = load_config(TrainConfig, config, [])
    count = tokens(assemble(settings, make_accelerator(settings), say=lambda line: None))
    lines = [
        f"| trained ({count:,} tokens in {DOMAINS * COTS + META} records) | parameters | s per window | with "
        "float32 | with bf16 | once, s | bytes per token, float32 | losses off by, float32 | bf16 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for first in (layers // 2, layers - 2, layers - 1, layers):
        part = [trained_from(first, layers), f"hypergrad.name={estimator}"]
        plain, *cached = (
            measure(
                config, [*part, f"model.cache_trunk={kind}", f"data.cache_dir={folder}/cache-{first}-{kind}"]
            )
            for kind in ("none", "float32", "bf16")
        )
        off = [float((one.losses / plain.losses - 1).abs().max()) for one in cached]
        name = "the head" if first == layers else f"layers from {first} on, norm, head"
        lines.append(
            f"| {name} | {plain.trained:,} | {plain.seconds:.3f} | {cached[0].seconds:.3f} | "
            f"{cached[1].seconds:.3f} | {cached[0].once - plain.once:.1f} | {cached[0].bytes / count:,.0f} | "
            f"{off[0]:.0e} | {off[1]:.0e} |"
        )
    return lines


def main(size: str = "5M", estimator: str = "first_order") -> None:
    """Print the table."""
    prepare_process(1)
    with tempfile.TemporaryDirectory() as folder:
        table = rows(Path(folder), size, estimator)
    width, layers = SIZES[size]
    print(
        f"\n## {size}, {estimator}\n\n`python experiments/cached_trunk.py {size} {estimator}`, "
        f"{date.today()}, torch {torch.__version__}, one CPU thread: {layers} layers of width {width}, "
        "T = 5, batches of 4 CoTs.\n"
    )
    print("\n".join(table))


if __name__ == "__main__":
    main(*sys.argv[1:])
