"""A batch evaluated in parts is the batch; what cannot be divided is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import checked_rows
import pytest
import torch
from divided_runs import EXACT, MIXED, PLAIN, divided_rows, ragged_run, some_windows, too_far_apart
from kept_activations import kept_bytes
from tiny_run import TinyRun

from dreamprm.config.loading import load_config
from dreamprm.models.shares import Share, counted_parts, losses_in_part
from dreamprm.training.assembly import assemble
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig

TEXTS = ["lm_weight=0.5", "lm_batch_size=2", "data.lm=FOLDER/pool.jsonl"]
LARGE = [*PLAIN, "batch_size=4", "meta_batch_size=5"]
ROWS = divided_rows(LARGE) | {
    "corrected labels, texts": ["weights.kind=labels", "hypergrad.name=adjoint", *TEXTS, *LARGE],
    "texts, several domains": ["hypergrad.name=adjoint", *TEXTS, *MIXED],
    "the baseline doge, exact": ["baseline={name: doge, slopes: exact}", *MIXED],
}


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> TinyRun:
    return ragged_run(tmp_path_factory.mktemp("ragged"), tiny_checkpoint)


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_take_the_steps_of_the_whole(parts: int, ragged: TinyRun) -> None:
    rows = checked_rows.chosen(ROWS)
    config = ragged.folder / "config.yaml"
    whole = some_windows(config, list(rows.values()), torch.float64)
    divided = [[*row, f"micro_batches={parts}"] for row in rows.values()]
    others = some_windows(config, divided, torch.float64)
    assert not too_far_apart(dict(zip(rows, zip(whole, others, strict=True), strict=True)), EXACT)


def run_of(tiny: TinyRun, *overrides: str) -> Any:
    config = load_config(TrainConfig, tiny.write(), overrides)
    return assemble(config, make_accelerator(config), say=lambda line: None)


@pytest.mark.parametrize("level", ["step_batches", "meta_batches"])
def test_one_part_is_in_memory_at_a_time(level: str, tiny: TinyRun) -> None:
    sizes = ("sampling=mixed", "batch_size=2", "meta_batch_size=4")
    run, whole = run_of(tiny, *sizes, "micro_batches=4"), run_of(tiny, *sizes)
    params = {name: p.detach().requires_grad_() for name, p in run.state.params.items()}
    problem = run.trainer.problem

    def kept(batch: Any) -> int:
        if level == "step_batches":
            return kept_bytes(problem.inner_losses, params, batch, besides=params.values())
        return kept_bytes(problem.outer_loss, params, {}, batch, besides=params.values())

    batch = getattr(run, level)[0]
    parts = problem.parts(batch) if level == "step_batches" else problem.outer_parts(batch)
    assert len(parts) == 4
    assert max(kept(part.batch) for part in parts) < 0.45 * kept(getattr(whole, level)[0])


def test_every_record_and_image_is_used_once(tiny: TinyRun) -> None:
    overrides = ("sampling=mixed", "batch_size=2", "lm_weight=0.5", "lm_batch_size=2")
    whole, divided = (
        run_of(tiny, *overrides, f"data.lm={tiny.folder}/pool.jsonl", f"micro_batches={count}").step_batches[
            0
        ]
        for count in (1, 2)
    )
    assert "parts" not in whole and "inputs" not in divided
    assert divided["labels"].equal(whole["labels"])
    for name in ("labels", "cots"):
        assert torch.cat([part[name] for part in divided["parts"]]).equal(whole[name])
    targets = [part["text"]["token_targets"] for part in divided["parts"]]
    assert sorted(torch.cat(targets).tolist()) == sorted(whole["text"]["token_targets"].tolist())
    assert all(part["targets"] == whole["text"]["token_targets"].numel() for part in divided["parts"])


@pytest.mark.parametrize(
    ("inside", "whole", "first", "shares"),
    [
        ([1, 3], [4, 3], True, [(0, 0.25), (1, 1.0)]),
        ([0, 3], [4, 3], False, [(1, 1.0)]),
        ([0, 0], [4, 3], False, [(0, 0.0)]),
        ([2, 0], [2, 0], True, [(0, 1.0), (1, 1.0)]),
        ([2, 0], [2, 0], False, [(0, 1.0)]),
        ([0, 0], [0, 0], True, [(0, 1.0), (1, 1.0)]),
        ([0, 0], [0, 0], False, [(0, 0.0)]),
    ],
)
def test_the_shares_of_each_loss(
    inside: list[int], whole: list[int], first: bool, shares: list[tuple[int, float]]
) -> None:
    assert losses_in_part(torch.tensor(inside), torch.tensor(whole), first=first) == shares


@pytest.mark.parametrize(
    ("wanted", "sizes", "processes", "count"),
    [(4, (8,), 1, 4), (4, (3,), 1, 3), (4, (8, 2), 1, 2), (4, (8,), 4, 2), (4, (3,), 4, 1), (1, (8,), 1, 1)],
)
def test_each_part_has_a_row_for_every_process(
    wanted: int, sizes: tuple[int, ...], processes: int, count: int
) -> None:
    parts = counted_parts(wanted, *sizes, share=Share(0, processes))
    assert len(parts) == count
    for size in sizes:
        rows = [part.rows(size) for part in parts]
        assert [row for part in rows for row in part] == list(range(size))
        assert count == 1 or all(len(part) >= processes for part in rows)


def test_what_has_nothing_to_divide_is_refused(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.train("batch_size=1", "meta_batch_size=1", "micro_batches=2") == 2
    told = capsys.readouterr().err
    assert "micro_batches=2 has nothing to divide: a batch has 1 CoTs" in told
    assert tiny.train("hypergrad.name=unrolled", "micro_batches=2") == 2
    assert "micro_batches=2 saves nothing with hypergrad.name=unrolled" in capsys.readouterr().err
    assert not tiny.output.exists()


@pytest.mark.parametrize("kind", ["domain", "instance_table"])
def test_the_losses_of_a_divided_batch_can_be_asked_for_whole(kind: str, tiny: TinyRun) -> None:
    texts = ("lm_weight=0.5", "lm_batch_size=2", f"data.lm={tiny.folder}/pool.jsonl")
    overrides = ("batch_size=3", "meta_batch_size=5", f"weights.kind={kind}", *texts)
    divided, whole = (run_of(tiny, *overrides, f"micro_batches={count}") for count in (2, 1))
    problem, params = divided.trainer.problem, divided.state.params
    for name in ("inner_losses", "unweighted_loss"):
        pair = [getattr(problem, name)(params, run.step_batches[1]) for run in (divided, whole)]
        torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-6)
    pair = [problem.outer_loss(params, {}, run.meta_batches[0]) for run in (divided, whole)]
    torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-6)
    problem.check_split(params, divided.state.alpha, divided.step_batches[1], divided.meta_batches[0])
