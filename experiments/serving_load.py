"""How many requests a server answers: 16 clients at the same time, compared with one request after another.

    python -m experiments.serving_load
    python -m experiments.serving_load --requests 32 --repetitions 1 --out /dev/stdout

A random Qwen2-VL PRM of 5M parameters in float32 behind `dreamprm serve` in a process of its own, on
loopback. Every request is `POST /v1/score` with one candidate, written beforehand. Clients are threads of
this process; each sends its next request when it has its answer, over one connection. The workloads:

- group: the candidates of a question in requests of their own, 16 of each question one after another, as
  the samples of a GRPO group come; an image of 448 x 448 pixels (256 tokens), a question of 60 tokens, five
  steps of 40 tokens;
- questions: the same sizes, each request with another question and image;
- short group, short questions: an image of 56 x 56 pixels (4 tokens), a question of 12 tokens, three steps
  of 8 tokens, as in the sandbox.

The two ways take turns in each repetition, against the same server; the requests are the same. A lone
request never waits for others, so `one by one` loses nothing to the batching. Differences of log-odds are
those between the answers that the same request got in the two ways.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from experiments.benchmarks.report import spread
from experiments.benchmarks.windows import machine

RESULTS = Path("experiments/results/serving.md")
TARGET = 4.0
ALONE, TOGETHER = "one by one", "16 clients"
WORDS = ["left", "right", "is", "and", "plus", "gives", "3", "4", "5", "so", "we", "get"]


@dataclass(frozen=True)
class Workload:
    """What the requests hold: tokens of the question and of each step, the image's side in pixels, and how
    many requests have the same question."""

    name: str
    question: int
    step: int
    steps: int
    side: int
    same: int


WORKLOADS = (
    Workload("group", 60, 40, 5, 448, 16),
    Workload("questions", 60, 40, 5, 448, 1),
    Workload("short group", 12, 8, 3, 56, 16),
    Workload("short questions", 12, 8, 3, 56, 1),
)


@dataclass
class Point:
    """The measurements of a workload: by way, requests per second and the seconds of every request.

    Fields:
        difference: the largest difference of a step's log-odds between the two ways.
        deviation: the log-odds' standard deviation.
    """

    workload: Workload
    speeds: dict[str, list[float]] = field(default_factory=lambda: {ALONE: [], TOGETHER: []})
    seconds: dict[str, list[float]] = field(default_factory=lambda: {ALONE: [], TOGETHER: []})
    difference: float = 0.0
    deviation: float = 0.0

    def ratio(self) -> list[float]:
        """How many times as many requests per second 16 clients got, in each repetition."""
        return [a / b for a, b in zip(self.speeds[TOGETHER], self.speeds[ALONE], strict=True)]


def bodies(workload: Workload, count: int) -> list[bytes]:
    """Requests with random images and words."""
    generator = np.random.default_rng(0)

    def words(n: int) -> str:
        return " ".join(generator.choice(WORDS, size=n))

    made = []
    for number in range(count):
        if number % workload.same == 0:
            pixels = generator.integers(0, 256, (workload.side, workload.side, 3), dtype=np.uint8)
            target = io.BytesIO()
            Image.fromarray(pixels).save(target, "PNG")
            image, question = base64.b64encode(target.getvalue()).decode(), words(workload.question)
        steps = [words(workload.step - 1) for _ in range(workload.steps)]
        made.append(json.dumps({"question": question, "images": [image], "candidates": [steps]}).encode())
    return made


def ask(port: int, requests: Sequence[bytes], clients: int) -> tuple[list[float], list[list[float]], float]:
    """Send every request.

    Returns:
        The seconds of each, the log-odds of each, and the seconds of all.
    """
    seconds = [0.0] * len(requests)
    answers: list[list[float]] = [[] for _ in requests]
    waiting = iter(range(len(requests)))
    lock = threading.Lock()
    failures: list[str] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        while not failures:
            with lock:
                number = next(waiting, None)
            if number is None:
                break
            started = time.perf_counter()
            connection.request("POST", "/v1/score", requests[number])
            response = connection.getresponse()
            content = response.read()
            seconds[number] = time.perf_counter() - started
            if response.status != 200:
                failures.append(content.decode())
                break
            answers[number] = json.loads(content)["candidates"][0]["log_odds"]
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return seconds, answers, time.perf_counter() - started


@contextmanager
def server(size: str, settings: Sequence[str]) -> Any:
    """`dreamprm serve` with a random model; gives its port."""
    from experiments.benchmarks.scoring import make_prm

    with tempfile.TemporaryDirectory() as folder:
        prm = make_prm(size, "step_end", side=56)
        # Images keep their size: a multiple of 28 pixels.
        prm.processor.image_processor.size = {"shortest_edge": 28 * 28, "longest_edge": 448 * 448}
        prm.save_pretrained(Path(folder) / "model")
        command = [sys.executable, "-m", "dreamprm", "serve", f"model={folder}", "port=0", *settings]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            if found is None:
                raise RuntimeError("the server did not start")
            yield int(found[1])
        finally:
            process.terminate()
            process.wait(30)


def measure(port: int, workload: Workload, *, requests: int, repetitions: int, clients: int = 16) -> Point:
    """Both ways, taking turns; a first round of a few requests is not timed."""
    point = Point(workload)
    asked = bodies(workload, requests)
    ask(port, bodies(workload, 2 * clients), clients)
    for _ in range(repetitions):
        found = {}
        for way, count in ((ALONE, 1), (TOGETHER, clients)):
            seconds, found[way], total = ask(port, asked, count)
            point.speeds[way].append(requests / total)
            point.seconds[way] += seconds
        pairs = zip(found[ALONE], found[TOGETHER], strict=True)
        gaps = [abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True)]
        point.difference = max(point.difference, *gaps)
        point.deviation = float(np.std([value for one in found[ALONE] for value in one]))
    print("\n".join(_lines(point)), flush=True)
    return point


def page(points: Sequence[Point], *, command: str, requests: int, repetitions: int, settings: str) -> str:
    """The results as Markdown."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("torch", "transformers", "fastapi", "uvicorn")
    )
    told = []
    for point in points:
        met = "met" if median(point.ratio()) >= TARGET else "not met"
        told.append(f"{point.workload.name} {spread(point.ratio())}, {met}")
    differences = max(point.difference for point in points)
    deviations = ", ".join(f"{point.deviation:.2f}" for point in points)
    lines = [
        "# Requests answered per second",
        "",
        f"`{command}`, {date.today().isoformat()}, {machine('cpu')}, {versions}.",
        "",
        "A random Qwen2-VL PRM of 5.1M parameters in float32 behind `dreamprm serve` "
        f"({settings or 'default settings'}), its clients in another process of the same machine. Each "
        "request has one candidate; what the workloads are: experiments/serving_load.py. Requests per second "
        f"are medians (least-most) over {repetitions} repetitions of {requests} requests in which the two "
        "ways took turns, ratios are taken within one; seconds are those of all requests.",
        "",
        f"At least {TARGET:g} times as many requests per second with 16 clients: {'; '.join(told)}. The "
        f"same request got the same log-odds in both ways up to {differences:.1e} (their standard "
        f"deviations: {deviations}).",
        "",
        "| workload | way | requests per second | times one by one | p50 (s) | p99 (s) |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(line for point in points for line in _lines(point))]) + "\n"


def _lines(point: Point) -> list[str]:
    lines = []
    for way, speeds in point.speeds.items():
        times = spread(point.ratio()) if way == TOGETHER else "1"
        p50, p99 = np.percentile(point.seconds[way], [50, 99])
        lines.append(
            f"| {point.workload.name} | {way} | {median(speeds):.3g} ({min(speeds):.3g}-{max(speeds):.3g}) "
            f"| {times} | {p50:.3f} | {p99:.3f} |"
        )
    return lines


def main(arguments: list[str]) -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--size", choices=("tiny", "5M"), default="5M")
    parser.add_argument("--workloads", nargs="+", choices=[one.name for one in WORKLOADS])
    parser.add_argument("--settings", nargs="*", default=[], help="of dreamprm serve, such as threads=1")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    chosen = [one for one in WORKLOADS if not options.workloads or one.name in options.workloads]
    with server(options.size, options.settings) as port:
        points = [
            measure(port, workload, requests=options.requests, repetitions=options.repetitions)
            for workload in chosen
        ]
    command = " ".join(["python -m experiments.serving_load", *arguments])
    text = page(
        points,
        command=command,
        requests=options.requests,
        repetitions=options.repetitions,
        settings=", ".join(options.settings),
    )
    options.out.write_text(text, encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
