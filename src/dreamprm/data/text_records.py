"""The language-modelling pool: texts, each with an image or none, that the domain weights do not touch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.json_stream import stream_json


@dataclass(frozen=True, slots=True)
class TextRecord:
    """A text to model and the image it describes, if any."""

    text: str
    images: tuple[str, ...] = ()


def read_text_records(path: str | Path, *, image_root: str | Path | None = None) -> list[TextRecord]:
    """Read a pool file: JSONL or a JSON array of objects with `text` and, optionally, `image`.

    Args:
        path: the file; the pool is held in memory.
        image_root: what relative image paths start from; the file's folder if None.

    Raises:
        DataError: a row that is not such an object, or an empty pool; it names file, line, field and value.
    """
    root = Path(image_root) if image_root is not None else Path(path).parent
    records = []
    for row in stream_json(path):
        where = f"{path}:{row.line}"
        if row.problem is not None:
            raise DataError(f"{where}: {row.problem}")
        if not isinstance(row.value, dict):
            raise DataError(
                f"{where}: a row of a text pool must be an object, got {type(row.value).__name__}"
            )
        text, image = row.value.get("text"), row.value.get("image")
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: text must be a text that is not empty, got {text!r}")
        if image is not None and not (isinstance(image, str) and image):
            raise DataError(f"{where}: image must be a path or absent, got {image!r}")
        records.append(TextRecord(text, () if image is None else (str(root / image),)))
    if not records:
        raise DataError(
            f"{path}: the text pool is empty; give data.lm a file with records, or set lm_weight=0"
        )
    return records
