"""WeMath: two- and three-step problems, each with the one-step problems that make it up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dreamprm.answers import Judgement
from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import letter_given, lettered_columns
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker
from dreamprm.formats.benchmarks.figures import Figure, Floats, mean_where, rows_by
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, Questions
from dreamprm.formats.table_files import cell_text
from dreamprm.generators.base import Generator

_OLD_ID = re.compile(r"(?:(?P<steps>[23])st(?:ep|pe)s_)?(?P<number>\d+)")
_KEY = re.compile(r"(?P<steps>[23])steps_(?P<part>[1-3]|multi)")
# "...to get Shape ;C.; B. ..." occurs: a letter without text after it belongs to the option before it.
_MARK = re.compile(r"(?:^|;)\s*([A-H])\s*[.\uff0e]\s*(?=[^;\s])")


@dataclass(frozen=True)
class WeMath(Benchmark):
    """We-Math (Qiao et al., 2024, arXiv 2407.01284; github.com/We-Math/We-Math, CC BY-NC 4.0).

    A problem of two or three steps and its one-step problems share their `ID`; `key` says which is which
    (`3steps_1`, `3steps_2`, `3steps_3`, `3steps_multi`). A question's published id is "ID:key". Ids of the
    first release are read as today's: "3stpes_7" (a misspelling that was corrected later) and the bare number
    7 both as "3steps_7".

    Questions: `testmini.json` (`ID`, `key`, `question`, `option`, `answer`, `image_path`, `knowledge
    concept`) with its images' folder as image_root; VLMEvalKit's `WeMath.tsv` (options in columns A, B,
    ...). Predictions: the questions' rows with `response`, or VLMEvalKit's.

    Own rule, `evaluation/four_dimensional_metrics.py`: after the last "Answer", the marks < > : . are
    removed, and a first character from A to H is the choice; otherwise there is none, and the response is
    wrong. Its prompt asks for "<Answer>: ...". VLMEvalKit lets a language model match instead (`hit`). Use
    rules=stated for responses that say "Final answer: B", in which the rule finds no letter. Options are
    relettered in order, since one of the 1,740 questions goes from C to F.

    Figures, as fractions of all problems with two or three steps (the script divides by 525, their number in
    testmini), by whether a problem's steps and the whole are right:

        ik          a step wrong, the whole wrong: insufficient knowledge
        ig          all steps right, the whole wrong: inadequate generalisation
        cm_strict   all steps right, the whole right: complete mastery;  cm_loose: at least one step right
        rm_strict   a step wrong, the whole right: rote memorisation;    rm_loose: all steps wrong
        score_strict = 1 - ik - ig / 2 - rm_strict,  score_loose = 1 - ik - ig / 2 - rm_loose

    `rm_strict_rate` and `rm_loose_rate` divide by the number of problems whose whole is right, as in the
    paper's tables. `one_step`, `two_step`, `three_step` are accuracies; `accuracy` is over all questions.
    Accuracies by area of knowledge, which need a second file, are not computed.

    For expected outcomes between 0 and 1, every figure except the two rates is an expectation, since answers
    to different questions are chosen independently; the rates are ratios of expectations.
    """

    name = "wemath"
    title = "WeMath"
    vlmevalkit = ("WeMath", "WeMath_COT")
    headline = "score_strict"
    unit = "problems"
    id_fields = ("ID",)
    image_fields = ("image_path",)
    image_folders = ("", "images", "..", "../images")

    def published_id(self, row: Fields) -> str | None:
        """`ID` and `key` together; VLMEvalKit may write `id`."""
        id, key = cell_text(row, "ID") or cell_text(row, "id"), cell_text(row, "key")
        if id is None or key is None:
            return None
        old, part = _OLD_ID.fullmatch(id), _KEY.fullmatch(key)
        if old and part and old["steps"] in (None, part["steps"]):
            id = f"{part['steps']}steps_{old['number']}"
        return f"{id}:{key}"

    def whole_units(self, questions: Sequence[BenchmarkQuestion]) -> list[BenchmarkQuestion]:
        """The questions of problems of which no part is missing."""
        problems = rows_by((one.groups["steps"][0], one.groups["problem"][0]) for one in questions)
        whole: set[int] = set()
        for rows in problems.values():
            parts = {questions[row].groups["part"][0] for row in rows}
            if len(parts) == int(questions[rows[0]].groups["steps"][0]) + 1:
                whole.update(rows)
        return [question for row, question in enumerate(questions) if row in whole]

    def question(self, row: Fields, published: str) -> BenchmarkQuestion:
        """The question of one row."""
        key = _KEY.fullmatch(row.text("key"))
        if key is None:
            raise row.error("key", "one of 2steps_1, 2steps_2, 2steps_multi, 3steps_1, ..., 3steps_multi")
        options = _options(row)
        letter = letter_given(row, "answer", "ABCDEFGH")
        if letter not in options:
            raise row.error("answer", f"one of the letters {', '.join(options)}")
        record = self.record(
            published,
            question=row.text("question").strip(),
            answer="ABCDEFGH"[list(options).index(letter)],
            options=tuple(options.values()),
        )
        groups = {"problem": (published.partition(":")[0],), "steps": (key["steps"],), "part": (key["part"],)}
        concept = row.optional_text("knowledge concept")
        return BenchmarkQuestion(record, published, groups | ({"concept": (concept,)} if concept else {}))

    def own_checker(self, questions: Questions, judge: Generator | None) -> BenchmarkChecker:
        """The first letter after "Answer"."""
        del questions, judge
        return WeMathChecker()

    def figures(self, questions: Questions, outcomes: Sequence[float]) -> dict[str, Figure]:
        """The four-dimensional metrics over problems.

        Raises:
            DataError: a problem lacks one of its parts.
        """
        problems = rows_by((one.groups["steps"][0], one.groups["problem"][0]) for one in questions)
        steps = np.zeros(len(problems))
        all_right, all_wrong, whole, right_steps = (np.zeros(len(problems)) for _ in range(4))
        for number, rows in enumerate(problems.values()):
            parts = {questions[row].groups["part"][0]: outcomes[row] for row in rows}
            steps[number] = int(questions[rows[0]].groups["steps"][0])
            expected = [*map(str, range(1, int(steps[number]) + 1)), "multi"]
            if sorted(parts) != expected or len(rows) != len(expected):
                raise DataError(
                    f"problem {questions[rows[0]].groups['problem'][0]} has the parts "
                    f"{', '.join(sorted(parts))}; its figures need {', '.join(expected)}, each exactly once"
                )
            single = np.array([parts[name] for name in expected[:-1]])
            all_right[number], all_wrong[number] = single.prod(), (1 - single).prod()
            whole[number], right_steps[number] = parts["multi"], single.sum()
        return _four_dimensions(all_right, all_wrong, whole) | {
            "one_step": Figure(((right_steps, steps),)),
            "two_step": mean_where(whole, steps == 2),
            "three_step": mean_where(whole, steps == 3),
            "accuracy": Figure(((right_steps + whole, steps + 1),)),
        }


def _four_dimensions(all_right: Floats, all_wrong: Floats, whole: Floats) -> dict[str, Figure]:
    """Probabilities a problem: that all its steps are right, that all are wrong, that the whole is right."""
    each = np.ones(len(whole))
    ik, ig = (1 - all_right) * (1 - whole), all_right * (1 - whole)
    found = {"ik": ik, "ig": ig}
    rates: dict[str, Figure] = {}
    for name, rm in (("strict", (1 - all_right) * whole), ("loose", all_wrong * whole)):
        found[f"cm_{name}"], found[f"rm_{name}"] = whole - rm, rm
        found[f"score_{name}"] = 1 - ik - ig / 2 - rm
        rates[f"rm_{name}_rate"] = Figure(((rm, whole),))
    return {name: Figure(((values, each),)) for name, values in found.items()} | rates


@dataclass(frozen=True)
class WeMathChecker(BenchmarkChecker):
    """WeMath's rule; no response is undecided."""

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge by the letter after the last "Answer"."""
        return self.compare(response.split("Answer")[-1], question)

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge by the first character after removing < > : . if it is from A to H."""
        first = re.sub(r"[<>:.]", "", extracted.strip()).strip()[:1]
        if not first or first not in "ABCDEFGH":
            return Judgement("wrong", None, "WeMath: no letter where the prompt asks for one")
        return Judgement("right" if first == question.answer else "wrong", first, "WeMath: the letter")


def _options(row: Fields) -> dict[str, str]:
    """The options by their letters in the file, which may skip letters."""
    if "option" not in row:
        columns = lettered_columns(row)
        if len(columns) < 2:
            raise row.missing("option", "the options: 'A. x; B. y', or columns A, B, ...")
        return columns
    text = row.text("option")
    marks = list(_MARK.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    texts = [
        text[mark.end() : end].strip().rstrip(";").strip() for mark, end in zip(marks, ends, strict=True)
    ]
    letters = [mark[1] for mark in marks]
    if len(letters) < 2 or letters != sorted(set(letters)) or not all(texts):
        raise row.error("option", "options in order of their letters, 'A. x; B. y'")
    return dict(zip(letters, texts, strict=True))
