"""MMStar: 1,500 multiple-choice questions that need the image, 250 for each of six capabilities."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dreamprm.answers import Judgement, Verdict
from dreamprm.data.fields import Fields
from dreamprm.data.records import OPTION_LETTERS, QuestionRecord
from dreamprm.formats.answer_fields import letter_given, option_columns
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, Questions, groups_of
from dreamprm.formats.table_files import cell_text
from dreamprm.generators.base import Generator


@dataclass(frozen=True)
class MMStar(Benchmark):
    """MMStar (Chen et al., NeurIPS 2024, arXiv 2403.20330; github.com/MMStar-Benchmark/MMStar).

    Questions: the hub's `mmstar.parquet` of `Lin-Chen/MMStar` (`index`, `question` with the options in its
    text, `image`, `answer`, `category`, `l2_category`); its `MMStar.tsv`, which VLMEvalKit reads.
    Predictions: VLMEvalKit's (`index`, `prediction`).

    Own rules, `eval/vlmeval/evaluate/mmstar.py`: in lower case the response starts with the right letter,
    "(" and the letter, "option " and the letter, or "the answer is " and the letter; everything else is
    wrong. "Bananas" thus counts as B: the rule expects bare letters. VLMEvalKit itself lets a language model
    match longer responses. Use rules=stated for chains of thought.

    Figures: accuracy, by category and l2_category, and category_mean; MMStar divides by the fixed sizes 250
    and 1,500, which gives the same values on the whole set.
    """

    name = "mmstar"
    title = "MMStar"
    vlmevalkit = ("MMStar",)
    group_keys = ("category", "l2_category")
    mean_over = "category"
    id_fields = ("index",)

    def question(self, row: Fields, published: str) -> BenchmarkQuestion:
        """The question of one row; options in its text are removed from it."""
        text, options = row.text("question").strip(), option_columns(row)
        if not options:
            text, options = options_in_text(text)
        if not options:
            raise row.error(
                "question",
                "a text that ends with its options ('Options: A: ..., B: ...' or "
                "'Choices:' and lines '(A) ...'), or columns A, B, ...",
            )
        category = groups_of(row, ("category", "l2_category", "l2-category"))
        if "l2-category" in category:
            category["l2_category"] = category.pop("l2-category")
        record = self.record(
            published, question=text, answer=letter_given(row, "answer", options), options=options
        )
        return BenchmarkQuestion(record, published, category)

    def published_id(self, row: Fields) -> str | None:
        """The row's `index`, which both layouts have."""
        return cell_text(row, "index")

    def own_checker(self, questions: Questions, judge: Generator | None) -> BenchmarkChecker:
        """The letter that a response starts with."""
        del questions, judge
        return MMStarChecker()


@dataclass(frozen=True)
class MMStarChecker(BenchmarkChecker):
    """MMStar's rule; no response is undecided."""

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge by how a response starts."""
        text = response.strip().replace("\n", " ")
        letter = re.match(r"(?:\(|option |the answer is )?([a-z])", text, re.IGNORECASE)
        found = {text[:1].upper()} | ({letter[1].upper()} if letter else set())
        verdict: Verdict = "right" if question.answer in found else "wrong"
        shown = next((one for one in sorted(found) if one in question.letters), None)
        return Judgement(verdict, question.answer if verdict == "right" else shown, "MMStar: how it starts")

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge an extracted answer by the same rule."""
        return self.check(extracted, question)


def options_in_text(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a question from the options at its end; no options if it has another form.

    Recognises `Options: A: x, B: y`, and lines `(A) x` with or without `Choices:` above them; letters run
    from A without gaps. These are all forms that occur in the 1,500 questions.

    Args:
        text: a question of the hub's file.
    """
    inline = text.rfind("Options: A: ")
    if inline >= 0:
        start, parts = inline, _lettered(text[inline + len("Options: ") :], "{}: ", ", ")
    else:
        start = text.rfind("\n(A)")
        parts = _lettered(text[start + 1 :], "({})", "\n") if start >= 0 else ()
    return (text[:start].strip().removesuffix("Choices:").strip(), parts) if len(parts) > 1 else (text, ())


def _lettered(text: str, mark: str, between: str) -> tuple[str, ...]:
    """`A: x, B: y` as (x, y)."""
    parts = []
    for letter, following in zip(OPTION_LETTERS, OPTION_LETTERS[1:], strict=False):
        part, found, rest = text.removeprefix(mark.format(letter)).partition(between + mark.format(following))
        parts.append(part.strip().rstrip(",").strip())
        if not found:
            break
        text = mark.format(following) + rest
    return tuple(parts) if all(parts) else ()
