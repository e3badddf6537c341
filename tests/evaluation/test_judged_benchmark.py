"""`dreamprm benchmark` with a judge behind a server: several requests at once, and nothing asked twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_servers import ScriptedServer, status
from published_layouts import save

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.loading import load_config
from dreamprm.data import read_candidate_records
from dreamprm.evaluation.benchmark import run_benchmark
from dreamprm.evaluation.benchmark_settings import BenchmarkConfig

pytest.importorskip("openai", reason="the openai extra is not installed")

QUESTIONS = 24


def credit(number: int) -> float:
    return number % 11 / 10


def grade(body: dict[str, Any], number: int, index: int) -> str:
    """What a judge says of a response that tells its question's number."""
    del number, index
    asked = re.search(r"<response>\nnumber (\d+)\n", body["messages"][-1]["content"])
    assert asked is not None
    return f"Grade: {credit(int(asked[1]))}"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    save(
        tmp_path / "mm-vet.json",
        {
            f"v1_{k}": {
                "imagename": f"{k}.png",
                "question": f"What is {k}?",
                "answer": f"it is {k}",
                "capability": ["rec"],
            }
            for k in range(QUESTIONS)
        },
    )
    save(tmp_path / "llava.json", {f"v1_{k}": f"number {k}" for k in range(QUESTIONS)})
    return tmp_path


@pytest.fixture
def judge() -> Iterator[ScriptedServer]:
    with ScriptedServer(words=grade, pause=0.02).serving() as server:
        yield server


def arguments(files: Path, judge: ScriptedServer, *more: str) -> list[str]:
    return [
        "name=mmvet",
        f"questions={files}/mm-vet.json",
        "images=ignore",
        f"predictions=[{files}/llava.json]",
        f"output={files}/out",
        "resamples=10",
        "judge.name=openai",
        "judge.model=m",
        f"judge.base_url={judge.url}",
        "judge.retries=0",
        *more,
    ]


def run(files: Path, judge: ScriptedServer, *more: str) -> None:
    run_benchmark(load_config(BenchmarkConfig, None, arguments(files, judge, *more)))


def credits(files: Path) -> list[float | None]:
    records = read_candidate_records(files / "out/candidates.jsonl", allow_no_image=True)
    return [record.candidates[0].credit for record in records]


def journalled(files: Path) -> int:
    path = files / "out/judge.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_several_requests_are_under_way_at_once(files: Path, judge: ScriptedServer) -> None:
    run(files, judge, "judge.concurrency=4")
    assert judge.most_at_once == 4
    # In the order of the questions, whichever reply came first.
    assert credits(files) == [credit(k) for k in range(QUESTIONS)]
    figures = json.loads((files / "out/scores.json").read_text())["generators"]["llava"]["figures"]
    assert figures["accuracy"][0] == pytest.approx(sum(map(credit, range(QUESTIONS))) / QUESTIONS)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_judge_that_fails_is_asked_for_the_rest_by_the_same_command(files: Path, concurrency: int) -> None:
    failing = {5: status(500, "out of memory")}
    with ScriptedServer(words=grade, fault_of=lambda n, body: failing.get(n)).serving() as judge:
        with pytest.raises(UserError, match="1 of 24 answers; the first: MM-Vet: no grade.*out of memory"):
            run(files, judge, f"judge.concurrency={concurrency}")
        assert (len(judge.exchanges), journalled(files)) == (QUESTIONS, QUESTIONS - 1)
        assert not (files / "out/candidates.jsonl").exists()
        # How the judge is served may change in between.
        run(files, judge, "judge.concurrency=2", "judge.timeout=20")
        assert len(judge.exchanges) == QUESTIONS + 1
        run(files, judge)
        assert len(judge.exchanges) == QUESTIONS + 1
    assert credits(files) == [credit(k) for k in range(QUESTIONS)]


def test_a_killed_command_goes_on(files: Path, judge: ScriptedServer) -> None:
    command = [sys.executable, "-m", "dreamprm", "benchmark", *arguments(files, judge, "judge.concurrency=2")]
    judge.pause = 0.1
    with subprocess.Popen(
        command,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        end = time.monotonic() + 120
        while journalled(files) < 4 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    kept, before = journalled(files), len(judge.exchanges)
    assert 4 <= kept < QUESTIONS
    judge.pause = 0.0
    run(files, judge)
    # Those that were under way when it was killed may have been answered without anybody to keep it.
    assert len(judge.exchanges) - before <= QUESTIONS - kept + 2
    first = [exchange.body["messages"][-1]["content"] for exchange in judge.exchanges[:before]]
    later = [exchange.body["messages"][-1]["content"] for exchange in judge.exchanges[before:]]
    assert len(set(first) & set(later)) <= 2
    assert credits(files) == [credit(k) for k in range(QUESTIONS)]


def test_another_judge_prompt_or_response_is_asked_anew(
    files: Path, judge: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run(files, judge)
    said = capsys.readouterr().out
    assert "judge: 24 requests were answered with 48 tokens; 0 replies were already in the journal\n" in said
    asked = len(judge.exchanges)
    assert asked == QUESTIONS
    run(files, judge, "judge.model=other")
    assert len(judge.exchanges) == 2 * QUESTIONS
    run(files, judge, "judge.extra_body={top_p: 0.5}")
    assert len(judge.exchanges) == 3 * QUESTIONS
    run(files, judge, "max_tokens=99")  # a setting of the benchmark's: how long a grade may be
    assert len(judge.exchanges) == 4 * QUESTIONS
    save(files / "llava.json", {f"v1_{k}": f"number {k}" if k else "number 7" for k in range(QUESTIONS)})
    run(files, judge)
    assert len(judge.exchanges) == 4 * QUESTIONS + 1
    assert credits(files)[0] == credit(7)
    said = capsys.readouterr().out.splitlines()
    assert "judge: 1 requests were answered with 2 tokens; 96 replies were already in the journal" in said


def test_undecided_answers_are_told_beside_the_figures(files: Path) -> None:
    with ScriptedServer(
        words=grade, fault_of=lambda n, body: status(400, "too long") if n == 3 else None
    ).serving() as judge:
        run(files, judge, "level=0.9")
    page = (files / "out/scores.md").read_text()
    assert "in %, with 90 % bootstrap intervals over questions." in page
    assert "llava: 1 answers are undecided and count as wrong.\n" in page


def test_figures_of_other_candidates_do_not_stay(files: Path, judge: ScriptedServer) -> None:
    run(files, judge)
    half = files / "half.jsonl"
    lines = (files / "out/candidates.jsonl").read_text().splitlines(keepends=True)
    half.write_text("".join(lines[: QUESTIONS // 2]))
    with pytest.raises(DataError, match="llava answers 12 of 24 questions.*incomplete=keep"):
        run(files, judge, "predictions=[]", f"candidates={half}")
    assert (files / "out/candidates.jsonl").read_text().count("\n") == QUESTIONS // 2
    assert not list((files / "out").glob("scores.*"))
