"""`dreamprm evaluate-steps`: step-level figures from scored step records."""

from __future__ import annotations

from dataclasses import dataclass

from dreamprm.config.errors import nearest
from dreamprm.config.names import check_names
from dreamprm.config.schema import LARGEST_SEED, REQUIRED, section, setting
from dreamprm.runtime.settings import BadRecordSettings

CHOSEN_ON = ("split", "subset", "file", "nothing")
SCOPES = ("up_to_first_error", "all")
"""Which steps count: see `ScoredSteps.in_scope`."""


@dataclass
class ThresholdSettings:
    """The score below which a step counts as wrong: the one with the highest F1 on a development set."""

    chosen_on: str = setting(
        "split",
        "the development set. split: a share of each subset's questions, which the figures then leave out; "
        "subset: one of the subsets (ProcessBench's own way: gsm8k), which the means then leave out; file: a "
        "separate file; nothing: threshold.value is used as given",
        choices=CHOSEN_ON,
    )
    fraction: float = setting(
        0.2,
        "with split: the share of the questions it is chosen on",
        above=0,
        below=1,
        when={"chosen_on": ("split",)},
    )
    subset: str | None = setting(None, "with subset: its name in files")
    file: str | None = setting(None, "with file: scored step records whose questions are in none of files")
    value: float | None = setting(None, "with nothing: a probability", above=0, below=1)

    def check(self) -> None:
        """Require what the choice reads, and refuse what it does not."""
        for name, needed_by in (("subset", "subset"), ("file", "file"), ("value", "nothing")):
            given = getattr(self, name) is not None
            if given != (self.chosen_on == needed_by):
                unread = f"does not read {name}, only chosen_on={needed_by} does"
                wanted = f"needs {name}" if not given else unread
                raise ValueError(f"chosen_on={self.chosen_on} {wanted}; {name} is {getattr(self, name)!r}")


@dataclass
class EvaluateStepsConfig(BadRecordSettings):
    """Scored step records in; first-error F1, step AUC and calibration out."""

    files: dict[str, str] = setting(REQUIRED, "files of scored step records, by the name of their subset")
    output: str = setting(REQUIRED, "folder for the results; it appears whole or not at all")
    overwrite: bool = setting(False, "replace an older evaluation in the output folder")
    scorers: list[str] = setting([], "names of the scorers to evaluate; []: all in the files")
    baseline: str | None = setting(
        None, "a scorer that the others' F1 and AUC are compared with (paired); null: no differences"
    )
    label_threshold: float | None = setting(
        None,
        "a step counts as right if its label is above this; null: labels are 0 or 1, and for Monte-Carlo "
        "labels only the calibration is measured",
        minimum=0,
        below=1,
    )
    scope: str = setting(
        "up_to_first_error",
        "which steps the calibration in steps.md and in the plot covers: those up to the first error, or "
        "every labelled step; steps.json has both",
        choices=SCOPES,
    )
    step_f1_without: list[str] = setting(
        [], "domains whose steps do not count for step F1 (PRMBench: [correct]); domains are the records' own"
    )
    bins: int = setting(10, "bins of the reliability curves", minimum=1, maximum=1000)
    seed: int = setting(0, "seed for the split and the bootstrap", minimum=0, maximum=LARGEST_SEED)
    resamples: int = setting(2000, "bootstrap samples of the questions", minimum=100)
    level: float = setting(0.95, "confidence level of the intervals", above=0, below=1)
    threshold: ThresholdSettings = section(ThresholdSettings)

    def check(self) -> None:
        """Validate the subsets' names and the settings that refer to them."""
        if not self.files:
            raise ValueError("files must name at least one file of scored step records, got {}")
        check_names(self.files, "files")
        if "mean" in self.files:
            raise ValueError("files: no subset may be named 'mean', the name of the mean over subsets")
        if self.threshold.subset is not None and self.threshold.subset not in self.files:
            given = f"{self.threshold.subset!r}{nearest(self.threshold.subset, self.files)}"
            raise ValueError(f"threshold.subset must be one of {', '.join(self.files)}, got {given}")
        if self.baseline is not None and self.scorers and self.baseline not in self.scorers:
            given = f"{self.baseline!r}{nearest(self.baseline, self.scorers)}"
            raise ValueError(f"baseline must be one of {', '.join(self.scorers)}, got {given}")
