"""Checks of single fields, including images; a bad field raises a DataError that gives file, line, field,
value and what is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dreamprm.config.errors import DataError, UserError, closest
from dreamprm.data.image_paths import LEAVES, image_path, is_no_path, is_vouched
from dreamprm.files.json_values import shown


class Fields:
    """The fields of one record (or of an object inside it), read with checks.

    Args:
        value: the value read from the file.
        path: the file, for messages.
        line: the record's line, for messages.
        prefix: where this object is inside the record, for instance `candidates[2].`.
        element: if its line does not identify the record: its number in a JSON array, from 1, or its name in
            an object.

    Raises:
        DataError: the value is not a JSON object.
    """

    def __init__(
        self, value: Any, path: Path, *, line: int, prefix: str = "", element: int | str | None = None
    ) -> None:
        self.path, self.line, self.prefix, self.element = path, line, prefix, element
        if not isinstance(value, dict):
            raise DataError(
                f"{self.where}: {prefix.rstrip('.') or 'the record'}: got {shown(value)};"
                " allowed: a JSON object"
            )
        self.values: dict[str, Any] = value

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    @property
    def where(self) -> str:
        """The file with the record's line, or with its number in an array whose elements share lines."""
        return place(self.path, self.line, self.element)

    @property
    def place(self) -> str:
        """What `where` says after the file's name."""
        return self.where.removeprefix(str(self.path))

    @property
    def place_name(self) -> str:
        """A name for a record without an id: `a.jsonl:17` (line), or `a.json#17` (element of an array)."""
        return f"{self.path.name}:{self.line}" if self.element is None else f"{self.path.name}#{self.element}"

    def with_values(self, values: dict[str, Any]) -> Fields:
        """Other fields at the same place of the file."""
        return Fields(values, self.path, line=self.line, prefix=self.prefix, element=self.element)

    def error(self, name: str, allowed: str, given: Any = ...) -> DataError:
        """The error for a bad field; pass `given` if it is not the field's whole value."""
        given = self.values.get(name) if given is ... else given
        return DataError(f"{self.where}: field '{self.prefix}{name}': got {shown(given)}; allowed: {allowed}")

    def require(self, name: str, allowed: str) -> Any:
        """The field's value; null counts as absent."""
        if name in self:
            return self.values[name]
        if name in self.values:
            raise self.error(name, allowed)
        raise self.missing(name, allowed)

    def missing(self, name: str, allowed: str) -> DataError:
        """The error for a missing field, with the closest name that is present."""
        near = closest(name, self.values)
        hint = (
            f"; the closest field is '{near}'"
            if near
            else f"; the record has {', '.join(map(repr, self.values)) or 'no fields'}"
        )
        return DataError(
            f"{self.where}: field '{self.prefix}{name}' is missing; allowed: {allowed}{hint}",
            unlike=self.path,
        )

    def text(self, name: str) -> str:
        """A required text that is not empty."""
        allowed = "a text that is not empty"
        value = self.require(name, allowed)
        if not isinstance(value, str) or not value.strip():
            raise self.error(name, allowed)
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or None if the field is absent or null."""
        if name not in self:
            return None
        value = self.values[name]
        if not isinstance(value, str):
            raise self.error(name, "a text, or null")
        return value

    def truth(self, name: str) -> bool:
        """A required boolean."""
        value = self.require(name, "true or false")
        if not isinstance(value, bool):
            raise self.error(name, "true or false")
        return value

    def optional_truth(self, name: str) -> bool | None:
        """A boolean, or None if the field is absent or null."""
        return self.truth(name) if name in self else None

    def count(self, name: str) -> int | None:
        """A whole number >= 1, or None if the field is absent or null."""
        if name not in self:
            return None
        value = self.values[name]
        if not _is_count(value):
            raise self.error(name, "a whole number >= 1, or null")
        return int(value)

    def probability(self, name: str) -> float:
        """A required number in [0, 1]."""
        allowed = "a number in [0, 1]"
        value = self.require(name, allowed)
        if not _is_probability(value):
            raise self.error(name, allowed)
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A required list of texts that are not empty; the list itself may be empty."""
        allowed = "a list of texts"
        values = self._items(name, allowed)
        for index, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                raise self.error(f"{name}[{index}]", "a text that is not empty", value)
        return tuple(values)

    def probabilities(self, name: str, length: int) -> tuple[float | None, ...]:
        """A required list of `length` numbers in [0, 1], with null for unknown ones."""
        allowed = f"a list of {length} numbers in [0, 1] or null, one per step"
        values = self._items(name, allowed, length)
        for index, value in enumerate(values):
            if value is not None and not _is_probability(value):
                raise self.error(f"{name}[{index}]", "a number in [0, 1], or null", value)
        return tuple(None if value is None else float(value) for value in values)

    def counts(self, name: str, length: int) -> tuple[int | None, ...]:
        """A list of `length` whole numbers >= 1 or null; all unknown if the field is absent or null."""
        if name not in self:
            return (None,) * length
        values = self._items(name, f"a list of {length} whole numbers >= 1 or null, one per step", length)
        for index, value in enumerate(values):
            if value is not None and not _is_count(value):
                raise self.error(f"{name}[{index}]", "a whole number >= 1, or null", value)
        return tuple(None if value is None else int(value) for value in values)

    def objects(self, name: str) -> list[Fields]:
        """A required list of at least one JSON object."""
        allowed = "a list of at least one JSON object"
        values = self._items(name, allowed)
        if not values:
            raise self.error(name, allowed)
        return [
            Fields(
                value,
                self.path,
                line=self.line,
                prefix=f"{self.prefix}{name}[{index}].",
                element=self.element,
            )
            for index, value in enumerate(values)
        ]

    def identifier(self) -> str:
        """The record's `id` (a text or a whole number); file name and line if it has none.

        In an array whose elements share lines, it is the file name and the element's number (`a.json#17`).
        """
        if "id" not in self:
            return self.place_name
        value = self.values["id"]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.error("id", "a text or a whole number, or null")
        return str(value)

    def _items(self, name: str, allowed: str, length: int | None = None) -> Sequence[Any]:
        value = self.require(name, allowed)
        if not isinstance(value, list):
            raise self.error(name, allowed)
        if length is not None and len(value) != length:
            raise DataError(
                f"{self.where}: field '{self.prefix}{name}': got {len(value)} values"
                f" for {length} steps;"
                f" allowed: {allowed}"
            )
        return value


