"""Training from files to report: the run folder, interruption and resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_run import DOMAINS, TinyRun, tiny_run
from torch.func import functional_call

from dreamprm.config.loading import changed_keys, load_config
from dreamprm.data import read_step_records
from dreamprm.models import PRM
from dreamprm.training.assembly import make_prm
from dreamprm.training.checkpoint import load_checkpoint, save_checkpoint
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.settings import TrainConfig
from dreamprm.training.throughput import MEASURED

# What is equal byte for byte between two runs of the same configuration.
RESULTS = (
    "domain_weights.jsonl",
    "checkpoints/step-000008/tensors.safetensors",
    "checkpoints/step-000008/state.json",
    "model/model.safetensors",
    "model/head.safetensors",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> TinyRun:
    """A run that nothing interrupted."""
    tiny = tiny_run(tmp_path_factory.mktemp("finished"), tiny_checkpoint)
    assert tiny.train(report=True) == 0
    return tiny


@pytest.fixture
def again(tiny: TinyRun, finished: TinyRun) -> TinyRun:
    """The finished run's twin, its folder already there, which a test may spoil."""
    shutil.copytree(finished.output, tiny.output)
    for key, value in finished.config.items():
        tiny.config[key] = str(tiny.output) if key == "output" else value
    return tiny


def numbers(tiny: TinyRun) -> list[dict[str, Any]]:
    """metrics.jsonl without the clock."""
    rows = tiny.lines("metrics.jsonl")
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in rows]


def assert_same_results(tiny: TinyRun, other: TinyRun) -> None:
    assert numbers(tiny) == numbers(other)
    for name in RESULTS:
        assert (tiny.output / name).read_bytes() == (other.output / name).read_bytes(), name
    left, right = tiny.summary(), other.summary()
    assert left | {"seconds": 0} == right | {"seconds": 0}


def test_the_run_folder_holds_everything(finished: TinyRun) -> None:
    folder = finished.output
    content = yaml.safe_load((folder / "config.yaml").read_text())
    assert {"python", "torch", "transformers", "dreamprm"} <= content["versions"].keys()
    # The saved one names the estimator's defaults too.
    saved, given = (load_config(TrainConfig, path) for path in (folder / "config.yaml", finished.write()))
    assert changed_keys(saved, given) == {} and saved.hypergrad.settings["derivative"] == "central_difference"

    rows = finished.lines("metrics.jsonl")
    assert [(row["step"], row["window"]) for row in rows] == [(2, 1), (4, 2), (6, 3), (8, 4)]
    for row in rows:
        assert (row["lr"], row["upper_lr"], row["status"]) == (1e-3, 0.05, "ok")
        assert row["alpha_grad_norm"] > 0 and 0 < row["inner_loss"] < 1 and 0 < row["meta_loss"] < 1
    history = finished.lines("domain_weights.jsonl")
    assert [row["step"] for row in history] == [2, 4, 6, 8]
    for row in history:
        assert tuple(row["weights"]) == DOMAINS and sum(row["weights"].values()) == pytest.approx(2, abs=1e-6)
    assert history[0]["weights"]["charts"] != 1

    checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert checkpoints == ["step-000004", "step-000008"]
    summary = finished.summary()
    assert (summary["name"], summary["seed"], summary["steps"]) == ("tiny", 1, 8)
    assert summary["weights"] == history[-1]["weights"]
    for path, domain in zip(finished.config["data"]["train"], DOMAINS, strict=True):
        firsts = [record.labels[0] for record in read_step_records(path)]
        assert summary["generator_accuracy"][domain] == pytest.approx(sum(firsts) / len(firsts))
    # What evaluates, judges and compares are commands of their own.
    assert summary.keys() == {
        *("name", "seed", "steps", "seconds", "estimator", "aggregation", "weights"),
        *("generator_accuracy", "not_converged"),
    }
    assert not (folder / "scores").exists() and not (folder / "vanilla").exists()
    assert "charts" in (folder / "report.html").read_text()
    plots = sorted(path.stem for path in (folder / "plots").iterdir())
    assert plots == [
        "final_weights",
        "losses",
        "weights_against_difficulty",
        "weights_over_time",
    ]
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_the_saved_model_is_the_trained_one(finished: TinyRun) -> None:
    config = load_config(TrainConfig, finished.write())
    tensors, _ = load_checkpoint(finished.output / "checkpoints" / "step-000008")
    params = {name[7:]: value for name, value in tensors.items() if name.startswith("params/")}
    prm = PRM.from_pretrained(finished.output / "model")
    own = dict(prm.named_parameters())
    assert own.keys() == params.keys() and all(torch.equal(own[name], params[name]) for name in own)

    fresh, steps = make_prm(config).eval(), ["one plus two .", "three ."]
    encoded = fresh.processor.encode("what is one ?", [], steps)
    batch = fresh.processor.collate([encoded])
    want = torch.sigmoid(functional_call(fresh, params, (batch,))).tolist()
    assert prm.score("what is one ?", None, steps) == want
    assert fresh.score("what is one ?", None, steps) != want
    stored = json.loads((finished.output / "model" / "prm.json").read_text())["training"]
    assert stored["domain_weights"] == finished.summary()["weights"] and stored["seed"] == 1
    card = (finished.output / "model" / "README.md").read_text()
    assert "hidden" in card and str(finished.folder) not in card


