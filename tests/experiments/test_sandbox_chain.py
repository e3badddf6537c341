"""`make train`: its commands, a tiny world from end to end, Ctrl-C, and the same command again."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from experiment_scripts import EXPERIMENTS, load_script

from dreamprm.cli import COMMANDS, _load, _split
from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config

# One process makes the finished chain once.
pytestmark = pytest.mark.xdist_group("sandbox_chain")
ROOT = EXPERIMENTS.parent
TINY = (
    "sandbox.questions_per_domain=3 sandbox.meta_questions=6 sandbox.development_questions=2 "
    "sandbox.suite_questions=3 sandbox.candidates=3 sandbox.captions=6 sandbox.base_steps=2 "
    "sandbox.base_batch=4 sandbox.hidden_size=32 sandbox.text_layers=1 sandbox.vision_layers=1 "
    "steps=10 batch_size=1 meta_batch_size=4 lm_batch_size=2 checkpoint.every=1 log.every=1"
).split()
STAGES = ("sandbox", "train", "vanilla", "base", "score_vanilla", "score", "evaluate", "targets", "report")
SUITES = ("heldout", "combinations", "styles", "reasoner", "two_ops", "mixed")


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(EXPERIMENTS / "sandbox_chain.py"), *arguments]


def chain(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=os.environ, timeout=900)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, str]:
    """The arguments, the run folder and the output of a chain that nothing interrupted."""
    folder = tmp_path_factory.mktemp("chain")
    arguments = [f"output={folder / 'run'}", f"sandbox.folder={folder / 'world'}", *TINY]
    done = chain(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return arguments, folder / "run", done.stdout


def test_the_commands_are_what_a_user_would_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = chain("--dry-run", "seed=1", "steps=60", "upper.lr=0.1")
    assert printed.returncode == 0 and printed.stderr == ""
    lines = [shlex.split(line) for line in printed.stdout.splitlines()]
    assert [line[:2] for line in lines] == [
        ["dreamprm", "sandbox"],
        ["dreamprm", "train"],
        ["dreamprm", "train"],
        ["dreamprm", "score"],
        ["dreamprm", "score"],
        ["dreamprm", "score"],
        ["dreamprm", "evaluate"],
        ["python", "experiments/sandbox_targets.py"],
        ["dreamprm", "report"],
    ]
    configs: list[Any] = []
    for _, name, *arguments in (line for line in lines if line[0] == "dreamprm" and line[1] != "report"):
        configs.append(load_config(_load(COMMANDS[name].schema), *_split(arguments)))
    world, train, vanilla, base, score_vanilla, score, evaluate = configs
    assert (world.seed, world.folder, evaluate.seed) == (1, "data/sandbox/seed1", 1)
    assert all(one.threads == 1 for one in configs[:-1])
    for one in (train, vanilla):
        assert (one.seed, one.steps, one.upper.lr) == (1, 60, 0.1)
        assert one.data.image_root == world.folder and one.model.path == f"{world.folder}/base"
    assert (train.output, vanilla.output) == ("runs/sandbox", "runs/sandbox/vanilla")
    assert (train.data.num_workers, vanilla.data.num_workers) == (1, 0)
    assert (train.hypergrad.name, vanilla.hypergrad.name) == ("first_order", "none")
    assert (base.model, base.scores) == (f"{world.folder}/base", "likelihood")
    for one in (base, score_vanilla, score):
        assert one.files == {suite: f"{world.folder}/suites/{suite}.jsonl" for suite in SUITES}
    for suite, files in evaluate.suites.items():
        scored = [f"{one.output}/{suite}.jsonl" for one in (score, score_vanilla, base)]
        assert [files.path, *files.joined] == scored
    assert evaluate.mean_over == list(SUITES[1:])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("stpes=5", "unknown key stpes, did you mean 'steps'"),
        ("evaluation.vanilla=none", "unknown key evaluation.vanilla: train the vanilla PRM with a separate"),
        ("sandbox.hidden_size=40", "hidden_size must be a multiple of 16, got 40"),
        ("seed=x", "seed must be int"),
        ("steps", "'steps' is not a key=value argument"),
        ("resume=never", "the chain always resumes; overwrite=true starts anew"),
        ("overwrite=yes", "overwrite must be true or false, got yes"),
        ("data.image_root=x", "data.image_root is the world's folder; write sandbox.folder=..."),
    ],
)
def test_a_mistake_shows_before_anything_runs(argument: str, message: str) -> None:
    script = load_script("sandbox_chain")
    with pytest.raises(UserError) as refusal:
        script.planned([argument])
    assert message in str(refusal.value)


def test_a_tiny_world_from_end_to_end(finished: tuple[list[str], Path, str]) -> None:
    _, run, printed = finished
    for name in STAGES:
        assert f"[{name}] done in " in printed and (run / "logs" / f"{name}.log").exists()
    # Every command stands above what it prints; the learned and the vanilla run begin before either ends.
    commands = [line for line in printed.splitlines() if line.startswith("$ ")]
    assert len(commands) == len(STAGES)
    assert printed.index("$ dreamprm train", printed.index("$ dreamprm train") + 1) < printed.index(
        "[train] done in "
    )
    assert "[train] step 10/10" in printed and "[vanilla] step 10/10" in printed
    summary = json.loads((run / "summary.json").read_text())
    assert {
        *("seconds", "seed", "steps", "spearman", "weight_ratio", "weights", "best_of_n", "quality"),
        *("targets", "targets_met", "intervals", "differences", "shifted_suites"),
    } <= summary.keys()
    assert summary["steps"] == 10 and set(summary["weights"]) == set(summary["quality"])
    for selector in ("random", "majority", "base_likelihood", "vanilla", "dreamprm", "oracle"):
        row = summary["best_of_n"][selector]
        assert list(row) == [*SUITES, "mean"]
        assert row["mean"] == pytest.approx(sum(row[suite] for suite in SUITES[1:]) / 5)
    assert summary["targets_met"] == all(one["met"] for one in summary["targets"].values())
    assert printed.count("Domains by learned weight") == 1 and "Targets\n" in printed
    assert f"Report: {run / 'report.html'}" in printed
    took = sum(json.loads((run / place / "summary.json").read_text())["seconds"] for place in ("vanilla",))
    assert summary["seconds"] > took
    page = (run / "report.html").read_text()
    for section in ("Methods and benchmarks", "Accuracy over the number", "domain weights", "Training"):
        assert section in page
    assert "Best-of-N accuracy" not in page  # the evaluation's tables, not the same ones once more


def test_the_same_command_again_does_nothing_twice(finished: tuple[list[str], Path, str]) -> None:
    arguments, run, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.json*")}
    done = chain(*arguments)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"[{name}] is done already" for name in STAGES]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.json*")} == before


def test_a_stage_that_fails_ends_the_chain_with_its_message(finished: tuple[list[str], Path, str]) -> None:
    arguments, run, _ = finished
    done = chain(*arguments, "upper.lr=0.5")
    assert done.returncode == 2
    assert "[sandbox] is done already" in done.stdout
    message = done.stderr
    assert " ended with exit code 2; the last lines of " in message and "logs/" in message
    assert (
        f"{run}" in message and "holds a run of another configuration (upper.lr: 0.07 there, 0.5" in message
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_and_the_same_command_resumes(
    number: signal.Signals, code: int, finished: tuple[list[str], Path, str], tmp_path: Path
) -> None:
    world = finished[0][1]
    arguments = [f"output={tmp_path / 'run'}", world, *TINY]
    # A loader process would take longer to start than the vanilla PRM takes for its 100 steps.
    slow = [*arguments, "steps=100", "data.num_workers=0"]
    process = subprocess.Popen(
        command(*slow),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test that runs in the background is started with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folders = (tmp_path / "run", tmp_path / "run" / "vanilla")
    deadline = time.monotonic() + 300
    while not all((folder / "metrics.jsonl").exists() for folder in folders):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    printed, message = process.communicate(timeout=120)
    assert process.returncode == code, printed + message
    again = shlex.quote(shlex.join(slow))
    assert message.splitlines()[-1] == f"make train: interrupted; resume with: make train ARGS={again}"
    for folder in folders:  # both saved where they were
        (newest,) = {max(path.name for path in (folder / "checkpoints").iterdir())}
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        assert newest == f"step-{last:06d}" and not (folder / "summary.json").exists()
    if number == signal.SIGINT:
        done = chain(*slow)
        assert done.returncode == 0 and "[sandbox] is done already" in done.stdout
        for name in ("train", "vanilla"):
            assert "continuing " in (tmp_path / "run" / "logs" / f"{name}.log").read_text()
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 100
