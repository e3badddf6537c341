"""MMMU: college questions in thirty subjects, with up to seven images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dreamprm.answers import Judgement, Verdict
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import (
    accepted_answers,
    answer_text,
    letter_given,
    number_type,
    option_columns,
    option_texts,
)
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker
from dreamprm.formats.benchmarks.mmmu_answers import holds_answer, open_answers, option_in
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, Questions, groups_of, several_accepted
from dreamprm.formats.image_marks import numbers_given, renumbered
from dreamprm.generators.base import Generator

DISCIPLINES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
        "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
        "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
        "Health and Medicine": (
            "Basic_Medical_Science",
            "Clinical_Medicine",
            "Diagnostics_and_Laboratory_Medicine",
            "Pharmacy",
            "Public_Health",
        ),
        "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
        "Tech and Engineering": (
            "Agriculture",
            "Architecture_and_Engineering",
            "Computer_Science",
            "Electronics",
            "Energy_and_Power",
            "Materials",
            "Mechanical_Engineering",
        ),
    }
)
"""MMMU's six disciplines and their subjects (`mmmu/utils/data_utils.py`)."""


@dataclass(frozen=True)
class MMMU(Benchmark):
    """MMMU (Yue et al., CVPR 2024, arXiv 2311.16502; github.com/MMMU-Benchmark/MMMU, Apache-2.0).

    Questions: the hub's parquet files `MMMU/MMMU` (`id`, `question`, `options`, `answer`, `question_type`,
    `image_1` to `image_7`); VLMEvalKit's `MMMU_DEV_VAL.tsv` (options in columns A, B, ...). Predictions: a
    folder of subject folders, each with an `output.json` (`id`, `response`), a JSON object of answers by id,
    or VLMEvalKit's.

    Own rules: `mmmu_answers`. An open question may have several accepted answers. Departures: a response that
    names no option is wrong, whereas MMMU's script guesses at random; of two options found at the same
    position the first is taken. VLMEvalKit turns open questions into a choice between the answer and "Other
    Answers"; here they are judged by MMMU's rules.

    Figures: accuracy (over all questions, MMMU's Overall), by subject, discipline and question_type;
    subject_mean, the unweighted mean over subjects.
    """

    name = "mmmu"
    title = "MMMU"
    vlmevalkit = ("MMMU_DEV_VAL", "MMMU_TEST")
    group_keys = ("discipline", "subject", "question_type")
    mean_over = "subject"
    several_images = True
    image_fields = tuple(f"image_{number}" for number in range(1, 8))

    def question(self, row: Fields, published: str) -> BenchmarkQuestion:
        """The question of one row."""
        options = option_columns(row) if "A" in row else _listed(row)
        accepted = () if options else accepted_answers(row, "answer")
        if "?" in (accepted or (answer_text(row, "answer"),)):
            raise row.error("answer", "an answer (those of the test split are not published)")
        answer = letter_given(row, "answer", options) if options else accepted[0]
        subject = "_".join(published.split("_")[1:-1])
        asked, *shown = renumbered(
            [row.text("question").strip(), *options], numbers_given(row, self.image_fields)
        )
        record = self.record(
            published,
            question=asked,
            answer=answer,
            options=tuple(shown),
            open_type=number_type(answer),
        )
        groups: dict[str, tuple[str, ...]] = {"question_type": ("multiple-choice" if options else "open",)}
        found = (subject,) if subject else groups_of(row, ("category",)).get("category", ())
        if found:
            groups["subject"] = found
            groups["discipline"] = tuple(name for name, ones in DISCIPLINES.items() if found[0] in ones)
        return BenchmarkQuestion(record, published, groups, accepted if len(accepted) > 1 else ())

    def own_checker(self, questions: Questions, judge: Generator | None) -> BenchmarkChecker:
        """Comparison by `mmmu_answers`."""
        del judge
        return MMMUChecker(several_accepted(questions))


@dataclass(frozen=True)
class MMMUChecker(BenchmarkChecker):
    """MMMU's rules; no response is undecided.

    Attributes:
        accepted: all accepted answers by record id, for open questions that have several.
    """

    accepted: Mapping[str, tuple[str, ...]]

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge a response."""
        if question.options:
            letter = option_in(response, dict(zip(question.letters, question.options, strict=True)))
            if letter is None:
                return Judgement("wrong", None, "MMMU: names no option (MMMU's script guesses)")
            verdict: Verdict = "right" if letter == question.answer else "wrong"
            return Judgement(verdict, letter, "MMMU: the option chosen")
        answers = open_answers(response)
        right = holds_answer(answers, self.accepted.get(question.id, (question.answer,)))
        shown = min((one for one in answers if isinstance(one, str)), key=len, default=str(answers[0]))
        return Judgement("right" if right else "wrong", shown.strip() or None, "MMMU: open answer")

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an extracted answer by the same rules."""
        return self.check(extracted, question)


def _listed(row: Fields) -> tuple[str, ...]:
    """The options in `options`; empty if the list is empty."""
    return option_texts(row, "options") if "options" in row else ()
