"""Images of foreign files: paths as written, resolved on disk, or extracted from tables that embed them."""

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
from dreamprm.data.image_paths import LEAVES, image_path
from dreamprm.data.records import Record
from dreamprm.files.atomic import write_atomically
from dreamprm.formats.image_sources import decoded, downloaded, is_data, is_embedded

R = TypeVar("R", bound=Record)

_IMAGE = "an image path, the bytes of an image file, a data URL, {'bytes', 'path'}, a list of these, or null"


def images_of(fields: Fields, name: str = "image") -> tuple[str, ...]:
    """A field's image paths as written: one path or a list of paths; empty if it is null or absent."""
    if name not in fields or fields.values[name] == []:
        return ()
    return fields.texts(name) if isinstance(fields.values[name], list) else (fields.text(name),)


def image_value(images: tuple[str, ...]) -> str | list[str] | None:
    """The inverse of `images_of`: a path, a list of several, or null."""
    return list(images) if len(images) > 1 else next(iter(images), None)


def images_from(record: R, folder: str | Path) -> R:
    """Make image paths below a folder relative to it, so that file and images can be moved together.

    Args:
        record: a record with absolute image paths.
        folder: the folder of the file that the record is written to.
    """
    root = os.path.join(os.path.abspath(folder), "")
    images = tuple(path.removeprefix(root) for path in record.images)
    return record if images == record.images else dataclasses.replace(record, images=images)


