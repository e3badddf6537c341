"""Damage what commands have left, run them again, and see that no damage changes a result unnoticed.

    python experiments/reliability/damage.py               # all damages
    python experiments/reliability/damage.py model logs    # those of these tables

A run of each command is stopped half-way, one of its files is damaged, and the same command is run. It may

- refuse: exit code 2 and one message; nothing in its folder has changed;
- end equal: what it leaves is bit for bit what an undamaged run leaves (what was damaged was passed over,
  made again, or says nothing of the result);
- say so: a line names the damage, and only the log that was damaged and what counts its lines differ.

Anything else is bad: another result without a word, a traceback, a message of several lines. Prints one line
per damage and the counts, and exits with 1 if one was bad. Files go to a temporary folder (`TMPDIR`).
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_commands import ALL, JOURNALS, World, differences, prepare_process, results, world

STOPPED_AT = 8
"""Inner steps of the training when it was stopped; checkpoints are those of steps 4 and 8."""

Spoil = Callable[["Case"], object]


@dataclass(frozen=True)
class Case:
    """A stopped run that is about to be damaged.

    Attributes:
        here: the world; not to be changed.
        output: of the run, a copy of its own.
        model: the saved model that is scored, a copy of its own.
        rng: for places.
    """

    here: World
    output: Path
    model: Path
    rng: random.Random


@dataclass(frozen=True)
class Damage:
    """A damage to a stopped run of a command; `fresh`: the run has not begun."""

    command: str
    spoil: Spoil
    fresh: bool = False


class Runs:
    """Straight and stopped runs of each command, made when they are first asked for."""

    def __init__(self, here: World) -> None:
        self.here = here
        self._wanted: dict[str, dict[str, Any]] = {}

    def straight(self, name: str, *more: str, place: str = "") -> Path:
        """The folder of a run that nothing interrupted, with these words more."""
        folder = self.here.straight(place or name)
        if not folder.exists():
            process = self.here.start(name, folder, self.here.folder / "printed.txt", *more)
            if process.wait():
                raise RuntimeError(process.text())
        return folder

    def wanted(self, name: str) -> dict[str, Any]:
        """What a straight run leaves."""
        if name not in self._wanted:
            self._wanted[name] = results(self.straight(name), ALL[name])
        return self._wanted[name]

    def stopped(self, name: str, folder: Path) -> None:
        """Copy what is there half-way through a run."""
        straight = self.kept() if name == "train" else self.straight(name)
        shutil.copytree(straight, folder)
        for path in folder.glob("config*.yaml"):
            text = path.read_text().replace(str(straight), str(folder))
            path.write_text(text.replace("keep: 9", "keep: 2"))
        if name == "train":
            for path in (folder / "checkpoints").iterdir():
                if path.name not in ("step-000004", f"step-{STOPPED_AT:06d}"):
                    shutil.rmtree(path)
            shutil.rmtree(folder / "model")
            (folder / "summary.json").unlink()
            return
        for path in folder.rglob("*"):
            if path.is_file() and not JOURNALS.fullmatch(path.name) and not path.name.startswith("config"):
                path.unlink()
        journal = folder / JOURNAL[name]
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[: len(lines) // 2 + 1]))

    def kept(self) -> Path:
        """A straight training with all of its checkpoints."""
        return self.straight("train", "checkpoint.keep=9", place="kept")

    def others(self) -> Path:
        """A folder of whole checkpoints, of this run and of others, as tests/checkpoint_damage.py has it."""
        saved = self.here.folder / "saved"
        if not saved.exists():
            data = self.here.folder / "other data.jsonl"
            lines = (self.here.folder / "meta.jsonl").read_text().splitlines(keepends=True)
            data.write_text("".join(reversed(lines)))
            shutil.copytree(self.kept() / "checkpoints", saved / "checkpoints")
            for name, more in (("other", "seed=2"), ("other data", f"data.meta={data}")):
                run = self.straight("train", more, "checkpoint.keep=9", place=name)
                shutil.copytree(run / "checkpoints", saved / name)
        return saved


@dataclass(frozen=True)
class Others:
    """`Runs.others`, made when a damage needs it."""

    runs: Runs

    def __truediv__(self, name: str) -> Path:
        return self.runs.others() / name


JOURNAL = {
    "score": "suite.scores.jsonl",
    "sample": "samples.jsonl",
    "label": "rollouts.jsonl",
    "evaluate": "judge.jsonl",
}
"""The file that a command resumes from."""


def outcome(damage: Damage, runs: Runs, *, seed: str) -> tuple[str, str]:
    """What comes of a damage: `refused`, `equal`, `said so` or `BAD`, and the message or what is wrong."""
    place = runs.here.folder / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    case = Case(runs.here, place / "out", place / "model", random.Random(seed))
    shutil.copytree(runs.here.folder / "prm", case.model)
    wanted = runs.wanted(damage.command)
    if not damage.fresh:
        runs.stopped(damage.command, case.output)
    damage.spoil(case)
    before = _content(case.output)
    words = [f"model={case.model}"] if damage.fresh else []
    process = runs.here.start(damage.command, case.output, place / "printed.txt", *words)
    code, text = process.wait(), process.text()
    message = [line for line in text.splitlines() if line.startswith("dreamprm: ")]
    if "Traceback" in text or code not in (0, 2) or (code == 2 and len(message) != 1):
        return "BAD", f"exit code {code}: {text[-600:]}"
    if code == 2:
        changed = differences(_content(case.output), before)
        return ("BAD", f"refused, but changed {changed}") if changed else ("refused", message[0])
    found = results(case.output, ALL[damage.command], without=".set-aside")
    if JOURNAL.get(damage.command) in found:
        found[JOURNAL[damage.command]] = sorted(
            set(found[JOURNAL[damage.command]])
        )  # twice is as good as once
    other = differences(found, wanted)
    if damage.fresh:
        other = [
            name for name in other if name not in ("config.yaml", "summary.json")
        ]  # which name the model
    if not other:
        return "equal", next((line for line in text.splitlines() if _TELLS.search(line)), "")
    told = next((line for line in text.splitlines() if _OF_LOGS.search(line)), None)
    if told and set(other) <= {"metrics.jsonl", "domain_weights.jsonl", "summary.json"}:
        return "said so", told
    return "BAD", f"accepted, but differs: {', '.join(other)}: {text[-300:]}"


_TELLS = re.compile("passed over|damaged|are new or have changed|kept under this name")

_OF_LOGS = re.compile("lines of the logs were damaged|lines that were logged before")


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def journal_of(name: str) -> Iterator[tuple[str, Damage]]:
    """Damages to the file that a command resumes from."""

    def on(spoil: Callable[[Path, Case], object]) -> Damage:
        return Damage(name, lambda case: spoil(case.output / JOURNAL[name], case))

    def lines(change: Callable[[list[bytes]], Sequence[bytes]]) -> Damage:
        return on(
            lambda path, case: path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
        )

    for number in range(6):
        yield f"bit {number}", on(lambda path, case: flip_any(path, case.rng))
    yield "a digit", on(_another_digit)
    yield "a word", on(lambda path, case: _exchange_word(path))
    yield "last line cut", on(lambda path, case: path.write_bytes(path.read_bytes()[:-9]))
    yield (
        "cut to a third",
        on(lambda path, case: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 3])),
    )
    yield "emptied", on(lambda path, case: path.write_bytes(b""))
    yield "missing", on(lambda path, case: path.unlink())
    yield "a folder", on(lambda path, case: _folder_for(path))
    yield "zeros at its end", on(lambda path, case: path.write_bytes(path.read_bytes() + bytes(512)))
    yield "zeros in its middle", on(lambda path, case: _zeros(path))
    yield "two lines as one", lines(lambda rows: [*rows[:1], rows[1].rstrip(b"\n"), *rows[2:]])
    yield "a line less", lines(lambda rows: [*rows[:2], *rows[3:]])
    yield "lines in another order", lines(lambda rows: [rows[0], *reversed(rows[1:])])
    yield "a line twice", lines(lambda rows: [*rows, rows[-1]])
    yield "text of somebody", lines(lambda rows: [*rows, b"TODO: check this\n"])
    yield "another JSON value", lines(lambda rows: [*rows, b"[1, 2]\n"])


def flip_any(path: Path, rng: random.Random) -> None:
    """A bit anywhere in a file."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _another_digit(path: Path, case: Case) -> None:
    """A number that is still one, in the middle of the file."""
    content = bytearray(path.read_bytes())
    digits = [place for place, value in enumerate(content) if chr(value) in "123456789"]
    place = digits[len(digits) // 2 + case.rng.randrange(20)]
    content[place] = ord("1") + (content[place] - ord("0")) % 9
    path.write_bytes(content)


def _exchange_word(path: Path) -> None:
    """A verdict, an answer or a key that is another one."""
    content = path.read_text()
    for old, new in (("right", "wrong"), ('"text": "', '"text": "x'), ('"key": "', '"key": "0')):
        if old in content:
            path.write_text(content.replace(old, new, 1))
            return


def _folder_for(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _zeros(path: Path) -> None:
    """A block that never reached the disk."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)


def checkpoints(runs: Runs) -> Iterator[tuple[str, Damage]]:
    """The damages of the tests' table, to the newer of two checkpoints and to both."""
    from checkpoint_damage import DAMAGE

    def one(name: str, *steps: int) -> Damage:
        return Damage(
            "train",
            lambda case: [
                DAMAGE[name][0](case.output / "checkpoints" / f"step-{step:06d}", Others(runs))
                for step in steps
            ],
        )

    for name in DAMAGE:
        yield name, one(name, STOPPED_AT)
    for name in ("a bit of a tensor", "state emptied", "no tensors"):
        yield f"{name}, in both", one(name, STOPPED_AT, 4)
    yield "no checkpoints", Damage("train", lambda case: shutil.rmtree(case.output / "checkpoints"))
    yield "a file for all", Damage("train", lambda case: _file_for(case.output / "checkpoints"))


def _file_for(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("")


def logs() -> Iterator[tuple[str, Damage]]:
    """Damages to what a training logs, before the checkpoint that it continues from."""
    for log in ("metrics.jsonl", "domain_weights.jsonl"):

        def on(spoil: Callable[[Path, Case], object], log: str = log) -> Damage:
            return Damage("train", lambda case: spoil(case.output / log, case))

        yield f"{log}: a digit", on(lambda path, case: _digit_of_first(path))
        yield f"{log}: a bit", on(lambda path, case: _bit_of_first(path, case.rng))
        yield f"{log}: cut in the first line", on(lambda path, case: path.write_bytes(path.read_bytes()[:20]))
        yield (
            f"{log}: a line less",
            on(
                lambda path, case: path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
            ),
        )
        yield f"{log}: emptied", on(lambda path, case: path.write_bytes(b""))
        yield f"{log}: missing", on(lambda path, case: path.unlink())
        yield f"{log}: a folder", on(lambda path, case: _folder_for(path))
        yield (
            f"{log}: a line of no step",
            on(lambda path, case: path.write_bytes(b'{"x": 1}\n' + path.read_bytes())),
        )


def _digit_of_first(path: Path) -> None:
    """A figure of the first line, which is still a number."""
    first, rest = path.read_text().split("\n", 1)
    place = first.rindex(".") + 2 if "weights" in path.name else first.index("inner_loss") + 15
    digit = first[place]
    path.write_text(first[:place] + str((int(digit) + 1) % 10) + first[place + 1 :] + "\n" + rest)


def _bit_of_first(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(content.index(b"\n"))] ^= 1 << rng.randrange(7)
    path.write_bytes(content)


def config() -> Iterator[tuple[str, Damage]]:
    """Damages to a training's config.yaml."""

    def on(change: Callable[[str], str]) -> Damage:
        return Damage(
            "train",
            lambda case: (case.output / "config.yaml").write_text(
                change((case.output / "config.yaml").read_text())
            ),
        )

    yield "another seed", on(lambda text: text.replace("seed: 1", "seed: 3"))
    yield "another file", on(lambda text: text.replace("charts.jsonl", "tables.jsonl"))
    yield "another way to show progress", on(lambda text: text.replace("progress: none", "progress: lines"))
    yield "a setting less", on(lambda text: re.sub(r"\nseed: 1\n", "\n", text))
    yield "an unknown setting", on(lambda text: text + "\nsede: 1\n")
    yield "emptied", on(lambda text: "")
    yield "cut", on(lambda text: text[: len(text) // 2])
    yield "no YAML", on(lambda text: text.replace(":", "\t:", 3) + "\n\t- {")
    yield "zeros", on(lambda text: "\0" * len(text))
    yield "missing", Damage("train", lambda case: (case.output / "config.yaml").unlink())
    yield "a folder", Damage("train", lambda case: _folder_for(case.output / "config.yaml"))
    for number in range(6):
        yield f"bit {number}", Damage("train", lambda case: flip_any(case.output / "config.yaml", case.rng))


def made_again() -> Iterator[tuple[str, Damage]]:
    """Damages to what a command makes anew each time."""
    made = {"score": "suite.jsonl", "sample": "candidates.jsonl", "label": "steps.jsonl"}
    made |= {"evaluate": "per_question.jsonl", "train": "summary.json"}
    for name, file in made.items():
        for what, content in (("half a line", b'{"id": "q0", "ques'), ("emptied", b"")):

            def spoil(case: Case, file: str = file, content: bytes = content) -> None:
                (case.output / file).write_bytes(content)

            yield f"{file} of {name}: {what}", Damage(name, spoil)


def model() -> Iterator[tuple[str, Damage]]:
    """Damages to a saved model's files, before it scores."""

    def on(name: str, spoil: Callable[[Path, Case], object]) -> Damage:
        return Damage("score", lambda case: spoil(case.model / name, case), fresh=True)

    names = ["model.safetensors", "head.safetensors", "config.json", "prm.json", "prm_processor.json"]
    names += ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "generation_config.json"]
    for name in names:
        for number in range(3):
            yield f"{name}: bit {number}", on(name, lambda path, case: flip_any(path, case.rng))
        yield f"{name}: cut", on(name, lambda path, case: path.write_bytes(path.read_bytes()[:-5]))
        yield f"{name}: emptied", on(name, lambda path, case: path.write_bytes(b""))
        yield f"{name}: missing", on(name, lambda path, case: path.unlink())
        yield f"{name}: a folder", on(name, lambda path, case: _folder_for(path))
    yield "a number of the configuration", on("config.json", lambda path, case: _another_number(path))
    yield "weights of another model", on("model.safetensors", _other_weights)


def _another_number(path: Path) -> None:
    """The model's normalisation, by which it still loads."""
    content = json.loads(path.read_text())
    content["text_config"]["rms_norm_eps"] = 1e-2
    path.write_text(json.dumps(content))


def _other_weights(path: Path, case: Case) -> None:
    """Weights of the same shapes."""
    from safetensors.torch import load_file, save_file

    save_file(
        {name: tensor + 0.01 for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"}
    )


def tables(runs: Runs) -> dict[str, dict[str, Damage]]:
    """All damages, by what they are done to."""
    return {
        "checkpoints": dict(checkpoints(runs)),
        "logs": dict(logs()),
        "config": dict(config()),
        **{f"journal of {name}": dict(journal_of(name)) for name in JOURNAL},
        "results": dict(made_again()),
        "model": dict(model()),
    }


def main(arguments: Sequence[str]) -> int:
    """Do the damages and print what comes of each; returns the exit code."""
    prepare_process()
    bad = 0
    with tempfile.TemporaryDirectory() as place, world(Path(place), short=True) as here:
        runs = Runs(here)
        for table, damages in tables(runs).items():
            if arguments and not any(word in table for word in arguments):
                continue
            counts: Counter[str] = Counter()
            for name, damage in damages.items():
                found, told = outcome(damage, runs, seed=f"{table} {name}")
                counts[found] += 1
                bad += found == "BAD"
                short = told.replace(str(here.folder), "").replace("\n", " | ")
                print(f"{found:8} {table}: {name}: {short[: 160 if found != 'BAD' else 900]}", flush=True)
            print(
                f"{table}: {', '.join(f'{count} {found}' for found, count in counts.items())}\n", flush=True
            )
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
