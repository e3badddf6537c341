"""Candidates scored per second: ours compared with prefix-by-prefix scoring on the same model and data.

    python -m experiments.benchmarks.scoring                       both sizes, one thread
    python -m experiments.benchmarks.scoring --sizes 5M --repetitions 2 --questions 1

Random Qwen2-VL PRMs in float32; every question has one image of 448 x 448 pixels (256 visual tokens), 60
tokens of text and N = 8 candidates of five steps of 40 tokens. Five ways to the same step scores:

- prefix by prefix: one pass per step over question and steps so far, the image encoded each time, a batch
  of one: what the public code does (github.com/coder-qicao/DreamPRM);
- prefixes in batches: the same rows, the five of a candidate together, images encoded each time (for
  fairness: nothing keeps the public code from batching);
- one pass: all steps of a candidate read in one causal pass, candidates one by one;
- one pass, in batches: the candidates of a question together, its image encoded once for them all;
- shared prefix: ours; question and image once, then the candidates' own tokens.

Both readouts are measured: at the step's end (ours), and after the chat template over the vocabulary's logits
(the public code's), where every step has a row of its own and `one pass` per candidate does not exist.

The ways take turns in each repetition; ratios are taken within one. Times are the processor time of the
single thread, which other work on the machine does not prolong. Texts are encoded beforehand for all ways;
each way cuts an image into patches as often as it encodes it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dreamprm.models import PRM, EncodedCoT, PRMProcessor, ProcessorSettings
from dreamprm.models.candidate_scoring import PassLimits, scored_questions
from dreamprm.runtime.process import prepare_process
from dreamprm.sandbox.base_model import base_config, build_processor
from dreamprm.sandbox.settings import SandboxConfig
from experiments.benchmarks.report import spread
from experiments.benchmarks.windows import machine

RESULTS = Path("experiments/results/scoring.md")
VOCABULARY, IMAGE_SIDE, QUESTION, STEP, STEPS, CANDIDATES = 8192, 448, 60, 40, 5, 8
SIZES = {"tiny": (32, 1), "5M": (192, 6), "50M": (576, 11)}  # width, text layers
READOUTS = {"step_end": "hidden", "chat_suffix": "vocab_logits"}  # with the head that goes with it
TARGET = 5.0
PUBLIC, OURS = "prefix by prefix", "shared prefix"

Scores = list[list[float]]
Way = Callable[["Question"], Scores]


@dataclass(frozen=True)
class Question:
    """One question's candidates, encoded whole and prefix by prefix; every candidate has its own image bytes,
    as encoded by the ways that do not share them."""

    whole: list[EncodedCoT]
    prefixes: list[list[EncodedCoT]]


@dataclass(frozen=True)
class Point:
    """The measurements of one model.

    Fields:
        speeds: candidates per second of each way, for each repetition.
        error: for each way, the largest difference of a step's score (a probability) from prefix by prefix.
        log_odds_error: the same for its log-odds.
        deviation: the log-odds' own standard deviation.
    """

    size: str
    readout: str
    parameters: int
    speeds: dict[str, list[float]]
    error: dict[str, float]
    log_odds_error: dict[str, float]
    deviation: float

    def ratio(self, way: str, other: str) -> list[float]:
        """How many times as fast one way is as the other."""
        return [a / b for a, b in zip(self.speeds[way], self.speeds[other], strict=True)]


def make_prm(size: str, readout: str, *, side: int = IMAGE_SIDE) -> PRM:
    """A random PRM of this size with the sandbox's tokenizer and a larger vocabulary."""
    torch.manual_seed(0)
    tokenizer = build_processor().tokenizer
    width, layers = SIZES[size]
    config = base_config(SandboxConfig(hidden_size=width, text_layers=layers, vision_layers=2), tokenizer)
    config.text_config.vocab_size = VOCABULARY
    config.text_config.max_position_embeddings = 4096
    pixels = side * side
    processor = PRMProcessor(
        tokenizer,
        Qwen2VLImageProcessorPil(min_pixels=pixels, max_pixels=pixels),
        settings=ProcessorSettings(readout=readout),
    )
    return PRM.from_backbone(config, processor=processor, head=READOUTS[readout]).eval()


