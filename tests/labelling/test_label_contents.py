"""Rollouts belong to what was asked: question, pictures, prefix, generator; verdicts to the answer too."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from replaced_files import bitmap, flip_last_bit, redraw, touch
from scripted import NumberChecker, ScriptedGenerator

from dreamprm.answers.base import Checker
from dreamprm.cli import main
from dreamprm.config.errors import UserError
from dreamprm.data.question_reader import read_question_records
from dreamprm.data.records import QuestionRecord
from dreamprm.generators.base import Request, Sampling
from dreamprm.labelling.jobs import Chain, Instructions, label_job, sample_job
from dreamprm.labelling.journal import Journal
from dreamprm.labelling.rollout_content import Contents
from dreamprm.labelling.rollouts import build_method
from dreamprm.labelling.scheduler import Scheduler, Task
from dreamprm.labelling.status import LabelStatus

FIVE = Instructions("five_stage", "headings")


@dataclass
class Asked:
    """Three questions with pictures and options, and a journal of their rollouts.

    Each question has 2 CoTs of 5 steps, and `label` 2 rollouts of each of 4 prefixes: 18 rollouts.
    """

    folder: Path
    command: str
    questions: list[QuestionRecord]

    @property
    def each(self) -> int:
        return 18 if self.command == "label" else 2

    def run(
        self, *, contents: Contents | None = None, checker: Checker | None = None, older: bool = False
    ) -> tuple[list[Request], LabelStatus]:
        """Run all questions; returns what the generator was asked."""
        generator = ScriptedGenerator()
        with Journal(self.folder / "j.jsonl") as journal:
            status = LabelStatus(journal, "none", stream=io.StringIO())
            runs = Scheduler(
                generator,
                Sampling(),
                checker or NumberChecker(),
                journal,
                status,
                seed=5,
                max_failed_fraction=0.0,
                contents=contents or Contents(),
                older_rollouts=older,
            )
            assert len(list(runs.run([self._task(q) for q in self.questions]))) == len(self.questions)
        return generator.requests, status

    def _task(self, question: QuestionRecord) -> Task[Any]:
        if self.command == "sample":
            start: Callable[..., Any] = partial(sample_job, question, FIVE, n=2)
        else:
            start = partial(label_job, question, FIVE, build_method("full", rollouts=2), cots=2)
        return Task(question, FIVE.prompt_of(question), start)


@pytest.fixture(params=["sample", "label"])
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Asked:
    questions = []
    for number in range(3):
        picture = bitmap(tmp_path / "pictures" / f"{number}.bmp", number)
        questions.append(
            QuestionRecord(
                f"what is {number} ?",
                (str(picture),),
                "7",
                ("6", "7"),
                "sums",
                None,
                None,
                None,
                f"q{number}",
            )
        )
    one = Asked(tmp_path, request.param, questions)
    requests, status = one.run()
    assert sum(request.n for request in requests) == status.rollouts == 3 * one.each
    return one


def another_picture(asked: Asked) -> None:
    redraw(asked.folder / "pictures/1.bmp", 77)


def pictures_swapped(asked: Asked) -> None:
    first, second, third = asked.questions
    asked.questions = [replace(first, images=second.images), replace(second, images=first.images), third]


def change(**fields: Any) -> Callable[[Asked], None]:
    def spoil(asked: Asked) -> None:
        asked.questions[1] = replace(asked.questions[1], **fields)

    return spoil


CHANGES: dict[str, tuple[Callable[[Asked], None], set[int]]] = {
    "another picture, same path, size and time": (another_picture, {1}),
    "two questions exchange their pictures": (pictures_swapped, {0, 1}),
    "no picture": (change(images=()), {1}),
    "the question": (change(question="what is 9 ?"), {1}),
    "an option": (change(options=("6", "7.0")), {1}),
    "the order of options": (change(options=("7", "6")), {1}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_asked_again_and_nothing_else(name: str, asked: Asked) -> None:
    spoil, numbers = CHANGES[name]
    before = (asked.folder / "j.jsonl").read_bytes()
    spoil(asked)
    requests, status = asked.run()
    assert {request.prompt for request in requests} == {
        FIVE.prompt_of(asked.questions[number]) for number in numbers
    }
    assert status.rollouts == len(numbers) * asked.each
    assert (status.reused, status.unused) == (3 - len(numbers), 2 * len(numbers))
    assert (asked.folder / "j.jsonl").read_bytes().startswith(before)  # what was paid for is kept
    assert asked.run()[1].rollouts == 0


def touched(asked: Asked) -> None:
    for path in (asked.folder / "pictures").iterdir():
        touch(path)


def pictures_moved(asked: Asked) -> None:
    (asked.folder / "pictures").rename(asked.folder / "drawings")
    asked.questions = [
        replace(one, images=tuple(path.replace("pictures", "drawings") for path in one.images))
        for one in asked.questions
    ]


def ids_shifted(asked: Asked) -> None:
    """As where a row is inserted at the beginning of a file whose rows are numbered."""
    asked.questions = [replace(one, id=f"q{number + 1}") for number, one in enumerate(asked.questions)]


def reordered(asked: Asked) -> None:
    asked.questions.reverse()


def another_domain(asked: Asked) -> None:
    asked.questions = [replace(one, domain="other") for one in asked.questions]


@pytest.mark.parametrize("how", [touched, pictures_moved, ids_shifted, reordered, another_domain])
def test_the_same_content_elsewhere_is_not_asked_again(how: Callable[[Asked], None], asked: Asked) -> None:
    how(asked)
    for _ in range(2):
        requests, status = asked.run()
        assert (requests, status.reused, status.unused) == ([], 3, 0)


def test_a_question_inserted_is_all_that_is_asked(asked: Asked) -> None:
    ids_shifted(asked)
    asked.questions.insert(0, replace(asked.questions[0], question="what is 9 ?", id="q0"))
    for rollouts in (asked.each, 0):
        requests, status = asked.run()
        assert sum(request.n for request in requests) == status.rollouts == rollouts
        assert status.unused == 0


def test_two_questions_of_one_content_have_rollouts_of_their_own(asked: Asked) -> None:
    asked.questions.append(replace(asked.questions[0], id="again"))
    assert asked.run()[1].rollouts == asked.each
    asked.questions = [replace(one, id=f"new {one.id}") for one in asked.questions]
    assert asked.run()[1].rollouts == 0


@pytest.mark.parametrize(
    "contents",
    [
        Contents({"model": "another"}),
        Contents({"generator": "a", "model": {"model.safetensors": "1"}}),
        Contents({"run_seed": 1}),
    ],
)
def test_another_generator_is_asked(contents: Contents, asked: Asked) -> None:
    assert asked.run(contents=contents)[1].rollouts == 3 * asked.each


class Counting(NumberChecker):
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, response: str, question: QuestionRecord) -> Any:
        self.asked.append(response)
        return super().check(response, question)


@pytest.mark.parametrize("what", ["answer", "checker"])
def test_another_answer_is_judged_without_asking_the_generator(what: str, asked: Asked) -> None:
    before = [json.loads(line) for line in (asked.folder / "j.jsonl").read_text().splitlines()]
    contents, number = None, 3
    if what == "answer":
        asked.questions[1] = replace(asked.questions[1], answer="8")
        number = 1
    else:
        contents = Contents(checker={"kind": "other"})
    checker = Counting()
    requests, status = asked.run(contents=contents, checker=checker)
    assert (requests, status.rollouts, len(checker.asked)) == ([], 0, number * asked.each)
    assert (status.reused, status.unused) == (3, 0)
    after = [json.loads(line) for line in (asked.folder / "j.jsonl").read_text().splitlines()]
    assert after[: len(before)] == before and len(after) == len(before) + number * asked.each
    # The texts are the same ones; with the other answer, right and wrong change places.
    texts = {(row["question"], row["cot"], row["step"], row["rollout"]): row for row in before}
    for row in after[len(before) :]:
        first = texts[row["question"], row["cot"], row["step"], row["rollout"]]
        assert (row["text"], row["tokens"]) == (first["text"], first["tokens"])
        assert (row["verdict"] == first["verdict"]) == (what == "checker")


def _chains(*texts: str) -> list[Chain]:
    chains = []
    for text in texts:
        steps = tuple(f"Step {part.strip()}" for part in text.split("Step ")[1:])
        ends = [text.index(step) + len(step) for step in steps]
        chains.append(Chain(text, steps, tuple(ends), None, "given"))
    return chains


def test_a_changed_step_of_a_given_chain_is_all_that_is_asked_again(tmp_path: Path) -> None:
    """Its own prefixes from that step on; those before it, and other chains, keep their rollouts."""
    end = "\nFinal answer: 7"
    one, other = "Step 1: a\nStep 2: b\nStep 3: c\nStep 4: d", "Step 1: e\nStep 2: f\nStep 3: g\nStep 4: h"
    question = QuestionRecord("what ?", (), "7", (), "sums", None, None, None, "q")
    found: list[list[str]] = []
    for first in (one, one, one.replace("2: b", "2: x"), one):
        generator = ScriptedGenerator()
        with Journal(tmp_path / "j.jsonl") as journal:
            start = partial(
                label_job,
                question,
                FIVE,
                build_method("full", rollouts=2),
                cots=2,
                chains=_chains(first + end, other + end),
            )
            runs = Scheduler(
                generator,
                Sampling(),
                NumberChecker(),
                journal,
                LabelStatus(journal, "none", stream=io.StringIO()),
                seed=5,
                max_failed_fraction=0.0,
            )
            assert len(list(runs.run([Task(question, "prompt", start)]))) == 1
        found.append(sorted(request.prefix for request in generator.requests))
    assert len(found[0]) == 6 and found[1] == found[3] == []
    assert found[2] == ["Step 1: a\nStep 2: x", "Step 1: a\nStep 2: x\nStep 3: c"]


def test_a_picture_replaced_while_it_is_asked_about_is_refused(asked: Asked) -> None:
    redraw(asked.folder / "pictures/1.bmp", 50)

    class Replacing(ScriptedGenerator):
        def complete_all(self, requests: Sequence[Request], sampling: Sampling) -> Any:
            redraw(asked.folder / "pictures/1.bmp", 51)
            return super().complete_all(requests, sampling)

    with Journal(asked.folder / "j.jsonl") as journal:
        status = LabelStatus(journal, "none", stream=io.StringIO())
        runs = Scheduler(
            Replacing(), Sampling(), NumberChecker(), journal, status, seed=5, max_failed_fraction=0.0
        )
        with pytest.raises(UserError, match=r"1\.bmp was changed while this command was running"):
            list(runs.run([asked._task(q) for q in asked.questions]))
    assert asked.run()[1].rollouts == asked.each


def _as_version_0_2_0(path: Path, questions: Sequence[QuestionRecord]) -> bytes:
    """The journal with the inputs of the time, which knew no images."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    by_id = {question.id: question for question in questions}
    cots = {(row["question"], row["cot"]): row["text"] for row in rows if not row["step"]}
    for row in rows:
        question = by_id[row["question"]]
        text = cots[row["question"], row["cot"]]
        prefix = text[: text.index(f"\nStep {row['step'] + 1}")] if row["step"] else ""
        judged = (question.answer, question.answer_type, question.precision, question.unit)
        whole = (FIVE.prompt_of(question), prefix, None, None, *judged)
        row["input"] = hashlib.sha1(repr(whole).encode()).hexdigest()[:16]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(content)
    return content


