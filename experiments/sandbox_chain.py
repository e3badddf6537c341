r"""`make train`: the whole pipeline on the sandbox, as a chain of the commands that a user would type.

    python experiments/sandbox_chain.py [--dry-run] [key=value ...]

    sandbox -> train ------------------------------> score -\
            -> vanilla -> score_vanilla, and base -----------+-> evaluate -> targets -> report

The learned weights and the vanilla PRM, which is the same training without an upper level, train on one core
each. Every command is printed before it runs; --dry-run prints them and runs none. Logs are in RUN/logs.
Ctrl-C stops all of it, and the same command resumes.

Keys: output=runs/sandbox, seed=0 (of the world and both trainings), overwrite=true (replace the run that is
there); sandbox.KEY=VALUE goes to `dreamprm sandbox`; every other key goes to both trainings.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages import ROOT, Stage, StageFailed, run_stages

from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.files.atomic import write_atomically
from dreamprm.runtime.interruption import Terminated, sigterm_raises
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.training.settings import TrainConfig

CONFIGS = "experiments/configs/sandbox"
SUITES = ("heldout", "combinations", "styles", "reasoner", "two_ops", "mixed")
SHIFTED = SUITES[1:]
"""Suites that differ from the training data; the mean is taken over them."""
VANILLA = "hypergrad={name: none}"


def score(name: str, model: str, *, world: str, output: str, settings: Sequence[str] = ()) -> tuple[str, ...]:
    """The command that scores all suites of a world with a model."""
    return (
        *("dreamprm", "score", f"{CONFIGS}/score.yaml"),
        *(f"model={model}", f"name={name}", f"output={output}", f"data.image_root={world}"),
        *("log.progress=lines", *settings),
    )


def chain(output: str, seed: int, world: Mapping[str, str], training: Sequence[str]) -> list[Stage]:
    """All stages; among those that can run at the same time, the longest first."""
    data = world.get("folder", f"data/sandbox/seed{seed}")
    run, vanilla, evaluation = output, f"{output}/vanilla", f"{output}/evaluation"
    common = (
        *(() if "folder" not in world else (f"data.image_root={data}",)),
        "log.progress=lines",
        *training,
    )
    base_scores, vanilla_scores, own_scores = (
        f"{evaluation}/scores/{name}" for name in ("base_likelihood", "vanilla", "dreamprm")
    )

    def path(place: str) -> Path:
        return ROOT / place

    return [
        Stage(
            "sandbox",
            (
                *("dreamprm", "sandbox", f"{CONFIGS}/world.yaml", f"seed={seed}"),
                *(f"{key}={value}" for key, value in world.items()),
            ),
            outputs=(path(f"{data}/sandbox.json"),),
            prints="marked",
        ),
        Stage(
            "train",
            (
                *("dreamprm", "train", f"{CONFIGS}/train.yaml", f"seed={seed}", f"output={run}"),
                # The longest stage: its batches are prepared on the core that the vanilla PRM leaves idle.
                *("data.num_workers=1", *common),
            ),
            after=("sandbox",),
            outputs=(path(f"{run}/summary.json"), path(f"{run}/model/prm.json")),
        ),
        Stage(
            "vanilla",
            (
                *("dreamprm", "train", f"{CONFIGS}/train.yaml", f"seed={seed}", f"output={vanilla}"),
                *(f"name=sandbox-seed{seed}-vanilla", *common, VANILLA),
            ),
            after=("sandbox",),
            outputs=(path(f"{vanilla}/summary.json"), path(f"{vanilla}/model/prm.json")),
        ),
        Stage(
            "base",
            score(
                "base_likelihood",
                f"{data}/base",
                world=data,
                output=base_scores,
                settings=("scores=likelihood",),
            ),
            after=("sandbox",),
            outputs=(path(f"{base_scores}/summary.json"),),
        ),
        Stage(
            "score_vanilla",
            score("vanilla", vanilla, world=data, output=vanilla_scores),
            after=("vanilla",),
            outputs=(path(f"{vanilla_scores}/summary.json"),),
        ),
        Stage(
            "score",
            score("dreamprm", run, world=data, output=own_scores),
            after=("train",),
            outputs=(path(f"{own_scores}/summary.json"),),
        ),
        Stage(
            "evaluate",
            ("dreamprm", "evaluate", f"{CONFIGS}/evaluate.yaml", f"output={evaluation}", f"seed={seed}"),
            after=("score", "score_vanilla", "base"),
            outputs=(path(f"{evaluation}/evaluation.json"),),
        ),
        Stage(
            "targets",
            (
                *("python", "experiments/sandbox_targets.py", f"run={run}", f"world={data}"),
                f"evaluation={evaluation}",
            ),
            after=("evaluate",),
            outputs=(path(f"{run}/summary.json"),),
            prints="plain",
        ),
        Stage(
            "report",
            ("dreamprm", "report", run, evaluation, f"output={run}/report.html"),
            after=("targets",),
            outputs=(path(f"{run}/report.html"),),
            prints="plain",
        ),
    ]


class _Clock:
    """The seconds the chain has taken, summed over all its starts, in a file for `sandbox_targets.py`."""

    def __init__(self, path: Path) -> None:
        self._path, self._began = path, time.monotonic()
        self._before = float(path.read_text()) if path.exists() else 0.0

    def write(self) -> None:
        """Update the file."""
        write_atomically(self._path, f"{self._before + time.monotonic() - self._began:.1f}\n")


def planned(given: Sequence[str]) -> tuple[str, bool, list[Stage]]:
    """The output folder, whether it is to be replaced, and the stages, from the `key=value` arguments.

    Raises:
        UserError: a key that neither the world nor the training has, or one that the chain sets itself.
    """
    keys = dict(one.split("=", 1) for one in given if "=" in one)
    strange = [one for one in given if "=" not in one]
    if strange:
        raise UserError(f"{strange[0]!r} is not a key=value argument; write for instance seed=1")
    output, seed = keys.pop("output", "runs/sandbox").rstrip("/"), keys.pop("seed", "0")
    overwrite = keys.pop("overwrite", "false")
    if overwrite not in ("true", "false"):
        raise UserError(f"overwrite must be true or false, got {overwrite}")
    if keys.pop("resume", "auto") != "auto":
        raise UserError("the chain always resumes; overwrite=true starts anew")
    if "data.image_root" in keys:
        raise UserError("data.image_root is the world's folder; write sandbox.folder=...")
    world = {key.partition(".")[2]: keys.pop(key) for key in list(keys) if key.startswith("sandbox.")}
    training = [f"{key}={value}" for key, value in keys.items()]
    # A misspelt key is reported now, not after the world has been made.
    sizes = [f"seed={seed}", *(f"{key}={value}" for key, value in world.items())]
    config = load_config(SandboxConfig, ROOT / CONFIGS / "world.yaml", sizes)
    load_config(TrainConfig, ROOT / CONFIGS / "train.yaml", training)
    return output, overwrite == "true", chain(output, config.seed, world, training)


def remove_run(folder: Path) -> None:
    """Remove what an earlier chain left.

    Raises:
        UserError: the folder holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "config.yaml").exists() and not (folder / "logs").is_dir():
            raise UserError(f"{folder} holds something else than a run; overwrite=true removes runs only")
        shutil.rmtree(folder)


def main(arguments: Sequence[str]) -> int:
    """Run the chain, and return its exit code: 0, a failed stage's, or that of the signal that stopped it."""
    given = [one for one in arguments if one != "--dry-run"]
    try:
        output, overwrite, stages = planned(given)
        if "--dry-run" in arguments:
            print("\n".join(stage.text() for stage in stages))
            return 0
        if overwrite:
            remove_run(ROOT / output)
        logs = ROOT / output / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with sigterm_raises():
            run_stages(stages, logs, tick=_Clock(logs / "seconds.txt").write)
        return 0
    except UserError as error:
        print(f"make train: {error}", file=sys.stderr)
        return 2
    except StageFailed as failure:
        print(f"make train: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt as interrupt:
        kept = shlex.join(one for one in given if not one.startswith("overwrite="))
        again = f" ARGS={shlex.quote(kept)}" if kept else ""
        print(f"make train: interrupted; resume with: make train{again}", file=sys.stderr)
        return 143 if isinstance(interrupt, Terminated) else 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
