"""The generated world as files: complete, a function of its seed, whole or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.config.loading import load_config
from dreamprm.data import read_candidate_records, read_meta_records, read_step_records
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.text_reader import read_text_records
from dreamprm.models import PRM, PRMProcessor
from dreamprm.sandbox import generate
from dreamprm.sandbox.domains import DOMAINS
from dreamprm.sandbox.generate import ensure_sandbox, manifest
from dreamprm.sandbox.scene_file import SCENES, read_scenes
from dreamprm.sandbox.scenes import draw
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.sandbox.suites import SUITES

TINY = SandboxConfig(
    folder="",
    questions_per_domain=3,
    cots_per_question=2,
    meta_questions=4,
    development_questions=2,
    suite_questions=2,
    candidates=3,
    captions=6,
    base_steps=2,
    base_batch=4,
    hidden_size=32,
    text_layers=1,
    vision_layers=1,
)


def _world(folder: Path, **changes: int) -> SandboxConfig:
    return replace(TINY, folder=str(folder), **changes)


class OneProcess:
    """Stands in for the pool of processes, which costs seconds to start and is the same for all worlds.

    A job is done when its result is asked for: what fails before that leaves it undone.
    """

    cancelled = 0

    def __init__(self, workers: int = 1, **options: object) -> None:
        assert workers >= 1

    def __enter__(self) -> OneProcess:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def shutdown(self, *, cancel_futures: bool) -> None:
        assert cancel_futures
        OneProcess.cancelled += 1

    def submit(self, function: Callable[..., object], *arguments: object) -> OneProcess:
        job = OneProcess()
        job.result = lambda: function(*arguments)  # type: ignore[attr-defined]
        return job


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "ProcessPoolExecutor", OneProcess)
    monkeypatch.setattr(OneProcess, "cancelled", 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SandboxConfig:
    """A complete tiny world, made as users make it: by processes."""
    world = _world(tmp_path_factory.mktemp("sandbox") / "deep" / "world")
    ensure_sandbox(world, say=lambda line: None)
    return world


def _contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_file_is_there_and_read_by_the_packages_own_readers(world: SandboxConfig) -> None:
    folder = Path(world.folder)
    for spec in DOMAINS:
        records = list(read_step_records(folder / "train" / f"{spec.name}.jsonl", image_root=folder))
        assert len(records) == 6 and {record.domain for record in records} == {spec.name}
    assert len(list(read_meta_records(folder / "meta.jsonl", image_root=folder))) == 4 * 4
    for name, count in (("development", 2), *((f"suites/{spec.name}", 2) for spec in SUITES)):
        candidates = list(read_candidate_records(folder / f"{name}.jsonl", image_root=folder))
        assert len(candidates) == count and {len(record.candidates) for record in candidates} == {3}
    for spec in DOMAINS:
        path = folder / "questions" / f"{spec.name}.jsonl"
        questions = list(read_question_records(path, image_root=folder))
        assert len(questions) == 3 and {question.domain for question in questions} == {spec.name}
    texts = read_text_records(folder / "pool.jsonl")
    assert sum(bool(text.images) for text in texts) == 6 and len(texts) > 100
    quality = json.loads((folder / "sealed" / "quality.json").read_text())
    assert list(quality) == [spec.name for spec in DOMAINS]
    assert all(0 <= value <= 1 for value in quality.values())
    images = list((folder / "images").rglob("*.png"))
    assert len(images) == 15 * 3 + 6 * 2 + 2 + 4 + 6
    # Every image's scene is there, and drawing it again gives the image.
    scenes = read_scenes(folder / SCENES)
    assert scenes.keys() == {str(path.relative_to(folder)) for path in images}
    for path in images:
        with Image.open(path) as image:
            assert image.tobytes() == draw(scenes[str(path.relative_to(folder))]).tobytes()
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((56, 56), "RGB")
    assert json.loads((folder / "sandbox.json").read_text()) == manifest(world)
    # Beside it lies no temporary folder.
    assert [path.name for path in folder.parent.iterdir()] == ["world"]


def test_no_training_file_speaks_of_quality(world: SandboxConfig) -> None:
    for path in Path(world.folder).rglob("*.jsonl"):
        text = path.read_text()
        assert not any(word in text for word in ("quality", "fault", "clean", "shuffled", "swapped", "easy"))


def test_the_base_model_is_a_checkpoint_that_loads(world: SandboxConfig) -> None:
    base = Path(world.folder) / "base"
    prm = PRM.from_backbone(base, processor=PRMProcessor.from_pretrained(base))
    assert prm.backbone.config.get_text_config().hidden_size == 32
    path = Path(world.folder) / "train" / f"{DOMAINS[0].name}.jsonl"
    record = next(iter(read_step_records(path, image_root=Path(world.folder))))
    scores = prm.score(record.question, record.image, record.steps)
    assert len(scores) == 5 and all(0 < score < 1 for score in scores)


def test_a_complete_world_is_left_as_it_is(world: SandboxConfig) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(world.folder).rglob("*")}
    said: list[str] = []
    ensure_sandbox(world, say=said.append)
    assert {path: path.stat().st_mtime_ns for path in Path(world.folder).rglob("*")} == before
    assert said == [f"sandbox data is in {Path(world.folder)}"]


def test_equal_seeds_give_equal_files(world: SandboxConfig, tmp_path: Path, in_process: None) -> None:
    again, other = _world(tmp_path / "again"), _world(tmp_path / "other", seed=1)
    (tmp_path / "other").mkdir()  # an empty folder is as good as none
    for one in (again, other):
        ensure_sandbox(one, say=lambda line: None)
    first, second, third = (_contents(Path(one.folder)) for one in (world, again, other))
    assert first == second
    assert first.keys() == third.keys()
    # The tokenizer's and the configuration's files and the exercises know no seed.
    changed = {name for name in first if first[name] != third[name]}
    assert {"meta.jsonl", "pool.jsonl", "base/model.safetensors", "sandbox.json"} <= changed
    assert all(f"train/{spec.name}.jsonl" in changed for spec in DOMAINS)
    assert all(f"suites/{spec.name}.jsonl" in changed for spec in SUITES)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seed": 7}, "seed is 0 there, 7 in this configuration;"),
        ({"suite_questions": 9}, "suite_questions is 2 there, 9 in this configuration;"),
        (
            {"seed": 7, "captions": 8},
            "captions is 6 there, 8 in this configuration, seed is 0 there, 7 in this configuration;",
        ),
    ],
)
def test_another_world_in_the_folder_is_refused(
    world: SandboxConfig, changes: dict[str, int], message: str
) -> None:
    before = _contents(Path(world.folder))
    with pytest.raises(UserError) as refusal:
        ensure_sandbox(_world(Path(world.folder), **changes), say=lambda line: None)
    assert f"{Path(world.folder)} holds another sandbox: {message}" in str(refusal.value)
    assert "remove the folder, or give another one" in str(refusal.value)
    assert _contents(Path(world.folder)) == before


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"is not empty and holds no sandbox \(sandbox\.json is missing\)"):
        ensure_sandbox(_world(tmp_path), say=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("where", ["_write_pool", "_write_domain"])
def test_an_interrupted_generation_leaves_nothing(
    where: str,
    error: type[BaseException],
    tmp_path: Path,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(generate, where, interrupt)
    with pytest.raises(error):
        ensure_sandbox(_world(tmp_path / "new" / "world"), say=lambda line: None)
    assert list((tmp_path / "new").iterdir()) == []
    # The pool is written before there is one of processes; a failed job takes the others with it.
    assert OneProcess.cancelled == (where == "_write_domain")


def test_a_base_model_that_diverges_leaves_nothing(
    tmp_path: Path,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def diverged(*arguments: object, **options: object) -> torch.Tensor:
        return torch.tensor(float("nan"), requires_grad=True)

    def too_late(*arguments: object) -> None:
        raise AssertionError("waited for the domains before the base model was trained")

    monkeypatch.setattr("dreamprm.sandbox.base_model.language_model_loss", diverged)
    monkeypatch.setattr(generate, "_write_domain", too_late)
    with pytest.raises(FloatingPointError, match=r"loss became nan at step 0; lower base_lr"):
        ensure_sandbox(_world(tmp_path / "world"), say=lambda line: None)
    assert list(tmp_path.iterdir()) == [] and OneProcess.cancelled == 1


def test_the_command_reads_settings_of_its_own(
    world: SandboxConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [f"{key}={value}" for key, value in manifest(world).items() if key not in ("world", "seed")]
    assert main(["sandbox", f"folder={world.folder}", "threads=1", *sizes]) == 0
    assert capsys.readouterr().out == f"sandbox data is in {world.folder}\n"
    assert main(["sandbox", f"folder={world.folder}", *sizes, "seed=1"]) == 2
    assert "seed is 0 there, 1 in this configuration" in capsys.readouterr().err
    # Settings of the generator stood in a section of the training's configuration before.
    assert main(["sandbox", "sandbox.captions=6"]) == 2
    assert "sandbox.captions: the settings of the world are now at the top level" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_a_damaged_manifest_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sandbox.json").write_bytes(content)
    with pytest.raises(UserError, match=r"sandbox\.json is damaged .*remove the folder, or give another one"):
        ensure_sandbox(_world(tmp_path), say=lambda line: None)


def test_the_folder_is_named_for_the_seed() -> None:
    assert load_config(SandboxConfig, None, ["seed=4"]).folder == "data/sandbox/seed4"
    with pytest.raises(UserError, match="hidden_size must be a multiple of 16, got 40"):
        load_config(SandboxConfig, None, ["hidden_size=40"])
