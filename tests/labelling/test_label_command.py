"""`dreamprm sample` and `dreamprm label` as a user runs them, on a sandbox world."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scripted_judge import ScriptedJudge

from dreamprm.cli import main
from dreamprm.data import read_candidate_records, read_meta_records, read_step_records
from dreamprm.data.question_reader import read_question_records
from dreamprm.generators import GENERATORS, generator_settings
from dreamprm.generators.prompting import question_text
from dreamprm.labelling.commands import SERVING
from dreamprm.labelling.question_files import open_candidates
from dreamprm.labelling.settings import QuestionSettings


@pytest.fixture
def config(small_world: Path, tmp_path: Path) -> Path:
    files = sorted(str(path) for path in (small_world / "questions").glob("*.jsonl"))
    assert len(files) == 2
    path = tmp_path / "label.yaml"
    path.write_text(
        json.dumps(
            {
                "output": str(tmp_path / "out"),
                "questions": {"files": files, "image_root": str(small_world)},
                "generator": {"name": "sandbox", "folder": str(small_world)},
                "label": {"method": "full", "rollouts": 3, "cots": 2},
                "sample": {"n": 3},
                "log": {"progress": "none"},
            }
        )
    )
    return path


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _summary(out: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / f"summary-{name}.json").read_text())
    return loaded


def test_labels_are_step_records_that_can_train(config: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert main(["label", str(config)]) == 0
    records = list(read_step_records(out / "steps.jsonl", check_images=True))
    assert len(records) == 8 * 2
    assert Counter(record.domain for record in records) == {"set-b": 8, "set-c": 8}
    journal = _rows(out / "rollouts.jsonl")
    assert len(journal) == 8 * (2 + 2 * 4 * 3)
    for record in records:
        question, _, cot = record.id.rpartition("-")
        assert len(record.steps) == 5 and record.rollouts == (3, 3, 3, 3, 1)
        for step, label in enumerate(record.labels[:4], start=1):
            right = [
                row["verdict"] == "right"
                for row in journal
                if (row["question"], row["cot"], row["step"]) == (question, int(cot), step)
            ]
            assert len(right) == 3 and label == sum(right) / 3
    rows = _rows(out / "steps.jsonl")
    assert all(row["split"] == "headings" and row["malformed"] == [] for row in rows)
    assert all(row["labels"][-1] == float(row["correct"]) for row in rows)
    assert not any(Path(row["image"]).is_absolute() for row in rows)
    summary = _summary(out, "steps")
    assert summary["questions"] == {"total": 8, "done": 8, "failed": 0}
    assert (summary["cots"], summary["labelled_steps"]) == (16, 64)
    assert summary["rollouts_per_labelled_step"] == 3.0
    tokens = sum(row["tokens"] for row in journal if row["step"])
    assert summary["tokens_per_labelled_step"] == round(tokens / 64, 2)
    shown = capsys.readouterr().out
    assert "8 of 8 questions done, 0 failed; 208 rollouts (0 sampled before)" in shown
    assert f"{out / 'steps.jsonl'}: 16 records" in shown


def test_samples_are_candidate_records_that_are_labelled_next(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["sample", str(config)]) == 0
    records = list(read_candidate_records(out / "candidates.jsonl"))
    keys = {
        record.id: record.answer
        for record in (
            record
            for path in sorted(config_files(config))
            for record in read_question_records(
                path, image_root=json.loads(config.read_text())["questions"]["image_root"]
            )
        )
    }
    assert [len(record.candidates) for record in records] == [3] * 8
    assert all(
        candidate.correct == (candidate.final_answer == keys[record.id]) and len(candidate.steps) == 5
        for record in records
        for candidate in record.candidates
    )
    assert {candidate.generator for record in records for candidate in record.candidates} == {"sandbox"}

    assert main(["label", str(config), f"label.candidates={out / 'candidates.jsonl'}"]) == 0
    labelled = {record.id: record for record in read_step_records(out / "steps.jsonl")}
    assert len(labelled) == 24
    for record in records:
        for number, candidate in enumerate(record.candidates):
            one = labelled[f"{record.id}-{number}"]
            assert one.steps == candidate.steps and one.labels[-1] == float(bool(candidate.correct))
    # The candidates are judged by what their file says; only prefixes were sampled.
    assert _summary(out, "steps")["rollouts_sampled"] == 24 * 4 * 3
    # Without question files, question and answer come from the records themselves.
    (config.parent / "alone").mkdir()
    assert (
        main(
            [
                "label",
                str(config),
                f"label.candidates={out / 'candidates.jsonl'}",
                "questions.files=[]",
                "questions.image_root=null",
                f"output={tmp_path / 'alone'}",
            ]
        )
        == 0
    )
    alone = {record.id: record.labels for record in read_step_records(tmp_path / "alone" / "steps.jsonl")}
    assert alone == {id: record.labels for id, record in labelled.items()}


def config_files(config: Path) -> list[str]:
    files: list[str] = json.loads(config.read_text())["questions"]["files"]
    return files


def test_samples_as_meta_records(config: Path, tmp_path: Path) -> None:
    assert main(["sample", str(config), "sample.form=meta", "sample.n=2"]) == 0
    records = list(read_meta_records(tmp_path / "out" / "meta.jsonl", check_images=True))
    assert len(records) == 16 and all(len(record.steps) == 5 for record in records)
    assert {record.correct for record in records} == {True, False}


def test_a_second_run_repeats_nothing(config: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["label", str(config)]) == 0
    first = (tmp_path / "out" / "steps.jsonl").read_text()
    capsys.readouterr()
    assert main(["label", str(config)]) == 0
    assert (tmp_path / "out" / "steps.jsonl").read_text() == first
    assert "0 rollouts (208 sampled before)" in capsys.readouterr().out
    # More rollouts than before: only what is missing is sampled.
    assert main(["label", str(config), "label.rollouts=4"]) == 0
    assert _summary(tmp_path / "out", "steps")["rollouts_sampled"] == 64


def test_shards_are_disjoint_and_their_concatenation_is_the_whole(config: Path, tmp_path: Path) -> None:
    assert main(["label", str(config), f"output={tmp_path / 'whole'}"]) == 0
    whole = {row["id"]: row for row in _rows(tmp_path / "whole" / "steps.jsonl")}
    parts: list[dict[str, Any]] = []
    for i in range(3):
        assert main(["label", str(config), f"label.shard={i}/3"]) == 0
        parts += _rows(tmp_path / "out" / f"steps-{i:05d}-of-00003.jsonl")
    assert len(parts) == len(whole) == 16
    assert {row["id"]: row for row in parts} == whole


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("generator.temperature=0.5", "generator.temperature was 1.0, is 0.5"),
        ("prompt=plain", "prompt was 'five_stage', is 'plain'"),
        ("generator.errors=other", "generator.errors was 'training', is 'other'"),
        ("seed=1", "seed was 0, is 1"),
    ],
)
def test_a_run_of_other_settings_is_refused(override: str, message: str, config: Path, capsys: Any) -> None:
    assert main(["label", str(config)]) == 0
    capsys.readouterr()
    assert main(["label", str(config), override]) == 2
    shown = capsys.readouterr().err
    assert message in shown and "choose another output" in shown


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["label.shard=3/3"], "label: shard i/n must have 0 <= i < n, got 3/3"),
        (["label.shard=half"], "label: shard must be written i/n, such as 0/8, got 'half'"),
        (["label.methd=full"], "methd"),
        (['generator.stop=[""]'], "generator: stop contains an empty text"),
        (["generator.temperature=.inf"], "generator.temperature must be finite and >= 0, got inf"),
        (["label.rollouts=0"], "label: label method 'full': rollouts must be >= 1, got 0"),
        (["generator.name=sandbx"], "unknown generator 'sandbx', did you mean 'sandbox'?"),
        (["generator.seeed=1"], "has no setting 'seeed', did you mean 'seed'?"),
        (["questions.files=[]"], "questions.files must name at least one file"),
        (["questions.files=[nowhere.jsonl]"], "no such file: nowhere.jsonl"),
        (["answers.kind=judge"], "answers: kind=judge needs judge.name"),
        (["answers.kind=guess"], "guess"),
        (["label.candidates=nowhere.jsonl"], "no such file: nowhere.jsonl"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    overrides: list[str], message: str, config: Path, tmp_path: Path, capsys: Any
) -> None:
    assert main(["label", str(config), *overrides]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "steps.jsonl").exists()


def test_a_checker_that_does_not_suit_a_question_is_told_and_what_was_sampled_is_kept(
    config: Path, tmp_path: Path, capsys: Any
) -> None:
    assert main(["label", str(config), "answers.kind=choice"]) == 2
    assert "has no options; use another checker: answers.kind=auto" in capsys.readouterr().err
    kept = _rows(tmp_path / "out" / "rollouts.jsonl")
    assert kept and {row["verdict"] for row in kept} == {"unjudged"}
    # Its texts belong to its settings, judged or not.
    assert main(["label", str(config), "generator.temperature=0.5"]) == 2
    assert "generator.temperature was 1.0, is 0.5" in capsys.readouterr().err


def test_a_judge_is_asked_once_for_equal_answers_and_not_again_by_the_next_run(
    config: Path, small_world: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rollouts of one question end in few different answers."""
    judge = ScriptedJudge(["Verdict: right"])
    monkeypatch.setattr(
        "dreamprm.generators.cached_generator.build_generator", lambda name, **settings: judge
    )
    asks = ["answers.kind=judge", "answers.judge.name=sandbox", f"answers.judge.folder={small_world}"]
    assert main(["label", str(config), *asks]) == 0
    rows = _rows(tmp_path / "out" / "rollouts.jsonl")
    answers = {(row["question"], row["answer"]) for row in rows}
    assert len(rows) == 208 and {row["verdict"] for row in rows} == {"right"}
    assert len(set(judge.asked)) == len(judge.asked) == len(answers) < 208
    said = capsys.readouterr().out
    assert f"judge: {len(answers)} requests were answered with {5 * len(answers)} tokens; 0 replies" in said
    # The rollouts are lost, the judge's replies are there.
    (tmp_path / "out" / "rollouts.jsonl").unlink()
    assert main(["label", str(config), *asks]) == 0
    assert f"judge: 0 requests were answered with 0 tokens; {len(answers)} replies" in capsys.readouterr().out
    assert len(judge.asked) == len(answers)
    assert len(_rows(tmp_path / "out" / "judge-rollouts.jsonl")) == len(answers)


