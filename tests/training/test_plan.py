"""`dreamprm plan`: its count against the tensors of real windows, what it recommends, what it refuses."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_config
from tiny_run import TinyRun, save_tiny_checkpoint
from torch.utils._python_dispatch import TorchDispatchMode

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.hypergrad.replay import habits_of
from dreamprm.training.assembly import assemble
from dreamprm.training.plan import planning
from dreamprm.training.plan.abstract_window import (
    IN_THE_MIDDLE,
    Footprint,
    PlannedDevice,
    assembled,
    count_window,
    several,
)
from dreamprm.training.plan.alternatives import changes, configured, ways
from dreamprm.training.plan.counted_memory import CountedMemory
from dreamprm.training.plan.device_speed import Speed
from dreamprm.training.plan.fewer_layers import footprint_of
from dreamprm.training.plan.longest_batches import LongestRows, longest_batches
from dreamprm.training.plan.plan_lines import Line, Room, recommended
from dreamprm.training.plan.plan_text import plan_text
from dreamprm.training.plan.planning import opened, smallest_change
from dreamprm.training.plan.settings import PlanConfig, size_of, size_text
from dreamprm.training.plan.tally import Counts, Work
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig

GIB = 2**30


class Live(TorchDispatchMode):
    """Counts the bytes of real tensors that live, from what operations return."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._held: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, torch.Tensor) and one.is_floating_point():
                self._see(one.untyped_storage())
        return out

    def _see(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._held:
            return

        def gone(_: Any) -> None:
            del self._held[key]
            self.now -= size

        self._held[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


MEMORY = CountedMemory()
"""Of all counts here: what it has seen once takes it less time."""


def real_window(config: TrainConfig) -> int:
    """Bytes that a real window holds above what the run held before."""
    data = opened(config)
    with MEMORY.counting():
        batches = assembled(config, PlannedDevice(), data)
        samplers = longest_batches(batches, data.texts).samplers
        batches = assembled(config, PlannedDevice(), replace(data, samplers=samplers))
    inner, outer = [batches.step_batches[0]] * config.inner_steps, batches.meta_batches[0]
    live = Live()
    with live:
        run = assemble(config, make_accelerator(config), say=lambda text: None)
        for one in (*pixels(inner[0], outer), *run.prm.parameters()):
            one.detach()  # seen: batches are counted beside, and no operation reads a checkpoint
        habits = habits_of(run.trainer.problem)
        habits.windows = habits.checked = IN_THE_MIDDLE
        before = live.most = live.now
        for _ in run.trainer.run(
            run.state, inner_batches=iter(inner), outer_batches=iter([outer]), windows=1
        ):
            pass
    return live.most - before


def pixels(*batches: Any) -> list[torch.Tensor]:
    return [batch["inputs"]["pixel_values"] for batch in batches]


def planned_window(config: TrainConfig, **settings: Any) -> Footprint:
    """What the plan says of it."""
    return count_window(config, opened(config), batches_of(config), memory=MEMORY, **settings)


def batches_of(config: TrainConfig, processes: int = 1) -> LongestRows:
    data = opened(config)
    with MEMORY.counting():
        run = assembled(config, PlannedDevice(), data)
    return longest_batches(run, data.texts, processes=processes)


def work(log: list[tuple[int, int]], counted: Any) -> None:
    """Some of what a window does, with the bytes that live after each line and at the peak so far."""

    def here() -> None:
        log.append(counted())

    first, second = (torch.empty(shape).uniform_().requires_grad_() for shape in ((50, 80), (80, 70)))
    rows = torch.empty(20, 50).uniform_()
    loss = ((rows @ first).relu() @ second).square().mean()
    here()
    grads = torch.autograd.grad(loss, [first, second], create_graph=True)
    here()
    del loss
    torch.autograd.grad(sum(grad.square().sum() for grad in grads), [first, second])
    here()
    moments = [torch.zeros_like(first), torch.zeros_like(second)]
    with torch.no_grad():
        for moment, grad, param in zip(moments, grads, (first, second), strict=True):
            moment.mul_(0.9).add_(grad, alpha=0.1)
            param.detach().sub_(moment / (grad.square().sqrt() + 1e-8))
            part = grad.t().contiguous().view(-1)[3:10].clone()
            here()
            del part
    norms = torch._foreach_norm(list(grads))
    halves = grads[0].detach().chunk(2)
    del grads, grad
    here()
    assert torch.stack(norms).isfinite().all() and len(halves) == 2


def test_storages_are_counted_as_they_live() -> None:
    """Twice: the second time nothing is new to the counting memory."""
    live, expected = Live(), list[tuple[int, int]]()
    with live:
        work(expected, lambda: (live.now, live.most))
    for _ in range(2):
        found: list[tuple[int, int]] = []
        with MEMORY.counting() as tally:
            work(found, lambda: (tally.now.total, max(one.total for one in (*tally.peaks, tally.peak))))
        assert found == expected and expected[0][0] > 4 * (50 * 80 + 80 * 70)


@pytest.mark.parametrize(
    "overrides",
    [
        ["hypergrad={name: none}", "on_nonfinite=skip"],
        ["hypergrad={name: adjoint}", "model.freeze_vision=true"],
    ],
    ids=lambda overrides: overrides[0].split(" ", 1)[1].rstrip("}"),
)
def test_a_window_holds_what_was_planned(tiny: TinyRun, overrides: list[str]) -> None:
    config = load_config(TrainConfig, tiny.write(), overrides)
    found = planned_window(config)
    planned = found.peak.total - found.start.total
    # 2 %: labels and other small tensors are real in the plan too, and not counted
    assert planned == pytest.approx(real_window(config), rel=0.02)


def test_offloading_moves_what_is_kept(tiny: TinyRun) -> None:
    config = load_config(TrainConfig, tiny.write(), ["sampling=mixed", "inner_steps=4"])
    held = planned_window(config)
    moved = planned_window(
        replace(config, hypergrad=replace(config.hypergrad, settings={"offload": "disk"})),
        puts_away=("disk",),
    )
    assert held.put_away == 0
    # four gradients, the params of three later steps and of the first, two moments
    assert moved.put_away >= 8 * 4 * moved.trained
    assert held.total - moved.total >= 6 * 4 * moved.trained


def test_a_frozen_tower_has_no_moments(tiny: TinyRun) -> None:
    whole, frozen = (
        planned_window(load_config(TrainConfig, tiny.write(), ["hypergrad={name: none}", *more]))
        for more in ((), ["model.freeze_vision=true"])
    )
    assert frozen.parameters == whole.parameters == whole.trained > frozen.trained
    assert frozen.start.moments == 8 * frozen.trained and whole.start.moments == 8 * whole.trained
    assert frozen.start.parameters == whole.start.parameters


def test_deep_models_are_extrapolated(tiny: TinyRun, tmp_path: Path) -> None:
    tiny.config["model"] = {"path": str(save_tiny_checkpoint(tmp_path / "deep", layers=4, vision_layers=1))}
    tiny.config["hypergrad"] = {"name": "none"}
    config = load_config(TrainConfig, tiny.write())
    data, batches, depths = opened(config), batches_of(config), list[int]()

    def count(backbone: Any) -> Footprint:
        depths.append(backbone.get_text_config().num_hidden_layers)
        return count_window(config, replace(data, backbone=backbone), batches, memory=MEMORY)

    with MEMORY.counting():
        names = list(assembled(config, PlannedDevice(), data).state.params)
    found, whole = footprint_of(data.backbone, names, count), count(data.backbone)
    assert depths == [1, 2, 4]
    assert (found.parameters, found.trained, found.start) == (whole.parameters, whole.trained, whole.start)
    assert found.work.flops == whole.work.flops
    assert found.peak == whole.peak


def test_layers_of_which_unequal_parts_are_trained_are_counted_one_by_one() -> None:
    backbone, depths = tiny_config(layers=6, vision_layers=1), list[int]()

    def count(shapes: Any) -> Footprint:
        depths.append(shapes.get_text_config().num_hidden_layers)
        return Footprint(0, 0, Counts(), (Counts(),), 0, 0, Work())

    footprint_of(backbone, [f"backbone.model.language_model.layers.{i}.mlp.up.weight" for i in (4, 5)], count)
    assert depths == [6]


def test_the_longest_records_make_the_batches(tiny: TinyRun) -> None:
    path = tiny.folder / "maths.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["steps"][0] = "one plus two " * 30
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    config = load_config(TrainConfig, tiny.write())
    batches = batches_of(config)
    assert batches.length > 90 and batches.rows == 2
    assert batches.samplers[0].rows(0)[0] == (1, 3)
    assert 0.2 < batches.usual < 0.9
    # the second of two processes has the shorter row
    assert batches_of(config, processes=2).rank == 0


def test_processes_share_the_rows(tiny: TinyRun) -> None:
    config = load_config(
        TrainConfig, tiny.write(), ["batch_size=4", "meta_batch_size=4", "hypergrad={name: none}"]
    )
    alone, data = planned_window(config), opened(config)
    batches = batches_of(config, processes=2)
    with several(2, batches.rank):
        shared = count_window(config, data, batches, processes=2, memory=MEMORY)
        divided = count_window(replace(config, shard=True), data, batches, processes=2, memory=MEMORY)
    assert shared.work.flops < 0.75 * alone.work.flops
    assert shared.start.moments == alone.start.moments
    # half of each parameter, rounded up
    assert 0.5 * alone.start.moments <= divided.start.moments < 0.51 * alone.start.moments


def line(name: str, total: float, flops: float, config: TrainConfig, **settings: Any) -> Line:
    way = configured(replace(config, hypergrad=replace(config.hypergrad, name=name, settings=settings)))
    return Line(way, Footprint(9, 9, Counts(), (Counts(total),), 0, 0, Work(flops)))


def test_the_cheapest_line_of_the_configured_gradient_is_recommended(tiny: TinyRun) -> None:
    config = load_config(TrainConfig, tiny.write(), ["hypergrad={name: unrolled}"])
    room = Room(100, None, True)
    lines = [
        line("unrolled", 300, 5, config),
        line("none", 10, 1, config),
        line("first_order", 50, 2, config),
        line("adjoint", 80, 4, config),
        line("adjoint", 80, 3, config, derivative="central_difference"),
    ]
    assert recommended(lines, room) is lines[4]
    assert recommended(lines[:4], room) is lines[3]
    assert recommended(lines[:3], room) is lines[2]
    assert recommended(lines[:2], room) is None  # plain training would be another answer
    # 5 % are left to the allocator
    assert not line("none", 96, 1, config).fits(room) and line("none", 95, 1, config).fits(room)


def test_where_nothing_fits_the_smallest_change_is_found(tiny: TinyRun) -> None:
    config = load_config(TrainConfig, tiny.write(), ["sampling=mixed"])
    room, way = Room(100, None, True), configured(config)
    sizes = {"offload": 60, "freeze_vision": 70}

    class Told:
        def __init__(self, most: int) -> None:
            self.room, self.config, self.most = room, PlanConfig(), most

        def line(self, way: Any) -> Line:
            size = self.most - sum(sizes[key] for key in sizes if any(key in one for one in way.changes))
            return Line(way, Footprint(9, 9, Counts(), (Counts(size),), 0, 0, Work()))

    def found(most: int) -> tuple[str, ...] | None:
        told = Told(most)
        changed = smallest_change(told, [told.line(way)])  # type: ignore[arg-type]
        return None if changed is None else changed.way.changes

    assert found(150) == ("hypergrad.offload=cpu",)
    assert found(160) == ("model.freeze_vision=true",)
    assert found(220) == ("hypergrad.offload=cpu", "model.freeze_vision=true")
    assert found(400) is None


def test_every_estimator_is_a_line_with_what_it_can_put_away(tiny: TinyRun) -> None:
    config = load_config(TrainConfig, tiny.write(), ["hypergrad={name: adjoint, keep_graphs: 0}"])
    names = [way.name for way in ways(config, offloads=("cpu",))]
    assert names[0] == "adjoint, keep_graphs=0" and len(set(names)) == len(names)
    assert {"unrolled", "first_order, offload=cpu", "none", "cg", "penalty"} <= set(names)
    by_name = {way.name: way for way in ways(config, offloads=())}
    assert by_name["unrolled"].config.hypergrad.settings == {}
    eager = load_config(TrainConfig, tiny.write(), ["model.attn_implementation=sdpa"])
    unrolled = next(way for way in ways(eager, offloads=()) if way.name == "unrolled")
    assert unrolled.changes == ("hypergrad={name: unrolled}", "model.attn_implementation=eager")


def test_changes_that_change_nothing_are_passed_over(tiny: TinyRun) -> None:
    config = load_config(
        TrainConfig, tiny.write(), ["hypergrad={name: unrolled}", "model.freeze_vision=true"]
    )
    keys = {one.key for one in changes(offloads=("cpu",), gpus=1) if one.to(configured(config)) is not None}
    assert not keys & {"hypergrad.offload", "model.freeze_vision", "shard"}


@pytest.mark.parametrize(
    ("text", "size"), [("80GiB", 80 * GIB), ("24GB", 24 * 10**9), ("1.5 mib", 3 * 2**19), ("500kB", 500_000)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["80", "GiB", "-1GiB", "0GiB", "80 Gigs", "1e9B"])
def test_what_is_no_size_is_refused(tiny: TinyRun, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tiny.write()), f"memory={text}"]) == 2
    error = capsys.readouterr().err
    assert "memory must be a size with its unit, such as 80GiB" in error and text in error


def test_sizes_are_written_to_three_digits() -> None:
    assert [size_text(size) for size in (5, 3 * 2**20, 200 * GIB, 43.06 * GIB)] == [
        "5 B",
        "3.0 MiB",
        "200 GiB",
        "43.1 GiB",
    ]


def test_seconds_are_what_was_timed_times_what_is_done() -> None:
    assert Speed(flops=10.0, traffic=5.0, operations=2.0).seconds(Work(20.0, 10.0, 4.0)) == 6.0


def test_the_command_prints_the_recommended_line_first(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = ("none", "finite_difference")
    monkeypatch.setattr(
        planning,
        "ways",
        lambda config, *, offloads: [way for way in ways(config, offloads=()) if way.name in few],
    )
    file = tmp_path / "plan.json"
    command = [
        "plan",
        str(tiny.write()),
        "hypergrad={name: finite_difference}",
        "memory=1GiB",
        f"json={file}",
    ]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "recommended: finite_difference, as it is configured" in text
    table = [row for row in text.splitlines() if row.startswith((">", " "))]
    assert table[1].startswith(">  finite_difference") and "Seconds are not claimed" in text
    told = json.loads(file.read_text())
    assert [way["way"] for way in told["ways"]] == ["finite_difference", "none"]
    assert all(way["fits"] and way["seconds"] is None for way in told["ways"])
    assert not tiny.output.exists()  # nothing is trained


def test_what_training_refuses_is_refused(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tiny.write()), "gpus=3", "memory=1GiB"]) == 2
    assert "batch_size=2 leaves some of the 3 processes without a row" in capsys.readouterr().err
    tiny.config["model"] = {"path": str(tiny.folder)}
    assert main(["plan", str(tiny.write()), "memory=1GiB"]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_a_plan_without_a_fitting_line_says_what_would(tiny: TinyRun) -> None:
    config = load_config(PlanConfig, tiny.write(), ["memory=1KiB"])
    lines = [line("first_order", 5000, 1, config), line("none", 3000, 1, config)]
    batches = batches_of(config)
    room = Room(1024, None, True)
    text = plan_text(config, room, batches, lines, None, None)
    assert "nothing fits: the least is 2.9 KiB" in text
    changed = Line(replace(lines[0].way, changes=("hypergrad.offload=cpu",)), lines[1].footprint)
    text = plan_text(config, room, batches, lines, None, changed)
    assert "The smallest change that does: hypergrad.offload=cpu" in text


def test_free_memory_that_is_not_known_must_be_given(tiny: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.Path, "read_text", lambda *_, **__: "nothing: 1 kB")
    with pytest.raises(UserError, match="give memory="):
        planning.room_of(PlanConfig())
