"""DynaMath: 501 seed questions in ten variants each, and whether a model gets all variants right."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dreamprm.answers import Judgement, Verdict, stated_answer
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import answer_text
from dreamprm.formats.benchmarks.base import Benchmark
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker
from dreamprm.formats.benchmarks.figures import Figure, Floats, mean_where, rows_by
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, Questions
from dreamprm.formats.table_files import cell_text
from dreamprm.generators.base import Generator

_TYPES = {
    "float": "float",
    "multiple choice": "text",
    "text": "text",
    # Two seeds each in the authors' generator; both hold numbers, and VLMEvalKit's table calls them floats.
    "int": "float",
    "single answer": "float",
}
_TOLERANCE = 0.001
_LETTERS = "ABCDE"


@dataclass(frozen=True)
class DynaMath(Benchmark):
    """DynaMath (Zou et al., ICLR 2025, arXiv 2411.00836; github.com/DynaMath/DynaMath, MIT).

    Questions: VLMEvalKit's `DynaMath.tsv` (`index`, `question`, `answer`, `answer_type`, `subject`,
    `knowledge_level`, `qid`, `varid`); rows with `id`, `ground_truth` and `image_dir` (`trial1` to
    `trial10`), as URSA publishes them; one generated variant, `dataset.json`, an object by number. Options
    are part of the question's text. Predictions: VLMEvalKit's, or rows with `id` and, for several variants,
    `image_dir`.

    Own rules, `evaluation/*_json_eval.py`, as VLMEvalKit reads them: the prompt asks for JSON with "short
    answer". A float is right within 0.001 ("1.5π" is read); a choice by its letter, or the one letter A to E
    in it, or the right one among the first three characters; a text if it contains the reference, in any case
    (VLMEvalKit: if the reference contains it). Departure: where there is no JSON, VLMEvalKit asks a language
    model; here the answer is the stated one.

    Figures: accuracy (the average case), by subject, level, answer type and variant; worst_case, the share of
    seed questions that are right in all of their variants, also by subject and level: over seeds, as expected
    outcomes multiply. Rows left out take their seed with them.
    """

    name = "dynamath"
    title = "DynaMath"
    vlmevalkit = ("DynaMath",)
    unit = "seed questions"
    group_keys = ("subject", "level", "answer_type", "variant")
    id_fields = ("id", "qid")

    def question(self, row: Fields, published: str) -> BenchmarkQuestion:
        """The question of one row."""
        given = row.text("answer_type")
        if given not in _TYPES:
            raise row.error("answer_type", f"one of {', '.join(_TYPES)}")
        kind = "float" if _TYPES[given] == "float" else given
        name = "ground_truth" if "ground_truth" in row else "answer"
        answer = answer_text(row, name)
        if kind == "float" and _number(answer) is None:
            raise row.error(name, f"a number, since answer_type is {given}")
        record = self.record(
            published, question=row.text("question").strip(), answer=answer, open_type=_TYPES[given]
        )
        seed, _, variant = published.partition("/")
        level = cell_text(row, "knowledge_level") or cell_text(row, "level")
        found = {
            "subject": cell_text(row, "subject"),
            "level": level,
            "answer_type": kind,
            "variant": variant or None,
            "seed": seed,
        }
        groups = {key: (value,) for key, value in found.items() if value is not None}
        return BenchmarkQuestion(record, published, groups)

    def published_id(self, row: Fields) -> str | None:
        """The seed question's number, then "/" and the variant if the row names one."""
        seed = super().published_id(row)
        variant = cell_text(row, "varid") or cell_text(row, "image_dir")
        return seed if seed is None or variant is None else f"{seed}/{variant.removeprefix('trial')}"

    def own_checker(self, questions: Questions, judge: Generator | None) -> BenchmarkChecker:
        """The short answer, compared as its type asks."""
        del judge
        return DynaMathChecker({one.record.id: one.groups["answer_type"][0] for one in questions})

    def figures(self, questions: Questions, outcomes: Sequence[float]) -> dict[str, Figure]:
        """The average and the worst case; units are seed questions."""
        seeds = rows_by(one.groups["seed"][0] for one in questions)
        rows = list(seeds.values())
        values = [[outcomes[place] for place in places] for places in rows]
        counts = [[1.0] * len(places) for places in rows]

        def over(kept: Sequence[Sequence[bool]]) -> Figure:
            """The mean over variants of the kept ones, by seed."""
            numerator = [
                sum(v for v, k in zip(vs, ks, strict=True) if k) for vs, ks in zip(values, kept, strict=True)
            ]
            denominator = [float(sum(ks)) for ks in kept]
            return Figure(((_array(numerator), _array(denominator)),))

        worst = [math.prod(ones) for ones in values]
        figures = {"accuracy": over([[bool(c) for c in ones] for ones in counts])}
        figures["worst_case"] = mean_where(worst, [True] * len(rows))
        for key in self.group_keys:
            held = [[questions[place].groups.get(key, ()) for place in places] for places in rows]
            for value in dict.fromkeys(v for ones in held for one in ones for v in one):
                there = [[value in one for one in ones] for ones in held]
                figures[f"{key}/{value}"] = over(there)
                if key in ("subject", "level"):
                    figures[f"worst_case/{key}/{value}"] = mean_where(worst, [all(ones) for ones in there])
        return figures

    def whole_units(self, questions: Sequence[BenchmarkQuestion]) -> list[BenchmarkQuestion]:
        """The questions whose seeds have as many variants as the others."""
        seeds = rows_by(one.groups["seed"][0] for one in questions)
        most = max(map(len, seeds.values()), default=0)
        return [one for one in questions if len(seeds[one.groups["seed"][0]]) == most]


