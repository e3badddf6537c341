"""The scripted reasoner over a world's files: the world's own chains of thought come out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dreamprm.config.errors import UserError
from dreamprm.data.question_reader import read_question_records
from dreamprm.generators import (
    Completion,
    GenerationError,
    Request,
    Sampling,
    build_generator,
    generator_settings,
)
from dreamprm.sandbox import generate
from dreamprm.sandbox.domains import DOMAINS, DomainData, generate_domain
from dreamprm.sandbox.generator import SandboxGenerator
from dreamprm.sandbox.reasoner import ScriptedReasoner
from dreamprm.sandbox.scene_file import SCENES, read_scenes, write_scenes
from dreamprm.sandbox.scenes import SHIFTED_STYLE, Scene

SEED, COTS = 5, 2
SPECS = {spec.fault: spec for spec in reversed(DOMAINS)}


def _write(folder: Path, fault: str) -> DomainData:
    """One domain's questions, images and scenes, as `dreamprm sandbox` writes them."""
    for name in ("train", "questions", "sealed"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    spec = SPECS[fault]
    _, problems = generate._write_domain(folder, spec, 4, COTS, SEED)
    write_scenes(folder / SCENES, {problem.image: problem.scene for problem in problems})
    return generate_domain(spec, questions=4, cots=COTS, seed=SEED)


def _responses(generator: SandboxGenerator, folder: Path, fault: str, **options: int) -> list[list[str]]:
    path = folder / "questions" / f"{SPECS[fault].name}.jsonl"
    return [
        [completion.text for completion in generator.complete(record.question, record.image, **options)]
        for record in read_question_records(path, image_root=folder)
    ]


def test_it_is_a_registered_generator_with_its_settings(tmp_path: Path) -> None:
    assert list(generator_settings("sandbox")) == ["folder", "seed", "errors"]
    _write(tmp_path, "clean")
    generator = build_generator("sandbox", folder=str(tmp_path), seed=3, errors="other")
    assert generator == SandboxGenerator(str(tmp_path), seed=3, errors="other")
    assert generator.describe() == {
        "folder": str(tmp_path),
        "seed": "3",
        "errors": "other",
        "prefixes": "continued step by step",
    }


def test_it_says_what_the_worlds_reasoner_says(tmp_path: Path) -> None:
    data = _write(tmp_path, "clean")
    reasoner = ScriptedReasoner({problem.image: problem.scene for problem in data.problems}, seed=SEED)
    expected = [
        [
            completion.text
            for completion in reasoner.complete(problem.question.text, problem.image, n=3, seed=11)
        ]
        for problem in data.problems
    ]
    generator = SandboxGenerator(str(tmp_path), seed=SEED)
    assert _responses(generator, tmp_path, "clean", n=3, seed=11) == expected
    record = next(
        read_question_records(tmp_path / f"questions/{SPECS['clean'].name}.jsonl", image_root=tmp_path)
    )
    later = Request(record.question, record.images, n=2, seed=12, first=1)
    (last,) = generator.complete_all([later], Sampling())
    assert isinstance(last, list) and [one.text for one in last] == expected[0][1:]
    other = SandboxGenerator(str(tmp_path), seed=SEED, errors="none")
    for record, texts in zip(data.problems, _responses(other, tmp_path, "clean", n=2), strict=True):
        assert all(text.endswith(f"Final answer: {record.answer}") for text in texts)


def test_stop_texts_and_the_limit_end_a_text_as_a_model_s(tmp_path: Path) -> None:
    _write(tmp_path, "clean")
    generator = SandboxGenerator(str(tmp_path), seed=SEED)
    path = tmp_path / f"questions/{SPECS['clean'].name}.jsonl"
    record = next(read_question_records(path, image_root=tmp_path))

    def one(**settings: Any) -> Completion:
        (completion,) = generator.complete(record.question, record.image, seed=3, **settings)
        return completion

    whole = one()
    assert whole.stopped_by is None and whole.finished
    stopped = one(stop=["END", "\nStep 3"])
    assert whole.text.startswith(stopped.text + "\nStep 3") and stopped.stopped_by == "\nStep 3"
    assert stopped.tokens == len(stopped.text.split(" ")) and stopped.finished
    assert one(stop=["END"]) == whole and one(stop=["END"]).stopped_by == ""
    cut = one(max_tokens=5, stop=["\nStep 3"])
    assert (cut.text, cut.tokens, cut.finished) == (" ".join(whole.text.split(" ")[:5]), 5, False)
    assert one(max_tokens=whole.tokens) == whole


@pytest.mark.parametrize("fault", ["clean", "wrong_key", "shuffled", "swapped"])
def test_the_questions_are_the_domains_with_its_key(tmp_path: Path, fault: str) -> None:
    data = _write(tmp_path, fault)
    path = tmp_path / "questions" / f"{SPECS[fault].name}.jsonl"
    questions = list(read_question_records(path, image_root=tmp_path, check_images=True))
    assert [question.answer for question in questions] == [str(key) for key in data.keys]
    assert [question.question for question in questions] == [p.question.text for p in data.problems]
    assert {(question.domain, question.answer_type) for question in questions} == {
        (SPECS[fault].name, "integer")
    }
    wrong = [key != problem.answer for key, problem in zip(data.keys, data.problems, strict=True)]
    assert any(wrong) == (fault == "wrong_key")
    # The images are those that the domain's step records show.
    shown = [str(tmp_path / record.images[0]) for record in data.records[::COTS]]
    assert [question.image for question in questions] == shown
    own = [str(tmp_path / problem.image) for problem in data.problems]
    assert (shown == own) == (fault != "swapped")
    assert [question.id for question in questions] == [
        f"{SPECS[fault].name}-{index:05d}" for index in range(4)
    ]


def test_an_image_is_known_by_any_path_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = tmp_path / "world"
    problem = _write(world, "clean").problems[0]
    (tmp_path / "link").symlink_to(world)
    generator = SandboxGenerator(str(world))
    monkeypatch.chdir(tmp_path)
    paths = [
        problem.image,
        f"world/{problem.image}",
        str(world / problem.image),
        f"link/{problem.image}",
        f"./{problem.image}",
    ]
    texts = {generator.complete(problem.question.text, path)[0].text for path in paths}
    assert len(texts) == 1


def test_a_prefix_is_continued_and_prefix_and_text_are_the_whole_response(tmp_path: Path) -> None:
    problem = _write(tmp_path, "clean").problems[0]
    generator = SandboxGenerator(str(tmp_path))
    whole = generator.complete(problem.question.text, problem.image)[0].text
    prefix = "\n".join(whole.splitlines()[:2])
    (rest,) = generator.complete(problem.question.text, problem.image, prefix=prefix)
    assert rest.text.startswith("\nStep 3: ") and rest.finished
    assert len((prefix + rest.text).splitlines()) == 6


def test_a_world_without_its_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"not a sandbox world with its scenes.*FileNotFoundError.*again, as worlds"
    ):
        SandboxGenerator(str(tmp_path))
    (tmp_path / "sealed").mkdir()
    (tmp_path / SCENES).write_text(json.dumps({"image": "a.png", "style": "baroque"}) + "\n")
    with pytest.raises(UserError, match=r"cannot be read \(KeyError: 'baroque'\)"):
        SandboxGenerator(str(tmp_path))
    row = {
        "image": "a.png",
        "style": "shifted",
        "left_skill": "bar",
        "right_skill": "die",
        "left": 1,
        "seed": 9,
    }
    for wrong, message in (
        ({"right": "6"}, "field 'right': got '6'; allowed: a whole number"),
        ({"right": 6, "left_skill": "baz"}, "a skill that is none of bar"),
        ({"right": 6, "image": None}, "field 'image': got None"),
    ):
        (tmp_path / SCENES).write_text(json.dumps(row | wrong) + "\n")
        with pytest.raises(UserError, match=message):
            SandboxGenerator(str(tmp_path))


