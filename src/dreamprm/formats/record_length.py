"""Records longer than a number of tokens: cut after the last step that fits, or left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import UserError
from dreamprm.data.records import MetaRecord, Record, StepRecord
from dreamprm.formats.format import ConvertReport

TooLong = Literal["cut", "skip"]


@dataclass(frozen=True)
class LengthLimit:
    """How long a record's question and steps may be together.

    Tokens are those of the question and of each step as they stand, without a chat template and without those
    of images, so leave room for both. A step record is cut after the last step that fits, and then it is no
    longer known whether its answer is right. A meta record's verdict is on the whole chain, so it can only be
    left out.

    Attributes:
        tokenizer: a folder with a tokenizer's files.
        max_tokens: >= 1.
        too_long: whether step records are `cut`, or left out (`skip`).
    """

    tokenizer: str
    max_tokens: int
    too_long: TooLong

    def apply(self, records: Iterable[Record], report: ConvertReport) -> Iterator[Record]:
        """The records that fit, some of them cut; others are counted in the report.

        Raises:
            UserError: the tokenizer cannot be read, or the records have no steps.
        """
        tokenizer = _tokenizer(self.tokenizer)
        cut = 0
        for record in records:
            assert isinstance(record, StepRecord | MetaRecord), "other kinds are refused before"
            fits = self._steps_that_fit(record, tokenizer)
            if fits == len(record.steps):
                yield record
            elif isinstance(record, StepRecord) and self.too_long == "cut" and _is_labelled(record, fits):
                cut += 1
                yield _first_steps(record, fits)
            else:
                report.pass_over(f"longer than {self.max_tokens} tokens")
        if cut:
            report.cut_records += cut

    def _steps_that_fit(self, record: StepRecord | MetaRecord, tokenizer: Any) -> int:
        left = self.max_tokens
        for number, text in enumerate((record.question, *record.steps)):
            left -= len(tokenizer(text, add_special_tokens=False)["input_ids"])
            if left < 0:
                return max(0, number - 1)
        return len(record.steps)


def _is_labelled(record: StepRecord, steps: int) -> bool:
    return any(label is not None for label in record.labels[:steps])


def _first_steps(record: StepRecord, steps: int) -> StepRecord:
    return dataclasses.replace(
        record,
        steps=record.steps[:steps],
        labels=record.labels[:steps],
        rollouts=record.rollouts[:steps],
        final_answer_correct=None,
    )


def _tokenizer(folder: str) -> Any:
    if not Path(folder).is_dir():
        raise UserError(
            f"tokenizer is not a folder: {folder}; give a checkpoint's folder, or its tokenizer's"
        )
    # Imported here, as it takes seconds.
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"no tokenizer can be read from {folder}: {error}") from error