def test_older_rollouts_are_refused_and_kept_or_judged_again(asked: Asked) -> None:
    before = _as_version_0_2_0(asked.folder / "j.jsonl", asked.questions)
    with pytest.raises(
        UserError, match=r"version 0\.2\.0 or older .*set older_rollouts=reuse.*another output"
    ):
        asked.run()
    assert (asked.folder / "j.jsonl").read_bytes() == before
    checker = Counting()
    requests, status = asked.run(older=True, checker=checker)
    assert (requests, status.rollouts, len(checker.asked)) == ([], 0, 3 * asked.each)
    assert (status.reused, status.unused) == (3, 0)
    # From now on they say what they belong to.
    assert asked.run()[1].rollouts == 0
    assert (asked.folder / "j.jsonl").read_bytes().startswith(before)
    another_picture(asked)
    with pytest.raises(UserError, match="set older_rollouts=reuse"):
        asked.run()


@pytest.fixture
def world(small_world: Path, tmp_path: Path) -> Path:
    """A world of the test's own, with a configuration next to it."""
    shutil.copytree(small_world, tmp_path / "all" / "world")
    return tmp_path / "all"


def _label(root: Path, command: str = "label", *overrides: str) -> int:
    files = sorted(str(path) for path in (root / "world" / "questions").glob("*.jsonl"))
    content = {
        "output": str(root / "out"),
        "questions": {"files": files, "image_root": str(root / "world")},
        "generator": {"name": "sandbox", "folder": str(root / "world")},
        "label": {"method": "full", "rollouts": 2, "cots": 1},
        "sample": {"n": 2},
        "log": {"progress": "none"},
    }
    (root / "label.yaml").write_text(json.dumps(content))
    return main([command, str(root / "label.yaml"), *overrides])


