"""`dreamprm sandbox`: the generated world as files, in the package's own record forms.

FOLDER/images/...                      PNG files
FOLDER/train/DOMAIN.jsonl              step records, one file per domain
FOLDER/questions/DOMAIN.jsonl          the domain's questions with its key, for labelling them again
FOLDER/meta.jsonl                      complete CoTs with right/wrong labels
FOLDER/development.jsonl               candidate records for tuning
FOLDER/suites/SUITE.jsonl              candidate records for reported results
FOLDER/pool.jsonl                      captions and exercises for the language-modelling loss
FOLDER/base/                           the base model: a small Qwen2-VL that has read the pool
FOLDER/sealed/quality.json             planted quality by domain; read by evaluation, never by training
FOLDER/sealed/scenes.jsonl             what every image shows; read only by the scripted reasoner
FOLDER/sandbox.json                    how it was made; written last, so its presence means complete
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.data.record_table import write_records
from dreamprm.data.records import QuestionRecord
from dreamprm.files.atomic import atomic_folder, make_folder, remove_ended
from dreamprm.files.disk_errors import require_folder
from dreamprm.files.locks import owned_path
from dreamprm.sandbox.corpus import generate_captions, generate_exercises
from dreamprm.sandbox.domains import DOMAINS, DomainData, DomainSpec, Problem, generate_domain
from dreamprm.sandbox.scene_file import SCENES, write_scenes
from dreamprm.sandbox.scenes import draw
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.sandbox.suites import DEVELOPMENT, META, SUITES, SuiteSpec, as_meta_records, generate_suite

MANIFEST = "sandbox.json"
# Raised whenever the world changes, so that the files of another world are not mistaken for this one's.
WORLD_VERSION = 5
META_CANDIDATES = 4


def run_sandbox(config: SandboxConfig) -> None:
    """`dreamprm sandbox`: generate the world unless its folder already contains it.

    Raises:
        UserError: as for `ensure_sandbox`.
    """
    from dreamprm.runtime.process import prepare_process

    prepare_process(config.threads)
    ensure_sandbox(config)


def manifest(config: SandboxConfig) -> dict[str, Any]:
    """Everything that determines the world's files, as stored in sandbox.json."""
    sizes = dataclasses.asdict(config)
    for name in ("folder", "threads"):
        sizes.pop(name)
    return {"world": WORLD_VERSION, "seed": sizes.pop("seed"), **sizes}


def ensure_sandbox(config: SandboxConfig, *, say: Callable[[str], None] = print) -> None:
    """Generate the world's files unless they already exist.

    The folder is made under a temporary name and renamed when it is complete, so an interrupted run leaves
    nothing behind.

    Raises:
        UserError: the folder contains something else, or a world with other sizes or another seed, or another
            process is generating it.
    """
    folder = Path(config.folder)
    if _is_there(folder, config, say):
        return
    require_folder(folder, "folder")
    make_folder(folder.parent)
    with owned_path(folder):
        if _is_there(folder, config, say):  # by a process that held it a moment ago
            return
        remove_ended(folder.parent, re.compile(re.escape(folder.name)))
        started = time.monotonic()
        with atomic_folder(folder) as partial:
            _generate(partial, config, say)
            (partial / MANIFEST).write_text(json.dumps(manifest(config), indent=2) + "\n")
        say(f"sandbox data is in {folder} ({time.monotonic() - started:.0f} s)")


def _is_there(folder: Path, config: SandboxConfig, say: Callable[[str], None]) -> bool:
    if not (folder.is_dir() and any(folder.iterdir())):
        return False
    _check_manifest(folder, manifest(config))
    say(f"sandbox data is in {folder}")
    return True


def _check_manifest(folder: Path, wanted: dict[str, Any]) -> None:
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"{folder} is not empty and holds no sandbox ({MANIFEST} is missing); "
            "give another folder, or remove this one"
        )
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); remove the folder, or give another one") from error
    if found != wanted:
        differing = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
        differences = ", ".join(
            f"{key} is {found.get(key)} there, {wanted.get(key)} in this configuration" for key in differing
        )
        raise UserError(
            f"{folder} holds another sandbox: {differences}; remove the folder, or give another one"
        )