@dataclass(frozen=True)
class DynaMathChecker(BenchmarkChecker):
    """DynaMath's rule; no response is undecided.

    Attributes:
        types: the published answer type of each question, by record id.
    """

    types: dict[str, str]

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge the short answer of a response, or else the answer that it states."""
        short = short_answer(response)
        if short is None:
            stated = stated_answer(response)
            short = response.strip() if stated is None else stated.text
        return self.compare(short, question)

    def compare(self, extracted: str, question: QuestionRecord) -> Judgement:
        """Judge a short answer."""
        text, kind = extracted.strip(), self.types.get(question.id, "text")
        if kind == "float":
            value = _number(text)
            reference = _number(question.answer)
            right = value is not None and reference is not None and abs(value - reference) <= _TOLERANCE
        elif kind == "multiple choice":
            letters = [letter for letter in _LETTERS if letter in text.upper()]
            alone = text.upper() if len(text) == 1 else letters[0] if len(letters) == 1 else None
            right = alone == question.answer if alone else question.answer in text[:3].upper()
        else:
            right = bool(text) and question.answer.lower() in text.lower()
        verdict: Verdict = "right" if right else "wrong"
        return Judgement(verdict, text or None, f"DynaMath: the short answer ({kind})")


def short_answer(response: str) -> str | None:
    """The value of "short answer" in a response's JSON; None if it has none."""
    begin, end = response.find("{"), response.rfind("}")
    if not 0 <= begin < end:
        return None
    inside = response[begin : end + 1]
    for text in (inside, inside.replace("\\", "")):  # formulas break JSON's escapes
        try:
            value = json.loads(text, strict=False)
        except ValueError:
            continue
        found = value.get("short answer") if isinstance(value, dict) else None
        if isinstance(found, str | int | float) and not isinstance(found, bool):
            return str(found)
    return None


def _number(text: str) -> float | None:
    """The number that a short answer begins with; `1.5π` is 1.5 times pi."""
    first = text.split(" ")[0]
    factor = 1.0
    if "π" in first:
        first, factor = first.partition("π")[0] or "1", math.pi
    try:
        value = float(first) * factor
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _array(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)
