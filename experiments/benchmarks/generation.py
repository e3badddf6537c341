"""Tokens per second of the transformers generator, compared with bare `generate` calls on the same model.

    python -m experiments.benchmarks.generation                    both sizes, one thread
    python -m experiments.benchmarks.generation --sizes 5M --repetitions 2

Random Qwen2-VL checkpoints in float32; a chat with one image of 336 x 336 pixels (144 tokens) and a prefix of
512 tokens; 64 new tokens at temperature 1, no end token. Four ways to n samples of each prefix:

- bare loop: one `model.generate` per sample, batch of 1;
- `num_return_sequences=n`: one `model.generate` per prefix, which encodes it n times;
- repeated cache: the prefix encoded once, its cache repeated, `model.generate(past_key_values=...)` on it;
- the generator: `TransformersGenerator.complete_all`, all prefixes in one call; its time includes reading the
  image and encoding and decoding the texts (the others are given the model's inputs and return token ids).

The ways take turns in each repetition; ratios are taken within one. Times are the processor time of the
single thread, which other work on the machine does not prolong.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import AutoModelForImageTextToText, GenerationConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dreamprm.generators import Completion, Request, Sampling
from dreamprm.generators.local_model import LocalModel
from dreamprm.generators.transformers import TransformersGenerator
from dreamprm.runtime.process import prepare_process
from dreamprm.sandbox.base_model import base_config, build_processor
from dreamprm.sandbox.settings import SandboxConfig
from experiments.benchmarks.report import spread
from experiments.benchmarks.windows import machine

RESULTS = Path("experiments/results/generation.md")
VOCABULARY, IMAGE_SIDE, PREFIX, NEW = 8192, 336, 512, 64
SIZES = {"tiny": (32, 1), "5M": (192, 6), "50M": (576, 11)}  # width, text layers
ONE_PREFIX = ((1, 1), (1, 4), (1, 8))  # prefixes, samples of each
SHAPES = {"tiny": ONE_PREFIX, "5M": (*ONE_PREFIX, (4, 8)), "50M": ONE_PREFIX}
TARGET = 3.0

Way = Callable[[], int]


@dataclass(frozen=True)
class Point:
    """The measurements of one model and shape: tokens per second of each way, for each repetition."""

    size: str
    parameters: int
    prefixes: int
    n: int
    speeds: dict[str, list[float]]

    def ratio(self, way: str, other: str) -> list[float]:
        """How many times as fast one way is as the other."""
        return [a / b for a, b in zip(self.speeds[way], self.speeds[other], strict=True)]


def save_checkpoint(folder: Path, size: str) -> Path:
    """A random checkpoint of this size with the sandbox's tokenizer and a larger vocabulary."""
    torch.manual_seed(0)
    tokenizer = build_processor().tokenizer
    width, layers = SIZES[size]
    config = base_config(SandboxConfig(hidden_size=width, text_layers=layers, vision_layers=2), tokenizer)
    config.text_config.vocab_size = VOCABULARY
    config.text_config.max_position_embeddings = 4096
    model = AutoModelForImageTextToText.from_config(config)
    model.generation_config = GenerationConfig(eos_token_id=VOCABULARY)  # a token that never comes
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pixels = IMAGE_SIDE * IMAGE_SIDE
    Qwen2VLImageProcessorPil(min_pixels=pixels, max_pixels=pixels).save_pretrained(folder)
    return folder


