"""Readers of rows that hold their images: what is no path becomes a file, so that records hold paths only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dreamprm.config.errors import DataError
from dreamprm.config.schema import setting
from dreamprm.data.fields import Fields
from dreamprm.formats.format import ConvertReport, NotChosen, RowReader
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.image_sources import is_embedded


@dataclass(frozen=True)
class EmbeddingReader(RowReader):
    """Reads rows that may hold their images; paths stay as written.

    Attributes:
        image_fields: the fields that may hold a row's images.
    """

    shared = "images inside rows"
    image_fields: ClassVar[tuple[str, ...]] = ("images", "image", "image_path")

    image_folder: Path | None = setting(
        None, "where images inside the rows are written; null: a folder next to the destination"
    )
    allow_urls: bool = setting(False, "whether images that are given by a URL (http, https) are downloaded")

    def records_with_images(
        self, path: Path, record: Callable[[Fields], Any], report: ConvertReport
    ) -> Iterator[Any]:
        """As `records_of`, for rows whose images are paths by then.

        A row that is left out leaves no image behind, and neither does a conversion that fails.
        """
        images = ImageFolder(None, self.image_folder, allow_urls=self.allow_urls)

        def made(row: Fields) -> Any:
            written = images.written
            try:
                return record(self._with_paths(row, images))
            except (DataError, NotChosen):
                images.discard(after=written)
                raise

        try:
            yield from self.records_of(path, made, report)
        except GeneratorExit:  # the consumer stopped early: keep what it got
            raise
        except BaseException:
            images.discard()
            raise

    def _with_paths(self, row: Fields, images: ImageFolder) -> Fields:
        changed = {}
        for name in self.image_fields:
            value = row.values.get(name)
            several = isinstance(value, list)
            items: list[Any] = value if isinstance(value, list) else [value]
            if any(is_embedded(item) for item in items):
                paths = [images.stored(row, name, item) if is_embedded(item) else item for item in items]
                changed[name] = paths if several else paths[0]
        return row.with_values({**row.values, **changed}) if changed else row
