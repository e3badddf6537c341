"""The reliability experiments in a short form: a few of their cases, by the same functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from experiment_scripts import load_script

from dreamprm.files.append_only import line_value

forked = load_script("reliability/forked")
tiny_commands = load_script("reliability/tiny_commands")
kills = load_script("reliability/kills")
damage = load_script("reliability/damage")
disks = load_script("reliability/disks")

pytestmark = [
    pytest.mark.skipif(
        torch.cuda.is_available(),
        reason="the commands are forked from this process, which may have used its GPU",
    ),
    pytest.mark.xdist_group("reliability"),  # one process makes the world, once
]

ONE_IN = 32
"""Of the damages, one in so many is done here; all of them take minutes."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    forked.preload()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "none")
        with tiny_commands.world(tmp_path_factory.mktemp("world"), short=True) as here:
            yield damage.Runs(here)


@pytest.mark.parametrize("name", ["train", "score", "label", "evaluate"])
def test_killed_runs_end_like_one_that_was_not(name: str, runs: Any) -> None:
    tally = kills.killed_runs(name, runs.here, kills=2)
    assert tally.faults == []
    assert (tally.kills, tally.equal) == (2, 2) and not tally.left_behind


def test_no_damage_changes_a_result_unnoticed(runs: Any) -> None:
    done = {
        f"{table} {name}": damage.outcome(one, runs, seed=f"{table} {name}")
        for table, damages in damage.tables(runs).items()
        for name, one in damages.items()
        if crc32(f"{table} {name}".encode()) % ONE_IN == 0
    }
    assert len(done) >= 5 and {label: told for label, (kind, told) in done.items() if kind == "BAD"} == {}


def test_a_damage_that_changes_a_result_would_be_seen(runs: Any) -> None:
    """A score that was replaced in a line without a checksum, as older versions wrote it."""

    def unnoticed(case: Any) -> None:
        path = case.output / "suite.scores.jsonl"
        head, first, *rest = path.read_bytes().splitlines(keepends=True)
        row = line_value(first)
        row["log_odds"][0][0] += 1
        path.write_bytes(b"".join([head, json.dumps(row).encode() + b"\n", *rest]))

    found, told = damage.outcome(damage.Damage("score", unnoticed), runs, seed="")
    assert found == "BAD" and "accepted, but differs: suite.jsonl" in told


@pytest.mark.parametrize("name", ["score", "convert"])
def test_disks_without_room_are_told_in_one_message_and_cost_nothing(name: str, runs: Any) -> None:
    rows = disks.run_cases([name], runs, mounts=disks.can_mount(runs.here.folder), few=True)[name]
    assert [row for row in rows if row[1] == "BAD"] == []
    assert sum(outcome == "refused" for _, outcome, _ in rows) >= 2


def test_what_a_kill_would_change_is_seen(tmp_path: Path) -> None:
    """Files that differ in a bit, are missing, or are left over; not times, nor the order of a journal."""

    def files(name: str, **content: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, text in content.items():
            (folder / file.replace("_", ".")).write_text(text.replace("OUT", str(folder)))
        return folder

    straight = {"summary_json": '{"seconds": 1, "steps": 2, "output": "OUT"}', "a_jsonl": "1\n2\n"}
    straight |= {"judge_jsonl": "1\n2\n", "model_safetensors": "weights"}
    one = tiny_commands.COMMANDS["score"]
    wanted = tiny_commands.results(files("straight", **straight), one)
    for number, (change, told) in enumerate(
        (
            ({"summary_json": '{"steps": 2, "seconds": 9, "output": "OUT"}'}, []),
            ({"judge_jsonl": "2\n1\n"}, []),
            ({"a_jsonl": "2\n1\n"}, ["a.jsonl"]),
            ({"summary_json": '{"seconds": 1, "steps": 3, "output": "OUT"}'}, ["summary.json"]),
            ({"model_safetensors": "weighty"}, ["model.safetensors"]),
            ({"more_txt": ""}, ["more.txt"]),
        )
    ):
        found = tiny_commands.results(files(str(number), **straight | change), one)
        assert tiny_commands.differences(found, wanted) == told
    (tmp_path / "0" / f".summary.json-{'0' * 32}.partial.json").write_text("")
    (tmp_path / "0" / "plots").mkdir()
    (tmp_path / "0" / "plots" / f".model-{'0' * 32}.replaced").mkdir()
    assert len(tiny_commands.temporaries(tmp_path / "0")) == 2