class ImageFolder:
    """Turns the image fields of foreign rows into paths of existing files.

    An embedded image is written to `folder` under the SHA-256 of its content, so an image shared by many rows
    is written once, and a second conversion writes nothing new. A file appears whole or not at all.

    Args:
        root: the folder that relative paths start from; None: the layout's own folder, or else the file's.
        folder: where embedded images are written, created if missing; None: embedded images are an error.
        allow_outside: whether a path may lead out of its folder (`image_path`).
        allow_urls: whether images on other machines are downloaded.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        folder: str | Path | None = None,
        *,
        allow_outside: bool = False,
        allow_urls: bool = False,
    ) -> None:
        if root is not None and not Path(root).is_dir():
            raise UserError(
                f"image_root is not a folder: {root}; give the folder that image paths are relative to"
            )
        self._root = None if root is None else os.path.abspath(root)
        self._folder = None if folder is None else Path(os.path.abspath(folder))
        self.allow_outside, self._allow_urls = allow_outside, allow_urls
        self._written: list[Path] = []
        self._stored: dict[str, str] = {}  # path by digest: many rows of a table may hold the same image
        self._made_folder = False

    def find(self, row: Fields, name: str, candidates: Iterable[str], *, base: Path | None = None) -> str:
        """The absolute path of the first existing file among several candidates.

        Args:
            row: the row; used in messages, and for the file's folder.
            name: the field that names the image.
            candidates: paths, relative to `root` or else to `base`; at least one.
            base: the layout's own image folder; None: the file's folder.

        Raises:
            DataError: none of them exists, or the first one lies outside the folder.
        """
        root = self._root or os.path.abspath(base or row.path.parent)
        tried = []
        for candidate in candidates:
            path, outside = image_path(root, candidate, allow_outside=self.allow_outside)
            tried.append(path)
            if os.path.isfile(path):
                if outside is not None:
                    allowed = f"an image inside its folder (this {outside}; set image_root, or {LEAVES})"
                    raise row.error(name, allowed, candidate)
                return path
        looked = tried[0] + (f" nor at {len(tried) - 1} other places" if len(tried) > 1 else "")
        raise row.error(name, f"an existing image (no such file: {looked}; set image_root)")

    def take(self, row: Fields, name: str, *, base: Path | None = None) -> tuple[str, ...]:
        """The paths of a field's images, in order; empty if the field is absent or null.

        A field holds a path, the bytes of an image file, `{"bytes", "path"}` (as in the hub's parquet files),
        a data URL, a URL if these are allowed, or a list of these.

        Raises:
            DataError: anything else, bytes that are not an image, or a path that does not exist.
            UserError: the field holds bytes, but no folder is set to write them to.
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
        """Write the bytes of an image file to the folder and return the file's path."""
        if self._folder is None:
            raise UserError(
                f"{row.path} contains its images; set image_folder to the folder to write them to"
            )
        digest = hashlib.sha256(content).hexdigest()[:32]
        if digest in self._stored:
            return self._stored[digest]
        from dreamprm.data.image_decoder import ImageError, open_image  # only if a table holds images

        try:
            # Cut-off files are kept: whether they are used is a setting of the commands that show them.
            kind = str(open_image(content, truncated=True).format).lower()
        except ImageError as error:
            given = f"{len(content)} bytes"
            raise row.error(name, f"bytes of an image file ({error.kind}: {error.reason})", given) from error
        suffix = {"jpeg": "jpg", "mpo": "jpg", "tiff": "tif"}.get(kind, kind)
        self._stored[digest] = str(self._store(content, f"{digest}.{suffix}"))
        return self._stored[digest]

    def embed_pixels(self, row: Fields, name: str) -> str:
        """Write pixels of shape `(height, width)` or `(height, width, 3)`, 0 to 255, as a PNG file."""
        import numpy as np
        from PIL import Image

        allowed = "an array of shape (height, width) or (height, width, 3) with whole numbers from 0 to 255"
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
        """The number of files written so far."""
        return len(self._written)

    def discard(self, after: int = 0) -> None:
        """Remove files written after the first `after`; also the folder, if created here and now empty."""
        for path in self._written[after:]:
            path.unlink(missing_ok=True)
        del self._written[after:]
        self._stored.clear()
        if self._made_folder and self._folder is not None and not any(self._folder.iterdir()):
            self._folder.rmdir()
            self._made_folder = False

    def stored(self, row: Fields, name: str, value: Any) -> str | None:
        """The path of an image given by other than its path (`is_embedded`); None if it is null.

        A `{"bytes", "path"}` without bytes gives its path as written. JSON holds bytes as base64.

        Raises:
            DataError: bytes that are not an image, text that is not base64, a URL that is not allowed or
                cannot be downloaded.
            UserError: no folder is set to write the image to.
        """
        if isinstance(value, Mapping):
            content, path = value.get("bytes"), value.get("path")
            if isinstance(content, str):
                return self.embed(row, name, self._decoded(row, name, content))
            if content is None and (path is None or (isinstance(path, str) and not is_embedded(path))):
                return path
            value = path if content is None else content
        if isinstance(value, bytes):
            return self.embed(row, name, value)
        if isinstance(value, str) and is_data(value):
            return self.embed(row, name, self._decoded(row, name, value))
        if isinstance(value, str) and is_embedded(value):
            return self._downloaded(row, name, value)
        raise row.error(name, _IMAGE)

    def _one(self, row: Fields, name: str, value: Any, base: Path | None) -> str | None:
        if isinstance(value, Mapping) and value.get("bytes") is None:
            value = value.get("path")
        if value is None:
            return None
        if is_embedded(value):
            return self.stored(row, name, value)
        if isinstance(value, str) and value.strip():
            return self.find(row, name, [value], base=base)
        raise row.error(name, _IMAGE)

    def _decoded(self, row: Fields, name: str, text: str) -> bytes:
        try:
            return decoded(text)
        except ValueError as error:
            raise row.error(name, f"the bytes of an image file in base64 ({error})", text) from None

    def _downloaded(self, row: Fields, name: str, url: str) -> str:
        if not self._allow_urls:
            raise row.error(
                name,
                "an image on this machine (this is a URL: set allow_urls=true to download such images, which"
                " tells their servers that you do)",
                url,
            )
        if self._folder is None:
            raise UserError(
                f"{row.path} names images by URLs; set image_folder to the folder to write them to"
            )
        try:
            content = downloaded(url)
        except ValueError as error:
            raise row.error(name, f"a URL that can be downloaded ({error})", url) from None
        return self.embed(row, name, content)

    def _store(self, content: bytes, name: str) -> Path:
        assert self._folder is not None
        path = self._folder / name
        there = path.exists()
        if (
            there and path.read_bytes() == content
        ):  # the name alone does not say that nobody has written to it
            return path
        if not self._folder.exists():
            self._folder.mkdir(parents=True)
            self._made_folder = True
        write_atomically(path, content)
        if not there:
            self._written.append(path)
        return path
