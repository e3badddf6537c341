"""Benchmarks, one file each: published questions and predictions, their own answer rules and figures.

benchmark = build_benchmark("mathvision")
questions = read_questions(benchmark, "testmini.jsonl")
candidates = to_candidates(benchmark, questions, ["gemini.jsonl", "qwen.jsonl"])
for generator, outcomes in candidates.outcomes().items():
    print(generator, scores(benchmark, questions, outcomes)["accuracy"])
"""

from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.candidates import check_candidates, to_candidates
from dreamprm.formats.benchmarks.checked import BenchmarkCandidates, write_candidates
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker, Graded
from dreamprm.formats.benchmarks.predictions import read_predictions
from dreamprm.formats.benchmarks.published_questions import read_questions
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, QuestionSet
from dreamprm.formats.benchmarks.registry import BENCHMARKS, benchmark_settings, build_benchmark
from dreamprm.formats.benchmarks.scores import scores

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkCandidates",
    "BenchmarkChecker",
    "BenchmarkQuestion",
    "Graded",
    "QuestionSet",
    "benchmark_settings",
    "build_benchmark",
    "check_candidates",
    "read_predictions",
    "read_questions",
    "scores",
    "to_candidates",
    "write_candidates",
]
