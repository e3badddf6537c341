"""Settings that several commands share: what they show while they run, and how they read files of records."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.choices import PROGRESS_MODES
from dreamprm.config.schema import REQUIRED, setting


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


@dataclass
class ReadingSettings(BadRecordSettings):
    """How files of records with images are read."""

    image_root: str | None = setting(
        None, "folder that image paths are relative to; null: the data file's own folder"
    )
    missing_image: str = setting(
        "error",
        "if an image is missing or broken: stop, or continue with the text alone",
        choices=("error", "text_only"),
    )
    allow_no_image: bool = setting(False, "accept records that name no image")


@dataclass
class RecordFile:
    """One file of records, and their domain."""

    path: str = setting(REQUIRED, "JSON or JSONL file of records", shorthand=True)
    domain: str | None = setting(None, "domain of all its records; null: each record names its own")
