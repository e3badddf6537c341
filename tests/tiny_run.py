"""A whole training run in miniature: a checkpoint, data files and a configuration, written to a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import yaml
from tiny_models import tiny_image, tiny_prm

from dreamprm.cli import COMMANDS, main
from dreamprm.config.loading import load_config
from dreamprm.training.assembly import Run, assemble
from dreamprm.training.processes import make_accelerator
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.settings import TrainConfig
from dreamprm.training.trackers import Trackers
from dreamprm.training.train import train

DOMAINS = ("charts", "maths")
SUITES = ("first", "second")
_WORDS = ("one", "two", "three", "four", "five", "six", "plus", "minus", "equals", "bars")


def save_tiny_checkpoint(folder: Path, **sizes: Any) -> Path:
    """A plain Qwen2-VL checkpoint (weights, tokenizer, image processor) as other software writes it."""
    prm = tiny_prm(**sizes)
    prm.backbone.save_pretrained(folder)
    prm.processor.tokenizer.save_pretrained(folder)
    prm.processor.image_processor.save_pretrained(folder)
    return folder


def write_lines(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """Rows as JSON Lines; texts are written as they are."""
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def train_command(*arguments: str, report: bool = False) -> int:
    """`dreamprm train ARGUMENTS`, in this process; returns the exit code.

    Args:
        report: whether the report of the training follows, as it does for a user. Its plots take several
            times as long as a tiny training.
    """
    command = COMMANDS["train"] if report else replace(COMMANDS["train"], then=None)
    with patch.dict(COMMANDS, {"train": command}):
        return main(["train", *arguments])


@dataclass
class TinyRun:
    """Files of a tiny run and its configuration, which a test may change before it trains.

    Attributes:
        folder: holds the data files and config.yaml; run folders are made below it.
        config: the content of config.yaml.
    """

    folder: Path
    config: dict[str, Any]

    @property
    def output(self) -> Path:
        """The run folder."""
        return Path(self.config["output"])

    def train(self, *overrides: str, report: bool = False) -> int:
        """`dreamprm train config.yaml OVERRIDES` by `train_command`; returns the exit code."""
        return train_command(str(self.write()), *overrides, report=report)

    def write(self) -> Path:
        """Write config.yaml as it stands."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        return path

    def lines(self, name: str, *, run: str | None = None) -> list[dict[str, Any]]:
        """The objects of one of the run's JSON Lines files."""
        folder = self.output if run is None else self.folder / run
        return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]

    def summary(self) -> dict[str, Any]:
        """summary.json."""
        return dict(json.loads((self.output / "summary.json").read_text(encoding="utf-8")))


def tiny_run(folder: Path, checkpoint: Path) -> TinyRun:
    """Two domains of five CoTs, a meta set of six, two suites of three questions, and a configuration.

    Labels, numbers of steps and images differ between records, so that every batch differs from every other.
    """
    generator = np.random.default_rng(0)
    for number in range(3):
        tiny_image(number, size=(56, 56 if number else 28)).save(folder / f"{number}.png")

    def steps(count: int) -> list[str]:
        return [f"step {k + 1} : {' '.join(generator.choice(_WORDS, size=3))} ." for k in range(count)]

    for domain in DOMAINS:
        write_lines(
            folder / f"{domain}.jsonl",
            [
                {
                    "question": f"what is {generator.choice(_WORDS)} ?",
                    "image": f"{i % 3}.png",
                    "domain": domain,
                    "steps": steps(1 + i % 3),
                    "labels": generator.integers(0, 9, 1 + i % 3).__truediv__(8).tolist(),
                    "id": f"{domain}-{i}",
                }
                for i in range(5)
            ],
        )
    write_lines(
        folder / "meta.jsonl",
        [
            {"question": "how many bars ?", "image": f"{i % 3}.png", "steps": steps(2), "correct": i % 2 == 0}
            for i in range(6)
        ],
    )
    for suite in SUITES:
        write_lines(
            folder / f"{suite}.jsonl",
            [
                {
                    "question": "what is the answer ?",
                    "image": f"{i}.png",
                    "benchmark": suite,
                    "answer": "1",
                    "candidates": [
                        {
                            "text": " ".join(chain := steps(2)),
                            "steps": chain,
                            "correct": (i + n) % 2 == 0,
                            "final_answer": str((i + n) % 2),
                        }
                        for n in range(2)
                    ],
                }
                for i in range(3)
            ],
        )
    write_lines(
        folder / "pool.jsonl",
        [{"text": "two plus three equals five .", "image": "1.png"}, {"text": "one plus one equals two ."}],
    )
    return TinyRun(
        folder,
        {
            "name": "tiny",
            "output": str(folder / "run"),
            "seed": 1,
            "steps": 8,
            "inner_steps": 2,
            "batch_size": 2,
            "meta_batch_size": 3,
            "data": {
                "train": [str(folder / f"{domain}.jsonl") for domain in DOMAINS],
                "meta": str(folder / "meta.jsonl"),
                "cache_dir": str(folder / "cache"),
                "min_pixels": 784,
                # six records reach high AUCs by chance
                "audit_bound": 1.0,
            },
            "model": {"path": str(checkpoint)},
            "hypergrad": {"name": "first_order"},
            # large enough that every step shows in every figure
            "inner": {"lr": 1e-3},
            "upper": {"lr": 0.05},
            "checkpoint": {"every": 2, "keep": 9},
            "log": {"progress": "lines"},
        },
    )


Trained = tuple[Run, list[dict[str, Any]], list[dict[str, Any]]]


def trained(tiny: TinyRun, *overrides: str) -> Trained:
    """A run without evaluation and report: its parts, metrics and weights."""
    config = load_config(TrainConfig, tiny.write(), overrides)
    run = assemble(config, make_accelerator(config), say=lambda text: None)
    number = len(list(tiny.folder.glob("run-*")))
    folder = RunFolder(tiny.folder / f"run-{number}")
    folder.create()
    with Trackers(None, config, print) as trackers:
        train(run, config, folder, trackers)
    return (
        run,
        tiny.lines("metrics.jsonl", run=folder.path.name),
        tiny.lines("domain_weights.jsonl", run=folder.path.name),
    )
