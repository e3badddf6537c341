"""Seconds of one window by estimator, as a ratio to plain training of the same forward and backward passes.

    make bench            or: python experiments/benchmarks/windows.py [repetitions]

A random Qwen2-VL PRM (no files needed), T = 5, batches of one domain (`single`) and of four (`mixed`). Plain
training is five inner steps and one outer gradient. Every repetition runs all estimators in turn, so that a
drift of the machine's speed falls on all alike; figures are medians over repetitions, with least and most.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from transformers import Qwen2VLConfig

from dreamprm.hypergrad import AdamW, build_estimator
from dreamprm.models.prm import PRM
from dreamprm.models.weights import DomainWeights
from dreamprm.problem import prm_problem
from dreamprm.process import prepare_process
from dreamprm.sandbox.base_model import base_config, build_processor
from dreamprm.sandbox.settings import SandboxSettings

STEPS, ROWS, TOKENS, STEP_ENDS = 5, 4, 128, 5
ESTIMATORS: dict[str, dict[str, Any]] = {
    "none": {"name": "none"},
    "first_order": {"name": "first_order"},
    "first_order, one-sided": {"name": "first_order", "mixed": "forward_difference"},
    "unrolled": {"name": "unrolled"},
}


def random_batch(domains: int, *, vocabulary: int, generator: torch.Generator) -> dict[str, Any]:
    """A text batch of ROWS x TOKENS with STEP_ENDS step ends a row, its rows dealt out to the domains."""
    ends = torch.arange(1, STEP_ENDS + 1) * (TOKENS // STEP_ENDS) - 1
    rows = torch.arange(ROWS).repeat_interleave(STEP_ENDS)
    labels = torch.rand(ROWS * STEP_ENDS, generator=generator)
    inputs = {
        "input_ids": torch.randint(8, vocabulary, (ROWS, TOKENS), generator=generator),
        "attention_mask": torch.ones(ROWS, TOKENS, dtype=torch.long),
        "mm_token_type_ids": torch.zeros(ROWS, TOKENS, dtype=torch.long),
        "position_ids": torch.arange(TOKENS).expand(3, ROWS, TOKENS),
        "step_rows": rows, "step_cols": ends.repeat(ROWS)}
    return {"inputs": inputs, "labels": labels, "group": rows % domains, "domains": torch.arange(domains),
            "cot": rows, "correct": (torch.rand(ROWS, generator=generator) < 0.5).float()}


def make_config() -> tuple[Qwen2VLConfig, Any]:
    """A PRM of about six million parameters over the sandbox's tokenizer."""
    processor = build_processor()
    settings = SandboxSettings(hidden_size=256, text_layers=6, vision_layers=2)
    return base_config(settings, processor.tokenizer), processor


def measure(domains: int, repetitions: int) -> dict[str, list[float]]:
    """Seconds of each estimator's window, `plain` among them, a list over repetitions."""
    config, processor = make_config()
    generator = torch.Generator().manual_seed(0)
    inner = AdamW(lr=5e-7, weight_decay=0.01)
    weights = DomainWeights([f"domain-{i}" for i in range(4)])
    alpha = weights.init()
    batches = [random_batch(domains, vocabulary=len(processor.tokenizer), generator=generator)
               for _ in range(STEPS + 1)]
    runs: dict[str, Callable[[], Any]] = {}
    for attention in ("sdpa", "eager"):
        torch.manual_seed(0)
        prm = PRM.from_backbone(config.to_dict(), processor=processor, attn_implementation=attention)
        problem, params = prm_problem(prm, weights), prm.trainable_params()
        state = inner.init(params)
        if attention == "sdpa":
            print(f"{sum(p.numel() for p in params.values()):,} parameters, {domains} domain(s) a batch")

            def plain(problem: Any = problem, params: Any = params, state: Any = state) -> None:
                phi, moments = params, state
                for batch in batches[:-1]:
                    variables = {name: p.detach().requires_grad_() for name, p in phi.items()}
                    loss = problem.inner_loss(variables, alpha, batch)
                    grads = torch.autograd.grad(loss, list(variables.values()), materialize_grads=True)
                    phi, moments = inner.step(phi, dict(zip(phi, grads, strict=True)), state=moments)
                variables = {name: p.detach().requires_grad_() for name, p in phi.items()}
                outer = problem.outer_loss(variables, alpha, batches[-1])
                torch.autograd.grad(outer, list(variables.values()), materialize_grads=True)

            runs["plain"] = plain
        for label, settings in ESTIMATORS.items():
            estimator = build_estimator(**settings)
            if estimator.needs_second_order == (attention == "eager"):
                runs[label] = lambda estimator=estimator, problem=problem, params=params, state=state: (
                    estimator.run_window(problem, inner, params, state, alpha, inner_batches=batches[:-1],
                                         outer_batch=batches[-1]))
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for repetition in range(repetitions + 1):
        for label, run in runs.items():
            started = time.perf_counter()
            run()
            if repetition:  # the first one warms up
                seconds[label].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Print one table for each kind of batch."""
    prepare_process(1)
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    for kind, domains in (("single", 1), ("mixed", 4)):
        seconds = measure(domains, repetitions)
        print(f"{kind}: T = {STEPS}, {ROWS} x {TOKENS} tokens, one thread, medians of {repetitions}")
        for label, values in seconds.items():
            ratios = [value / base for value, base in zip(values, seconds["plain"], strict=True)]
            print(f"  {label:24} {median(values):7.3f} s   {median(ratios):5.2f} x plain "
                  f"({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
