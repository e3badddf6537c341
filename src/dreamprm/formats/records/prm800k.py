"""PRM800K (arXiv 2305.20050): human ratings of steps, -1, 0 or 1, with alternatives to some of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.format import ConvertReport, NotChosen
from dreamprm.formats.records.step_format import StepReader, TextOnlyWriter

Neutral = Literal["right", "wrong", "null"]
Broken = Literal["skip", "keep"]

_NEUTRAL: dict[Neutral, float | None] = {"right": 1.0, "wrong": 0.0, "null": None}
_RATING = "-1, 0 or 1, or null"


class _Rated(NamedTuple):
    text: str
    label: float | None


@dataclass(frozen=True)
class PRM800K(StepReader):
    """A PRM800K file: `question` (`problem`) and `label` (`steps`, `finish_reason`); one solution per line.

    A step has `completions` of {`text`, `rating`, `flagged`}; `chosen_completion` is the index of the one
    that the solution goes on with, or null where `human_completion`, written by the labeller, is used. Where
    neither is given, the solution ends: with its own step, the first completion, which is the wrong one where
    `finish_reason` is `found_error`. Ratings become labels: 1 -> 1, -1 -> 0, 0 (neither wrong nor of use) ->
    `neutral`. A step that the labeller wrote counts as right; one without a rating is not labelled. With
    `alternatives`, each other completion that is rated gives a record of its own: the steps before it, and
    it.

    `final_answer_correct` is true where `finish_reason` is `solution` (a right answer was reached) and the
    solution has no wrong step, and not known elsewhere. Solutions that the labeller gave up, or of problems
    reported as broken, are left out and counted; `broken=keep` keeps them. Timings, labellers, the answers
    and `pre_generated_steps` after the first error are not kept.

    Source: github.com/openai/prm800k (README, "Data"), MIT.
    """

    help = "PRM800K: solutions whose steps people rated -1, 0 or 1, as step records"
    signature = (("question", "label", "labeler"), ("question", "label", "generation"))

    neutral: Neutral = setting(
        "right",
        "the label of a step rated 0: right (1, as in the paper's scores), wrong (0), or null",
        choices=("right", "wrong", "null"),
    )
    alternatives: bool = setting(
        False, "whether other rated completions of a step give records of their own, which end with them"
    )
    broken: Broken = setting(
        "skip",
        "what to do with solutions given up by the labeller, or of broken problems: skip, or keep",
        choices=("skip", "keep"),
    )

    def read(self, path: Path, report: ConvertReport) -> Iterator[StepRecord]:
        """The records of each solution: itself, then the alternatives to its steps."""
        for records in self.records_with_images(path, self._records, report):
            yield from records

    def record(self, row: Fields) -> StepRecord:
        """The record of a solution, without alternatives."""
        return self._records(row)[0]

    def _records(self, row: Fields) -> list[StepRecord]:
        question, judged = _object(row, "question"), _object(row, "label")
        finish = judged.optional_text("finish_reason")
        if self.broken == "skip" and finish in ("bad_problem", "give_up"):
            raise NotChosen(f"finish_reason is {finish} (broken=skip)")
        solution: list[_Rated] = []
        others: list[list[_Rated]] = []
        for step in judged.objects("steps"):
            completions = self._completions(step)
            chosen, human = _chosen(step, len(completions)), step.values.get("human_completion")
            own = completions[0] if chosen is None and completions else None
            if chosen is not None:
                own = completions[chosen]
            elif human is not None:
                own = _Rated(_human(step, human), 1.0)
            others += [[*solution, one] for one in completions if one is not own and one.label is not None]
            if own is None:
                break
            solution.append(own)
            if chosen is None and human is None:
                break
        if all(one.label is None for one in solution):
            raise NotChosen("no step of the solution is rated")
        reached = finish == "solution" and all(one.label != 0 for one in solution)
        chains = [solution, *(others if self.alternatives else [])]
        name = row.identifier()
        return [
            self.step_record(
                row,
                question=question.text("problem"),
                steps=[one.text for one in chain],
                labels=tuple(one.label for one in chain),
                id=name if index == 0 else f"{name}/alternative-{index}",
                final_answer_correct=True if reached and index == 0 else None,
            )
            for index, chain in enumerate(chains)
        ]

    def _completions(self, step: Fields) -> list[_Rated]:
        if step.values.get("completions") is None:
            return []
        return [_Rated(one.text("text"), self._label(one)) for one in step.objects("completions")]

    def _label(self, completion: Fields) -> float | None:
        rating = completion.values.get("rating")
        if isinstance(rating, bool) or rating not in (-1, 0, 1, None):
            raise completion.error("rating", _RATING)
        return None if rating is None else _NEUTRAL[self.neutral] if rating == 0 else float(rating > 0)


@dataclass(frozen=True)
class PRM800KWriter(TextOnlyWriter):
    """Writes JSON Lines: one completion per step, rated 1 or -1 and chosen.

    `finish_reason` is `solution` if the final answer is known to be right, `found_error` if the last step is
    wrong, else null. `id` and `domain` are added; the labeller, times and answers are null.
    """

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one record."""
        right = self.right(record)
        finish = "found_error" if not right[-1] else "solution" if record.final_answer_correct else None
        return {
            "labeler": None,
            "timestamp": None,
            "generation": None,
            "question": {"problem": record.question, "ground_truth_answer": None},
            "label": {
                "steps": [
                    {
                        "completions": [{"text": step, "rating": 1 if good else -1, "flagged": None}],
                        "human_completion": None,
                        "chosen_completion": 0,
                    }
                    for step, good in zip(record.steps, right, strict=True)
                ],
                "total_time": None,
                "finish_reason": finish,
            },
            "id": record.id,
            "domain": record.domain,
            "final_answer_correct": record.final_answer_correct,
        }


def _object(row: Fields, name: str) -> Fields:
    value = row.require(name, "a JSON object")
    return Fields(value, row.path, line=row.line, prefix=f"{row.prefix}{name}.", element=row.element)


def _chosen(step: Fields, completions: int) -> int | None:
    value = step.values.get("chosen_completion")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < completions:
        raise step.error("chosen_completion", f"the index of one of {completions} completions, or null")
    return value


def _human(step: Fields, human: Any) -> str:
    """The text of a step that the labeller wrote: a text in the README, `{"text"}` in the files."""
    text = human.get("text") if isinstance(human, dict) else human
    if not isinstance(text, str) or not text.strip():
        raise step.error("human_completion", "a text, an object with a text, or null")
    return text
