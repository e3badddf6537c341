"""The commands in miniature: files, models and a server with which each takes seconds, and what it leaves.

`world(folder)` makes everything that the commands read. `COMMANDS` says how each is called and
`results` reads what it has left, without what may differ between two runs: times, and how much was resumed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from forked import Forked, command, in_a_child, preload

from dreamprm.files.atomic import TEMPORARY
from dreamprm.training.throughput import MEASURED

QUESTIONS = 12


@dataclass(frozen=True)
class World:
    """What the commands read, and the folder of all that is written.

    Attributes:
        folder: of files and models.
        url: the address of a server that writes and judges.
        short: whether the commands do as little as they can, and train writes no report.
    """

    folder: Path
    url: str
    short: bool = False

    def straight(self, name: str) -> Path:
        """The folder of a run of this command that nothing interrupts; as deep as all others, as records hold
        paths of images that are relative to it."""
        return self.folder / "straight" / name

    def start(
        self,
        name: str,
        output: Path,
        printed: Path,
        *more: str,
        before: Callable[[], None] | None = None,
    ) -> Forked:
        """Start the command of this name in `ALL`, with these words more.

        Args:
            before: called first in the command's process.
        """

        def prepare() -> None:
            if self.short:
                _without_report()
            if before is not None:
                before()

        if ALL[name].needs_folder:
            with suppress(OSError):  # on a disk that cannot be written
                output.mkdir(parents=True, exist_ok=True)
        return command([*ALL[name].words(self, output), *more], printed, before=prepare)


def _without_report() -> None:
    """Its plots take several times as long as a tiny training; the process is the command's own."""
    from dreamprm.cli import COMMANDS as commands

    commands["train"] = replace(commands["train"], then=None)


def prepare_process() -> None:
    """What every test process has too, and all imports."""
    sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
    os.environ.update(
        OMP_NUM_THREADS="1",
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
        MPLBACKEND="Agg",
        CUDA_VISIBLE_DEVICES="",
        OPENAI_API_KEY="none",
    )
    preload()


@contextmanager
def world(folder: Path, *, short: bool = False) -> Iterator[World]:
    """Make the files, and serve until the block ends."""
    in_a_child(lambda: _make_files(folder, short), folder / "printed.txt")
    with _served(folder) as url:
        yield World(folder, url, short)