def test_the_final_table_is_printed_once(again: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert again.train(report=True) == 0
    written = capsys.readouterr()
    assert written.out.count("Domains by learned weight") == 1
    assert f"continuing {again.output} from step 8" in written.out


@pytest.mark.parametrize(("crash", "start"), [(2, 0), (6, 4)], ids=["before a checkpoint", "after one"])
def test_a_crashed_run_goes_on_bit_for_bit(
    crash: int,
    start: int,
    tiny: TinyRun,
    finished: TinyRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It falls between two lines of its logs, so that metrics.jsonl is ahead of the rest."""
    log_weights = RunFolder.log_weights

    def fall(self: RunFolder, step: int, weights: Any) -> None:
        if step == crash:
            raise RuntimeError("power cut")
        log_weights(self, step, weights)

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "log_weights", fall)
        assert tiny.train() == 1
    assert tiny.lines("metrics.jsonl")[-1]["step"] == crash and not (tiny.output / "model").exists()
    assert tiny.train("resume=auto") == 0
    assert (f"continuing {tiny.output} from step {start}" in capsys.readouterr().out) == (start > 0)
    assert_same_results(tiny, finished)


# A terminal and a cluster's scheduler signal the whole process group, loader workers included.
@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [
        (signal.SIGINT, 130, 0),
        (signal.SIGTERM, 143, 0),
        (signal.SIGINT, 130, 1),
        (signal.SIGTERM, 143, 1),
    ],
)
def test_a_signal_saves_and_the_run_goes_on_bit_for_bit(
    number: signal.Signals,
    code: int,
    workers: int,
    tiny: TinyRun,
    finished: TinyRun,
) -> None:
    """A real process and a real signal, before window 3 is over; no checkpoint was due there."""
    tiny.config["checkpoint"] = {"every": 100}
    program = (
        "import os, subprocess, sys, time\n"
        "from dreamprm.cli import main\n"
        "from dreamprm.training.run_folder import RunFolder\n"
        "log = RunFolder.log_metrics\n"
        "def struck(self, row):\n"
        "    if row['step'] == 6:\n"
        # Sent by another process: a loader worker takes its parent's signal for the end of the run.
        f"        subprocess.run(['kill', '-{int(number)}', '--', f'-{{os.getpgrp()}}'])\n"
        "        time.sleep(0.5)\n"  # a worker that the signal ended would be noticed now
        "    log(self, row)\n"
        "RunFolder.log_metrics = struck\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["train", str(tiny.write()), f"data.num_workers={workers}"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=300,
        start_new_session=True,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "dreamprm: interrupted; resume from the last checkpoint with: "
        f"dreamprm {' '.join(arguments)} resume=auto"
    )
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tiny.output / "checkpoints").iterdir()] == ["step-000006"]
    assert [row["step"] for row in tiny.lines("domain_weights.jsonl")] == [2, 4, 6]
    assert not (tiny.output / "model").exists()
    assert tiny.train("resume=auto") == 0
    assert_same_results(tiny, finished)


def test_resume_never_refuses_a_folder_that_is_not_empty(
    again: TinyRun,
    finished: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert again.train("resume=never") == 2
    message = capsys.readouterr().err
    assert f"{again.output} is not empty; give another output, resume=auto" in message
    assert_same_results(again, finished)


def test_another_configuration_is_refused_by_its_key(
    again: TinyRun,
    finished: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert again.train("inner.lr=2e-3", "log.every=7") == 2
    message = capsys.readouterr().err
    assert "holds a run of another configuration (inner.lr: 0.001 there, 0.002 now); give another" in message
    assert_same_results(again, finished)


def test_overwrite_replaces_a_run(again: TinyRun, finished: TinyRun) -> None:
    (again.output / "left.txt").write_text("from before")
    assert again.train("overwrite=true", "steps=4") == 0
    assert not (again.output / "left.txt").exists()
    assert [row["step"] for row in again.lines("metrics.jsonl")] == [2, 4]
    assert numbers(again) == numbers(finished)[:2]


@pytest.mark.parametrize(
    "mistake", ["data.meta=nowhere.jsonl", "data.train=[nowhere.jsonl]", "model.path=nowhere"]
)
def test_a_run_is_not_overwritten_by_one_that_cannot_start(
    mistake: str,
    again: TinyRun,
    finished: TinyRun,
) -> None:
    assert again.train("overwrite=true", mistake) == 2
    assert_same_results(again, finished)


def test_overwrite_removes_runs_only(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.output.mkdir()
    (tiny.output / "thesis.tex").write_text("years of work")
    assert tiny.train("overwrite=true") == 2
    assert "holds something else than a run; overwrite=true removes runs only" in capsys.readouterr().err
    assert [path.name for path in tiny.output.iterdir()] == ["thesis.tex"]


def test_overwrite_and_a_checkpoint_exclude_each_other(
    again: TinyRun,
    finished: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert again.train("overwrite=true", f"resume={again.output}/checkpoints/step-000004") == 2
    assert "overwrite=true starts anew, resume=" in capsys.readouterr().err
    assert_same_results(again, finished)


def test_output_must_not_be_a_file(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.output.write_text("")
    assert tiny.train() == 2
    assert "is a file; give a folder" in capsys.readouterr().err


def test_a_named_checkpoint_continues_with_other_settings(again: TinyRun, finished: TinyRun) -> None:
    """What is later than it is dropped, so that the next resume=auto cannot find the older settings' end."""
    assert again.train(f"resume={again.output}/checkpoints/step-000004", "inner.lr=2e-3", "steps=6") == 0
    assert numbers(again)[:2] == numbers(finished)[:2]
    assert [(row["step"], row["lr"]) for row in numbers(again)[1:]] == [(4, 1e-3), (6, 2e-3)]
    kept = sorted(path.name for path in (again.output / "checkpoints").iterdir())
    assert kept == ["step-000004", "step-000006"]


def test_a_moved_run_continues_where_it_is(again: TinyRun, finished: TinyRun) -> None:
    moved = again.folder / "moved"
    again.output.rename(moved)
    shutil.rmtree(moved / "checkpoints" / "step-000008")
    again.config["output"] = str(moved)
    assert again.train() == 0
    assert_same_results(again, finished)


def test_a_damaged_checkpoint_is_passed_over_with_one_line(
    again: TinyRun, finished: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run continues from the one before it, ends bit for bit as it did, and the damaged one is kept."""
    tensors = again.output / "checkpoints" / "step-000008" / "tensors.safetensors"
    tensors.write_bytes(content := tensors.read_bytes()[:-100])
    log = again.output / "metrics.jsonl"
    log.write_bytes(log.read_bytes().partition(b"\n")[2])  # one line less
    left = again.output / f".model-{'0' * 32}.partial"
    left.mkdir()
    assert again.train() == 0
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if line.startswith("passed over")]
    assert f"passed over step-000008: checkpoint file {tensors} is damaged" in line
    assert line.endswith(f"can be used is {again.output}/checkpoints/step-000004")
    assert f"continuing {again.output} from step 4" in shown and not left.exists()
    assert "metrics.jsonl holds 1 of the 2 windows before the checkpoint" in shown
    for name in RESULTS:
        assert (again.output / name).read_bytes() == (finished.output / name).read_bytes(), name
    aside = again.output / "checkpoints" / "step-000008.set-aside" / "tensors.safetensors"
    assert aside.read_bytes() == content


def test_without_a_whole_checkpoint_the_run_is_refused_with_the_way_out(
    again: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    for tensors in again.output.glob("checkpoints/*/tensors.safetensors"):
        tensors.write_bytes(tensors.read_bytes()[:-100])
    before = {path: path.read_bytes() for path in again.output.rglob("*") if path.is_file()}
    assert again.train() == 2
    message = capsys.readouterr().err
    tensors = again.output / "checkpoints" / "step-000008" / "tensors.safetensors"
    assert f"checkpoint file {tensors} is damaged" in message and "resume=PATH" in message
    assert "The older ones cannot be used either: checkpoint file" in message
    assert {path: path.read_bytes() for path in again.output.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("params/head.bias"), "params/head.bias is missing, expected (1,)"),
        (lambda tensors: tensors.update({"params/more": torch.zeros(2)}), "the first params/more"),
        (
            lambda tensors: tensors.update({"alpha/domain_weights": torch.zeros(1)}),
            "alpha/domain_weights is (1,), expected (2,)",
        ),
    ],
)
def test_a_checkpoint_with_other_tensors_is_refused(
    change: Callable[[dict[str, torch.Tensor]], object],
    told: str,
    again: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = again.output / "checkpoints" / "step-000008"
    content = json.loads((path / "state.json").read_text())
    tensors = load_file(path / "tensors.safetensors")
    change(tensors)
    save_checkpoint(path.parent, 8, tensors=tensors, state=content["state"], run=content["run"], keep=9)
    assert again.train() == 2
    message = capsys.readouterr().err
    assert "does not fit this run: " in message and told in message


def test_a_checkpoint_of_another_model_is_refused(
    again: TinyRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [f"resume={again.output}/checkpoints/step-000004", f"output={tmp_path / 'other'}"]
    assert again.train(*arguments, "model.head=vocab_logits") == 2
    message = capsys.readouterr().err
    assert "does not fit this run: params/head.weight is (1, 32), expected (1, " in message
    assert not (tmp_path / "other").exists()
