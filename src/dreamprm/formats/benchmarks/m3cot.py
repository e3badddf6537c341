"""M3CoT: multiple-choice questions of science, commonsense and mathematics that take several steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dreamprm.answers import Judgement, Verdict
from dreamprm.data.fields import Fields
from dreamprm.data.records import OPTION_LETTERS, QuestionRecord
from dreamprm.formats.answer_fields import letter_given, option_texts, with_context
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, Questions, groups_of
from dreamprm.generators.base import Generator

_BRACKETED = re.compile(r"\(([A-Za-z])\)")
_STOPS = re.compile(r"[\n.,!?]")
_LETTERS = OPTION_LETTERS[:6]


@dataclass(frozen=True)
class M3CoTBenchmark(Benchmark):
    """M3CoT's test split (Chen et al., ACL 2024, arXiv 2405.16473; github.com/LightChen233/M3CoT).

    Questions: `test.jsonl` of the release (`id`, `question`, `context`, `choices`, `answer`, `image`,
    `domain`, `topic`), or the hub's parquet files `LightChen2333/M3CoT`. Predictions: the authors' JSON Lines
    in `experiment/SETTING/MODEL/PROMPT.jsonl`: `id`, `messages`, which alternate between the prompt and the
    model; the model's first message is the response, its last one, where it was asked for the letter
    afterwards, the extracted answer. Give generators by name, since the files are named for their prompts.

    Own rules, `utils/metric.py`: in the text after "[Answer]", if there is one, the last letter in brackets;
    else the last option (in their order) whose text occurs; else the last option whose letter is a word, in
    capitals or not. No response is undecided. A response that names no option is wrong.

    Figures: accuracy, by domain and topic.
    """

    name = "m3cot"
    title = "M3CoT"
    vlmevalkit = ("M3CoT",)
    group_keys = ("domain", "topic")
    image_fields = ("image", "image_path")

    def question(self, row: Fields, published: str) -> BenchmarkQuestion:
        """The question of one row."""
        options = option_texts(row, "choices")
        if not options:
            raise row.error("choices", "at least one option")
        record = self.record(
            published,
            question=with_context(row, "context"),
            answer=letter_given(row, "answer", options),
            options=options,
        )
        return BenchmarkQuestion(record, published, groups_of(row, self.group_keys))

    def own_checker(self, questions: Questions, judge: Generator | None) -> BenchmarkChecker:
        """The option that a response names last."""
        del questions, judge
        return M3CoTChecker()


@dataclass(frozen=True)
class M3CoTChecker(BenchmarkChecker):
    """M3CoT's rule; no response is undecided."""

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge the option that the response names."""
        letter = last_option(response, question.options)
        verdict: Verdict = "right" if letter == question.answer else "wrong"
        return Judgement(verdict, letter, "M3CoT: the option named" if letter else "M3CoT: names no option")

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an extracted answer by the same rule."""
        return self.check(extracted, question)


def last_option(text: str, options: Sequence[str]) -> str | None:
    """The letter that a response names, also one that no option has; None if it names none.

    Args:
        text: what a model wrote.
        options: the options' texts.
    """
    if "[Answer]" in text:
        text = text.rpartition("[Answer]")[2].partition("[Rationale]")[0].partition("[Context]")[0]
    if bracketed := _BRACKETED.findall(text):
        return str(bracketed[-1]).upper()
    lettered = list(zip(_LETTERS, options, strict=False))
    lower = text.lower()
    named = [letter for letter, option in lettered if option.lower() in lower]
    if not named:
        words = _STOPS.sub(" ", text).split(" ")
        named = [letter for letter, _ in lettered if letter in words]
        named = named or [letter for letter, _ in lettered if letter.lower() in words]
    return named[-1] if named else None
