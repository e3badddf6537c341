"""`model.cache_trunk`: the training of a frozen trunk's states, kept on disk, is the training without."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import checked_rows
import pytest
import torch
from divided_runs import some_windows
from tiny_run import DOMAINS, TinyRun, save_tiny_checkpoint, tiny_run, trained

from dreamprm.config.loading import load_config
from dreamprm.files.locks import owned_path
from dreamprm.models.prm import PRM
from dreamprm.models.trunk import Trunk
from dreamprm.training import trunk_cache
from dreamprm.training.assembly import assemble
from dreamprm.training.processes import make_accelerator
from dreamprm.training.settings import TrainConfig

UPPER = "model.trainable=['head.*','*language_model.norm.*','*layers.1.*']"
HEAD = "model.trainable=['head.*']"
CACHED = "model.cache_trunk=float32"
# Not eps=1e-8: a key's bias has the gradient 0, and AdamW would make steps of its rounding.
PLAIN = ["inner.eps=1e-5", "upper.eps=1e-3"]
MIXED = ["sampling=mixed", *PLAIN]


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), layers=2, vision_layers=1)


@pytest.fixture
def tiny(tmp_path: Path, two_layers: Path) -> TinyRun:
    return ragged(tmp_path, two_layers)


def ragged(folder: Path, checkpoint: Path) -> TinyRun:
    """A tiny run with steps without labels and CoTs without images."""
    tiny = tiny_run(folder, checkpoint)
    for domain in DOMAINS:
        records = lines(tiny, domain)
        records[2]["labels"][1] = None
        for number in (1, 3):
            del records[number]["image"]
        write(tiny, domain, records)
    tiny.config["data"]["allow_no_image"] = True
    tiny.write()
    return tiny


def lines(tiny: TinyRun, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tiny.folder / f"{name}.jsonl").read_text().splitlines()]


def write(tiny: TinyRun, name: str, records: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tiny.folder / f"{name}.jsonl").write_text(text)


@contextmanager
def counted(*, most: int = 1000) -> Iterator[list[int]]:
    """The records whose states are computed; more than `most` are interrupted."""
    done: list[int] = []
    states = Trunk.states

    def one(self: Trunk, batch: Any) -> Any:
        if len(done) == most:
            raise KeyboardInterrupt
        done.append(len(batch["attention_mask"]))
        return states(self, batch)

    with patch.object(Trunk, "states", one):
        yield done


ROWS: dict[str, list[str]] = {
    "first_order": [UPPER, *PLAIN],
    "adjoint, several domains": [UPPER, "hypergrad.name=adjoint", *MIXED],
    "unrolled, the head alone": [HEAD, "hypergrad.name=unrolled", *PLAIN],
    "cg, the vocabulary's logits": [
        *(HEAD, "model.head=vocab_logits"),
        *("hypergrad={name: implicit, solver: cg, damping: 100.0}", *PLAIN),
    ],
    "differences, texts": [
        *(UPPER, "hypergrad={name: adjoint, derivative: central_difference}"),
        *("lm_weight=0.5", "lm_batch_size=2", "data.lm=FOLDER/pool.jsonl"),
        *("micro_batches=2", *PLAIN),
    ],
    "after the chat template, weights of CoTs": [
        *(UPPER, "model.readout=chat_suffix"),
        *("weights={kind: instance_net, features: [loss, steps]}", "micro_batches=3", *MIXED),
    ],
}


def test_parameters_and_weights_are_those_without(tiny: TinyRun) -> None:
    rows = checked_rows.chosen(ROWS)
    config = tiny.write()
    plain = some_windows(config, list(rows.values()), torch.float64)
    cached = some_windows(config, [[*row, CACHED] for row in rows.values()], torch.float64)
    for name, without, with_states in zip(rows, plain, cached, strict=True):
        assert without.keys() == with_states.keys()
        for key, value in without.items():
            assert abs(with_states[key] - value).max() < 1e-10, f"{name}: {key}"


def test_float32_differs_by_rounding_and_bf16_by_its_own(tiny: TinyRun) -> None:
    row = [UPPER, *MIXED]
    exact, single, rounded, checkpointed = some_windows(
        tiny.write(),
        [
            row,
            [*row, CACHED],
            [*row, "model.cache_trunk=bf16"],
            [*row, CACHED, "model.checkpoint_activations=true"],
        ],
        torch.float32,
    )
    assert all((checkpointed[name] == value).all() for name, value in single.items())
    apart = {
        name: [float(abs(other[name] - value).max()) for other in (single, rounded)]
        for name, value in exact.items()
    }
    assert max(one for one, _ in apart.values()) < 1e-4
    # States are off by 2^-8 of their size at most; the losses, of the size 0.1, by less.
    assert 1e-6 < max(apart["inner losses"][1], apart["outer losses"][1]) < 5e-3


def assembled(tiny: TinyRun, say: Callable[[str], None], *overrides: str) -> None:
    config = load_config(TrainConfig, tiny.write(), [UPPER, CACHED, *overrides])
    assemble(config, make_accelerator(config), say=say)


def computed(tiny: TinyRun, *overrides: str) -> tuple[int, str]:
    """The number of records whose states a run computes before its first step, and what it says of them."""
    said: list[str] = []
    with counted() as done:
        assembled(tiny, said.append, *overrides)
    return len(done), next(line for line in said if line.startswith("model.cache_trunk: "))


def test_other_seeds_and_weights_find_the_states_there_and_changed_records_do_not(tiny: TinyRun) -> None:
    count, told = computed(tiny)
    assert count == 16 and "the states of 16 records that enter layer 1: 16 are computed now (" in told
    assert "tokens) and take 0." in told
    # What is there is used from a disk that cannot be written to.
    with patch.object(trunk_cache, "require_folder", side_effect=AssertionError):
        for settings in (
            ["seed=5", "hypergrad.name=none"],
            ["weights.kind=instance_table"],
            ["model.trainable=['*layers.1.*']"],
        ):
            count, told = computed(tiny, *settings)
            assert count == 0 and "the states of 16 records that enter layer 1 are in" in told
    records = lines(tiny, DOMAINS[0])
    records[0]["steps"][0] += " one"
    records[1]["labels"] = [0.5] * len(records[1]["labels"])
    write(tiny, DOMAINS[0], records)
    assert computed(tiny)[0] == 1  # labels are no part of it
    shutil.copy(tiny.folder / "2.png", tiny.folder / "1.png")
    assert computed(tiny)[0] == 4  # of the records with that image
    for settings in (["model.cache_trunk=bf16"], ["data.max_pixels=1568"], [HEAD]):
        assert computed(tiny, *settings)[0] == 16, settings


def test_an_interrupted_one_goes_on_and_a_damaged_one_is_computed_again(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    with patch.object(trunk_cache, "_BYTES", 1):  # a file for each record
        with counted(most=5), pytest.raises(KeyboardInterrupt):
            trained(tiny, UPPER, CACHED, "steps=2")
        with counted() as rest:
            expected, _, _ = trained(tiny, UPPER, CACHED, "steps=2")
    assert len(rest) == 11
    damaged = next((tiny.folder / "cache" / "trunk").rglob("*.arrow"))
    content = bytearray(damaged.read_bytes())
    content[-100] ^= 1
    damaged.write_bytes(content)
    capsys.readouterr()
    with counted() as again:
        assert tiny.train(UPPER, CACHED, "steps=2") == 0
    assert len(again) == 1 and f"{damaged} is damaged" in capsys.readouterr().out
    stored = dict(PRM.from_pretrained(tiny.output / "model").named_parameters())
    for name, value in expected.state.params.items():
        assert torch.equal(stored[name], value)


def test_a_run_waits_for_one_that_computes_the_same(tiny: TinyRun) -> None:
    trained(tiny, UPPER, CACHED, "steps=2")
    (file,) = (tiny.folder / "cache" / "trunk").rglob("*.arrow")
    content = file.read_bytes()
    file.unlink()
    said = threading.Event()

    def told(line: str) -> None:
        if "waiting for another run" in line:
            file.write_bytes(content)
            said.set()

    with counted() as done:
        waiting = threading.Thread(target=assembled, args=(tiny, told))
        with owned_path(file.parent):
            waiting.start()
            assert said.wait(60)
        waiting.join(60)
    assert not done and not waiting.is_alive()


def test_a_stopped_run_goes_on_bit_for_bit_and_its_model_is_the_whole_one(tiny: TinyRun) -> None:
    assert tiny.train(UPPER, CACHED) == 0
    straight = tiny.output
    stopped = tiny.folder / "stopped"
    shutil.copytree(straight, stopped)
    for name in ("step-000008", "step-000006"):
        shutil.rmtree(stopped / "checkpoints" / name, ignore_errors=True)
    shutil.rmtree(stopped / "model")
    (stopped / "summary.json").unlink()
    shutil.rmtree(tiny.folder / "cache" / "trunk")  # computed anew, to the bit
    assert tiny.train(UPPER, CACHED, f"output={stopped}") == 0
    for name in ("domain_weights.jsonl", "model/model.safetensors", "model/head.safetensors"):
        assert (stopped / name).read_bytes() == (straight / name).read_bytes(), name

    saved = dict(PRM.from_pretrained(straight / "model").named_parameters())
    base = PRM.from_backbone(str(tiny.config["model"]["path"]))
    for name, value in base.named_parameters():
        upper = any(part in name for part in ("head", "layers.1", "language_model.norm"))
        assert torch.equal(saved[name], value) != upper or name.endswith("k_proj.bias"), name


def test_what_cannot_be_exact_or_has_no_room_is_refused(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny.train(CACHED) == 2
    assert "model.cache_trunk=float32: backbone.model.visual." in capsys.readouterr().err
    assert tiny.train(CACHED, "model.freeze_vision=true") == 2
    told = capsys.readouterr().err
    assert "embed_tokens.weight is trained" in told and "set model.cache_trunk=none" in told
    assert tiny.train("model.cache_trunk=fp32") == 2
    assert "none, float32, bf16" in capsys.readouterr().err
    monkeypatch.setattr(trunk_cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=50_000))
    assert tiny.train(CACHED, UPPER) == 2
    told = capsys.readouterr().err
    assert "where 0.1 MB are free" in told and "model.cache_trunk=bf16" in told
    assert not tiny.output.exists()
    assert tiny.train(CACHED, HEAD, "steps=2") == 0  # what is read alone fits


def test_what_is_said_of_images_is_what_training_without_says(tiny: TinyRun) -> None:
    (tiny.folder / "0.png").write_bytes(b"no image")
    picture = (tiny.folder / "2.png").read_bytes()
    (tiny.folder / "2.png").write_bytes(picture[: len(picture) // 2])
    settings = [UPPER, "data.missing_image=text_only", "data.truncated_image=read"]
    notes = [trained(tiny, *settings, *more)[0].image_notes for more in ([], [CACHED])]
    assert notes[0].lost and notes[0].cut_off and notes[0] == notes[1]


def test_a_selection_caches_what_it_keeps(tiny: TinyRun) -> None:
    with counted() as done:
        settings = ["baseline.name=s1", "baseline.final_answer=false", "baseline.max_solved=1"]
        assert tiny.train(UPPER, CACHED, "steps=2", *settings) == 0
    kept = json.loads((tiny.output / "selected" / "report.json").read_text())["kept"]
    assert len(done) == kept + 6 < 16


def test_doremis_reference_must_share_the_trunk(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    other = tiny.folder / "vanilla"
    assert tiny.train("hypergrad.name=none", f"output={other}", "steps=2") == 0
    doremi = [UPPER, CACHED, "steps=2", "baseline.name=doremi"]
    assert tiny.train(*doremi, f"baseline.reference={other}") == 2
    assert "the reference of baseline doremi has another backbone.model" in capsys.readouterr().err
    same = tiny.folder / "same"
    assert tiny.train("hypergrad.name=none", UPPER, f"output={same}", "steps=2") == 0
    assert tiny.train(*doremi, f"baseline.reference={same}") == 0