def test_unknown_errors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="errors must be one of training, other, none, got 'many'"):
        SandboxGenerator(str(tmp_path), errors="many")


def test_an_image_of_no_world_is_the_users_mistake(tmp_path: Path) -> None:
    problem = _write(tmp_path, "clean").problems[0]
    generator = SandboxGenerator(str(tmp_path))
    with pytest.raises(UserError, match=r"no scene for the image '/elsewhere\.png'; give it the questions"):
        generator.complete(problem.question.text, "/elsewhere.png")
    with pytest.raises(UserError, match="given a question without an image"):
        generator.complete(problem.question.text)


def test_a_question_of_no_world_is_refused_and_leaves_the_others(tmp_path: Path) -> None:
    problem = _write(tmp_path, "clean").problems[0]
    images = (problem.image,)
    refused, answered, broken = SandboxGenerator(str(tmp_path)).complete_all(
        [
            Request("how many birds are there ?", images),
            Request(problem.question.text, images, n=2),
            Request(problem.question.text, images, prefix="Step 1: see\nStep 2: it is clear"),
        ],
        Sampling(),
    )
    assert isinstance(refused, GenerationError) and refused.refused
    assert "no sandbox question in the prompt 'how many birds" in str(refused)
    assert isinstance(answered, list) and len(answered) == 2
    assert isinstance(broken, GenerationError) and "not an evidence step" in str(broken)


def test_scenes_are_read_as_they_were_written(tmp_path: Path) -> None:
    scenes = {
        "images/a.png": Scene("bar", "die", 1, 6, seed=9),
        "images/b.png": Scene("pile", "pile", 2, 2, seed=2**47, style=SHIFTED_STYLE),
    }
    write_scenes(tmp_path / "scenes.jsonl", scenes)
    assert read_scenes(tmp_path / "scenes.jsonl") == scenes
