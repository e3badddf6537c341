"""Read the pool of texts for the language-modelling loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import place
from dreamprm.data.image_paths import LEAVES, image_path
from dreamprm.data.json_stream import Row, stream_json
from dreamprm.data.read_report import OnError, ReadReport, Tolerance


@dataclass(frozen=True, slots=True)
class TextRecord:
    """A text to model and the image it describes, if any; `place` as in `StepRecord`."""

    text: str
    images: tuple[str, ...] = ()
    place: str = field(default="", compare=False, repr=False)


def read_text_records(
    path: str | Path,
    *,
    image_root: str | Path | None = None,
    allow_outside: bool = True,
    on_error: OnError = "error",
    max_bad_fraction: float = 0.01,
    report: ReadReport | None = None,
) -> list[TextRecord]:
    """Read a pool file: JSONL or a JSON array of objects with `text` and, optionally, `image`.

    Args:
        path: the file; the pool is held in memory.
        image_root: the folder that images are relative to; None: the file's own.
        allow_outside: as in `read_step_records`, except for the default; commands pass `data.allow_outside`.
        on_error, max_bad_fraction, report: as in `read_step_records`.

    Raises:
        DataError: a bad record, too many of them, or a pool without records.
    """
    path, report = Path(path), ReadReport() if report is None else report
    root = Path(image_root) if image_root is not None else path.parent
    tolerance = Tolerance(on_error, max_bad_fraction)
    records = []
    for row in stream_json(path):
        report.rows += 1
        try:
            records.append(_text_record(row, path, root, allow_outside=allow_outside))
        except DataError as error:
            tolerance.take(error, report, path)
    tolerance.judge(report, path)
    if not records:
        raise DataError(
            f"{path}: the text pool is empty; give data.lm a file with records, or set lm_weight=0"
        )
    return records


def _text_record(row: Row, path: Path, root: Path, *, allow_outside: bool) -> TextRecord:
    where = place(path, row.line, row.element)
    if row.problem is not None:
        raise DataError(f"{where}: {row.problem}")
    if not isinstance(row.value, dict):
        raise DataError(f"{where}: a row of a text pool must be an object, got {type(row.value).__name__}")
    text, image = row.value.get("text"), row.value.get("image")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: text must be a text that is not empty, got {text!r}")
    if image is not None and not (isinstance(image, str) and image):
        raise DataError(f"{where}: image must be a path or absent, got {image!r}")
    images: tuple[str, ...] = ()
    if image is not None:
        found, outside = image_path(str(root), image, allow_outside=allow_outside)
        if outside is not None:
            raise DataError(f"{where}: image must be inside its folder, got {image!r} ({outside}; {LEAVES})")
        images = (found,)
    return TextRecord(text, images, place=where.removeprefix(str(path)))
