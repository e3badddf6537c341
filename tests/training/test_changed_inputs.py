"""A run is continued on what it was started with: data, pictures, base model; by content, not by path."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from replaced_files import bitmap, flip_last_bit, replace_unnoticed, touch
from tiny_run import TinyRun, tiny_run

from dreamprm.config.loading import load_config
from dreamprm.files.content import FileDigests
from dreamprm.training.inputs import open_meta_data, open_training_data
from dreamprm.training.run_inputs import (
    changed_files,
    changed_images,
    image_digests,
    input_files,
    input_images,
)
from dreamprm.training.settings import TrainConfig

Spoil = Callable[[TinyRun], Any]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> TinyRun:
    """A run that was stopped after half of its steps, with its base model in its folder."""
    folder = tmp_path_factory.mktemp("stopped")
    base = Path(shutil.copytree(tiny_checkpoint, folder / "base"))
    tiny = tiny_run(folder, base)
    for number in range(3):
        bitmap(folder / f"{number}.png", number)
    assert tiny.train() == 0
    shutil.rmtree(tiny.output / "checkpoints" / "step-000008")
    return tiny


@pytest.fixture
def again(stopped: TinyRun, tmp_path: Path) -> TinyRun:
    """A copy of everything at another path, which a test may spoil."""
    folder = Path(shutil.copytree(stopped.folder, tmp_path / "copy"))
    text = json.dumps(stopped.config).replace(str(stopped.folder), str(folder))
    return TinyRun(folder, json.loads(text))


def replaced(name: str, old: bytes, new: bytes) -> Spoil:
    def spoil(tiny: TinyRun) -> None:
        path = tiny.folder / name
        replace_unnoticed(path, path.read_bytes().replace(old, new, 1))

    return spoil


def pictures_swapped(tiny: TinyRun) -> None:
    one, other = tiny.folder / "1.png", tiny.folder / "2.png"
    content = one.read_bytes(), other.read_bytes()
    replace_unnoticed(one, content[1])
    replace_unnoticed(other, content[0])


def base(name: str) -> Spoil:
    return lambda tiny: flip_last_bit(tiny.folder / "base" / name)


def base_with_more(tiny: TinyRun) -> None:
    (tiny.folder / "base" / "added_tokens.json").write_text("{}")


def a_record_more(tiny: TinyRun) -> None:
    path = tiny.folder / "maths.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")


def a_file_less(tiny: TinyRun) -> None:
    tiny.config["data"]["train"].pop()


# What is changed, and what is said of it.
CHANGES: dict[str, tuple[Spoil, str]] = {
    "a label": (
        replaced("charts.jsonl", b"0.", b"1."),
        "data.train[0].path={0}/charts.jsonl has other content",
    ),
    "a step": (
        replaced("maths.jsonl", b"step 1", b"step 7"),
        "data.train[1].path={0}/maths.jsonl has other content",
    ),
    "a record more": (a_record_more, "data.train[1].path={0}/maths.jsonl has other content"),
    "a file less": (a_file_less, "data.train[1].path is no longer given"),
    "a meta record": (replaced("meta.jsonl", b"how many", b"now many"), "data.meta={0}/meta.jsonl has other"),
    "a picture": (lambda tiny: flip_last_bit(tiny.folder / "1.png"), "image {0}/1.png has other content"),
    "two pictures exchanged": (
        pictures_swapped,
        "image {0}/1.png has other content; image {0}/2.png has other content",
    ),
    "weights": (base("model.safetensors"), "model.path={0}/base: model.safetensors has other content"),
    "the tokenizer": (
        lambda tiny: (tiny.folder / "base" / "tokenizer.json").write_text(
            (tiny.folder / "base" / "tokenizer.json").read_text() + "\n"
        ),
        "model.path={0}/base: tokenizer.json has other content",
    ),
    "a file more in the base model": (base_with_more, "model.path={0}/base: added_tokens.json is new"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_refused_by_name_with_the_ways_out(
    name: str, again: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, told = CHANGES[name]
    before = {path: path.read_bytes() for path in again.output.rglob("*") if path.is_file()}
    spoil(again)
    assert again.train() == 2
    message = capsys.readouterr().err
    assert "step-000004 was trained on other inputs than there are now: " in message
    assert told.format(again.folder) in message
    for way in ("Put the earlier files back", "changed_inputs=accept", "another output", "overwrite=true"):
        assert way in message
    assert {path: path.read_bytes() for path in again.output.rglob("*") if path.is_file()} == before


def test_changed_inputs_may_be_accepted_and_are_then_recorded(
    again: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures_swapped(again)
    assert again.train("changed_inputs=accept") == 0
    shown = capsys.readouterr().out
    assert f"is continued although image {again.folder}/1.png has other content; image" in shown
    assert f"continuing {again.output} from step 4" in shown
    assert again.train() == 0
    assert "continued although" not in capsys.readouterr().out


def test_overwrite_and_another_output_start_anew(again: TinyRun) -> None:
    pictures_swapped(again)
    assert again.train(f"output={again.folder / 'other'}", "steps=4") == 0
    assert again.train("overwrite=true", "steps=4") == 0


def test_the_same_content_elsewhere_and_touched_goes_on_bit_for_bit(stopped: TinyRun, again: TinyRun) -> None:
    """The whole folder is a copy; its data are in a further place, under other names."""
    for path in again.folder.rglob("*"):
        if path.is_file():
            touch(path)
    moved = again.folder / "elsewhere"
    moved.mkdir()
    for name in ("charts.jsonl", "maths.jsonl", "meta.jsonl", "0.png", "1.png", "2.png", "base"):
        (again.folder / name).rename(moved / name)
    (moved / "maths.jsonl").rename(moved / "sums.jsonl")
    again.config["data"] |= {
        "train": [str(moved / "charts.jsonl"), str(moved / "sums.jsonl")],
        "meta": str(moved / "meta.jsonl"),
        "image_root": str(moved),
    }
    again.config["model"] = {"path": str(moved / "base")}
    assert again.train() == 0
    for name in ("model/model.safetensors", "domain_weights.jsonl"):
        assert (again.output / name).read_bytes() == (stopped.output / name).read_bytes(), name


def test_other_settings_are_still_refused_by_their_key(again: TinyRun, capsys: Any) -> None:
    assert again.train("inner.lr=2e-3", "changed_inputs=accept") == 2
    assert "another configuration (inner.lr: 0.001 there, 0.002 now)" in capsys.readouterr().err


def _forget_inputs(tiny: TinyRun) -> Path:
    """Make the checkpoint one of version 0.2.0."""
    path = tiny.output / "checkpoints" / "step-000004" / "state.json"
    content = json.loads(path.read_text())
    del content["state"]["inputs"]
    path.write_text(json.dumps({"step": content["step"], "state": content["state"]}))
    return path.parent


def test_a_checkpoint_that_does_not_say_what_it_was_trained_on_is_refused(
    again: TinyRun, capsys: Any
) -> None:
    # Its run's configuration has the paths of the time.
    saved = again.output / "config.yaml"
    saved.write_text(saved.read_text().replace(_source(saved), str(again.folder)))
    checkpoint = _forget_inputs(again)
    for resume in ("auto", str(checkpoint)):
        assert again.train(f"resume={resume}") == 2
        message = capsys.readouterr().err
        assert f"{checkpoint} does not say what its data files, images and base model held" in message
        assert "changed_inputs=accept" in message and "overwrite=true" in message
    assert again.train("changed_inputs=accept") == 0
    assert "it is continued with what they hold now" in capsys.readouterr().out
    assert again.train() == 0


def test_of_such_a_checkpoint_other_paths_are_refused_too(again: TinyRun, capsys: Any) -> None:
    _forget_inputs(again)
    assert again.train("changed_inputs=accept") == 2
    assert "another configuration (data.cache_dir" not in (message := capsys.readouterr().err)
    assert "another configuration (data.meta: " in message and "model.path: " in message


def _source(saved: Path) -> str:
    """The folder that a saved configuration names."""
    line = next(line for line in saved.read_text().splitlines() if "meta.jsonl" in line)
    return line.partition(": ")[2].removesuffix("/meta.jsonl")


def test_a_named_checkpoint_may_be_continued_on_other_data_and_says_so(
    again: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = again.output / "config.yaml"
    saved.write_text(saved.read_text().replace(_source(saved), str(again.folder)))
    checkpoint = again.output / "checkpoints" / "step-000004"
    shutil.copy(again.folder / "meta.jsonl", again.folder / "more.jsonl")
    rows = (again.folder / "meta.jsonl").read_text().splitlines(keepends=True)
    (again.folder / "more.jsonl").write_text("".join([*rows, rows[0]]))
    output = f"output={again.folder / 'other'}"
    assert again.train(f"resume={checkpoint}", output, f"data.meta={again.folder}/more.jsonl") == 0
    told = (
        f"{checkpoint} is continued with other inputs: data.meta={again.folder}/more.jsonl has other content"
    )
    assert told in capsys.readouterr().out
    # A path alone does not make other content one that was chosen, and a picture may have changed too.
    shutil.copy(again.folder / "meta.jsonl", again.folder / "same.jsonl")
    flip_last_bit(again.folder / "1.png")
    assert again.train(f"resume={checkpoint}", output, f"data.meta={again.folder}/same.jsonl") == 2
    assert f"now: image {again.folder}/1.png has other content. Put" in capsys.readouterr().err
    flip_last_bit(again.folder / "1.png")
    # A file that has changed under its name is none that was chosen.
    replaced("maths.jsonl", b"step 1", b"step 7")(again)
    assert again.train(f"resume={checkpoint}", output, "overwrite=false") == 2
    assert "data.train[1].path=" in capsys.readouterr().err


def test_a_checkpoint_says_what_it_was_trained_on(stopped: TinyRun) -> None:
    state = json.loads((stopped.output / "checkpoints" / "step-000004" / "state.json").read_text())["state"]
    inputs = state["inputs"]
    assert inputs["files"].keys() == {"data.train[0].path", "data.train[1].path", "data.meta", "model.path"}
    assert len(inputs["images"]) == 3 * 16
    assert str(stopped.folder) not in json.dumps(inputs)


def _config(tiny: TinyRun, **settings: Any) -> TrainConfig:
    tiny.config |= settings
    return load_config(TrainConfig, tiny.write())


def test_the_pool_of_texts_and_its_images_are_inputs(again: TinyRun) -> None:
    again.config["data"]["lm"] = str(again.folder / "pool.jsonl")
    config = _config(again, lm_weight=0.5)
    before = input_files(config, FileDigests())
    assert before.keys() >= {"data.lm"}
    replaced("pool.jsonl", b"two plus", b"six plus")(again)
    assert changed_files(config, before, input_files(config, FileDigests())) == {
        "data.lm": f"data.lm={again.folder}/pool.jsonl has other content"
    }
    only = bitmap(again.folder / "only.bmp", 5)
    (again.folder / "pool.jsonl").write_text(json.dumps({"text": "one", "image": "only.bmp"}) + "\n")
    records = open_training_data(config.data, say=lambda line: None)
    paths = input_images(config, records, open_meta_data(config.data, say=lambda line: None))
    assert paths == [str(again.folder / name) for name in ("0.png", "1.png", "2.png")] + [str(only)]
    first = image_digests(paths, FileDigests())
    flip_last_bit(only)
    now = image_digests(paths, FileDigests())
    assert changed_images(first, paths, now) == [f"image {only} has other content"]
    assert changed_images(first, paths, first) == []
    assert changed_images(first[:48], paths, now) == [
        "there are 4 images, and were 3",
        f"image {only} has other content",
    ]
    several = [f"{number}.png" for number in range(9)]
    assert changed_images("0" * 9 * 16, several, "1" * 9 * 16)[-1] == "and 4 other images have"
    assert image_digests(["/nowhere.png"], FileDigests()) == "-" * 16


def test_the_runs_that_a_baseline_names_are_inputs(stopped: TinyRun, again: TinyRun) -> None:
    for baseline, name, file in (
        ({"name": "fixed_weights", "run": str(again.output)}, "run", "domain_weights.jsonl"),
        ({"name": "doremi", "reference": str(again.output)}, "reference", "model/head.safetensors"),
    ):
        config = _config(again, baseline=baseline)
        before = input_files(config, FileDigests())
        (again.output / "summary.json").write_text("{}")
        assert changed_files(config, before, input_files(config, FileDigests())) == {}
        flip_last_bit(again.output / file)
        told = f"baseline.{name}={again.output}: {Path(file).name} has other content"
        assert changed_files(config, before, input_files(config, FileDigests())) == {f"baseline.{name}": told}
        moved = _config(again, baseline=baseline | {name: str(stopped.output)})
        assert input_files(moved, FileDigests()) == before


def test_a_selected_training_set_is_of_the_files_it_was_selected_from(again: TinyRun, capsys: Any) -> None:
    again.config["output"] = str(again.folder / "selected-run")
    again.config["baseline"] = {"name": "meta_only"}
    assert again.train("steps=4") == 0
    report = again.output / "selected" / "report.json"
    first = report.stat().st_ino
    assert again.train("steps=4") == 0 and report.stat().st_ino == first
    shutil.rmtree(again.output / "checkpoints")
    pictures_swapped(again)
    capsys.readouterr()
    assert again.train("steps=4") == 0 and report.stat().st_ino != first
    pictures_swapped(again)
    assert again.train("steps=4") == 2
    assert f"image {again.folder}/1.png has other content" in capsys.readouterr().err
