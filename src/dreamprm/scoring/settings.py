"""`dreamprm score`: which model scores which files."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.names import check_names
from dreamprm.config.schema import REQUIRED, section, setting
from dreamprm.runtime.settings import (
    ProgressSettings,
    ReadingSettings,
    ground_colour,
    image_ground_setting,
    truncated_image_setting,
)


@dataclass
class ScoreDataSettings(ReadingSettings):
    """How the files are read."""

    missing_image: str = setting(
        "error",
        "if one of a record's images is missing or broken: stop, or score its text alone, without any of its "
        "images, and count it (if a file is missing, the record is written without images)",
        choices=("error", "text_only"),
    )
    truncated_image: str = truncated_image_setting()
    num_workers: int = setting(
        0,
        "processes that check whether images can be read, before the first is scored; 0: this process",
        minimum=0,
    )
    stepless: str = setting(
        "error",
        "what to do with a candidate without steps. error: stop; skip: it gets no score (a step record is "
        "left out); whole: its whole text is its one step",
        choices=("error", "skip", "whole"),
    )


@dataclass
class ScoreConfig:
    """Candidates or step records in; the same records with this model's step log-odds out."""

    model: str = setting(
        REQUIRED,
        "a trained PRM: a run folder or its model/; or a folder of the public DreamPRM code (base_model/ and "
        "LN_weights.pt); with scores=likelihood, a plain checkpoint's folder",
    )
    base: str | None = setting(
        None,
        "for a PRM saved as adapters alone: folder or hub name of its base model, if it is not where it was",
    )
    name: str | None = setting(
        None, "name under which the scores are stored; null: the name of the run folder (or the model's)"
    )
    files: dict[str, str] = setting(REQUIRED, "files to score, by name; NAME becomes OUTPUT/NAME.jsonl")
    kind: str = setting(
        "candidate",
        "what the files hold: candidate records (scores are added to each candidate) or step records (next "
        "to their labels)",
        choices=("candidate", "step"),
    )
    output: str = setting(
        REQUIRED, "folder for the results; a run that was stopped resumes from those already there"
    )
    scores: str = setting(
        "auto",
        "a score for each step, or one for the response, read at its last step (an outcome reward model); "
        "auto: as the model was trained; likelihood: one value for the response, the mean log-likelihood "
        "(nats per token) of its steps under a checkpoint that is not a PRM, stored in place of the log-odds",
        choices=("auto", "step", "response", "likelihood"),
    )
    replace: bool = setting(
        False, "replace scores of this name that are already in a file; otherwise they are an error"
    )
    processor: str | None = setting(
        None,
        "for a model of the public code, which stores none: folder or hub name of a Qwen2-VL whose "
        "tokenizer and image processor it uses; with scores=likelihood, null: the checkpoint's own",
    )
    max_pixels: int | None = setting(
        None,
        "for a model of the public code, or scores=likelihood: images are scaled down to at most this many "
        "pixels; null: 262144 (512 x 512); our own models store theirs",
        minimum=1,
    )
    image_ground: str | None = image_ground_setting(
        None,
        "; for a model of the public code, or scores=likelihood; null: the processor's own, or white; our "
        "own models store theirs",
    )
    batch_size: int = setting(32, "largest number of candidates per pass", minimum=1)
    batch_tokens: int = setting(
        16384, "largest number of tokens per pass, padding included; lower it if memory runs out", minimum=1
    )
    precision: str = setting(
        "fp32", "precision of weights and computation; the head stays fp32", choices=("fp32", "bf16")
    )
    device: str = setting("auto", "auto: a GPU if there is one", choices=("auto", "cpu", "cuda"))
    threads: int | None = setting(None, "CPU threads for torch; null: torch's default", minimum=1)
    data: ScoreDataSettings = section(ScoreDataSettings)
    log: ProgressSettings = section(ProgressSettings)

    def check(self) -> None:
        """Require at least one file, names that can be file names, and a colour."""
        if self.image_ground is not None:
            ground_colour(self.image_ground)
        if not self.files:
            raise ValueError("files must name at least one file, such as files.mathvista=candidates.jsonl")
        check_names(self.files, "files", distinct=True)
        for name in self.files:
            if name.casefold().endswith(".scores"):
                raise ValueError(
                    f"files: {name!r} ends in .scores, as the journals of scores do; give another name"
                )
        if self.name is not None:
            check_names([self.name], "name")
