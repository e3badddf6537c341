"""Seconds and memory of windows on a Llama of 1.87M parameters at 4 x 128 tokens, whole and in parts, CPU.

    python -m experiments.benchmarks.small_llama [T] [repetitions]

Weights of domains learned through next-token training: the problem that other libraries show, in place of a
PRM. Each row runs in its own process, after a window of one step as warm-up; memory is the peak of the
process above model, params and moments, in MiB, and seconds are over those of plain training.
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
from torch.func import functional_call
from transformers import LlamaConfig, LlamaForCausalLM

from dreamprm.hypergrad import AdamW, BilevelProblem, Part, build_estimator
from dreamprm.runtime.process import prepare_process
from experiments.benchmarks import memory

ROWS, TOKENS, VOCABULARY = 4, 128, 4096
# name -> (estimator, settings, parts of a batch, attention)
CASES: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "plain": ("none", {}, 1, "sdpa"),
    "plain, 4 parts": ("none", {}, 4, "sdpa"),
    "adjoint": ("adjoint", {}, 1, "eager"),
    "adjoint, disk": ("adjoint", {"offload": "disk"}, 1, "eager"),
    "adjoint, no graph kept": ("adjoint", {"keep_graphs": 0}, 1, "eager"),
    "adjoint, 4 parts": ("adjoint", {}, 4, "eager"),
    "adjoint, disk, 4 parts": ("adjoint", {"offload": "disk"}, 4, "eager"),
    "adjoint, differences, disk, 4 parts": (
        "adjoint",
        {"offload": "disk", "derivative": "central_difference"},
        4,
        "sdpa",
    ),
    "first_order": ("first_order", {}, 1, "sdpa"),
    "first_order, disk, 4 parts": ("first_order", {"offload": "disk"}, 4, "sdpa"),
    "unrolled": ("unrolled", {}, 1, "eager"),
}


class Workload:
    """The problem on random tokens, with warm moments."""

    def __init__(self, *, steps: int, parts: int, attention: str, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=TOKENS,
            use_cache=False,
            attn_implementation=attention,
        )
        model = LlamaForCausalLM(config).to(dtype)
        self.params = {name: p.detach() for name, p in model.named_parameters()}
        self.optimizer = AdamW(lr=1e-3)
        generator = torch.Generator().manual_seed(0)

        def losses(params: dict[str, Tensor], tokens: Tensor) -> Tensor:  # (rows,)
            logits = functional_call(model, params, (tokens,)).logits[:, :-1]
            nll = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), tokens[:, 1:], reduction="none"
            )  # (rows, TOKENS - 1)
            return nll.mean(1)

        def mean(params: dict[str, Tensor], alpha: dict[str, Tensor], tokens: Tensor) -> Tensor:
            return losses(params, tokens).mean()

        def split(tokens: Tensor) -> list[Part]:
            return [Part(rows, len(rows) / len(tokens)) for rows in tokens.chunk(parts)]

        self.problem = BilevelProblem(
            outer_loss=mean,
            inner_losses=losses,
            weights=lambda alpha, tokens, losses: alpha["raw"].softmax(0) * ROWS,
            split=split,
            split_outer=split,
        )
        self.alpha = {"raw": torch.zeros(ROWS, dtype=dtype)}
        self.batches = [
            torch.randint(VOCABULARY, (ROWS, TOKENS), generator=generator) for _ in range(steps + 6)
        ]
        self.state = self.optimizer.init(self.params)
        warm = self.run("none", self.batches[steps + 1 :])
        self.params, self.state, self.steps = warm.params, warm.state, steps

    def run(self, estimator: str, batches: list[Tensor] | None = None, **settings: Any) -> Any:
        """One window."""
        return build_estimator(estimator, **settings).run_window(
            self.problem,
            self.optimizer,
            self.params,
            self.state,
            self.alpha,
            inner_batches=self.batches[: self.steps] if batches is None else batches,
            outer_batch=self.batches[-1],
            donate=False,
        )


def measure(name: str, steps: int, repetitions: int) -> dict[str, Any]:
    """One row, in this process."""
    estimator, settings, parts, attention = CASES[name]
    Workload(steps=1, parts=parts, attention=attention).run(estimator, **settings)
    workload = Workload(steps=steps, parts=parts, attention=attention)
    peak = memory.extra_peak(lambda: workload.run(estimator, **settings))
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        workload.run(estimator, **settings)
        seconds.append(time.perf_counter() - started)
    return {
        "name": name,
        "parameters": sum(p.numel() for p in workload.params.values()),
        "mib": peak,
        "seconds": min(seconds, default=float("nan")),
    }


def main(steps: int = 5, repetitions: int = 3, names: str = "") -> None:
    """Measure every case, each in a process of its own, and print a table."""
    chosen = [name for name in CASES if not names or name in names.split(";")]
    plain = None
    for name in chosen:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "experiments.benchmarks.small_llama",
                "--case",
                name,
                str(steps),
                str(repetitions),
            ],
            env={**os.environ, **memory.ALLOCATOR},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        plain = plain or found["seconds"]
        print(
            f"{name:40} {found['mib']:8.0f} MiB {found['seconds']:8.2f} s {found['seconds'] / plain:6.2f}x "
            f"({found['parameters']:,} parameters, T={steps})",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        prepare_process(1)
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        main(*map(int, sys.argv[1:3]), *sys.argv[3:])
