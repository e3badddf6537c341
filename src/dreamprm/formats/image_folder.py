"""Images of foreign files: their paths as written, found on disk, or written where a table holds them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dreamprm.config.errors import UserError
from dreamprm.data.fields import Fields
from dreamprm.data.records import Record
from dreamprm.files.atomic import write_atomically

R = TypeVar("R", bound=Record)

_IMAGE = "an image path, the bytes of an image file, {'bytes', 'path'}, a list of these, or null"


def images_of(fields: Fields, name: str = "image") -> tuple[str, ...]:
    """A field's image paths as written: one path, a list of them, or none where it is null or absent."""
    if name not in fields or fields.values[name] == []:
        return ()
    return fields.texts(name) if isinstance(fields.values[name], list) else (fields.text(name),)


def image_value(images: tuple[str, ...]) -> str | list[str] | None:
    """What `images_of` reads back: a path, a list of several, or null."""
    return list(images) if len(images) > 1 else next(iter(images), None)


def images_from(record: R, folder: str | Path) -> R:
    """A record whose image paths below a folder start from it, so that both can be moved together.

    Args:
        record: with absolute paths.
        folder: that of the file it is written to.
    """
    root = os.path.join(os.path.abspath(folder), "")
    images = tuple(path.removeprefix(root) for path in record.images)
    return record if images == record.images else dataclasses.replace(record, images=images)


class ImageFolder:
    """Turns what foreign rows say of their images into paths of files that exist.

    An embedded image becomes a file of `folder`, named by its content's SHA-256: an image that many rows
    share is written once, and a second conversion writes nothing new. A file appears whole or not at all.

    Args:
        root: what relative paths start from; None for the folder that the layout names, else the file's own.
        folder: where embedded images go; made where it is missing; None refuses them.
    """

    def __init__(self, root: str | Path | None = None, folder: str | Path | None = None) -> None:
        if root is not None and not Path(root).is_dir():
            raise UserError(
                f"image_root is not a folder: {root}; give the folder that image paths start from"
            )
        self._root = None if root is None else os.path.abspath(root)
        self._folder = None if folder is None else Path(os.path.abspath(folder))
        self._written: list[Path] = []
        self._made_folder = False

    def find(self, row: Fields, name: str, candidates: Iterable[str], *, base: Path | None = None) -> str:
        """The absolute path of the first of several places where an image may lie.

        Args:
            row: the row, for messages and for the file's folder.
            name: the field that names the image.
            candidates: paths, relative to `root` or else to `base`; at least one.
            base: the layout's own folder of images; None for the file's folder.

        Raises:
            DataError: none of them is a file.
        """
        root = self._root or os.path.abspath(base or row.path.parent)
        tried = [os.path.join(root, candidate) for candidate in candidates]
        for path in tried:
            if os.path.isfile(path):
                return path
        looked = tried[0] + (f" nor {len(tried) - 1} other places" if len(tried) > 1 else "")
        raise row.error(name, f"an image that is there (no such file: {looked}; set image_root)")

    def take(self, row: Fields, name: str, *, base: Path | None = None) -> tuple[str, ...]:
        """The paths of the images that a field holds, in order; empty where it is absent or null.

        A field holds a path, the bytes of an image file, `{"bytes", "path"}` (as the hub's parquet files
        do), or a list of these.

        Raises:
            DataError: anything else, bytes that are no image, or a path without a file.
            UserError: bytes, and no folder to write them to.
        """
        if name not in row:
            return ()
        value = row.values[name]
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            items = [self._one(row, name, item, base) for item in value]
        else:
            items = [self._one(row, name, value, base)]
        return tuple(path for path in items if path is not None)

    def embed(self, row: Fields, name: str, content: bytes) -> str:
        """The path of a file with these bytes, which must be an image's."""
        if self._folder is None:
            raise UserError(f"{row.path} holds its images; set image_folder to the folder to write them to")
        from PIL import Image  # only where a table holds images

        try:
            with Image.open(io.BytesIO(content)) as image:
                kind = str(image.format).lower()
        except Exception as error:  # a decoder may raise anything on broken bytes
            given = f"{len(content)} bytes"
            raise row.error(name, f"bytes of an image file ({type(error).__name__})", given) from error
        suffix = {"jpeg": "jpg", "mpo": "jpg", "tiff": "tif"}.get(kind, kind)
        return str(self._store(content, suffix))

    def embed_pixels(self, row: Fields, name: str) -> str:
        """The path of a PNG file of a field's pixels, `(height, width)` or `(height, width, 3)`, 0 to 255."""
        import numpy as np
        from PIL import Image

        allowed = "an array of (height, width) or (height, width, 3) numbers from 0 to 255"
        pixels = np.asarray(row.require(name, allowed))
        grey_or_colour = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
        given = f"an array of {pixels.dtype} {pixels.shape}"
        if not grey_or_colour or pixels.dtype.kind not in "uif" or not pixels.size:
            raise row.error(name, allowed, given)
        if not (pixels.min() >= 0 and pixels.max() <= 255 and (pixels == np.round(pixels)).all()):
            raise row.error(name, allowed, f"{given} from {pixels.min()} to {pixels.max()}")
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
        return self.embed(row, name, file.getvalue())

    @property
    def written(self) -> int:
        """How many files were written so far."""
        return len(self._written)

    def discard(self, after: int = 0) -> None:
        """Remove the files that were written after so many, and the folder if it was made and is empty."""
        for path in self._written[after:]:
            path.unlink(missing_ok=True)
        del self._written[after:]
        if self._made_folder and self._folder is not None and not any(self._folder.iterdir()):
            self._folder.rmdir()
            self._made_folder = False

    def _one(self, row: Fields, name: str, value: Any, base: Path | None) -> str | None:
        if isinstance(value, Mapping):
            content, path = value.get("bytes"), value.get("path")
            value = content if content is not None else path
        if value is None:
            return None
        if isinstance(value, bytes):
            return self.embed(row, name, value)
        if isinstance(value, str) and value.strip():
            return self.find(row, name, [value], base=base)
        raise row.error(name, _IMAGE)

    def _store(self, content: bytes, suffix: str) -> Path:
        assert self._folder is not None
        path = self._folder / f"{hashlib.sha256(content).hexdigest()[:32]}.{suffix}"
        if path.exists():
            return path
        if not self._folder.exists():
            self._folder.mkdir(parents=True)
            self._made_folder = True
        write_atomically(path, content)
        self._written.append(path)
        return path
