"""MathVerse: problems with diagrams in versions that move the text into the picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dreamprm.answers import Checker, Judgement, build_checker
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker, StatedChecker
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, Questions, groups_of
from dreamprm.formats.table_files import cell_text
from dreamprm.generators.base import Generator

_CHOICES = re.compile(r"Choices:[ \t]*\n")
_OPTION = re.compile(r"^[ \t]*\(?([A-H])[:.)][ \t]*(.*)$")
_IN_THE_IMAGE = "The question is shown in the image."


@dataclass(frozen=True)
class MathVerse(Benchmark):
    """MathVerse (Zhang et al., ECCV 2024, arXiv 2403.14624; github.com/ZrrSkywalker/MathVerse, MIT).

    Questions: `testmini.json` (five versions of 788 problems) or `testmini_text_only.json` (`sample_index`,
    `problem_version`, `question`, `question_type`, `answer`, `image`, `metadata`), VLMEvalKit's
    `MathVerse_MINI.tsv`. Options stand in the question's text ("Choices:", then "A:..."); where a version
    shows the question in the image, `question` is empty. Predictions: the rows of `output_testmini.json`
    (`sample_index`, `model_answer`, `extraction`, `judgement`), or VLMEvalKit's.

    Own rules, `evaluation/extract_answer_s1.py` and `score_answer_s2.py`: a language model extracts the
    answer, and a language model says whether it is consistent with the reference. Here the stated answer is
    compared by the rules used for making labels, and a judge, if there is one, decides what they leave
    undecided; so rules=own and rules=stated are the same, and an `extraction` in the file is compared
    likewise. Published `judgement` flags: outcomes=published.

    Figures: accuracy (MathVerse's "All" over the five versions), by problem_version, subject, subfield and
    question_type; problem_version_mean.
    """

    name = "mathverse"
    title = "MathVerse"
    vlmevalkit = (
        "MathVerse_MINI",
        "MathVerse_MINI_Vision_Only",
        "MathVerse_MINI_Vision_Dominant",
        "MathVerse_MINI_Vision_Intensive",
        "MathVerse_MINI_Text_Lite",
        "MathVerse_MINI_Text_Dominant",
    )
    group_keys = ("problem_version", "subject", "subfield", "question_type")
    mean_over = "problem_version"
    id_fields = ("sample_index",)
    image_folders = ("", "images")
    asks_judge = "optional"

    def question(self, row: Fields, published: str) -> BenchmarkQuestion:
        """The question of one row."""
        kind = row.text("question_type")
        if kind not in ("multi-choice", "free-form"):
            raise row.error("question_type", "one of multi-choice, free-form")
        text = (cell_text(row, "question") or "").strip()
        asked, options = choices_in(text) if kind == "multi-choice" else (text, ())
        answer = answer_text(row, "answer").strip()
        letters = "ABCDEFGH"[: len(options)]
        if options and answer not in tuple(letters):
            asked, options = text, ()  # the reference names no option by its letter
        record = self.record(published, question=asked or _IN_THE_IMAGE, answer=answer, options=options)
        groups = groups_of(row, self.group_keys, inside="metadata")
        return BenchmarkQuestion(record, published, groups)

    def own_checker(self, questions: Questions, judge: Generator | None) -> BenchmarkChecker:
        """The stated answer, compared by rules and, where they leave it undecided, by the judge."""
        del questions
        return MathVerseChecker(build_checker("auto", judge=judge))


@dataclass(frozen=True)
class MathVerseChecker(BenchmarkChecker):
    """Answers compared as labels are made.

    Attributes:
        answers: extracts and compares answers: `AutoChecker`, with or without a judge.
    """

    answers: Checker

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge the answer that the response states."""
        return StatedChecker(self.answers, self, {}).check(response, question)

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an extracted answer: a letter, an option's text, or a value."""
        return self.check(f"The answer is: {extracted}", question)

    def close(self) -> None:
        """Shut down the checker that compares expressions."""
        self.answers.close()


def choices_in(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a question from the options below "Choices:"; no options if they are not lettered in order.

    Args:
        text: a question, such as `Find x.\\nChoices:\\nA:4\\nB:5`.
    """
    mark = next(iter(_CHOICES.finditer(text)), None)
    if mark is None:
        return text, ()
    options: list[str] = []
    for line in _lines(text[mark.end() :]):
        option = _OPTION.match(line)
        if option is not None and option[1] == "ABCDEFGH"[len(options) : len(options) + 1]:
            options.append(option[2].strip())
        elif options:
            options[-1] = f"{options[-1]}\n{line.strip()}".strip()
        else:
            return text, ()
    if len(options) < 2 or not all(options):
        return text, ()
    return text[: mark.start()].strip(), tuple(options)


def _lines(text: str) -> Sequence[str]:
    return [line for line in text.split("\n") if line.strip()]