def make_questions(
    prm: PRM, count: int, *, question: int, step: int, side: int = IMAGE_SIDE
) -> list[Question]:
    """Random images and words, with texts of exact numbers of tokens."""
    generator = np.random.default_rng(0)
    words = ["left", "right", "is", "and", "plus", "gives", "3", "4", "5", "so", "we", "get"]
    questions = []
    for _ in range(count):
        image = Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8))
        text = " ".join(generator.choice(words, size=question))
        candidates = [
            [" ".join(generator.choice(words, size=step - 1)) for _ in range(STEPS)]
            for _ in range(CANDIDATES)
        ]

        def encoded(steps: Sequence[str], text: str = text, image: Image.Image = image) -> EncodedCoT:
            return prm.processor.encode(text, [image], steps)

        whole = [encoded(steps) for steps in candidates]
        if prm.processor.readout == "chat_suffix":  # one row per step already
            prefixes = [[EncodedCoT((row,), one.images) for row in one.rows] for one in whole]
        else:
            prefixes = [[encoded(steps[:n]) for n in range(1, STEPS + 1)] for steps in candidates]
        questions.append(Question(whole, prefixes))
    return questions


def ways(prm: PRM) -> dict[str, Way]:
    """The ways to score one question's candidates."""

    def logits(items: Sequence[EncodedCoT], *, share_images: bool = False) -> list[float]:
        batch: dict[str, Any] = prm.processor.collate(items)
        if not share_images and "image_token_index" in batch:
            # Undo the sharing of equal images: one copy per row.
            copies = len(items)
            batch["pixel_values"] = batch["pixel_values"].repeat(copies, 1)
            batch["image_grid_thw"] = batch["image_grid_thw"].repeat(copies, 1)
            del batch["image_token_index"]
        with torch.no_grad():
            values: list[float] = prm(batch).tolist()
        return values

    def by_prefix(question: Question) -> Scores:
        return [[logits([prefix])[-1] for prefix in prefixes] for prefixes in question.prefixes]

    def prefixes_in_batches(question: Question) -> Scores:
        scores = []
        for prefixes in question.prefixes:
            flat = logits(prefixes)
            ends = np.cumsum([prefix.n_steps for prefix in prefixes]) - 1
            scores.append([flat[end] for end in ends])
        return scores

    def one_pass(question: Question) -> Scores:
        return [logits([whole]) for whole in question.whole]

    def one_pass_in_batches(question: Question) -> Scores:
        flat = logits(question.whole, share_images=True)
        return [flat[n * STEPS : (n + 1) * STEPS] for n in range(len(question.whole))]

    def shared(question: Question) -> Scores:
        ((_, scores),) = scored_questions(prm, [question.whole], limits=PassLimits())
        return scores

    by_rows: dict[str, Way] = {PUBLIC: by_prefix, "prefixes in batches": prefixes_in_batches}
    by_pass: dict[str, Way] = {"one pass": one_pass, "one pass, in batches": one_pass_in_batches}
    if prm.processor.readout == "chat_suffix":
        by_pass = {}
    return by_rows | by_pass | {OURS: shared}


def measure(
    size: str,
    readout: str,
    *,
    repetitions: int,
    questions: int,
    question: int = QUESTION,
    step: int = STEP,
    side: int = IMAGE_SIDE,
) -> Point:
    """All ways, taking turns; the first round is not timed."""
    prm = make_prm(size, readout, side=side)
    data = make_questions(prm, questions, question=question, step=step, side=side)
    all_ways = ways(prm)
    error, log_odds_error, deviation = errors(all_ways, data[0])
    speeds: dict[str, list[float]] = {name: [] for name in all_ways}
    for _ in range(repetitions):
        for name, way in all_ways.items():
            started = time.process_time()
            for one in data:
                way(one)
            speeds[name].append(questions * CANDIDATES / (time.process_time() - started))
    parameters = sum(parameter.numel() for parameter in prm.parameters())
    point = Point(size, readout, parameters, speeds, error, log_odds_error, deviation)
    print("\n".join(_lines(point)), flush=True)
    return point


