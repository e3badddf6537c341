"""Image paths of a record: resolved, checked, and what to do where an image is absent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dreamprm.config.errors import UserError
from dreamprm.data.fields import Fields

MissingImage = Literal["error", "text_only", "keep"]


@dataclass(frozen=True)
class ImagePolicy:
    """Where images lie and what is allowed of them.

    Attributes:
        root: the folder that relative paths start from; None for the data file's own folder.
        missing: what a missing or broken image does: an `error`, or the record goes on `text_only`, without
            any of its images. `keep` looks at no image: paths stay as written, for a conversion between
            files.
        allow_none: whether a record may name no image at all.
        check: also open every image and verify its header and checksums. The images' existence is always
            checked; opening costs about a millisecond each.

    Raises:
        UserError: `missing` is none of the three, or `root` is no folder.
    """

    root: str | Path | None = None
    missing: MissingImage = "error"
    allow_none: bool = False
    check: bool = False

    def __post_init__(self) -> None:
        if self.missing not in ("error", "text_only", "keep"):
            raise UserError(f"missing_image must be 'error' or 'text_only', got {self.missing!r}")
        if self.root is not None and not Path(self.root).is_dir():
            raise UserError(
                f"image_root is not a folder: {self.root}; give the folder that image paths start from"
            )

    def resolve(self, fields: Fields) -> tuple[tuple[str, ...], bool]:
        """The record's image paths, and whether images were dropped (`text_only`).

        Read from `images` (a list) or from `image` or the public files' `image_path` (one path).

        Raises:
            DataError: of the wrong type, named but missing or broken, or none where one is needed.
        """
        name, given = self._named(fields)
        if self.missing == "keep":
            return given, False
        root = os.path.abspath(fields.path.parent if self.root is None else self.root)
        paths = tuple(os.path.join(root, path) for path in given)
        for index, path in enumerate(paths):
            problem = self._problem(path)
            if problem and self.missing == "text_only":
                return (), True
            if problem:
                where = f"{name}[{index}]" if name == "images" else name
                allowed = (
                    f"a readable image file ({problem}: {path}; set image_root, or missing_image=text_only)"
                )
                raise fields.error(where, allowed, given[index])
        return paths, False

    def _named(self, fields: Fields) -> tuple[str, tuple[str, ...]]:
        if "images" in fields and fields.values["images"] != []:
            return "images", fields.texts("images")
        for name in ("image", "image_path"):
            if name in fields:
                return name, (fields.text(name),)
        if self.allow_none:
            return "image", ()
        needed = "an image path, or a list of paths as 'images' (set allow_no_image for text-only questions)"
        present = next((name for name in ("image", "images", "image_path") if name in fields.values), None)
        raise fields.error(present, needed) if present else fields.missing("image", needed)

    def _problem(self, path: str) -> str | None:
        if not os.path.isfile(path):
            return "no such file"
        if self.check:
            from PIL import Image  # only where images are opened: the import costs more than reading a file

            try:
                with Image.open(path) as image:
                    image.verify()
            except Exception as error:  # a decoder may raise anything on broken bytes
                return f"broken image, {type(error).__name__}"
        return None
