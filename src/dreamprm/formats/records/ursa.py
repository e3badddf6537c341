"""URSA's DualMath-1.1M (arXiv 2501.04686): multimodal solutions whose steps end with + or -."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.records import StepRecord
from dreamprm.formats.image_folder import image_value, images_of
from dreamprm.formats.records.step_format import StepReader, StepWriter

_MARK = re.compile(r"(?<![ \t])[ \t]+([+-])[ \t]*(?=\n|$)")
_HEADING = re.compile(r"(?:^|\n)[ \t]*Step[ \t]+\d+[ \t]*:")
_QUESTION = "Question:"


@dataclass(frozen=True)
class URSA(StepReader):
    """A file of DualMath-1.1M: `image_url`, `instruction`, `output`.

    `output` holds "Step 1: ... +", "Step 2: ... -", each with a mark at the end of a line: + (label 1) or
    - (label 0); what follows the last mark ("†Answer: ...") stays with the last step. Where there are "Step
    k:" headings, there must be as many marks. The question is what follows "Question:" in `instruction`, or
    else all of it. `image_url` is a path; the images come from six datasets, below one folder.

    The data card says no more than where the images are, and no file was at hand: the field names are those
    that users of the file report, the marks those of the authors' own scoring script
    (`inference/prm_infer_score.py`, which puts a tag where a step ends). Licence: GPL-3.0.
    """

    help = "URSA's DualMath-1.1M: steps that end with + or - in `output`, as step records"
    signature = (("image_url", "instruction", "output"),)
    image_fields = ("image_url", "images", "image")

    def record(self, row: Fields) -> StepRecord:
        """The record of one row."""
        text = row.text("output")
        steps, labels, start = [], [], 0
        for mark in _MARK.finditer(text):
            steps.append(text[start : mark.start()].strip())
            labels.append(1.0 if mark[1] == "+" else 0.0)
            start = mark.end()
        if not steps:
            raise row.error("output", "steps that end with + or - at the end of a line", text[-60:])
        headings = len(_HEADING.findall(text))
        if headings and headings != len(steps):
            allowed = f"a mark + or - after each of its {headings} 'Step k:' headings (it has {len(steps)})"
            raise row.error("output", allowed, text[-60:])
        if rest := text[start:].strip():
            steps[-1] = f"{steps[-1]}\n{rest}"
        kept = [(step, label) for step, label in zip(steps, labels, strict=True) if step.strip()]
        if not kept:
            raise row.error("output", "at least one step that is not empty")
        asked = row.text("instruction")
        question = asked.partition(_QUESTION)[2].strip() or asked.strip()
        return self.step_record(
            row,
            question=question,
            images=images_of(row, next((name for name in self.image_fields if name in row), "image_url")),
            steps=[step for step, _ in kept],
            labels=tuple(label for _, label in kept),
        )


@dataclass(frozen=True)
class URSAWriter(StepWriter):
    """Writes JSON Lines; `id` and `domain` are added.

    White space around questions and steps, and numbers of rollouts, are not kept. A step with a line that
    ends with " +" or " -", and "Step k:" headings in other numbers than steps, are errors: they would be
    misread.
    """

    def row(self, record: StepRecord) -> dict[str, Any]:
        """The row of one record."""
        steps = [step.strip() for step in record.steps]
        for step in steps:
            if _MARK.search(step) or step in ("+", "-"):
                raise DataError(f"record {record.id}: the step {step[-60:]!r} holds a mark + or - of its own")
        signs = ["+" if right else "-" for right in self.right(record)]
        output = "\n".join(map(" ".join, zip(steps, signs, strict=True)))
        headings = len(_HEADING.findall(output))
        if headings not in (0, len(steps)):
            raise DataError(
                f"record {record.id}: has {headings} 'Step k:' headings for {len(steps)} steps, but the"
                " format counts them; give every step its heading, or none"
            )
        return {
            "image_url": image_value(record.images),
            "instruction": f"{_QUESTION}{record.question.strip()}",
            "output": output,
            "id": record.id,
            "domain": record.domain,
        }