def _make_files(folder: Path, short: bool) -> None:
    from tiny_models import tiny_image, tiny_prm
    from tiny_run import save_tiny_checkpoint, tiny_run

    sizes = {"layers": 1, "vision_layers": 1}
    run = tiny_run(folder, save_tiny_checkpoint(folder / "base", **sizes))
    del run.config["output"]
    run.config["log"] = {"progress": "none"}
    run.config |= {"steps": 12 if short else 60, "checkpoint": {"every": 2, "keep": 2}}
    run.write().rename(folder / "train.yaml")
    tiny_prm(**sizes).save_pretrained(folder / "prm", training={"aggregation": "sum_log_odds"})
    (folder / "label.yaml").write_text("seed: 1\n")
    tiny_image(0).save(folder / "q.png")

    def write(name: str, rows: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write(
        "questions.jsonl",
        [
            {
                "id": f"q{n}",
                "question": f"how many bars {n} ?",
                "image": "q.png",
                "answer": "7",
                "domain": "d",
            }
            for n in range(QUESTIONS)
        ],
    )
    write("candidates.jsonl", [_candidates(number) for number in range(60 if short else 240)])
    scored = [_candidates(number) for number in range(QUESTIONS)]
    for row in scored:
        for number, one in enumerate(row["candidates"]):
            del one["correct"]  # the judge says
            values = [crc32(f"{row['id']} {number} {k}".encode()) / 2**31 - 1 for k in range(2)]
            one["scores"] = {"tiny": {"log_odds": values}}
    write("scored.jsonl", scored)
    texts = ["a b", "c d e", "f"]
    rows = [{"id": f"s-{n}", "problem": f"{n} + 1 ?", "steps": texts, "label": n % 4 - 1} for n in range(40)]
    (folder / "processbench.json").write_text(
        json.dumps([row | {"final_answer_correct": row["label"] < 0} for row in rows])
    )
    values = [[crc32(f"{n} {k}".encode()) / 2**31 - 1 for k in range(3)] for n in range(40)]
    write(
        "scored_steps.jsonl",
        [
            {
                "id": f"s-{n}",
                "question": f"{n} + 1 ?",
                "images": [],
                "domain": "d",
                "steps": texts,
                "labels": [float(n % 4 == 0 or k < n % 4 - 1) for k in range(3)],
                "scores": {"tiny": {"log_odds": one}},
            }
            for n, one in enumerate(values)
        ],
    )


def _candidates(number: int) -> dict[str, Any]:
    """A question with four candidates of different lengths."""
    words = ("one two", "plus minus equals", "three bars and four of five", "six")
    members = []
    for k in range(4):
        answer = (number * k) % 3 + 6
        steps = [words[(number + k) % 4], words[k] * (number % 3 + 1) + f"\nFinal answer: {answer}"]
        members.append({"text": "\n".join(steps), "steps": steps, "correct": answer == 7, "generator": "g"})
    return {
        "id": f"q{number}",
        "question": f"how many bars ? {number % 6 + 1}",
        "image": "q.png",
        "benchmark": "b",
        "answer": "7",
        "candidates": members,
    }


def _reply(body: dict[str, Any], number: int, index: int) -> str:
    """What the server says: a verdict or the rest of five steps, a function of the request and the seed."""
    del number
    if "Verdict" in str(body["messages"]):
        return f"Verdict: {'right' if crc32(str(body['messages']).encode()) % 2 else 'wrong'}"
    last = body["messages"][-1]
    written = last["content"].count("Step ") if last["role"] == "assistant" else 0
    drawn = (body.get("seed") or 0) + index
    lines = [f"Step {k}: part {drawn}" for k in range(written + 1, 6)]
    return ("\n" if written else "") + "\n".join(lines) + f"\nFinal answer: {7 if drawn % 2 else 8}"


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The address of the server, which has a process of its own: this one must run no threads."""
    read, write = os.pipe()

    def serve() -> int:
        from loopback_servers import ScriptedServer

        with ScriptedServer(words=_reply, prefix="continues", pause=0.01).serving() as server:
            os.write(write, server.url.encode() + b"\n")
            signal.pause()
        return 0

    process = Forked(serve, folder / "server.txt")
    os.close(write)
    try:
        with open(read) as file:
            yield file.readline().strip()
    finally:
        process.kill()


@dataclass(frozen=True)
class TinyCommand:
    """A command, and what of its folder two equal runs need not have in common.

    Attributes:
        words: given the world and the output folder, what follows `dreamprm`.
        apart: names of files that hold times or pictures of times, which are only counted.
        needs_folder: whether its output folder has to be there.
    """

    words: Callable[[World, Path], list[str]]
    apart: re.Pattern[str] = re.compile("a^")
    needs_folder: bool = False


def _asked(world: World) -> list[str]:
    server = ("name=openai", "model=m", f"base_url={world.url}", "backoff=0.01", "prefix=continue")
    return [
        *(f"generator.{one}" for one in (*server, "temperature=0.5")),
        *(f"questions.files=[{world.folder / 'questions.jsonl'}]", "log.progress=none"),
    ]


def _judge(world: World, section: str) -> list[str]:
    given = ("name=openai", "model=m", f"base_url={world.url}", "backoff=0.01", "concurrency=2")
    return [f"{section}.kind=judge", *(f"{section}.judge.{one}" for one in given)]


COMMANDS: Mapping[str, TinyCommand] = {
    "train": TinyCommand(
        lambda world, out: ["train", str(world.folder / "train.yaml"), f"output={out}"],
        # The page shows how long the run took.
        apart=re.compile(r"report\.html"),
    ),
    "score": TinyCommand(
        lambda world, out: [
            "score",
            f"model={world.folder / 'prm'}",
            f"files.suite={world.folder / 'candidates.jsonl'}",
            f"output={out}",
            "name=tiny",
            "batch_size=4",
            "log.progress=none",
        ]
    ),
    "sample": TinyCommand(
        lambda world, out: [
            *("sample", str(world.folder / "label.yaml"), f"output={out}", "sample.n=4"),
            *_asked(world),
        ]
    ),
    "label": TinyCommand(
        lambda world, out: [
            *("label", str(world.folder / "label.yaml"), f"output={out}", "label.cots=2"),
            "label.rollouts=2",
            *(_asked(world) + _judge(world, "answers")),
        ]
    ),
    "evaluate": TinyCommand(
        lambda world, out: [
            "evaluate",
            f"suites.suite={world.folder / 'scored.jsonl'}",
            f"output={out}",
            "resamples=200",
            *_judge(world, "answers"),
        ]
    ),
}


OTHERS: Mapping[str, TinyCommand] = {
    "convert": TinyCommand(
        lambda world, out: [
            *("convert", "format=processbench", f"source={world.folder / 'processbench.json'}"),
            f"destination={out / 'steps.jsonl'}",
        ]
    ),
    "evaluate-steps": TinyCommand(
        lambda world, out: [
            *("evaluate-steps", f"files.suite={world.folder / 'scored_steps.jsonl'}", f"output={out}"),
            "resamples=100",
        ]
    ),
    "report": TinyCommand(
        lambda world, out: ["report", str(world.straight("evaluate")), f"output={out / 'page.html'}"],
        apart=re.compile(r"page\.html"),
        needs_folder=True,
    ),
    "sandbox": TinyCommand(
        lambda world, out: [
            *("sandbox", f"folder={out}", "questions_per_domain=2", "meta_questions=2", "captions=2"),
            *("development_questions=2", "suite_questions=2", "candidates=2", "base_steps=1", "base_batch=2"),
            *("hidden_size=32", "text_layers=1", "vision_layers=1"),
        ]
    ),
}
"""Commands that do not resume: they are made again."""

ALL: Mapping[str, TinyCommand] = {**COMMANDS, **OTHERS}

VOLATILE = frozenset(
    (
        *MEASURED,  # the figures of a training that another run has others of
        *("candidates_per_second", "rollouts_per_second"),
        # how much a resumed run found, and did itself
        *("records_scored_before", "scored_now", "questions_in_journal", "rollouts_before"),
        *("rollouts_sampled", "tokens_sampled", "verdicts", "replies"),
    )
)
"""Fields of JSON files that say how long a run took, what it found, and what it did itself."""

JOURNALS = re.compile(r"rollouts\.jsonl|samples\.jsonl|judge.*\.jsonl|.*\.scores\.jsonl")
"""Files whose lines stand in the order in which requests ended, which counts for nothing."""


def results(folder: Path, command: TinyCommand, *, without: str = "") -> dict[str, Any]:
    """What a command has left, by file, for comparison with what another run of it left elsewhere.

    Args:
        without: files below folders with this in their names are left out.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or (without and without in name):
            continue
        content = path.read_bytes().replace(os.fsencode(folder), b"OUT")
        if command.apart.fullmatch(name) or path.suffix == ".lock":
            found[name] = "there"
        elif path.suffix == ".json":
            found[name] = _steady(json.loads(content))
        elif path.suffix == ".jsonl":
            rows = [json.dumps(_steady(json.loads(line))) for line in content.splitlines()]
            found[name] = sorted(rows) if JOURNALS.fullmatch(path.name) else rows
        else:
            found[name] = content
    return found


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(one) for key, one in value.items() if key not in VOLATILE}
    return [_steady(one) for one in value] if isinstance(value, list) else value


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of the files that differ, or that only one of them has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def temporaries(folder: Path) -> list[Path]:
    """The temporary files and folders in a folder and below it, the outermost ones."""
    found: list[Path] = []
    try:
        entries = list(os.scandir(folder))
    except OSError:  # it was renamed, or is not there yet
        return []
    for entry in entries:
        if TEMPORARY.fullmatch(entry.name):
            found.append(Path(entry.path))
        elif entry.is_dir(follow_symlinks=False):
            found += temporaries(Path(entry.path))
    return found
