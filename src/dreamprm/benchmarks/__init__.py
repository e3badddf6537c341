"""Benchmarks: their published questions and predictions, their own answer rules and figures, one file each.

benchmark = build_benchmark("mathvision")
questions = read_questions(benchmark, "testmini.jsonl")
candidates = to_candidates(benchmark, questions, ["gemini.jsonl", "qwen.jsonl"])
for generator, outcomes in candidates.outcomes().items():
    print(generator, scores(benchmark, questions, outcomes)["accuracy"])
"""

from dreamprm.benchmarks.benchmark import Benchmark, BenchmarkChecker, BenchmarkQuestion, Graded, QuestionSet
from dreamprm.benchmarks.candidates import check_candidates, to_candidates
from dreamprm.benchmarks.checked import BenchmarkCandidates, write_candidates
from dreamprm.benchmarks.predictions import read_predictions
from dreamprm.benchmarks.questions import read_questions
from dreamprm.benchmarks.registry import BENCHMARKS, benchmark_listing, benchmark_settings, build_benchmark
from dreamprm.benchmarks.scores import Scored, scores, scores_with_intervals

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkCandidates",
    "BenchmarkChecker",
    "BenchmarkQuestion",
    "Graded",
    "QuestionSet",
    "Scored",
    "benchmark_listing",
    "benchmark_settings",
    "build_benchmark",
    "check_candidates",
    "read_predictions",
    "read_questions",
    "scores",
    "scores_with_intervals",
    "to_candidates",
    "write_candidates",
]