def test_candidates_of_strange_questions_and_double_ids_are_refused(
    config: Path, tmp_path: Path, capsys: Any
) -> None:
    assert main(["sample", str(config), "sample.n=1"]) == 0
    path = tmp_path / "out" / "candidates.jsonl"
    rows = _rows(path)
    moved = path.with_name("moved.jsonl")
    moved.write_text("".join(json.dumps(row | {"id": f"x{row['id']}"}) + "\n" for row in rows))
    capsys.readouterr()
    assert main(["label", str(config), f"label.candidates={moved}"]) == 2
    assert "8 of 8 records have an id that no question in questions.files has" in capsys.readouterr().err
    # Also where only the first questions are wanted: the candidates are of other questions all the same.
    assert main(["label", str(config), f"label.candidates={moved}", "questions.limit=2"]) == 2
    assert "8 of 8 records have an id that no question in questions.files has" in capsys.readouterr().err
    moved.write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    assert main(["label", str(config), f"label.candidates={moved}"]) == 2
    assert f"two records have the id {rows[0]['id']!r}" in capsys.readouterr().err


def test_candidates_of_another_version_of_a_question_are_told(
    config: Path, tmp_path: Path, capsys: Any
) -> None:
    assert main(["sample", str(config), "sample.n=1"]) == 0
    path = tmp_path / "out" / "candidates.jsonl"
    rows = _rows(path)
    label = ["label", str(config), f"label.candidates={path}"]
    assert main(label) == 0
    assert "another question text" not in capsys.readouterr().out
    path.write_text("".join(json.dumps(row) + "\n" for row in [rows[0] | {"question": "Which?"}, *rows[1:]]))
    assert main(label) == 0
    told = "1 of 8 records have another question text than questions.files has under their id; the first is "
    assert told + repr(rows[0]["id"]) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "options", "shown"),
    [
        ("B", ("red", "4 cm"), "Which?\nOptions:\n(A) red\n(B) 4 cm"),
        ("B", ("A", "B", "C"), "Which?\nOptions: A, B, C (shown in the image)"),
        ("B", (), "Which?\nOptions:\n(B) red\n(A) 4 cm"),  # not as we write them
        ("AB", (), "Which?\nOptions:\n(A) red\n(B) 4 cm"),
        ("red", (), "Which?"),
    ],
)
def test_candidates_that_stand_alone_have_the_options_that_their_text_shows(
    answer: str, options: tuple[str, ...], shown: str, tmp_path: Path
) -> None:
    """With them "(B) 4 cm" is right where "B" is, and the prompt is the one that the options make."""
    path = tmp_path / "candidates.jsonl"
    path.write_text(
        json.dumps(
            {
                "id": "q",
                "question": shown,
                "images": [],
                "benchmark": "b",
                "answer": answer,
                "candidates": [{"text": "Final answer: B"}],
            }
        )
        + "\n"
    )
    (question,), _ = open_candidates(str(path), QuestionSettings(allow_no_image=True), [])
    assert (question.options, question.answer) == (options, answer)
    assert question_text(question.question, question.options) == shown


