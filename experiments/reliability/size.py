"""Peak memory and CPU time of commands on files of any size: evaluate, reading, score, a checkpoint's digest.

    python experiments/reliability/size.py evaluate 200000      # questions, of 8 candidates each
    python experiments/reliability/size.py read 1000            # MB of step records
    python experiments/reliability/size.py score 1000 4000      # questions; a tiny PRM of one layer
    python experiments/reliability/size.py score 200000x1       # the same with 1 candidate each
    python experiments/reliability/size.py digest 300           # MB of a checkpoint that is verified

Each size is one line: what ran, the size of its input, seconds of CPU, peak memory in MB. A command whose
memory is flat has the same peak for all sizes. Files go to a temporary folder (`TMPDIR`).
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

CANDIDATES, STEPS = 8, 5
WORDS = "the sum of left and right angles is half base times height so we add two then multiply".split()


def candidates(questions: int, each: int) -> Iterator[str]:
    """Lines of candidate records with scores of two scorers, `each` for a question."""
    rng = random.Random(0)
    for number in range(questions):
        members = []
        for _ in range(each):
            right = rng.random() < 0.5
            steps = [f"Step {k}: {' '.join(rng.choices(WORDS, k=12))}" for k in range(1, STEPS + 1)]
            steps[-1] += f"\nFinal answer: {7 if right else rng.randrange(20)}"
            scores = {
                name: {"log_odds": [round(rng.gauss(right, 2), 6) for _ in steps]}
                for name in ("dreamprm", "vanilla")
            }
            members.append({"text": "\n\n".join(steps), "steps": steps, "correct": right, "scores": scores})
        yield json.dumps(
            {
                "id": f"q{number}",
                "question": f"What is sum number {number}?",
                "images": [],
                "benchmark": "sums",
                "answer": "7",
                "candidates": members,
            }
        )


def steps(megabytes: int) -> Iterator[str]:
    """Lines of step records, of this size together."""
    rng, written = random.Random(0), 0
    while written < megabytes * 10**6:
        parts = [f"Step {k}: {' '.join(rng.choices(WORDS, k=30))}" for k in range(1, STEPS + 1)]
        line = json.dumps(
            {"question": "How much?", "domain": "sums", "steps": parts, "labels": [0.5] * STEPS}
        )
        written += len(line) + 1
        yield line


def write(path: Path, lines: Iterator[str]) -> int:
    """Write the lines; returns the file's size in MB."""
    with path.open("w") as file:
        file.writelines(line + "\n" for line in lines)
    return path.stat().st_size // 10**6


def measured(code: str, *arguments: str) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of Python code in a process of its own."""
    report = (
        "\nimport resource; used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('\\nUSED', used.ru_utime + used.ru_stime, used.ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code + report, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    _, seconds, kilobytes = done.stdout.rsplit("\n", 2)[-2].split()
    return float(seconds), int(kilobytes) / 1024


COMMAND = "import sys; from dreamprm.cli import main\nassert main(sys.argv[1:]) == 0"
READ = (
    "import sys; from dreamprm.data import read_step_records\n"
    "print(sum(1 for _ in read_step_records(sys.argv[1], allow_no_image=True)))"
)
DIGEST = (
    "import sys; from pathlib import Path; from dreamprm.files.content import FileDigests\n"
    "FileDigests().of(Path(sys.argv[1]))"
)
MODEL = (
    "import sys; sys.path.insert(0, 'tests'); from tiny_models import tiny_prm\n"
    "tiny_prm(layers=1, vision_layers=1, attn_implementation='sdpa').save_pretrained(sys.argv[1])"
)


def main(arguments: list[str]) -> None:
    """Run one kind of command at each size."""
    kind = arguments[0]
    for given in arguments[1:]:
        count, _, members = given.partition("x")
        size, each = int(count), int(members or CANDIDATES)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            path = folder / "data.jsonl"
            if kind == "digest":
                # in pieces: a process begins with the peak of the one that starts it
                with path.open("wb") as file:
                    file.writelines(random.Random(number).randbytes(10**6) for number in range(size))
                held = size
            else:
                held = write(path, steps(size) if kind == "read" else candidates(size, each))
            if kind == "digest":
                used = measured(DIGEST, str(path))
            elif kind == "read":
                used = measured(READ, str(path))
            elif kind == "evaluate":
                used = measured(COMMAND, "evaluate", f"suites.sums={path}", f"output={folder / 'out'}")
            else:
                measured(MODEL, str(folder / "model"))
                used = measured(
                    COMMAND,
                    "score",
                    f"model={folder / 'model'}",
                    f"files.sums={path}",
                    f"output={folder / 'out'}",
                    "name=tiny",
                    "data.allow_no_image=true",
                )
        print(
            f"{kind:9} {given:>9} {held:7,} MB input {used[0]:8.1f} s CPU {used[1]:7.0f} MB peak", flush=True
        )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main(sys.argv[1:])
