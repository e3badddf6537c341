"""What a published layout of questions is, and how its rows become question records."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from dreamprm.config.errors import DataError, UserError
from dreamprm.data.fields import Fields
from dreamprm.data.read_report import OnError, Tolerance
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.format import REPORT, ConvertReport, Format, NotChosen
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.option_checks import one_of, optional_name, whole_number
from dreamprm.formats.tables import read_table

WithoutImage = Literal["error", "skip", "keep"]


class QuestionLayout(ABC):
    """One published layout; a frozen dataclass whose fields are its options.

    Attributes:
        name: the domain of its questions.
        prefix: what the ids of its questions start with, so that those of several datasets differ.
        help: one line for `--help`.
    """

    name: ClassVar[str]
    prefix: ClassVar[str]
    help: ClassVar[str]

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

    def source_name(self, path: Path) -> str:
        """What tells this source from others of the same layout, in ids made from a row's number."""
        split = getattr(self, "split", None)
        name = _name(path)
        return name if path.is_file() or split is None else f"{name}-{split}"


@dataclass(frozen=True)
class SplitLayout(QuestionLayout):
    """A layout that the hub holds as a table with splits; its other layouts override `rows`.

    Attributes:
        split: of a folder with several splits, which.
    """

    split: str | None = None

    def __post_init__(self) -> None:
        optional_name("split", self.split)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """The rows of the table."""
        yield from read_table(path, split=self.split)


def question_format(layout: type[QuestionLayout]) -> Format:
    """The format of a layout: its own options, then those that every question format has."""
    own = [field.name for field in dataclasses.fields(layout)]  # type: ignore[arg-type]

    def read(path: str | Path, **options: Any) -> Iterator[QuestionRecord]:
        made = layout(**{name: options.pop(name) for name in own if name in options})
        return read_questions(made, path, **options)

    # `Format.options` lists what a signature names.
    keyword = inspect.Parameter.KEYWORD_ONLY
    _, path, *common = inspect.signature(read_questions).parameters.values()
    parameters = [path, *(inspect.Parameter(name, keyword) for name in own), *common]
    read.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Format("question", read, layout.help)


def common_options() -> tuple[str, ...]:
    """Names of the options that every question format has."""
    parameters = inspect.signature(read_questions).parameters.values()
    named = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return tuple(name for name in named if name != REPORT)


def read_questions(
    layout: QuestionLayout,
    path: str | Path,
    *,
    domain: str | None = None,
    image_root: str | Path | None = None,
    image_folder: str | Path | None = None,
    without_image: WithoutImage = "error",
    limit: int | None = None,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ConvertReport | None = None,
) -> Iterator[QuestionRecord]:
    """Read the questions of a published layout.

    Args:
        layout: which, with its own options.
        path: its file or folder.
        domain: the domain of every question; None for the layout's own.
        image_root: what relative image paths start from; None for where the layout has its images.
        image_folder: where images that a table holds are written, see `ImageFolder`.
        without_image: what a question without an image does: an `error`, is left out (`skip`) and counted,
            or is kept (`keep`).
        limit: stop after so many questions, >= 1; None for all.
        on_error, max_bad_fraction: as in `read_step_records`.
        report: filled in where given.

    Yields:
        Records with absolute image paths. If reading ends with an error, the images written meanwhile are
        removed.

    Raises:
        UserError: no such file or folder, or a bad option.
        DataError: a bad row, naming file, row, field, value and what is allowed; or too many of them.
    """
    one_of("without_image", without_image, ("error", "skip", "keep"))
    if limit is not None:
        whole_number("limit", limit, least=1)
    optional_name("domain", domain)
    tolerance = Tolerance(on_error, max_bad_fraction)
    images = ImageFolder(image_root, image_folder)
    path, report, count = Path(path), ConvertReport() if report is None else report, 0
    if not path.exists():
        raise UserError(f"no such file or folder: {path}; give the {layout.name} source as it is published")
    name, place = _name(path), f"{layout.prefix}-{layout.source_name(path)}"
    names: set[int] = set()  # hashes, since a source may hold millions of questions
    try:
        for number, row in enumerate(layout.rows(path), start=1):
            report.rows += 1
            written = images.written
            try:
                if isinstance(row, DataError):
                    raise row
                record = layout.record(row, images)
                if record.id:
                    _check_new(record, row, names)
                _check_image(record, row, without_image)
            except DataError as error:
                images.discard(after=written)
                tolerance.take(error, report, path)
                continue
            except NotChosen as reason:
                images.discard(after=written)
                report.pass_over(str(reason))
                continue
            yield dataclasses.replace(
                record,
                domain=domain or record.domain or name,
                id=record.id or f"{place}-{number}",
            )
            count += 1
            if count == limit:
                break
        tolerance.judge(report, path)
    except GeneratorExit:  # the reader wants no more: what it got stays
        raise
    except BaseException:
        images.discard()
        raise


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