@pytest.mark.parametrize("fits", ["nothing", "half of the journal", "the journal"])
def test_a_full_disk_is_told_and_costs_no_rollout(fits: str, config: Path, tmp_path: Path) -> None:
    command = ["sample", str(config), "questions.limit=2", "sample.n=10"]
    assert main([*command, f"output={tmp_path / 'calm'}"]) == 0
    journal, records = (
        (tmp_path / "calm" / name).stat().st_size for name in ("samples.jsonl", "candidates.jsonl")
    )
    assert 0 < journal < records  # each text stands in the records twice: whole, and in steps
    longest = {"nothing": 1, "half of the journal": journal // 2, "the journal": (journal + records) // 2}
    code = (
        "import resource, sys; from dreamprm.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY));"
        "sys.exit(main(sys.argv[2:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(longest[fits]), *command],
        capture_output=True,
        text=True,
        check=False,
        # `make coverage` counts the lines of processes that tests start; its file would not fit either.
        env={name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"},
    )
    assert done.returncode == 2 and "cannot be written ([Errno 27]" in done.stderr
    assert "Traceback" not in done.stderr and "the same command again" in done.stderr
    kept = (tmp_path / "out" / "samples.jsonl").read_text().count("\n")
    assert kept == 20 if fits == "the journal" else 0 <= kept < 20
    assert main(command) == 0
    assert len(_rows(tmp_path / "out" / "samples.jsonl")) == 20
    assert _summary(tmp_path / "out", "candidates")["rollouts_sampled"] == 20 - kept


def test_a_killed_run_goes_on(config: Path, tmp_path: Path) -> None:
    """Killed without warning again and again, it repeats no rollout, and none that was written is lost."""
    out = tmp_path / "out"
    written: list[bytes] = []
    command = [sys.executable, "-m", "dreamprm", "label", str(config), "label.cots=8"]
    seen = 0
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            path = out / "rollouts.jsonl"
            deadline = time.monotonic() + 120
            while not path.exists() or path.stat().st_size <= seen:
                assert time.monotonic() < deadline
                if process.poll() is not None:
                    break
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        seen = path.stat().st_size
        whole, _, _ = path.read_bytes().rpartition(b"\n")  # what follows was cut by the kill
        written.append(whole)
    assert main(["label", str(config), "label.cots=8"]) == 0
    assert len(written[0]) > 0 and written[1].startswith(written[0])
    assert path.read_bytes().startswith(written[1])
    rows = _rows(out / "rollouts.jsonl")
    keys = Counter((row["question"], row["cot"], row["step"], row["rollout"]) for row in rows)
    assert set(keys.values()) == {1} and len(keys) == 8 * (8 + 8 * 4 * 3)


def test_sigterm_keeps_what_is_there_and_says_how_to_go_on(config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dreamprm", "label", str(config), "label.cots=4000"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        path = tmp_path / "out" / "rollouts.jsonl"
        deadline = time.monotonic() + 120
        while not path.exists() or not path.stat().st_size:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.terminate()
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert errors.endswith(
        f"dreamprm: interrupted; resume from the last rollout with: dreamprm label {config} label.cots=4000\n"
    )
    assert "of 8 questions done" in output
    assert (tmp_path / "out" / "summary-steps.json").exists()


def test_every_serving_setting_is_one_of_some_generator() -> None:
    known = {key for name in GENERATORS for key in generator_settings(name)}
    assert set(SERVING) <= known
    assert not {"model", "folder", "errors", "prefix"} & set(SERVING)


def test_an_estimate_for_own_chains_is_warned_of_where_they_are_not(
    config: Path, tmp_path: Path, capsys: Any
) -> None:
    assert main(["sample", str(config), "sample.n=1"]) == 0
    path = tmp_path / "out" / "candidates.jsonl"
    content = json.loads(config.read_text())
    content["label"] = {"method": "adaptive", "candidates": str(path)}
    config.write_text(json.dumps(content))
    capsys.readouterr()
    assert main(["label", str(config)]) == 0
    assert "label.estimate=share" not in capsys.readouterr().out
    foreign = path.with_name("foreign.jsonl")
    foreign.write_text(path.read_text().replace('"generator": "sandbox"', '"generator": "another"'))
    again = [f"label.candidates={foreign}", f"output={tmp_path / 'again'}"]
    assert main(["label", str(config), *again]) == 0
    assert "were written by sandbox, which continues them" in capsys.readouterr().out
    assert main(["label", str(config), *again, "label.estimate=share"]) == 0
    assert "label.estimate=share" not in capsys.readouterr().out
