"""What a run reads: files of records."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.schema import REQUIRED, setting


@dataclass
class TrainFile:
    """One file of step records."""

    path: str = setting(REQUIRED, "JSON or JSONL file of step records", shorthand=True)
    domain: str | None = setting(None, "domain of all its records; null: each record names its own")


@dataclass
class DataSettings:
    """Files and how they are read."""

    train: list[TrainFile] = setting(
        REQUIRED, "files of step records: plain paths, or sections with the keys below"
    )
    meta: str = setting(REQUIRED, "JSON or JSONL file of meta records (whole CoTs with a right/wrong label)")
    lm: str | None = setting(None, "JSONL pool for the language-modelling loss (needs lm_weight > 0)")
    image_root: str | None = setting(None, "folder image paths are relative to; null: the data file's own")
    cache_dir: str = setting("data/cache", "folder of the memory-mapped copies of the files")
    on_error: str = setting(
        "error", "a bad record stops the run or is left out and listed", choices=("error", "skip")
    )
    max_bad_fraction: float = setting(
        0.01, "with on_error=skip: the largest share of bad records", minimum=0, maximum=1
    )
    missing_image: str = setting(
        "error",
        "an image that is missing or broken: stop, or go on with the text",
        choices=("error", "text_only"),
    )
    allow_no_image: bool = setting(False, "accept records that name no image")
    stepless: str = setting(
        "error", "records without a CoT cannot train: stop, or leave them out", choices=("error", "skip")
    )
    audit_bound: float = setting(
        0.65,
        "warn when a trivial feature (has steps, length, ...) predicts the label of a meta or candidate set "
        "with a larger AUC than this",
        minimum=0.5,
        maximum=1,
    )
    min_pixels: int = setting(
        3136, "images are enlarged to at least this many pixels; stored with the model", minimum=1
    )
    max_pixels: int = setting(
        262144, "images are reduced to at most this many pixels (512 x 512); stored with the model", minimum=1
    )
    num_workers: int = setting(
        0, "processes that read and decode ahead of the loop; 0: in the loop", minimum=0
    )
    max_length: int | None = setting(
        None, "longest CoT in tokens, a longer one is an error; null: no limit", minimum=1
    )

    def check(self) -> None:
        """Refuse an empty list of files and an empty range of image sizes."""
        if not self.train:
            raise ValueError("train must name at least one file of step records, got []")
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels must be <= max_pixels, got {self.min_pixels} > {self.max_pixels}")
