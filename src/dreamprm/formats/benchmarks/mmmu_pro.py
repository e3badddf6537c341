"""MMMU-Pro: MMMU's questions that need the image, with up to ten options, or as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dreamprm.answers import Judgement, Verdict
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import letter_given, option_columns, option_texts, parsed_list
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker
from dreamprm.formats.benchmarks.mmmu import DISCIPLINES
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, Questions
from dreamprm.formats.image_marks import numbers_given, renumbered
from dreamprm.formats.table_files import cell_text
from dreamprm.generators.base import Generator

_NUMBERED = tuple(f"image_{number}" for number in range(1, 8))
_IN_THE_IMAGE = "The question and its options are shown in the image."
_ENDS = (",", ".", "!", "?", ";", ":", "'")


@dataclass(frozen=True)
class MMMUPro(Benchmark):
    """MMMU-Pro (Yue et al., arXiv 2409.02813; github.com/MMMU-Benchmark/MMMU, `mmmu-pro`, Apache-2.0).

    Questions: the hub's parquet files `MMMU/MMMU_Pro`, a folder of one of its settings: "standard (10
    options)", "standard (4 options)" (`id`, `question`, `options`, `answer`, `subject`, `image_1` to
    `image_7`) or "vision" (`image` shows question and options; there is no `question`); VLMEvalKit's
    `MMMU_Pro_10c.tsv`, `MMMU_Pro_V.tsv`. `<image k>` in question and options means `image_k`, in whatever
    order options name them; where a number is missing, marks are counted anew. Predictions: the authors' JSON
    Lines (`id`, `response`, `if_right`), MODEL_SETTING_METHOD.jsonl, or VLMEvalKit's.

    Own rules, `mmmu-pro/evaluate.py`: the one letter that occurs after the last "Answer:"; else the last
    letter in brackets, letter before a space, letter before a full stop, or option's text. Departure: a
    response that names no option is wrong, where the script guesses at random.

    Figures: accuracy, by subject and discipline; subject_mean.
    """

    name = "mmmu_pro"
    title = "MMMU-Pro"
    vlmevalkit = ("MMMU_Pro_10c", "MMMU_Pro_V", "MMMU_Pro_10c_COT", "MMMU_Pro_V_COT")
    group_keys = ("discipline", "subject")
    mean_over = "subject"
    several_images = True
    image_fields = (*_NUMBERED, "image")

    def question(self, row: Fields, published: str) -> BenchmarkQuestion:
        """The question of one row."""
        options = option_columns(row) if "A" in row else _listed(row)
        if not options:
            raise row.error("options", "at least one option")
        asked = row.text("question").strip() if cell_text(row, "question") else _IN_THE_IMAGE
        asked, *shown = renumbered([asked, *options], numbers_given(row, _NUMBERED))
        record = self.record(
            published, question=asked, answer=letter_given(row, "answer", options), options=tuple(shown)
        )
        subject = cell_text(row, "subject") or cell_text(row, "category")
        groups: dict[str, tuple[str, ...]] = {}
        if subject is not None:
            groups["subject"] = (subject,)
            groups["discipline"] = tuple(name for name, ones in DISCIPLINES.items() if subject in ones)
        return BenchmarkQuestion(record, published, groups)

    def own_checker(self, questions: Questions, judge: Generator | None) -> BenchmarkChecker:
        """The option that a response names."""
        del questions, judge
        return MMMUProChecker()


@dataclass(frozen=True)
class MMMUProChecker(BenchmarkChecker):
    """MMMU-Pro's rule; no response is undecided."""

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge the option that the response names."""
        letter = named_option(response, dict(zip(question.letters, question.options, strict=True)))
        if letter is None:
            return Judgement("wrong", None, "MMMU-Pro: names no option (the script guesses)")
        verdict: Verdict = "right" if letter == question.answer else "wrong"
        return Judgement(verdict, letter, "MMMU-Pro: the option named")

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an extracted answer by the same rule."""
        return self.check(extracted, question)


def _listed(row: Fields) -> tuple[str, ...]:
    """The options in `options`; one published row has them in a list inside the list."""
    value = row.values.get("options")
    value = parsed_list(value) if isinstance(value, str) else value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        row = row.with_values({**row.values, "options": value[0]})
    return option_texts(row, "options")


def named_option(response: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that a response names, or None if it names none.

    Args:
        response: what a model wrote.
        options: the options' texts by letter.
    """
    behind = response.rpartition("Answer:")
    if behind[1]:
        named = [letter for letter in options if letter in behind[2]]
        if len(named) == 1:
            return named[0]
    for mark in _ENDS:
        response = response.strip(mark)
    text = f" {response} "
    for found, last in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        named = [letter for letter in options if found.format(letter) in text]
        if named:
            return max(named, key=lambda letter: text.rfind(last.format(letter)))
    if len(text.split()) <= 5:
        return None
    lower = text.lower()
    named = [letter for letter, option in options.items() if option.lower() in lower]
    return max(named, key=lambda letter: lower.rfind(options[letter].lower()), default=None)