def _generate(folder: Path, settings: SandboxConfig, say: Callable[[str], None]) -> None:
    seed = settings.seed
    jobs: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (_write_domain, (folder, spec, settings.questions_per_domain, settings.cots_per_question, seed))
        for spec in DOMAINS
    ]
    jobs += [
        (
            _write_suite,
            (folder, spec, f"suites/{spec.name}.jsonl", settings.suite_questions, settings.candidates, seed),
        )
        for spec in SUITES
    ]
    jobs.append(
        (
            _write_suite,
            (
                folder,
                DEVELOPMENT,
                "development.jsonl",
                settings.development_questions,
                settings.candidates,
                seed,
            ),
        )
    )
    jobs.append((_write_suite, (folder, META, "meta.jsonl", settings.meta_questions, META_CANDIDATES, seed)))
    for name in ("train", "questions", "suites", "images", "sealed"):
        (folder / name).mkdir(parents=True)

    say(
        f"generating {len(DOMAINS)} domains of {settings.questions_per_domain} questions, "
        f"{len(SUITES)} held-out suites, a meta set and a text pool"
    )
    drawn = _write_pool(folder, settings.captions, seed)
    # Imported here: drawing and labelling need no torch, and the worker processes import this module.
    from dreamprm.sandbox.base_model import train_base_model

    # Spawned, not forked: the caller may hold threads (a progress bar, torch).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 1) - 1), mp_context=context) as pool:
        futures = [pool.submit(function, *arguments) for function, arguments in jobs]
        try:
            # The base model needs only the text pool: it is trained here while the workers draw and label.
            train_base_model(folder, settings, seed=seed, say=say)
            results = [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # leaving the block would first run all remaining jobs
            raise
    quality = {spec.name: results[i][0] for i, spec in enumerate(DOMAINS)}
    (folder / "sealed" / "quality.json").write_text(json.dumps(quality, indent=2) + "\n")
    for _, problems in results:
        drawn += problems
    write_scenes(folder / SCENES, {problem.image: problem.scene for problem in drawn})


def _write_domain(
    folder: Path,
    spec: DomainSpec,
    questions: int,
    cots: int,
    seed: int,
) -> tuple[float, list[Problem]]:
    data = generate_domain(spec, questions=questions, cots=cots, seed=seed)
    _draw_all(folder, data.problems)
    write_records(folder / "train" / f"{spec.name}.jsonl", data.records)
    write_records(folder / "questions" / f"{spec.name}.jsonl", _questions(spec, data, cots))
    return data.quality, data.problems


def _questions(spec: DomainSpec, data: DomainData, cots: int) -> Iterator[QuestionRecord]:
    """The domain's questions as given to a labeller: with its key and the images that its records show.

    A fault of the labels does not affect the questions: those of a `shuffled` domain are clean.
    """
    for i, (problem, key) in enumerate(zip(data.problems, data.keys, strict=True)):
        yield QuestionRecord(
            question=problem.question.text,
            images=data.records[i * cots].images,
            answer=str(key),
            options=(),
            domain=spec.name,
            answer_type="integer",
            precision=None,
            unit=None,
            id=f"{spec.name}-{i:05d}",
        )


def _write_suite(
    folder: Path,
    spec: SuiteSpec,
    file: str,
    questions: int,
    candidates: int,
    seed: int,
) -> tuple[None, list[Problem]]:
    problems, records = generate_suite(spec, questions=questions, candidates=candidates, seed=seed)
    _draw_all(folder, problems)
    write_records(folder / file, as_meta_records(records) if spec == META else records)
    return None, problems  # nothing is planted in a suite


def _write_pool(folder: Path, captions: int, seed: int) -> list[Problem]:
    pairs = generate_captions(captions, seed=seed)
    _draw_all(folder, [problem for problem, _ in pairs])
    rows: list[dict[str, str]] = [{"text": caption, "image": problem.image} for problem, caption in pairs]
    rows += [{"text": text} for text in generate_exercises()]
    with (folder / "pool.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return [problem for problem, _ in pairs]


def _draw_all(folder: Path, problems: Iterable[Problem]) -> None:
    for problem in problems:
        path = folder / problem.image
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(problem.scene).save(path)
