"""A user's mistake: exit code 2, one message that says what to do, and nothing half-written stays behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import TinyRun, write_lines

from dreamprm.cli import main
from dreamprm.models.record_checks import RecordChecks

Spoil = Callable[[TinyRun], Any]


def rows(tiny: TinyRun, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tiny.folder / f"{name}.jsonl").read_text().splitlines()]


def change(name: str, **fields: Any) -> Spoil:
    """Change fields of the second record of a file; `...` removes a field."""

    def spoil(tiny: TinyRun) -> None:
        changed = rows(tiny, name)
        changed[1] |= fields
        changed[1] = {key: value for key, value in changed[1].items() if value is not ...}
        write_lines(tiny.folder / f"{name}.jsonl", changed)

    return spoil


def change_all(name: str, **fields: Any) -> Spoil:
    return lambda tiny: write_lines(tiny.folder / f"{name}.jsonl", [row | fields for row in rows(tiny, name)])


def settings(**sections: Any) -> Spoil:
    """Replace top-level settings; a section is merged into the one that is there."""

    def spoil(tiny: TinyRun) -> None:
        for name, value in sections.items():
            merged = {**tiny.config.get(name, {}), **value} if isinstance(value, dict) else value
            tiny.config[name] = merged

    return spoil


def malformed(tiny: TinyRun) -> None:
    write_lines(tiny.folder / "maths.jsonl", [rows(tiny, "maths")[0], '{"question": "wh'])


def all_left_out(tiny: TinyRun) -> None:
    write_lines(tiny.folder / "maths.jsonl", [row | {"steps": []} for row in rows(tiny, "maths")])
    settings(data={"stepless": "skip"})(tiny)


def change_base(how: Callable[[dict[str, Any]], object]) -> Spoil:
    """Train from a base model with other tensors."""

    def spoil(tiny: TinyRun) -> None:
        from safetensors.torch import load_file, save_file

        folder = tiny.folder / "base"
        shutil.copytree(tiny.config["model"]["path"], folder)
        tensors = load_file(folder / "model.safetensors")
        how(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        settings(model={"path": str(folder)})(tiny)

    return spoil


def without_vision(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if "visual" in name]:
        del tensors[name]


def without_tokenizer(tiny: TinyRun) -> None:
    shutil.copytree(tiny.config["model"]["path"], tiny.folder / "bare", ignore=shutil.ignore_patterns("tok*"))
    tiny.config["model"] = {"path": str(tiny.folder / "bare")}


# What was done, and what the message must say: what was given, where, and what to do.
BEFORE_THE_FIRST_STEP: dict[str, tuple[Spoil, list[str]]] = {
    "unknown key": (settings(iner={"lr": 1}), ["unknown key iner", "did you mean 'inner.lr'?"]),
    "unknown estimator": (settings(hypergrad={"name": "unroled"}), ["unroled", "did you mean 'unrolled'"]),
    "unknown estimator setting": (settings(hypergrad={"damping": 1}), ["damping", "first_order"]),
    "T below 1": (settings(inner_steps=0), ["inner_steps (T) must be >= 1, got 0"]),
    "steps not a multiple of T": (
        settings(steps=7),
        ["multiple of inner_steps (T), got 7 and 2", "below: 6"],
    ),
    "lm_weight without a pool": (settings(lm_weight=0.5), ["lm_weight=0.5", "give data.lm, or lm_weight=0"]),
    "missing training file": (
        settings(data={"train": ["nowhere.jsonl"]}),
        ["no such file: nowhere.jsonl", "give the path"],
    ),
    "missing meta file": (settings(data={"meta": "nowhere.jsonl"}), ["no such file: nowhere.jsonl"]),
    "missing pool": (settings(data={"lm": "nowhere.jsonl"}, lm_weight=0.5), ["nowhere.jsonl"]),
    "malformed line": (malformed, ["maths.jsonl:2", "JSON"]),
    "label above 1": (
        change("charts", steps=["a"], labels=[1.5]),
        ["charts.jsonl:2: field 'labels", "1.5", "[0, 1]"],
    ),
    "a label too few": (change("charts", steps=["a", "b"], labels=[1]), ["charts.jsonl:2", "labels"]),
    "no domain named": (change("charts", domain=...), ["charts.jsonl:2", "domain"]),
    "empty file": (
        lambda tiny: (tiny.folder / "maths.jsonl").write_text(""),
        ["maths.jsonl: the file is empty"],
    ),
    "domain with no sample": (
        all_left_out,
        ["maths.jsonl: every record was left out", "has no sample", "fix the file"],
    ),
    "too many bad records": (
        lambda tiny: (settings(data={"on_error": "skip"})(tiny), change("maths", labels=[7])(tiny)),
        ["1 of 5 rows are bad", "max_bad_fraction=0.01"],
    ),
    "meta set of one class": (
        change_all("meta", correct=True),
        ["6 right and 0 wrong answers", "needs both", "add chains of thought"],
    ),
    "meta record without steps": (change("meta", steps=[]), ["has no steps", "set stepless=skip"]),
    "image missing": (
        change("charts", image="gone.png"),
        ["charts.jsonl:2: field 'image'", "gone.png", "missing_image=text_only"],
    ),
    "no image named": (change("meta", image=...), ["meta.jsonl:2", "allow_no_image"]),
    "image root missing": (settings(data={"image_root": "nowhere"}), ["image_root is not a folder: nowhere"]),
    "second order through fused attention": (
        lambda tiny: (
            settings(hypergrad={"name": "unrolled"})(tiny),
            tiny.config["model"].update(attn_implementation="sdpa"),
        ),
        ["hypergrad.name=unrolled", "attn_implementation=sdpa", "set model.attn_implementation=eager"],
    ),
    "attention that nobody knows": (
        settings(model={"attn_implementation": "fused"}),
        [
            "model.attn_implementation: unknown",
            "'fused'; use one of sdpa, eager, flash_attention_2",
            "or auto",
        ],
    ),
    "flash attention in float32": (
        settings(model={"attn_implementation": "flash_attention_3"}),
        ["model.attn_implementation=flash_attention_3", "set precision=bf16"],
    ),
    "flex attention on a CPU": (
        settings(model={"attn_implementation": "flex_attention"}),
        ["flex_attention has no gradients on a CPU"],
    ),
    "no model": (lambda tiny: tiny.config.pop("model"), ["give model.path (a checkpoint)"]),
    "a tokenizer and no model": (
        lambda tiny: tiny.config.update(model={"tokenizer": tiny.config["model"]["path"]}),
        ["give model.path"],
    ),
    "a model config and no tokenizer": (
        lambda tiny: tiny.config.update(model={"config": f"{tiny.config['model']['path']}/config.json"}),
        ["model.config and model.tokenizer"],
    ),
    "model config missing": (
        lambda tiny: tiny.config.update(
            model={"config": "no.json", "tokenizer": tiny.config["model"]["path"]}
        ),
        ["model.config=no.json cannot be read"],
    ),
    "no checkpoint there": (settings(model={"path": "nowhere/at/all"}), ["nowhere/at/all"]),
    "base model without a vision tower": (
        change_base(without_vision),
        ["tensors are missing: model.visual.", "save the checkpoint again"],
    ),
    "base model without a tensor": (
        change_base(lambda tensors: tensors.pop("model.norm.weight")),
        ["base do not hold the model", "1 tensor is missing: model.language_model.norm.weight"],
    ),
    "base model with a tensor more": (
        change_base(lambda tensors: tensors.update({"more.weight": tensors["model.norm.weight"].clone()})),
        ["1 tensor is surplus: more.weight"],
    ),
    "tokenizer missing": (
        without_tokenizer,
        ["bare: the tokenizer has no token", "use a Qwen2-VL tokenizer"],
    ),
    "checkpoint missing": (
        settings(resume="nowhere/step-000004"),
        ["checkpoint nowhere/step-000004 is incomplete"],
    ),
}


def assert_one_message(text: str, parts: list[str]) -> None:
    lines = [line for line in text.splitlines() if line.startswith("dreamprm: ")]
    assert len(lines) == 1 and "Traceback" not in text, text
    message = text[text.index("dreamprm: ") :]
    assert all(part in message for part in parts), message


def assert_nothing_half_written(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    assert not [name for name in names if name.rpartition("/")[2].startswith(".") or name.endswith(".part")]
    for copy in folder.glob("cache/*"):
        if copy.name != "checked":  # what was found of images and records
            assert sorted(path.name for path in copy.iterdir()) == ["records.arrow", "report.json"]


@pytest.mark.parametrize("name", BEFORE_THE_FIRST_STEP)
def test_a_mistake_is_told_before_the_first_step(
    name: str,
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil, parts = BEFORE_THE_FIRST_STEP[name]
    spoil(tiny)
    assert tiny.train() == 2
    assert_one_message(capsys.readouterr().err, parts)
    assert not tiny.output.exists()
    assert_nothing_half_written(tiny.folder)


def test_the_configuration_file_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tmp_path / "nowhere.yaml")]) == 2
    assert_one_message(capsys.readouterr().err, ["nowhere.yaml does not exist; give a YAML file"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_ends_the_training(
    workers: int,
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was whole when the run began: that it is broken shows when it is needed, here or in a worker."""
    for number in range(3):
        (tiny.folder / f"{number}.png").write_text("not a picture")
    with monkeypatch.context() as patched:
        patched.setattr(RecordChecks, "problems", lambda *args, **settings: {})
        assert tiny.train(f"data.num_workers={workers}") == 2
    parts = [".png is missing or broken", "data.missing_image=text_only", "continues from its first step"]
    assert_one_message(capsys.readouterr().err, parts)
    assert [path.name for path in tiny.output.iterdir()] == ["config.yaml"]
    assert_nothing_half_written(tiny.folder)
    # What is left is a run that goes on once the images are mended, or goes on without them.
    assert tiny.train() == 2
    assert_one_message(
        capsys.readouterr().err, ["10 records cannot be used", "charts.jsonl:1: record charts-0"]
    )
    assert tiny.train("data.missing_image=text_only", "overwrite=true") == 0


@pytest.mark.parametrize("trained_before", [False, True])
def test_a_loss_that_is_not_finite_ends_the_training(
    trained_before: bool,
    tiny: TinyRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny.config["inner"] = {"lr": 1e38}
    if trained_before:
        assert tiny.train("steps=4", "inner.lr=1e-3") == 0
        checkpoint = tiny.output / "checkpoints" / "step-000004"
        advice = f"Go on from before it with other settings and resume={checkpoint}, or start anew"
        tiny.config["resume"] = str(checkpoint)
    else:
        advice = "No checkpoint was saved before; start anew with other settings and overwrite=true"
    capsys.readouterr()
    assert tiny.train() == 2
    assert_one_message(capsys.readouterr().err, ["is nan; lower the learning rate", advice])
    assert (tiny.output / "model").exists() == (tiny.output / "summary.json").exists() == trained_before
    assert_nothing_half_written(tiny.folder)
