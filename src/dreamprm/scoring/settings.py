"""`dreamprm score`: which model scores which files."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.names import check_names
from dreamprm.config.schema import REQUIRED, section, setting
from dreamprm.runtime.settings import ProgressSettings, ReadingSettings, truncated_image_setting
from dreamprm.scorers.settings import ScorerSettings, model_setting


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
class ScoreConfig(ScorerSettings):
    """Candidates or step records in; the same records with this model's step log-odds out."""

    model: str | None = model_setting()
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
    replace: bool = setting(
        False, "replace scores of this name that are already in a file; otherwise they are an error"
    )
    threads: int | None = setting(None, "CPU threads for torch; null: torch's default", minimum=1)
    data: ScoreDataSettings = section(ScoreDataSettings)
    log: ProgressSettings = section(ProgressSettings)

    def check(self) -> None:
        """Require at least one file, names that can be file names, and a colour."""
        super().check()
        if not self.files:
            raise ValueError("files must name at least one file, such as files.mathvista=candidates.jsonl")
        check_names(self.files, "files", distinct=True)
        for name in self.files:
            if name.casefold() == "critic.replies":
                raise ValueError(f"files: {name!r} is how a critic's replies are kept; give another name")
            if name.casefold().endswith(".scores"):
                raise ValueError(
                    f"files: {name!r} ends in .scores, as the journals of scores do; give another name"
                )
        if self.name is not None:
            check_names([self.name], "name")
