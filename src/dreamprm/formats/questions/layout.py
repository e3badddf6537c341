"""What a published layout of questions is, and how its rows become question records."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.format import ConvertReport, NotChosen, RowReader
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.table_files import read_table

WithoutImage = Literal["error", "skip", "keep"]


@dataclass(frozen=True)
class QuestionLayout(RowReader):
    """One published layout; a frozen dataclass whose fields are its options.

    Attributes:
        name: the domain of its questions.
        prefix: what the ids of its questions start with, so that those of several datasets differ.
    """

    kind = "question"
    shared = "questions"
    name: ClassVar[str]
    prefix: ClassVar[str]

    domain: str | None = setting(None, "the domain of every question; null: the layout's own")
    image_root: Path | None = setting(
        None, "what relative image paths start from; null: where the layout has its images"
    )
    image_folder: Path | None = setting(
        None, "where images that a table holds are written; null: a folder beside the destination"
    )
    without_image: WithoutImage = setting(
        "error",
        "what a question without an image does: an error, is left out (skip) and counted, or is kept",
        choices=("error", "skip", "keep"),
    )
    limit: int | None = setting(None, "stop after so many questions; null: all", minimum=1)

    @abstractmethod
    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """The rows of a file or folder, in order; an error stands for a row that cannot be read."""

    @abstractmethod
    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row.

        An empty domain stands for the source's name; an empty id for one made of the source's name and the
        row's number.

        Raises:
            DataError: a bad row.
            NotChosen: the options do not choose it.
        """

    def question_record(
        self,
        *,
        question: str,
        images: tuple[str, ...],
        answer: str,
        options: tuple[str, ...] = (),
        answer_type: str | None = None,
        precision: int | None = None,
        unit: str | None = None,
        id: str = "",
    ) -> QuestionRecord:
        """A question of the layout's own domain; one with options is a choice, whatever `answer_type`."""
        return QuestionRecord(
            question=question,
            images=images,
            answer=answer,
            options=options,
            domain=self.name,
            answer_type="choice" if options else answer_type,
            precision=precision,
            unit=unit,
            id=id,
        )

    def source_name(self, path: Path) -> str:
        """What tells this source from others of the same layout, in ids made from a row's number."""
        split = getattr(self, "split", None)
        name = _name(path)
        return name if path.is_file() or split is None else f"{name}-{split}"

    def read(self, path: Path, report: ConvertReport) -> Iterator[QuestionRecord]:
        """The questions of a file or folder, with absolute image paths.

        Raises:
            UserError: no such file or folder.
            DataError: a bad row, naming file, row, field, value and what is allowed; or too many of them. The
                images written meanwhile are removed.
        """
        images = ImageFolder(self.image_root, self.image_folder)
        if not path.exists():
            raise UserError(f"no such file or folder: {path}; give the {self.name} source as it is published")
        name, place = _name(path), f"{self.prefix}-{self.source_name(path)}"
        names: set[int] = set()  # hashes, since a source may hold millions of questions

        def checked(row: Fields) -> QuestionRecord:
            written = images.written
            try:
                record = self.record(row, images)
                if record.id:
                    _check_new(record, row, names)
                _check_image(record, row, self.without_image)
            except (DataError, NotChosen):
                images.discard(after=written)
                raise
            return dataclasses.replace(
                record,
                domain=self.domain or record.domain or name,
                id=record.id or f"{place}-{report.rows}",
            )

        try:
            yield from self.records_of(path, checked, report, limit=self.limit)
        except GeneratorExit:  # the reader wants no more: what it got stays
            raise
        except BaseException:
            images.discard()
            raise


@dataclass(frozen=True)
class SplitLayout(QuestionLayout):
    """A layout that the hub holds as a table with splits; its other layouts override `rows`."""

    shared = "questions in tables with splits"

    split: str | None = setting(
        None, "which of several splits; null: all that a file holds, or a folder's only one"
    )

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """The rows of the table."""
        return read_table(path, split=self.split)


def _name(path: Path) -> str:
    """A file's name without its ending, or a folder's; of a numbered part (`train/0000.parquet`) both."""
    path = path.resolve()
    if not path.is_file():
        return path.name
    return f"{path.parent.name}-{path.stem}" if path.stem.isdecimal() else path.stem


def _check_image(record: QuestionRecord, row: Fields, without_image: WithoutImage) -> None:
    if record.images or without_image == "keep":
        return
    if without_image == "skip":
        raise NotChosen("without an image (without_image=skip)")
    named = f"question {record.id}" if record.id else "the question"
    raise DataError(
        f"{row.path}:{row.line}: {named} has no image; set without_image=skip to leave such"
        " questions out, or without_image=keep for text-only questions"
    )


def _check_new(record: QuestionRecord, row: Fields, names: set[int]) -> None:
    if hash(record.id) in names:
        raise DataError(
            f"{row.path}:{row.line}: a second question is named {record.id}; each name may appear once,"
            " since chains of thought and their labels are kept under it"
        )
    names.add(hash(record.id))
