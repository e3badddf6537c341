"""MATH-V (MathVision): 3,040 competition problems with images, 304 of them in testmini."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.answers import Judgement
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text, letter_given, number_type, option_texts
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker
from dreamprm.formats.benchmarks.mathv_answers import answer_in, equal
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, Questions
from dreamprm.formats.table_files import cell_text
from dreamprm.generators.base import Generator


@dataclass(frozen=True)
class MathVision(Benchmark):
    """MATH-V (Wang et al., NeurIPS 2024, arXiv 2402.14804; github.com/mathllm/MATH-V, MIT).

    Questions: `testmini.jsonl` or `test.jsonl` with `images/` next to it (`id`, `question`, `options`,
    `answer`, `level`, `subject`, `image`); the hub's parquet files `MathLLMs/MathVision` (the image in
    `decoded_image`); VLMEvalKit's `MathVision.tsv`, `MathVision_MINI.tsv` (`choices`, `category`).
    Predictions: the benchmark's JSON Lines (`id`, `response`, optionally `model`, `model_answer`, `correct`),
    or VLMEvalKit's.

    Own rules: `mathv_answers`. They agree with the published flags on 48,628 of the 48,640 responses in
    the authors' repository; the differences are sentences that run into a formula, numbers beyond the range
    of a float, and two fractions that the authors' parser does not read. VLMEvalKit lets a language model
    extract the answer instead (column `res`), which is then compared by these rules.

    Figures: accuracy, by subject and by level, as `math_level_subject_acc` counts them.
    """

    name = "mathvision"
    title = "MATH-V"
    vlmevalkit = ("MathVision", "MathVision_MINI")
    group_keys = ("subject", "level")
    image_fields = ("decoded_image", "image")

    def question(self, row: Fields, published: str) -> BenchmarkQuestion:
        """The question of one row."""
        field = "options" if "options" in row else "choices"
        options = option_texts(row, field) if field in row else ()
        answer = letter_given(row, "answer", options) if options else answer_text(row, "answer")
        record = self.record(
            published,
            question=row.text("question").strip(),
            answer=answer,
            options=options,
            open_type=number_type(answer),
        )
        groups = {
            "subject": cell_text(row, "subject") or cell_text(row, "category"),
            "level": cell_text(row, "level"),
        }
        return BenchmarkQuestion(
            record, published, {key: (value,) for key, value in groups.items() if value is not None}
        )

    def own_checker(self, questions: Questions, judge: Generator | None) -> BenchmarkChecker:
        """Comparison by `mathv_answers`."""
        del questions, judge
        return MathVChecker()


@dataclass(frozen=True)
class MathVChecker(BenchmarkChecker):
    """Right if the answer equals the reference or the right option's text; no response is undecided."""

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge the answer that MATH-V's script extracts from a response."""
        return self.compare(answer_in(response), question)

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an answer as MATH-V's `is_equal` does."""
        if equal(question.answer, extracted):
            return Judgement("right", extracted, "MATH-V: equal to the reference")
        if question.options and equal(question.options[question.letters.index(question.answer)], extracted):
            return Judgement("right", extracted, "MATH-V: equal to the right option's text")
        return Judgement("wrong", extracted or None, "MATH-V: not equal to the reference")
