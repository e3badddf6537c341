"""`dreamprm plan`: what every way to take a configured training would need, before one is started."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedConfig

from dreamprm.config.errors import UserError
from dreamprm.files.atomic import write_atomically
from dreamprm.runtime.process import prepare_process
from dreamprm.runtime.progress import CountingDisplay
from dreamprm.training.assembly import Planned, Run
from dreamprm.training.inputs import open_meta_data, open_texts, open_training_data
from dreamprm.training.model_preparation import backbone_config
from dreamprm.training.plan.abstract_window import (
    Footprint,
    PlannedDevice,
    assembled,
    count_window,
    several,
)
from dreamprm.training.plan.alternatives import Way, changes, ways
from dreamprm.training.plan.counted_memory import CountedMemory
from dreamprm.training.plan.device_speed import Speed, measure_speed
from dreamprm.training.plan.fewer_layers import footprint_of
from dreamprm.training.plan.longest_batches import LongestRows, longest_batches
from dreamprm.training.plan.plan_lines import Line, Room, as_dict, recommended
from dreamprm.training.plan.plan_text import plan_text
from dreamprm.training.plan.settings import PlanConfig, size_of
from dreamprm.training.settings import TrainConfig


class Planner:
    """Counts one training in many forms; its files are read once."""

    def __init__(self, config: PlanConfig, room: Room) -> None:
        self.config, self.room = config, room
        self.data, self._memory = opened(config), CountedMemory(gloo=not room.gpu)
        self._wholes: dict[str, Run] = {}
        run = self._whole(config)
        self.width: int = run.prm.backbone.config.get_text_config().hidden_size
        self.longest: LongestRows = longest_batches(run, self.data.texts, processes=config.gpus)
        self.speed: Speed | None = None
        if room.device is not None:
            dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
            self.speed = measure_speed(
                room.device, width=self.width, tokens=self.longest.rows * self.longest.length, dtype=dtype
            )
        self._lines: dict[tuple[str, ...], Line] = {}

    def line(self, way: Way) -> Line:
        """What the way takes."""
        if way.changes not in self._lines:
            self._lines[way.changes] = self._counted(way)
        return self._lines[way.changes]

    def _counted(self, way: Way) -> Line:
        try:
            whole = self._whole(way.config)
            names = list(whole.state.params)
            found = footprint_of(self.data.backbone, names, partial(self._count, way.config))
        except Exception as error:
            if not way.changes and isinstance(error, UserError):  # what training itself would refuse
                raise
            told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            return Line(way, None, problem=f"cannot be counted: {told}")
        found = replace(  # of the whole model, where processes hold parts of it
            found,
            parameters=sum(one.numel() for one in whole.prm.parameters()),
            trained=sum(one.numel() for one in whole.state.params.values()),
        )
        seconds = None if self.speed is None else self.speed.seconds(found.work) * self.longest.usual
        return Line(way, found, seconds)

    def _count(self, config: TrainConfig, backbone: PreTrainedConfig) -> Footprint:
        return count_window(
            config,
            replace(self.data, backbone=backbone),
            self.longest,
            processes=self.config.gpus,
            puts_away=self.room.puts_away,
            memory=self._memory,
        )

    def _whole(self, config: TrainConfig) -> Run:
        """The run in one process, of which the model and the names of what it trains are asked."""
        key = repr(config.model)
        if key not in self._wholes:
            with self._memory.counting():
                self._wholes[key] = assembled(config, PlannedDevice(), self.data)
        return self._wholes[key]


def opened(config: TrainConfig) -> Planned:
    """The files of a training, opened as it opens them.

    Raises:
        UserError: as `dreamprm train`.
    """

    def say(line: str) -> None:
        del line

    return Planned(
        backbone_config(config.model),
        open_training_data(config.data, say=say),
        open_texts(config.data, say=say, reports=[]) if config.lm_weight else [],
        open_meta_data(config.data, say=say),
    )


def run_plan(config: PlanConfig) -> None:
    """Print what each way to take this training needs, the recommended one first.

    Raises:
        UserError: what `dreamprm train` would refuse of the configuration and its files.
    """
    prepare_process(config.threads)
    room = room_of(config)
    planner = Planner(config, room)
    with several(config.gpus, planner.longest.rank):
        lines = counted(planner, list(ways(config, offloads=room.offloads)))
        best = recommended(lines, room)
        changed = None if best is not None else smallest_change(planner, lines)
    print(plan_text(config, room, planner.longest, lines, best, changed))
    if config.json is not None:
        found = [as_dict(line, room) for line in (lines if changed is None else [*lines, changed])]
        write_atomically(
            Path(config.json), json.dumps({"memory": room.memory, "ways": found}, indent=1) + "\n"
        )


def counted(planner: Planner, every: list[Way]) -> list[Line]:
    """The lines of these ways, while a display shows how far it is."""
    with Counting(planner.config.log.progress, unit="way") as display:
        display.begin(len(every), label="counting")
        lines = []
        for way in every:
            lines.append(planner.line(way))
            display.done = len(lines)
            display.advance(1)
        return lines


class Counting(CountingDisplay):
    """How many ways to train have been counted."""

    done = 0

    def _line(self) -> list[str]:
        return [f"counted {self.done} of {self.total} ways to train"]


def room_of(config: PlanConfig) -> Room:
    """What the training would run on: this machine, or a GPU elsewhere.

    Raises:
        UserError: it cannot be found out how much memory is free.
    """
    gpu = torch.cuda.is_available()
    given = None if config.memory is None else size_of(config.memory)
    if gpu:
        device = torch.device("cuda")
        return Room(given or torch.cuda.mem_get_info(device)[0], device, True)
    if given is not None:
        return Room(given, None, True)
    return Room(_free_memory() // config.gpus, torch.device("cpu"), False)


def smallest_change(planner: Planner, lines: list[Line]) -> Line | None:
    """The way with what makes it fit, smallest intervention first. None: all together do not.

    One setting of the configured way; or, of the line with its gradient that takes least, several that leave
    the training as it is, and then some that do not.
    """
    first = lines[0]
    possible = changes(offloads=planner.room.offloads, gpus=planner.config.gpus)
    for one in possible:
        way = one.to(first.way)
        line = None if way is None else planner.line(way)
        if line is not None and line.fits(planner.room):
            return line
    alike = [line for line in lines if line.footprint and line.way.gradient == first.way.gradient]
    base = min(alike, key=_total, default=first)
    for group in ([one for one in possible if one.same], possible):
        left = list(group)
        while left:
            tried = [(planner.line(way), one) for one in left if (way := one.to(base.way)) is not None]
            usable = [(line, one) for line, one in tried if line.footprint is not None]
            fits = next((line for line, _ in usable if line.fits(planner.room)), None)
            if fits is not None:
                return fits
            if not usable:
                break
            least, taken = min(usable, key=lambda pair: _total(pair[0]))
            if base.footprint is not None and _total(least) >= _total(base):
                break
            base, left = least, [one for one in left if one.key != taken.key]
    return None


def _total(line: Line) -> int:
    assert line.footprint is not None
    return line.footprint.total


def _free_memory() -> int:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in text.splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            "this system does not say how much memory is free; give memory=, such as memory=16GiB"
        ) from error
