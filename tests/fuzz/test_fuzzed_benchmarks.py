"""Benchmarks' files with random faults: questions and predictions become figures, or are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import published_layouts as published
import pytest
from fuzzing import fuzz, outcome
from hypothesis import strategies as st
from mutations import by_seed, changed_files, data_files
from scripted_judge import ScriptedJudge

from dreamprm.answers import symbolic
from dreamprm.config.errors import UserError
from dreamprm.data.read_report import Tolerance
from dreamprm.formats.benchmarks import BENCHMARKS, build_benchmark, read_questions, to_candidates
from dreamprm.formats.benchmarks.scores import scores

_ROWS: dict[str, Any] = {
    "wemath": published.wemath_rows(),
    "mathvista": published.mathvista_rows(),
    "mathvision": published.mathv_rows(),
    "mmvet": published.mmvet_rows(),
    "mmstar": published.mmstar_rows(),
    "mmmu": published.mmmu_rows(),
    "mmmu_pro": published.mmmu_pro_rows(),
    "m3cot": published.m3cot_rows(),
    "mathverse": published.mathverse_rows(),
    "dynamath": [row | {"image_dir": None} for row in published.dynamath_rows(1)],
}
_RESPONSES = ("\\boxed{B}", "The answer is A.", "Step 1: Add.\n\nFinal answer: 6", "Answer: C", "24/7")


def _write(name: str, folder: Path) -> None:
    """The benchmark's own questions and two files of predictions."""
    folder.mkdir()
    rows = _ROWS[name]
    published.save(folder / "questions.json", rows)
    benchmark = build_benchmark(name)
    ids = list(rows) if isinstance(rows, dict) else [_id(benchmark.id_fields, row) for row in rows]
    answers = [
        {benchmark.id_fields[0]: id, "response": _RESPONSES[number % len(_RESPONSES)], "model": "m"}
        for number, id in enumerate(ids)
    ]
    published.save(folder / "m.jsonl", answers)
    cells = [
        {benchmark.id_fields[0]: id, "question": "Q?", "prediction": "B", "extracted": "B", "hit": number % 2}
        for number, id in enumerate(ids)
    ]
    published.table(folder / "n.tsv", cells)


class _LastingWorker:
    """One process that compares expressions for all cases: a checker of its own takes half a second each."""

    running: ClassVar[Any] = None

    def __init__(self, timeout: float, memory_mb: int) -> None:
        if self.running is None:
            type(self).running = _OWN_WORKER(timeout, memory_mb)

    def ask(self, request: dict[str, str], timeout: float) -> dict[str, Any]:
        try:
            return self.running.ask(request, timeout)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Keep it for the next checker."""

    @classmethod
    def stop(cls) -> None:
        if cls.running is not None:
            cls.running.kill()
        cls.running = None


_OWN_WORKER = symbolic._Worker


@pytest.fixture
def lasting_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(symbolic, "_Worker", _LastingWorker)
    yield
    _LastingWorker.stop()


def _id(fields: tuple[str, ...], row: dict[str, Any]) -> Any:
    return next(row[name] for name in fields if name in row)


@pytest.mark.usefixtures("lasting_worker")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark(name: str, tmp_path: Path) -> None:
    """Figures lie in [0, 1], and where bad rows are skipped each question has its candidates."""
    _write(name, tmp_path / "in")
    valid = data_files(tmp_path / "in")

    def check(files: dict[str, bytes], options: dict[str, Any], rules: str) -> None:
        for file, content in {**valid, **files}.items():
            (tmp_path / "in" / file).write_bytes(content)
        benchmark = build_benchmark(name, rules=rules)
        judge = ScriptedJudge(["0.5", "B", "nothing"]) if benchmark.asks_judge == "always" else None
        tolerance = Tolerance("skip", 1.0)
        questions = outcome(
            lambda: read_questions(
                benchmark, tmp_path / "in/questions.json", images="ignore", tolerance=tolerance
            )
        )
        if isinstance(questions, UserError):
            return
        sources = [tmp_path / "in/m.jsonl", tmp_path / "in/n.tsv"]
        done = outcome(
            lambda: to_candidates(benchmark, questions, sources, judge=judge, tolerance=tolerance, **options)
        )
        if isinstance(done, UserError):
            return
        assert len({record.id for record in done.records}) == len(done.records) <= len(questions)
        for generator, found in done.outcomes().items():
            assert generator and all(0 <= value <= 1 for value in found.values())
            whole = {question.record.id: found.get(question.record.id, 0.0) for question in questions}
            assert all(0 <= value <= 1 for value in scores(benchmark, questions, whole).values())
        done.report.lines()

    options = {
        "outcomes": st.sampled_from(["check", "published"]),
        "unflagged": st.sampled_from(["error", "check", "undecided"]),
        "empty": st.sampled_from(["error", "wrong"]),
        "incomplete": st.just("keep"),
        "other_questions": st.sampled_from(["error", "skip"]),
    }
    rules = st.sampled_from(["own"] if name == "mmvet" else ["own", "stated"])
    fuzz(
        check,
        few=10,
        files=by_seed(lambda chance: changed_files(chance, valid)),
        options=st.fixed_dictionaries(options),
        rules=rules,
    )