def place(path: Path, line: int, element: int | str | None = None) -> str:
    """A place in a file, for messages: its line, or the number or name of a value that shares the line."""
    if element is None:
        return f"{path}:{line}"
    named = f"element {element}" if isinstance(element, int) else f"member {element!r}"
    return f"{path}: {named}" if line == 1 else f"{path}:{line}: {named}"


def _is_probability(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(0 <= value <= 1)  # NaN is not in the range


def _is_count(value: Any) -> bool:
    # Of 64 bits, as tables store it.
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63


MissingImage = Literal["error", "text_only", "keep"]
TruncatedImage = Literal["error", "read"]


@dataclass(frozen=True)
class FoundImages:
    """A record's images.

    Attributes:
        paths: of all of them, in order; empty if there are none, or if they are left out.
        lost: why they are left out: the first that is missing or broken.
        cut_off: the first that is cut off, and how, if such images are used.
    """

    paths: tuple[str, ...]
    lost: str | None = None
    cut_off: str | None = None


@dataclass(frozen=True)
class ImagePolicy:
    """Where images are, and what is accepted.

    Attributes:
        root: the folder that image paths are relative to; None for the data file's own folder.
        missing: what happens if an image is missing or broken: an `error`, or `text_only` to use the record
            without any of its images. `keep` checks no images and leaves paths as written, for conversions
            between files.
        allow_none: whether a record may name no image at all.
        check: also decode every image. The images' existence is always checked; decoding costs some
            milliseconds each.
        truncated: with `check`, whether an image that is cut off may be read as far as it goes.
        allow_outside: whether a path may lead out of the folder (absolute, by `..`, or by a link), also in a
            file that this package did not write.

    Raises:
        UserError: `missing` is not one of these three, or `root` is not a folder.
    """

    root: str | Path | None = None
    missing: MissingImage = "error"
    allow_none: bool = False
    check: bool = False
    truncated: bool = False
    allow_outside: bool = False

    @classmethod
    def of_reader(
        cls,
        image_root: str | Path | None,
        missing_image: MissingImage,
        allow_no_image: bool,
        *,
        allow_outside: bool,
        check_images: bool = False,
        truncated_image: TruncatedImage = "error",
    ) -> ImagePolicy:
        """The policy of a reader's arguments, which are described in `read_step_records`."""
        return cls(
            image_root,
            missing_image,
            allow_no_image,
            check_images,
            truncated=truncated_image == "read",
            allow_outside=allow_outside,
        )

    def __post_init__(self) -> None:
        if self.missing not in ("error", "text_only", "keep"):
            raise UserError(f"missing_image must be 'error' or 'text_only', got {self.missing!r}")
        if self.root is not None and not Path(self.root).is_dir():
            raise UserError(
                f"image_root is not a folder: {self.root}; give the folder that image paths are relative to"
            )

    def resolve(self, fields: Fields) -> FoundImages:
        """The record's image paths, and what happened to them.

        Read from `images` (a list) or from `image` or the public files' `image_path` (one path).

        Raises:
            DataError: a field of the wrong type, an image that is missing or broken or outside the folder, or
                no image when one is required.
        """
        name, given = self._named(fields)
        if self.missing == "keep":
            return FoundImages(given)
        root = os.path.abspath(fields.path.parent if self.root is None else self.root)
        allowed_outside = self.allow_outside or is_vouched(fields.path)
        places = [image_path(root, path, allow_outside=allowed_outside) for path in given]
        for index, (_, outside) in enumerate(places):
            if outside is not None:
                where = f"{name}[{index}]" if name == "images" else name
                raise fields.error(
                    where,
                    f"an image inside its folder (this {outside}; set image_root to the folder that holds "
                    f"the images, or {LEAVES})",
                    given[index],
                )
        paths = tuple(path for path, _ in places)
        cut_off = None
        for index, path in enumerate(paths):
            problem, warning = self._problem(path)
            place = path
            if is_no_path(given[index]):
                problem, place = "no path, but the image itself or a URL", given[index][:60]
            if problem and self.missing == "text_only":
                # All of them: without the first, the second would be taken for it.
                return FoundImages((), lost=f"{place}: {problem}")
            cut_off = cut_off or (f"{path}: {warning}" if warning else None)
            if problem:
                where = f"{name}[{index}]" if name == "images" else name
                allowed = (
                    f"a readable image file ({problem}: {place}; set image_root, or missing_image=text_only)"
                )
                if place is not path:
                    allowed = (
                        f"the path of an image file ({problem}; dreamprm convert format=steps, or the format"
                        " that the file is of, writes images to files)"
                    )
                raise fields.error(where, allowed, given[index])
        return FoundImages(paths, cut_off=cut_off)

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

    def _problem(self, path: str) -> tuple[str | None, str | None]:
        """Why an image cannot be used, and how it is cut off if it is."""
        if not os.path.isfile(path):
            return "is a folder" if os.path.isdir(path) else "no such file", None
        if not self.check:
            return None, None
        # Only if images are opened: the import takes longer than reading a file.
        from dreamprm.data.image_decoder import ImageError, open_image

        try:
            return None, open_image(path, truncated=self.truncated).cut_off
        except ImageError as error:
            return f"broken image, {error.reason}", None
