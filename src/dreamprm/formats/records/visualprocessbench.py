"""VisualProcessBench (arXiv 2503.10291): multimodal solutions with a human judgement of every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.answer_fields import parsed_list
from dreamprm.formats.format import NotChosen
from dreamprm.formats.image_folder import images_of
from dreamprm.formats.records.step_format import StepReader, StepWriter

Neutral = Literal["right", "wrong", "null"]
_NEUTRAL: dict[Neutral, float | None] = {"right": 1.0, "wrong": 0.0, "null": None}


@dataclass(frozen=True)
class VisualProcessBench(StepReader):
    """VisualProcessBench's `test.jsonl`: `image`, `question`, `response`, `policy_model`, `data_source`.

    `response` holds `steps` and `process_correctness`: 1 (right), -1 (wrong), 0 (neutral: no reasoning, or
    nothing new), which become the labels 1, 0 and null. Errors need not be contiguous: a right step may
    follow a wrong one. The authors leave neutral steps out of their figures, and so does `dreamprm
    evaluate-steps`, which does not count null labels. The domain is `data_source`, over which its figures are
    broken down; the id is `policy_model` and the place in the file. `answer` is not kept. Images are paths in
    the archive `images.zip`, kept as written.

    Source: the data card of OpenGVLab/VisualProcessBench, MIT; `process_correctness` as read by the authors'
    own evaluation, VLMEvalKit's `VL_PRMBenchmark`.
    """

    help = "VisualProcessBench: solutions with a human judgement of every step, as step records"
    signature = (("question", "response", "policy_model", "data_source"),)

    neutral: Neutral = setting(
        "null",
        "the label of a neutral step: null (it does not count, as in the authors' figures), right, or wrong",
        choices=("right", "wrong", "null"),
    )

    def record(self, row: Fields) -> StepRecord:
        """The record of one solution."""
        response = self._response(row)
        allowed = "a list of texts"
        steps = response.require("steps", allowed)
        if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
            raise response.error("steps", allowed)
        judged = self._labels(response, len(steps))
        kept = [(step, label) for step, label in zip(steps, judged, strict=True) if step.strip()]
        if not kept:
            raise response.error("steps", "at least one step that is not empty")
        if all(label is None for _, label in kept):
            raise NotChosen("no step is judged right or wrong")
        model = row.optional_text("policy_model")
        name = row.identifier()
        return self.step_record(
            row,
            question=row.text("question"),
            images=images_of(row),
            steps=[step for step, _ in kept],
            labels=tuple(label for _, label in kept),
            domain=row.optional_text("data_source") or None,
            id=f"{model}/{name}" if model and "id" not in row else name,
        )

    def _response(self, row: Fields) -> Fields:
        allowed = "an object with steps and process_correctness"
        value = row.require("response", allowed)
        if isinstance(value, str):  # as tables hold it
            value = parsed_list(value)
        if not isinstance(value, dict):
            raise row.error("response", allowed)
        return Fields(value, row.path, line=row.line, prefix=f"{row.prefix}response.", element=row.element)

    def _labels(self, response: Fields, steps: int) -> tuple[float | None, ...]:
        allowed = f"a list of {steps} values 1, 0 or -1, one per step"
        values = response.require("process_correctness", allowed)
        if not isinstance(values, list):
            raise response.error("process_correctness", allowed)
        if len(values) != steps:
            raise response.error("process_correctness", allowed, f"{len(values)} values")
        for index, value in enumerate(values):
            if isinstance(value, bool) or value not in (1, 0, -1):
                raise response.error(f"process_correctness[{index}]", "1, 0 or -1", value)
        return tuple(_NEUTRAL[self.neutral] if value == 0 else float(value == 1) for value in values)


@dataclass(frozen=True)
class VisualProcessBenchWriter(StepWriter):
    """Writes JSON Lines; a null label becomes 0 (neutral). `id` and `domain` are added.

    The domain becomes `data_source`; `answer` and `policy_model` are null.
    """

    def holds_null(self, record: StepRecord) -> bool:
        """A step without a label is neutral."""
        del record
        return True

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one record."""
        return {
            "image": list(record.images),
            "question": record.question,
            "answer": None,
            "response": {
                "steps": list(record.steps),
                "process_correctness": [
                    0 if right is None else 1 if right else -1 for right in self.judged(record)
                ],
            },
            "policy_model": None,
            "data_source": record.domain,
            "id": record.id,
            "domain": record.domain,
        }
