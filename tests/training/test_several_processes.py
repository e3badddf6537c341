"""Several processes train what one would: the same batches, losses, gradients, folder and messages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import checked_rows
import divided_runs
import pytest
import torch
from divided_runs import (
    EXACT,
    MIXED,
    PLAIN,
    divided_rows,
    ragged_run,
    some_windows,
    too_far_apart,
    train_command,
)
from safetensors.torch import load_file
from several_processes import together
from tiny_run import DOMAINS, TinyRun, tiny_run

from dreamprm.cli import COMMANDS, main
from dreamprm.models.shares import Share

ROWS = divided_rows(PLAIN) | {
    "one row of each domain": ["sampling=mixed", "batch_size=1", *PLAIN],
    "micro-batches": ["micro_batches=3", "batch_size=4", "meta_batch_size=4", *PLAIN],
    "micro-batches, texts": [
        *("micro_batches=2", "batch_size=4", "lm_weight=0.5", "lm_batch_size=4"),
        *("data.lm=FOLDER/pool.jsonl", *PLAIN),
    ],
    "unrolled": ["hypergrad.name=unrolled", *PLAIN],
    "gradients kept in bf16": ["hypergrad={name: adjoint, keep: bf16}", *MIXED],
    "low-rank adapters": ["model.lora={rank: 4, target_modules: ['*_proj', '*visual*']}", *MIXED],
    "cached states of a frozen trunk": [
        *("model.trainable=['head.*','*layers.0.*']", "model.cache_trunk=float32", *MIXED)
    ],
}
# With the parameters divided as well: all estimators, and what sums over entries.
LIKE_OTHERS = ("one row of each domain", "first_order, double backward", "audited", "none")
SHARDED = {
    f"{name}, sharded": [*overrides, "shard=true"]
    for name, overrides in {
        **{name: overrides for name, overrides in ROWS.items() if name not in LIKE_OTHERS},
        "adjoint, clipping": ["hypergrad.name=adjoint", "inner.max_grad_norm=0.05", *MIXED],
        "unrolled, clipping": ["hypergrad.name=unrolled", "inner.max_grad_norm=0.05", *PLAIN],
        "forward_gradient, differences, clipping": [
            "hypergrad={name: forward_gradient, derivative: central_difference}",
            "inner.max_grad_norm=0.05",
            *PLAIN,
        ],
        "the baseline doge, exact": ["baseline={name: doge, slopes: exact}", *MIXED],
    }.items()
}


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> TinyRun:
    return ragged_run(tmp_path_factory.mktemp("ragged"), tiny_checkpoint)


ROUNDED = {"params": 1e-5, "alpha": 1e-4, "inner": 1e-5, "outer": 1e-5}


# Float64 does not reach inside a layer that is computed again on the way back.
CHECKPOINTED = [*ROWS["micro-batches"], "model.checkpoint_activations=true"]
SOME = {
    "checkpointed": CHECKPOINTED,
    "checkpointed, sharded": [*CHECKPOINTED, "shard=true"],
} | {
    name: {**ROWS, **SHARDED}[name]
    for name in ("first_order, several domains", "adjoint", "texts", "clipping, sharded", "adjoint, sharded")
}


@pytest.mark.parametrize(
    ("dtype", "table", "bounds"),
    [(torch.float64, {**ROWS, **SHARDED}, EXACT), (torch.float32, SOME, ROUNDED)],
)
def test_two_processes_take_the_steps_of_one(
    dtype: torch.dtype, table: dict[str, list[str]], bounds: dict[str, float], ragged: TinyRun
) -> None:
    """`pytest -s --all-rows` prints how far they are apart."""
    rows = checked_rows.chosen(table)
    arguments = (ragged.folder / "config.yaml", list(rows.values()), dtype)
    (first, second), alone = together(some_windows, *arguments), some_windows(*arguments)
    for name, two, other in zip(rows, first, second, strict=True):
        for key, value in two.items():
            assert (value == other[key]).all(), f"{name}: the processes disagree on {key}"
    assert not too_far_apart(dict(zip(rows, zip(alone, first, strict=True), strict=True)), bounds)


# What is equal byte for byte between a run that was interrupted and one that was not.
RESULTS = ("domain_weights.jsonl", "checkpoints/step-000008/tensors.safetensors", "model/model.safetensors")


def codes(ended: list[tuple[int, str]]) -> list[int]:
    """The exit codes of commands."""
    return [code for code, _ in ended]


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> TinyRun:
    """A run of two processes that nothing interrupted."""
    tiny = tiny_run(tmp_path_factory.mktemp("divided"), tiny_checkpoint)
    assert codes(together(train_command, tiny.write(), [])) == [0, 0]
    return tiny


def test_the_folder_is_that_of_one_process(divided: TinyRun, tiny: TinyRun) -> None:
    assert tiny.train() == 0

    def content(run: TinyRun) -> set[str]:
        return {str(path.relative_to(run.output)) for path in run.output.rglob("*")}

    assert content(divided) == content(tiny)
    ours, theirs = divided.lines("metrics.jsonl"), tiny.lines("metrics.jsonl")
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["step"] == other["step"] and mine["status"] == other["status"]
        assert mine["meta_loss"] == pytest.approx(other["meta_loss"], rel=1e-3)
    for name, weight in divided.summary()["weights"].items():
        assert weight == pytest.approx(tiny.summary()["weights"][name], rel=1e-3)
    one, two = (load_file(run.output / "model" / "model.safetensors") for run in (tiny, divided))
    # Where a gradient is 0, AdamW makes whole steps (1e-3) of its rounding.
    far = sum(int(((one[name] - two[name]).abs() > 1e-4).sum()) for name in one)
    assert far < 0.01 * sum(value.numel() for value in one.values())


def test_a_signal_to_one_process_stops_all_and_the_rest_is_the_same_to_the_bit(
    divided: TinyRun, tiny: TinyRun
) -> None:
    config = tiny.write()
    assert codes(together(train_command, config, [], "terminated")) == [143, 143]
    assert [path.name for path in sorted((tiny.output / "checkpoints").iterdir())][-1] == "step-000006"
    stopped = shutil.copytree(tiny.output, tiny.folder / "stopped")

    assert codes(together(train_command, config, [])) == [0, 0]
    for name in RESULTS:
        assert (tiny.output / name).read_bytes() == (divided.output / name).read_bytes(), name

    shutil.rmtree(tiny.output)
    stopped.rename(tiny.output)
    assert tiny.train() == 0  # by one process
    one, two = (run.lines("domain_weights.jsonl")[-1]["weights"] for run in (tiny, divided))
    assert one == {name: pytest.approx(weight, rel=1e-3) for name, weight in two.items()}


def test_a_sharded_run_leaves_the_same_folder_and_goes_on_after_a_signal(
    divided: TinyRun, tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny.write()
    assert codes(together(train_command, config, ["shard=true"], "terminated")) == [143, 143]
    stopped = shutil.copytree(tiny.output, tiny.folder / "stopped")
    assert codes(together(train_command, config, ["shard=true"])) == [0, 0]
    resumed = tiny.output.rename(tiny.folder / "resumed")
    assert codes(together(train_command, config, ["shard=true"])) == [0, 0]
    for name in RESULTS:
        assert (tiny.output / name).read_bytes() == (resumed / name).read_bytes(), name

    model = "model/model.safetensors"
    ours, whole = (load_file(run.output / model) for run in (tiny, divided))
    assert {name: value.shape for name, value in ours.items()} == {n: v.shape for n, v in whole.items()}
    far = sum(int(((ours[name] - whole[name]).abs() > 1e-4).sum()) for name in ours)
    assert far < 0.01 * sum(value.numel() for value in ours.values())

    shutil.rmtree(tiny.output)
    stopped.rename(tiny.output)
    assert tiny.train() == 0  # by one process
    assert "processes then 2 with sharded parameters, now 1" in capsys.readouterr().out


def test_a_record_that_one_process_cannot_read_stops_all_with_a_checkpoint(tiny: TinyRun) -> None:
    ended = together(train_command, tiny.write(), [], "unread")
    assert codes(ended) == [2, 2]
    assert (tiny.output / "checkpoints" / "step-000006" / "state.json").is_file()
    told = ended[1][1]
    assert "process 1 of 2" in told and "gone.png" in told
    assert "which continues with what was trained until step 6" in told
    assert "Traceback" not in told
    assert "another process could not read its share of a batch" in ended[0][1]


def test_lost_pictures_of_all_processes_are_counted(tiny: TinyRun) -> None:
    (tiny.folder / "2.png").write_bytes(b"no picture")
    tiny.config["data"]["missing_image"] = "text_only"

    def images() -> dict[str, dict[str, Any]]:
        found = tiny.summary()["images"]
        return {kind: told | {"first": sorted(told["first"])} for kind, told in found.items()}

    assert tiny.train() == 0
    alone = images()
    tiny.config["output"] = str(tiny.folder / "divided")
    assert codes(together(train_command, tiny.write(), [])) == [0, 0]
    assert images() == alone and alone["step records"]["without_images"] == 2


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Two processes that torchrun starts."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = [here for here in map(str, sys.path) if here]
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )


def test_torchrun_starts_them_again_after_one_was_killed(tiny: TinyRun, divided: TinyRun) -> None:
    config = str(tiny.write())
    killed = torchrun(divided_runs.__file__, config, "killed")
    assert killed.returncode != 0
    assert "SIGKILL" in killed.stderr and killed.stderr.count("Traceback") == 1  # torchrun's own
    assert (tiny.output / "checkpoints" / "step-000004" / "state.json").is_file()
    assert not (tiny.output / "summary.json").exists()

    done = torchrun("-m", "dreamprm", "train", config)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("CoTs in") <= 1 + len(DOMAINS)  # said once
    for name in RESULTS:
        assert (tiny.output / name).read_bytes() == (divided.output / name).read_bytes(), name
    assert (tiny.output / "report.html").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=1"], "batch_size=1 leaves some of the 2 processes without a row"),
        (["meta_batch_size=1"], "meta_batch_size=1 leaves some of the 2 processes"),
        (["shard=true", "inner.optimizer=muon"], "inner.optimizer=muon steps whole matrices"),
        (
            ["shard=true", "baseline={name: doremi, reference: x}"],
            "baseline.name=doremi holds a second model",
        ),
        (["baseline.name=s1", "hypergrad.name=none"], "baseline s1 selects its training set first"),
    ],
)
def test_what_cannot_be_divided_is_refused(overrides: list[str], message: str, tiny: TinyRun) -> None:
    ended = together(train_command, tiny.write(), overrides)
    assert codes(ended) == [2, 2] and message in ended[0][1]
    assert not tiny.output.exists()


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not command.divided])
def test_other_commands_refuse_a_launcher(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([name, "config.yaml"]) == 2
    assert f"{name} runs in one process, but 2 were launched" in capsys.readouterr().err


def test_the_shares_of_a_batch_are_the_batch() -> None:
    for count in range(1, 6):
        for rows in range(count, 12):
            shares = [Share(rank, count).rows(rows) for rank in range(count)]
            assert [row for share in shares for row in share] == list(range(rows))
            assert all(shares) and max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_frozen_vision_tower_takes_no_gradient(tiny: TinyRun) -> None:
    from dreamprm.config.loading import load_config
    from dreamprm.training.assembly import assemble
    from dreamprm.training.processes import make_accelerator
    from dreamprm.training.settings import TrainConfig

    def asks(*overrides: str) -> dict[str, bool]:
        config = load_config(TrainConfig, tiny.write(), overrides)
        run: Any = assemble(config, make_accelerator(config), say=lambda line: None)
        return {name: parameter.requires_grad for name, parameter in run.prm.named_parameters()}

    assert all(asks().values())
    for name, wanted in asks("model.freeze_vision=true").items():
        assert wanted != (".visual." in name), name
