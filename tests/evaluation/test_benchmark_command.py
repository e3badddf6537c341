"""`dreamprm benchmark`, from a configuration to its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published_layouts import images, mathv_rows, save, wemath_rows
from shared_data import shared_file

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.data import read_candidate_records
from dreamprm.data.question_reader import read_question_records
from dreamprm.evaluation.benchmark import run_benchmark
from dreamprm.evaluation.benchmark_settings import BenchmarkConfig


def run(*arguments: str) -> None:
    run_benchmark(load_config(BenchmarkConfig, None, arguments))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    images(tmp_path, "images/4.png", "images/5.png")
    save(tmp_path / "testmini.jsonl", mathv_rows())
    rows = [{"id": "4", "response": "\\boxed{6}"}, {"id": "5", "response": "\\boxed{A}"}]
    save(tmp_path / "gemini.jsonl", rows)
    save(tmp_path / "qwen.jsonl", rows[:1])
    return tmp_path


def test_real_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    testmini, outputs = shared_file("mathvision/testmini.jsonl"), shared_file("mathvision/outputs")
    run("name=mathvision", f"questions={testmini}", f"predictions=[{outputs}]", f"output={tmp_path}/out")
    assert len(list(read_candidate_records(tmp_path / "out/candidates.jsonl"))) == 304
    content = json.loads((tmp_path / "out/scores.json").read_text())
    figures = content["generators"]["qwen-vl-max"]["figures"]
    assert figures["accuracy"][0] == pytest.approx(42 / 304)
    assert content["generators"]["gemini-pro-vision"]["counts"] == {"right": 44, "wrong": 260}
    page = (tmp_path / "out/scores.md").read_text()
    assert "| figure | gpt-3.5-turbo-0125 | gpt-4-0125-preview | gemini-pro-vision |" in page
    assert "| accuracy | 10.2 [" in page and "| subject/arithmetic | " in page
    assert "qwen-vl-max: accuracy 13.8% [" in capsys.readouterr().out


def test_questions_alone(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("name=mathvision", f"questions={published}/testmini.jsonl", f"output={published}/out")
    records = list(read_question_records(published / "out/questions.jsonl"))
    assert [record.id for record in records] == ["mathvision-4", "mathvision-5"]
    assert capsys.readouterr().out == f"wrote 2 question records to {published}/out/questions.jsonl\n"
    assert [path.name for path in (published / "out").iterdir()] == ["questions.jsonl"]


def test_unanswered_questions_are_wrong_where_told(published: Path) -> None:
    given = (
        "name=mathvision",
        f"questions={published}/testmini.jsonl",
        f"predictions=[{published}/gemini.jsonl,{published}/qwen.jsonl]",
        f"output={published}/out",
    )
    with pytest.raises(DataError, match="question 5 lacks candidates"):
        run(*given)
    run(*given, "incomplete=keep")
    content = json.loads((published / "out/scores.json").read_text())["generators"]
    assert {name: (one["unanswered"], one["figures"]["accuracy"][0]) for name, one in content.items()} == {
        "gemini": (0, 0.5),
        "qwen": (1, 0.5),
    }
    assert "qwen: 1 questions without an answer count as wrong." in (published / "out/scores.md").read_text()


def test_candidates_are_checked_anew_and_stay_what_they_are(published: Path) -> None:
    given = ("name=mathvision", f"questions={published}/testmini.jsonl", "rules=stated")
    run(*given, f"predictions=[{published}/gemini.jsonl]", f"output={published}/first")
    rows = [json.loads(line) for line in (published / "first/candidates.jsonl").read_text().splitlines()]
    for row in rows:
        row["candidates"][0]["correct"] = None
        row["candidates"][0]["scores"] = {"prm": {"log_odds": [1.5]}}
    save(published / "sampled.jsonl", rows)
    run(*given, f"candidates={published}/sampled.jsonl", f"output={published}/second")
    records = list(read_candidate_records(published / "second/candidates.jsonl", image_root=published))
    assert [record.candidates[0].correct for record in records] == [True, False]
    assert records[0].candidates[0].scores == {"prm": (1.5,)}


def test_the_strict_score_leads_for_wemath(tmp_path: Path) -> None:
    rows = [row | {"response": "Answer: A"} for row in wemath_rows()]
    run(
        "name=wemath",
        f"questions={save(tmp_path / 'q.json', wemath_rows())}",
        "images=ignore",
        f"predictions=[{save(tmp_path / 'm.json', rows)}]",
        f"output={tmp_path}/out",
    )
    page = (tmp_path / "out/scores.md").read_text()
    assert "bootstrap intervals over problems" in page
    assert page.index("| score_strict | 100.0 [100.0, 100.0] |") < page.index("| ik | 0.0 ")
    # No problem is a rate's denominator where nothing is rote: the rates are of right wholes, all mastered.
    assert "| rm_strict_rate | 0.0 [0.0, 0.0] |" in page


def test_what_is_refused(published: Path) -> None:
    given = ("name=mathvision", f"questions={published}/testmini.jsonl", f"output={published}/out")
    with pytest.raises(UserError, match="give predictions or candidates, not both"):
        run(*given, f"predictions=[{published}/gemini.jsonl]", f"candidates={published}/gemini.jsonl")
    with pytest.raises(UserError, match="unknown key.*'rule'|'rule'"):
        run(*given, "rule=own")
    with pytest.raises(UserError, match="rules must be one of own, stated, got 'mine'"):
        run(*given, "rules=mine")
    with pytest.raises(UserError, match="unknown benchmark 'mathvison', did you mean 'mathvision'"):
        run("name=mathvison", *given[1:])
