"""Base classes of published question layouts, and how their rows become question records."""

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
        prefix: the prefix of its questions' ids, so that ids of different datasets differ.
    """

    kind = "question"
    shared = "questions"
    name: ClassVar[str]
    prefix: ClassVar[str]

    domain: str | None = setting(None, "the domain of all questions; null: the layout's own")
    image_root: Path | None = setting(
        None, "the folder that image paths are relative to; null: where the layout has its images"
    )
    allow_outside: bool = setting(
        False, "accept image paths that lead out of that folder (absolute, by .. or by a link)"
    )
    image_folder: Path | None = setting(
        None, "where images embedded in a table are written; null: a folder next to the destination"
    )
    allow_urls: bool = setting(False, "whether images that are given by a URL (http, https) are downloaded")
    without_image: WithoutImage = setting(
        "error",
        "what to do with a question without an image: error, skip (leave it out and count it), or keep",
        choices=("error", "skip", "keep"),
    )
    limit: int | None = setting(None, "stop after this many questions; null: all", minimum=1)

    @abstractmethod
    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """Yield the rows of a file or folder, in order; a row that cannot be read is yielded as an error."""

    @abstractmethod
    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row.

        An empty domain is replaced by the source's name, and an empty id by one made of the source's name and
        the row's number.

        Raises:
            DataError: a bad row.
            NotChosen: the options exclude it.
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
        """Build a question of the layout's domain; with options it is a choice, whatever `answer_type` is."""
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
        """The name that distinguishes sources of the same layout in ids made from row numbers."""
        split = getattr(self, "split", None)
        name = _name(path)
        return name if path.is_file() or split is None else f"{name}-{split}"

    def read(self, path: Path, report: ConvertReport) -> Iterator[QuestionRecord]:
        """The questions of a file or folder, with absolute image paths.

        Raises:
            UserError: no such file or folder.
            DataError: a bad row (the message names file, row, field, value and what is allowed), or too many
                of them. Images written so far are removed.
        """
        images = ImageFolder(
            self.image_root,
            self.image_folder,
            allow_outside=self.allow_outside,
            allow_urls=self.allow_urls,
        )
        if not path.exists():
            raise UserError(f"no such file or folder: {path}; give the {self.name} source as published")
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
        except GeneratorExit:  # the consumer stopped early: keep what it got
            raise
        except BaseException:
            images.discard()
            raise


@dataclass(frozen=True)
class SplitLayout(QuestionLayout):
    """A layout available on the hub as a table with splits; datasets with other layouts override `rows`."""

    shared = "questions in tables with splits"

    split: str | None = setting(
        None, "which of several splits; null: everything in a file, or a folder's only split"
    )

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """The rows of the table."""
        return read_table(path, split=self.split)


def _name(path: Path) -> str:
    """A folder's name, or a file's without its ending; both for a numbered part (`train/0000.parquet`)."""
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
        f"{row.where}: {named} has no image; set without_image=skip to leave out such"
        " questions, or without_image=keep for text-only questions"
    )


def _check_new(record: QuestionRecord, row: Fields, names: set[int]) -> None:
    if hash(record.id) in names:
        raise DataError(
            f"{row.where}: a second question has the id {record.id}; ids must be unique,"
            " since chains of thought and their labels are stored by id"
        )
    names.add(hash(record.id))
