"""Settings that several commands share: what they show while they run, and how they read files of records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dreamprm.config.choices import PROGRESS_MODES
from dreamprm.config.errors import UserError, nearest
from dreamprm.config.names import check_names
from dreamprm.config.schema import REQUIRED, setting

MOST = 1_000_000
"""Of what is made at once: a batch, a window, the CoTs of one question."""


def require_end(key: str, value: int) -> None:
    """Refuse a number of things made at once that would never be made.

    Raises:
        ValueError: naming the key, the value and what is allowed.
    """
    if value > MOST:
        raise ValueError(f"{key}={value:,} are made at once, which would not end; give at most {MOST:,}")


@dataclass
class ProgressSettings:
    """What is shown while a command runs."""

    every: float = setting(30.0, "seconds between progress lines when there is no terminal", above=0)
    progress: str = setting(
        "auto",
        "auto: a bar on a terminal, lines elsewhere; bar, lines: always that; none: no progress",
        choices=PROGRESS_MODES,
    )


@dataclass
class BadRecordSettings:
    """What happens to records that cannot be read."""

    on_error: str = setting(
        "error",
        "error: a bad record stops the run; skip: it is left out and listed",
        choices=("error", "skip"),
    )
    max_bad_fraction: float = setting(
        0.01, "largest share of bad records allowed", minimum=0, maximum=1, when={"on_error": ("skip",)}
    )


def image_ground_setting(
    default: str | None = "white", more: str = "", *, when: Mapping[str, Any] | None = None
) -> Any:
    """The declaration of `image_ground`, for every command and generator that opens images."""
    help = f"colour that transparent areas of images show, such as white, black or #f0f0f0{more}"
    return setting(default, help, when=when)


def ground_colour(ground: str) -> tuple[int, int, int]:
    """The colour that a name (`white`), `#rrggbb` or another notation of CSS stands for.

    Raises:
        UserError: not an opaque colour.
    """
    from PIL import ImageColor  # `--help` does without

    try:
        colour = ImageColor.getrgb(ground)
    except (ValueError, AttributeError, TypeError):
        near = nearest(str(ground), ImageColor.colormap)
        raise UserError(
            f"image_ground must be a colour such as white, black or #f0f0f0, got {ground!r}{near}"
        ) from None
    if len(colour) != 3:
        raise UserError(f"image_ground must be an opaque colour such as white or #f0f0f0, got {ground!r}")
    return colour


def truncated_image_setting() -> Any:
    """The declaration of `truncated_image`, for every command and generator that opens images."""
    return setting(
        "error",
        "an image file that is cut off counts as broken (error), or is read as far as it goes, by Pillow's "
        "own switch, and counted (read)",
        choices=("error", "read"),
    )


@dataclass
class ReadingSettings(BadRecordSettings):
    """How files of records with images are read."""

    image_root: str | None = setting(
        None, "folder that image paths are relative to; null: the data file's own folder"
    )
    missing_image: str = setting(
        "error",
        "if one of a record's images is missing or broken: stop, or use its text alone, without any of its "
        "images, and count it",
        choices=("error", "text_only"),
    )
    allow_no_image: bool = setting(False, "accept records that name no image")
    allow_outside: bool = setting(
        False,
        "accept image paths that lead out of that folder (absolute, by .. or by a link); a file of somebody "
        "else can then have any image of this machine read, sent to a server and shown in reports",
    )


@dataclass
class RecordFile:
    """One file of records, and their domain."""

    path: str = setting(REQUIRED, "JSON or JSONL file of records", shorthand=True)
    domain: str | None = setting(None, "domain of all its records; null: each record names its own")

    def check(self) -> None:
        """Refuse a domain that is no name."""
        if self.domain is not None:
            check_names([self.domain], "domain")


@dataclass
class QuestionFileSettings(ReadingSettings):
    """The questions, and how their files are read."""

    files: list[RecordFile] = setting(
        [], "files of question records: plain paths, or sections with the keys below"
    )
    limit: int | None = setting(None, "use only this many questions, the first ones; null: all", minimum=1)


def shard_of(text: str) -> tuple[int, int]:
    """The (i, n) of a shard written as i/n.

    Raises:
        ValueError: not of that form, or i is not in 0..n-1.
    """
    first, slash, second = text.partition("/")
    if not slash or not first.strip().isdigit() or not second.strip().isdigit():
        raise ValueError(f"shard must be written i/n, such as 0/8, got {text!r}")
    i, n = int(first), int(second)
    if not 0 <= i < n:
        raise ValueError(f"shard i/n must have 0 <= i < n, got {text}; the first of {n or 8} is 0/{n or 8}")
    return i, n