def requests(folder: Path, *, prefixes: int, n: int, tokens: int) -> list[Request]:
    """One image and prefixes of random words: the first `tokens` long, each next one an eighth shorter."""
    generator = np.random.default_rng(0)
    image = folder / "image.png"
    Image.fromarray(generator.integers(0, 256, (IMAGE_SIDE, IMAGE_SIDE, 3), dtype=np.uint8)).save(image)
    words = ["left", "right", "is", "and", "plus", "gives", "3", "4", "5", "so", "we", "get"]
    texts = [" ".join(generator.choice(words, size=tokens - i * tokens // 8)) for i in range(prefixes)]
    return [
        Request("sum of left bar and right bar ?", (str(image),), text, n=n, seed=seed)
        for seed, text in enumerate(texts)
    ]


def ways(generator: TransformersGenerator, asked: Sequence[Request], *, new: int) -> dict[str, Way]:
    """The four ways to get the same samples; each returns the number of tokens it made."""
    local: LocalModel = generator._local()
    model = local.model
    inputs = [local.encoder.encode([request]) for request in asked]
    pad = local.encoder.tokenizer.pad_token_id
    common: dict[str, Any] = {
        "max_new_tokens": new,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "pad_token_id": pad,
    }

    def made(out: torch.Tensor, one: dict[str, torch.Tensor]) -> int:
        return (out.shape[1] - one["input_ids"].shape[1]) * out.shape[0]

    def bare_loop() -> int:
        config = GenerationConfig(**common)
        return sum(
            made(model.generate(**one, generation_config=config), one)
            for one, request in zip(inputs, asked, strict=True)
            for _ in range(request.n)
        )

    def return_sequences() -> int:
        total = 0
        for one, request in zip(inputs, asked, strict=True):
            config = GenerationConfig(**common, num_return_sequences=request.n)
            total += made(model.generate(**one, generation_config=config), one)
        return total

    def repeated_cache() -> int:
        total = 0
        for one, request in zip(inputs, asked, strict=True):
            first = GenerationConfig(
                max_new_tokens=1, do_sample=False, pad_token_id=pad, return_dict_in_generate=True
            )
            cache = model.generate(**one, generation_config=first).past_key_values
            cache.crop(-1)  # generate needs a token to continue from
            cache.batch_repeat_interleave(request.n)
            rows = {
                name: one[name].repeat_interleave(request.n, dim=0)
                for name in ("input_ids", "attention_mask", "mm_token_type_ids")
            }
            out = model.generate(**rows, past_key_values=cache, generation_config=GenerationConfig(**common))
            total += made(out, one)
        return total

    def backend() -> int:
        results = generator.complete_all(asked, Sampling(temperature=1.0, max_tokens=new))
        completions: list[Completion] = []
        for result in results:
            if not isinstance(result, list):
                raise result
            completions += result
        return sum(completion.tokens for completion in completions)

    return {
        "bare loop": bare_loop,
        "num_return_sequences": return_sequences,
        "repeated cache": repeated_cache,
        "generator": backend,
    }


def measure(
    size: str,
    shapes: Sequence[tuple[int, int]],
    *,
    repetitions: int,
    tokens: int = PREFIX,
    new: int = NEW,
) -> list[Point]:
    """All ways at these shapes, taking turns.

    Raises:
        AssertionError: a way did not make all tokens.
    """
    points = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_checkpoint(Path(temporary), size)
        generator = TransformersGenerator(str(folder), device="cpu")
        for prefixes, n in shapes:
            asked = requests(folder, prefixes=prefixes, n=n, tokens=tokens)
            all_ways = ways(generator, asked, new=new)
            speeds: dict[str, list[float]] = {name: [] for name in all_ways}
            all_ways["generator"]()  # the first call sets up what later ones reuse
            for _ in range(repetitions):
                for name, way in all_ways.items():
                    started = time.process_time()
                    made = way()
                    speeds[name].append(made / (time.process_time() - started))
                    assert made == prefixes * n * new, f"{name} made {made} tokens"
            parameters = sum(p.numel() for p in generator._local().model.parameters())
            points.append(Point(size, parameters, prefixes, n, speeds))
            print(_line(points[-1]), flush=True)
    return points


def page(points: Sequence[Point], *, command: str, repetitions: int) -> str:
    """The results as Markdown."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    at_eight = [point for point in points if (point.prefixes, point.n) == (1, 8)]
    met = all(median(point.ratio("generator", "bare loop")) >= TARGET for point in at_eight)
    lines = [
        "# Tokens per second of the transformers generator",
        "",
        f"`{command}`, {date.today().isoformat()}, {machine('cpu')}, one thread, {versions}.",
        "",
        f"Random Qwen2-VL in float32, one image of {IMAGE_SIDE} x {IMAGE_SIDE} pixels and a prefix of "
        f"{PREFIX} tokens (of several prefixes, each is shorter than the one before by {PREFIX // 8}), {NEW} "
        "new tokens per sample, temperature 1. New tokens per second of processor time; medians (least-most) "
        f"over {repetitions} repetitions in which the ways took turns; ratios are taken within a repetition. "
        "What the ways are: experiments/benchmarks/generation.py.",
        "",
        f"At least {TARGET:g} times the bare loop at n = 8: {'met' if met else 'not met'} ("
        + ", ".join(f"{point.size}: {spread(point.ratio('generator', 'bare loop'))}" for point in at_eight)
        + ").",
        "",
        "| parameters | prefixes x n | bare loop | num_return_sequences | repeated cache | generator "
        "| generator / bare loop | generator / num_return_sequences | generator / repeated cache |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_line, points)]) + "\n"


def _line(point: Point) -> str:
    speeds = " | ".join(
        f"{median(values):.0f} ({min(values):.0f}-{max(values):.0f})" for values in point.speeds.values()
    )
    ratios = " | ".join(
        spread(point.ratio("generator", other))
        for other in ("bare loop", "num_return_sequences", "repeated cache")
    )
    return f"| {point.parameters / 1e6:.1f}M | {point.prefixes} x {point.n} | {speeds} | {ratios} |"


def main(arguments: list[str]) -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["5M", "50M"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    prepare_process(threads=1)
    transformers.utils.logging.set_verbosity_error()
    points = [
        point
        for size in options.sizes
        for point in measure(size, SHAPES[size], repetitions=options.repetitions)
    ]
    command = " ".join(["python -m experiments.benchmarks.generation", *arguments])
    options.out.write_text(page(points, command=command, repetitions=options.repetitions), encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
