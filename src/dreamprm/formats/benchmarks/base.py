"""The base class of benchmarks: questions, answer rules and figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from dreamprm.answers import build_checker
from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.benchmarks.checkers import BenchmarkChecker, StatedChecker
from dreamprm.formats.benchmarks.figures import Figure, mean_over_values, means_by_group
from dreamprm.formats.benchmarks.question_set import BenchmarkQuestion, Questions, several_accepted
from dreamprm.formats.table_files import cell_text
from dreamprm.generators.base import Generator

Rules = Literal["own", "stated"]


@dataclass(frozen=True)
class Benchmark(ABC):
    """One benchmark; a frozen dataclass whose fields are its settings.

    Attributes:
        rules: `own`: responses are parsed and compared as in the benchmark's own script, which expects the
            form that its own prompt asks for. `stated`: the answer stated in a response, in any form ("Final
            answer: B", a box, "the answer is B"), is compared by the rules used for making labels
            (`dreamprm.answers.auto`). Use `stated` for responses to other prompts, such as our five-step
            prompt: the own rules of WeMath and MMStar find no letter in them.
        name, title: the benchmark's name in commands and in tables.
        vlmevalkit: its names in VLMEvalKit's prediction files, MODEL_NAME.xlsx.
        headline: the figure reported in papers.
        unit: what is resampled for its confidence intervals.
        group_keys: the keys that figures are broken down by.
        mean_over: the key over whose values an unweighted mean, KEY_mean, is reported too; or None.
        image_fields: fields of the benchmark's own file that may hold the image; the first that does is used,
            or all of them, in order, for a benchmark with `several_images`.
        image_folders: folders that image paths may be relative to, as seen from the file; the first that has
            the image is used.
        id_fields: fields that may hold a question's id.
        asks_judge: whether its own rules query a language model.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    vlmevalkit: ClassVar[tuple[str, ...]]
    headline: ClassVar[str] = "accuracy"
    unit: ClassVar[str] = "questions"
    group_keys: ClassVar[tuple[str, ...]] = ()
    mean_over: ClassVar[str | None] = None
    image_fields: ClassVar[tuple[str, ...]] = ("image",)
    several_images: ClassVar[bool] = False
    image_folders: ClassVar[tuple[str, ...]] = ("",)
    id_fields: ClassVar[tuple[str, ...]] = ("id",)
    asks_judge: ClassVar[Literal["never", "optional", "always"]] = "never"

    rules: Rules = setting(
        "own",
        "own: responses are parsed and compared as in the benchmark's own script; stated: by the rules used "
        "for making labels (for responses to other prompts than the benchmark's)",
        choices=get_args(Rules),
    )

    def __post_init__(self) -> None:
        check_settings(self)

    @abstractmethod
    def question(self, row: Fields, published: str) -> BenchmarkQuestion:
        """The question of one row, without its images.

        Args:
            row: a row of the benchmark's own file or of VLMEvalKit's table.
            published: the question's published id.

        Raises:
            DataError: a bad row.
        """

    @abstractmethod
    def own_checker(self, questions: Questions, judge: Generator | None) -> BenchmarkChecker:
        """The benchmark's own rules; `judge` is None if `asks_judge` is "never"."""

    def checker(
        self,
        questions: Sequence[BenchmarkQuestion] = (),
        judge: Generator | None = None,
    ) -> BenchmarkChecker:
        """The answer rules.

        Args:
            questions: the benchmark's questions, which list all accepted answers (a record holds only one).
            judge: the language model that extracts or grades, if the rules use one. With rules=stated it
                decides what the rules cannot. The caller must close it.

        Raises:
            UserError: a judge that the rules do not use, or a missing judge.
        """
        if judge is None and self.asks_judge == "always":
            raise UserError(f"answers to {self.title} are graded by a language model: give a judge")
        if self.rules == "stated" and self.asks_judge != "always":
            return StatedChecker(
                build_checker("auto", judge=judge),
                self.own_checker(questions, None),
                several_accepted(questions),
            )
        if judge is not None and self.asks_judge == "never":
            raise UserError(
                f"{self.title}'s own rules use no judge; leave it out, or set rules=stated, "
                "where it decides what the rules cannot"
            )
        return self.own_checker(questions, judge)

    def figures(self, questions: Questions, outcomes: Sequence[float]) -> dict[str, Figure]:
        """All figures by name, over the same units.

        Args:
            questions: all of them.
            outcomes: one value in [0, 1] per question: 1 right, 0 wrong, or an expectation or grade in
                between.
        """
        groups = [question.groups for question in questions]
        figures = means_by_group(outcomes, groups, keys=self.group_keys)
        if self.mean_over is not None:
            mean = mean_over_values(outcomes, groups, key=self.mean_over)
            figures |= {} if mean is None else {f"{self.mean_over}_mean": mean}
        return figures

    def whole_units(self, questions: Sequence[BenchmarkQuestion]) -> list[BenchmarkQuestion]:
        """The questions that the figures can be computed from, after bad rows were left out."""
        return list(questions)

    def published_id(self, row: Fields) -> str | None:
        """The benchmark's own id of a row's question; None if the row has none."""
        texts = (cell_text(row, name) for name in self.id_fields)
        return next((text for text in texts if text is not None), None)

    def record(
        self,
        published: str,
        *,
        question: str,
        answer: str,
        options: tuple[str, ...] = (),
        open_type: str | None = None,
        precision: int | None = None,
        unit: str | None = None,
    ) -> QuestionRecord:
        """Build the record of one of the benchmark's questions, without images.

        Args:
            published: the question's id.
            question, answer, options, precision, unit: as in `QuestionRecord`.
            open_type: the answer's type if there are no options.
        """
        return QuestionRecord(
            question=question,
            images=(),
            answer=answer,
            options=options,
            domain=self.title,
            answer_type="choice" if options else open_type,
            precision=precision,
            unit=unit,
            id=self.record_id(published),
        )

    def record_id(self, published: str) -> str:
        """The id of a record, unique across benchmarks."""
        return f"{self.name}-{published}"