SUMMARIES = {"label": "summary-steps.json", "sample": "summary-candidates.json"}


@pytest.mark.parametrize("command", SUMMARIES)
def test_the_commands_know_pictures_by_their_bytes(command: str, world: Path, capsys: Any) -> None:
    assert _label(world, command) == 0
    first = json.loads((world / "out" / SUMMARIES[command]).read_text())
    each = first["rollouts_sampled"] // 8
    rows = [
        json.loads(line)
        for path in (world / "world" / "questions").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    picture = rows[0]["image"]
    affected = sum(row["image"] == picture for row in rows)
    flip_last_bit(world / "world" / picture)
    capsys.readouterr()
    assert _label(world, command) == 0
    told = json.loads((world / "out" / SUMMARIES[command]).read_text())
    assert told["rollouts_sampled"] == affected * each
    assert told["questions_in_journal"] == 8 - affected and told["cots_not_used"] > 0
    assert (
        f"{8 - affected} of 8 questions had rollouts of their content in the journal; {affected} were new or "
        f"had changed; {told['cots_not_used']} CoTs there are of other content and were not used"
    ) in capsys.readouterr().out


@pytest.mark.parametrize("command", SUMMARIES)
def test_a_moved_and_touched_folder_costs_nothing(command: str, world: Path) -> None:
    assert _label(world, command) == 0
    moved = world.rename(world.with_name("moved"))
    for path in moved.rglob("*"):
        if path.is_file():
            touch(path)
    assert _label(moved, command) == 0
    told = json.loads((moved / "out" / SUMMARIES[command]).read_text())
    assert (told["rollouts_sampled"], told["questions_in_journal"], told["cots_not_used"]) == (0, 8, 0)


def test_another_world_at_the_same_path_is_refused_by_its_file(world: Path, capsys: Any) -> None:
    assert _label(world) == 0
    before = (world / "out" / "rollouts.jsonl").read_bytes()
    (scenes,) = (path for path in (world / "world").rglob("*") if "scenes" in path.name)
    scenes.write_bytes(scenes.read_bytes().replace(b"{", b"{ ", 1))
    assert _label(world) == 2
    name = scenes.relative_to(world / "world").as_posix()
    assert f"other settings (generator.folder/{name} has other content)" in capsys.readouterr().err
    # Without the saved configuration, nothing of it is taken for the other world's.
    (world / "out" / "config-rollouts.yaml").unlink()
    assert _label(world) == 0
    told = json.loads((world / "out" / "summary-steps.json").read_text())
    assert told["questions_in_journal"] == 0 and told["rollouts_sampled"] > 0
    assert (world / "out" / "rollouts.jsonl").read_bytes().startswith(before)


def test_settings_are_known_without_the_saved_configuration(world: Path) -> None:
    assert _label(world) == 0
    for override in (
        "generator.temperature=0.5",
        "seed=4",
        "generator.errors=other",
        "generator.max_tokens=99",
    ):
        (world / "out" / "config-rollouts.yaml").unlink()
        assert _label(world, "label", override) == 0
        told = json.loads((world / "out" / "summary-steps.json").read_text())
        assert told["questions_in_journal"] == 0, override


@pytest.mark.parametrize("command", SUMMARIES)
def test_older_rollouts_are_refused_before_anything_is_written(
    command: str, world: Path, capsys: Any
) -> None:
    assert _label(world, command) == 0
    name = {"label": "rollouts", "sample": "samples"}[command]
    path = world / "out" / f"{name}.jsonl"
    files = [str(one) for one in sorted((world / "world" / "questions").glob("*.jsonl"))]
    questions = [
        question for file in files for question in read_question_records(file, image_root=world / "world")
    ]
    before = _as_version_0_2_0(path, questions)
    made = {one: one.read_bytes() for one in (world / "out").glob("*.jsonl")}
    assert _label(world, command) == 2
    assert "set older_rollouts=reuse" in capsys.readouterr().err
    assert {one: one.read_bytes() for one in (world / "out").glob("*.jsonl")} == made
    assert _label(world, command, "older_rollouts=reuse") == 0
    assert {one: one.read_bytes() for one in made if one != path} == {
        one: content for one, content in made.items() if one != path
    }
    assert path.read_bytes().startswith(before)
    assert _label(world, command) == 0
    assert json.loads((world / "out" / SUMMARIES[command]).read_text())["rollouts_sampled"] == 0
    assert _label(world, command, "older_rollouts=maybe") == 2
    assert "older_rollouts must be one of refuse, reuse" in capsys.readouterr().err