def errors(
    all_ways: Mapping[str, Way], question: Question
) -> tuple[dict[str, float], dict[str, float], float]:
    """The `error`, `log_odds_error` and `deviation` of a `Point`, from one question."""
    log_odds = {name: np.array(way(question)) for name, way in all_ways.items()}
    scores = {name: 1 / (1 + np.exp(-values)) for name, values in log_odds.items()}

    def differences(values: Mapping[str, Any]) -> dict[str, float]:
        return {name: float(np.abs(one - values[PUBLIC]).max()) for name, one in values.items()}

    return differences(scores), differences(log_odds), float(log_odds[PUBLIC].std())


def page(points: Sequence[Point], *, command: str, repetitions: int, questions: int) -> str:
    """The results as Markdown."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    met = all(median(point.ratio(OURS, PUBLIC)) >= TARGET for point in points)
    equal = max(point.error[OURS] for point in points)
    lines = [
        "# Candidates scored per second",
        "",
        f"`{command}`, {date.today().isoformat()}, {machine('cpu')}, one thread, {versions}.",
        "",
        f"Random Qwen2-VL PRMs in float32; {questions} question(s) of one image of {IMAGE_SIDE} x "
        f"{IMAGE_SIDE} pixels (256 tokens), {QUESTION} tokens of text and {CANDIDATES} candidates of "
        f"{STEPS} steps of "
        f"{STEP} tokens. Candidates per second of processor time; medians (least-most) over {repetitions} "
        "repetitions in which the ways took turns; ratios are taken within a repetition. Error: the largest "
        "difference from `prefix by prefix` in a step's score (a probability), and in its log-odds, whose "
        "own standard deviation is "
        + ", ".join(f"{point.deviation:.2f}" for point in points)
        + ". What the ways are: experiments/benchmarks/scoring.py.",
        "",
        f"At least {TARGET:g} times prefix by prefix: {'met' if met else 'not met'} ("
        + ", ".join(f"{point.size} {point.readout}: {spread(point.ratio(OURS, PUBLIC))}" for point in points)
        + f"). Scores equal to 1e-5: {'met' if equal <= 1e-5 else 'not met'} ({equal:.1e}).",
        "",
        "| parameters | readout | way | candidates per second | times prefix by prefix | ours is faster by "
        "| error | error of log-odds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(line for point in points for line in _lines(point))]) + "\n"


def _lines(point: Point) -> list[str]:
    lines = []
    for name, values in point.speeds.items():
        lines.append(
            f"| {point.parameters / 1e6:.1f}M | {point.readout} | {name} "
            f"| {median(values):.3g} ({min(values):.3g}-{max(values):.3g}) "
            f"| {spread(point.ratio(name, PUBLIC))} | {spread(point.ratio(OURS, name))} "
            f"| {point.error[name]:.1e} | {point.log_odds_error[name]:.1e} |"
        )
    return lines


def main(arguments: list[str]) -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["5M", "50M"])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--questions", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    prepare_process(threads=1)
    transformers.utils.logging.set_verbosity_error()
    points = [
        measure(size, readout, repetitions=options.repetitions, questions=options.questions)
        for size in options.sizes
        for readout in READOUTS
    ]
    command = " ".join(["python -m experiments.benchmarks.scoring", *arguments])
    options.out.write_text(
        page(points, command=command, repetitions=options.repetitions, questions=options.questions),
        encoding="utf-8",
    )
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
