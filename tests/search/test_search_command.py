"""`dreamprm search` from questions to records, and `dreamprm evaluate-search` on them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dreamprm.cli import main
from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.data.readers import read_candidate_records
from dreamprm.evaluation.bootstrap import Bootstrap
from dreamprm.evaluation.evaluate import run_evaluate
from dreamprm.evaluation.search_curves import curve, read_search, run_evaluate_search
from dreamprm.evaluation.search_settings import EvaluateSearchConfig
from dreamprm.evaluation.settings import EvaluateConfig
from dreamprm.search.search import run_search
from dreamprm.search.settings import SearchConfig


def arguments(world: Path, run_folder: Path, output: Path, *more: str) -> list[str]:
    return [
        f"output={output}",
        *(f"questions.files=[{world}/questions.jsonl]", f"questions.image_root={world}"),
        *("generator.name=sandbox", f"generator.folder={world}", f"scorer.model={run_folder}"),
        *("together=4", "budget.n=8", "log.progress=none", *more),
    ]


def run(*given: Any) -> None:
    run_search(load_config(SearchConfig, None, arguments(*given)))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def beam(world: Path, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searches") / "beam"
    run(world, run_folder, folder, "method.name=beam")
    return folder


def test_the_records_are_candidate_records_with_what_was_chosen(beam: Path, world: Path) -> None:
    records = list(read_candidate_records(beam / "candidates.jsonl"))
    written, summary = rows(beam), json.loads((beam / "summary.json").read_text())
    assert [record.id for record in records] == [f"q{number}" for number in range(6)]
    right = 0
    for record, row in zip(records, written, strict=True):
        found = row["search"]
        assert found["method"] == "beam" and found["limit"] is None
        assert record.answer and Path(record.images[0]).resolve().is_relative_to(world)
        for number, one in enumerate(record.candidates):
            assert len(one.scores["tiny-run"]) == len(one.steps) == 5
            assert one.scores["chosen"] == (float(number == found["chosen"]),)
            assert one.correct == (one.final_answer == record.answer)
        means = [sum(one.scores["tiny-run"]) / 5 for one in record.candidates]
        assert means[found["chosen"]] == max(means)
        right += bool(record.candidates[found["chosen"]].correct)
    assert summary["accuracy"] == right / 6 and summary["questions"]["done"] == 6
    for total, name in (
        (sum(row["search"][name] for row in written), name) for name in ("generated", "scored")
    ):
        assert summary["total"][name] == total > 0
        assert summary["per_question"][name] == round(total / 6, 3)
    assert summary["tokens_generated_now"] == summary["total"]["generated"]
    assert summary["tokens_scored_now"] == summary["total"]["scored"]


@pytest.mark.parametrize("method", ["beam", "best_of_n"])
def test_a_run_that_was_killed_ends_with_the_same_bytes(
    method: str, world: Path, run_folder: Path, tmp_path: Path
) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    run(world, run_folder, whole, f"method.name={method}")
    lines = (whole / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for kept in (1, len(lines) // 2, len(lines) - 1):
        again.mkdir()
        (again / "journal.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][:30])
        run(world, run_folder, again, f"method.name={method}")
        for name in ("journal.jsonl", "candidates.jsonl"):
            assert (again / name).read_bytes() == (whole / name).read_bytes()
        shutil.rmtree(again)


def test_a_run_that_was_stopped_by_a_signal_says_how_to_resume(
    world: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from dreamprm.sandbox.generator import SandboxGenerator

    complete_all, calls = SandboxGenerator.complete_all, [0]

    def stop(self: Any, *asked: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return complete_all(self, *asked)

    monkeypatch.setattr(SandboxGenerator, "complete_all", stop)
    config = tmp_path / "search.yaml"
    config.write_text("method: {name: dvts}\n")
    given = ["search", str(config), *arguments(world, run_folder, tmp_path / "out")]
    assert main(given) == 130
    assert "resume from the last completion with: dreamprm search" in capsys.readouterr().err
    assert len((tmp_path / "out" / "journal.jsonl").read_bytes().splitlines()) == 2
    assert main(given) == 0
    assert (tmp_path / "out" / "accuracy_over_tokens.png").stat().st_size > 10_000
    run(world, run_folder, tmp_path / "whole", "method.name=dvts")
    assert (tmp_path / "out" / "candidates.jsonl").read_bytes() == (
        tmp_path / "whole" / "candidates.jsonl"
    ).read_bytes()


def test_a_budget_is_kept_and_counted(world: Path, run_folder: Path, tmp_path: Path, capsys: Any) -> None:
    run(world, run_folder, tmp_path, "budget.generated_tokens=90", "method.error=null")
    summary = json.loads((tmp_path / "summary.json").read_text())
    found = [row["search"] for row in rows(tmp_path)]
    assert all(one["generated"] <= 90 and one["limit"] == "generated_tokens" for one in found)
    assert summary["questions_at_token_limit"] == 6 and summary["questions_over_token_limit"] == 0
    assert "questions that ended at budget.generated_tokens: 6" in capsys.readouterr().out


def test_evaluate_reads_the_records(beam: Path, tmp_path: Path) -> None:
    settings = [f"suites.beam={beam}/candidates.jsonl", "uneven=own", "examples.count=0", "resamples=100"]
    run_evaluate(load_config(EvaluateConfig, None, [f"output={tmp_path}", *settings]))
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    accuracy = json.loads((beam / "summary.json").read_text())["accuracy"]
    assert figures["best_of_n"]["chosen"]["beam"] == pytest.approx(accuracy)


def test_searches_are_compared_over_tokens(
    beam: Path, world: Path, run_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    run(world, run_folder, tmp_path / "drawn", "method.error=null")
    run_evaluate_search(EvaluateSearchConfig([str(tmp_path / "drawn"), str(beam)], resamples=100))
    page = capsys.readouterr().out
    figures = json.loads((tmp_path / "drawn" / "accuracy_over_tokens.json").read_text())
    for name, folder in (("drawn", tmp_path / "drawn"), ("beam", beam)):
        summary = json.loads((folder / "summary.json").read_text())
        one = figures["searches"][name]
        assert one["accuracy"]["value"] == pytest.approx(summary["accuracy"])
        assert one["generated"]["value"] == pytest.approx(summary["per_question"]["generated"], abs=1e-3)
        last = one["curve"][-1]
        assert last["accuracy"]["value"] == one["accuracy"]["value"]
        assert last["generated"] == pytest.approx(one["generated"]["value"])
        assert name in page
    (difference,) = figures["differences"]
    values = {name: one["accuracy"]["value"] for name, one in figures["searches"].items()}
    assert difference["value"] == pytest.approx(values["beam"] - values["drawn"])


def test_the_curve_is_that_of_stopping_earlier(tmp_path: Path) -> None:
    def record(number: int, course: list[list[int]], generated: int) -> str:
        candidates = [{"text": "x", "correct": correct} for correct in (False, True)]
        search = {"generated": generated, "scored": 5, "course": course, "limit": None}
        return json.dumps({"id": f"q{number}", "candidates": candidates, "search": search}) + "\n"

    path = tmp_path / "candidates.jsonl"
    path.write_text(record(0, [[10, 5, 0], [20, 9, 1]], 30) + record(1, [[20, 5, 1]], 20))
    questions = read_search(path)
    points = [
        (one["limit"], one["generated"], one["accuracy"]["value"])
        for one in curve(questions, Bootstrap(resamples=100))
    ]
    assert points == [(10, 10.0, 0.0), (20, 20.0, 1.0), (30, 25.0, 1.0)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ('{"id": "a"}', "'search' is missing"),
        ('{"id": "a", "search": {"generated": 3}}', "search"),
        ('{"id": "a", "candidates": [], "search": {"generated": 3, "scored": 1, "course": []}}', "empty"),
        (
            '{"id": "a", "candidates": [], "search": {"generated": 3, "scored": 1, "course": [[9, 1, 0]]}}',
            "search.course",
        ),
        ("", "it holds no records"),
    ],
)
def test_records_of_no_search_are_refused(damage: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "candidates.jsonl").write_text(damage)
    with pytest.raises(DataError, match=message):
        read_search(tmp_path / "candidates.jsonl")


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no candidates\.jsonl; give a folder that `dreamprm search`"):
        run_evaluate_search(EvaluateSearchConfig([str(tmp_path)]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("method.name=bean", "did you mean 'beam'"),
        ("method.expand=0", "expand"),
        ("scorer_name=chosen", "the mark of the chosen chain"),
        ("budget.generated_tokens=0", "budget.generated_tokens must be >= 1"),
        ("questions.files=[]", "questions.files must name at least one file"),
        ("together=2000000", "together=2,000,000 are made at once"),
    ],
)
def test_bad_settings_are_refused(given: str, message: str, world: Path, tmp_path: Path) -> None:
    settings = ["method.name=beam"] if given.startswith("method.expand") else []
    with pytest.raises(UserError, match=message):
        load_config(SearchConfig, None, arguments(world, tmp_path, tmp_path, *settings, given))


def test_too_many_failures_stop_the_run(world: Path, run_folder: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (world / "questions.jsonl").read_text().splitlines()]
    for row in rows[:2]:
        row["question"] = "how many ?"
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = f"questions.files=[{tmp_path}/questions.jsonl]"
    with pytest.raises(UserError, match=r"1 of 6 questions failed, more than max_failed_fraction=0\.05"):
        run(world, run_folder, tmp_path / "out", given)
    run(world, run_folder, tmp_path / "out", given, "max_failed_fraction=0.4")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["questions"] == {"total": 6, "done": 4, "failed": 2}
    assert list(summary["failed_questions"]) == ["q0", "q1"]
